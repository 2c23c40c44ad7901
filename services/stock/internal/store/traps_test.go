package store

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// What goes wrong in engines that are built the obvious way, each by its name.

// Ghost stock: an UPDATE of an item that does not exist changes no row and
// fails no check, and the reservation is committed all the same.
func TestTrapGhostStock(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		receive(t, store, 1, 10)
		receive(t, store, 3, 10)
		good := func(item int64) domain.Command {
			return domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: one(item, 1)}
		}
		outcomes, err := store.Do(t.Context(), good(1), good(2), good(3), domain.Reserve{
			ID: newID(), Key: newID(), TTL: time.Minute, Lines: []domain.Line{{ItemID: 1, Quantity: 1}, {ItemID: 2, Quantity: 1}, {ItemID: 3, Quantity: 1}},
		}, domain.Reserve{
			ID: newID(), Key: newID(), TTL: time.Minute, Lines: []domain.Line{{ItemID: 1, Quantity: 1, Location: "nowhere"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		var codes []fault.Code
		for _, outcome := range outcomes {
			codes = append(codes, fault.CodeOf(outcome.Err))
		}
		if want := []fault.Code{"", fault.SoldOut, "", fault.SoldOut, fault.SoldOut}; !slices.Equal(codes, want) {
			t.Errorf("%q, want %q", codes, want)
		}
		wantBalance(t, store, 1, 10, 9, 1, 0)
		wantBalance(t, store, 2, 0, 0, 0, 0)
		wantBalance(t, store, 3, 10, 9, 1, 0)
		all, _, err := store.Reservations(t.Context(), domain.Filter{}, 100, "")
		if err != nil || len(all) != 2 {
			t.Errorf("%d reservations, %v; want 2", len(all), err)
		}
		wantSound(t, store)
	})
}

// Lookup proves nothing: a client looks whether its command was done, finds
// nothing, and the transaction that waited for a lock commits it afterwards. So
// the same command is applied again, which waits for the same lock.
func TestTrapLookupProvesNothing(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	first, second := db.open(t, Options{}), db.open(t, Options{})
	receive(t, first, 1, 10)
	tx, err := first.db.Postgres().Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), `SELECT FROM items JOIN stock USING (item_id) FOR UPDATE`); err != nil {
		t.Fatal(err)
	}
	reserve := func(store *Store) (domain.Reservation, error) {
		return inventory(store).Reserve(context.Background(), domain.Reserve{Lines: one(1, 4), Key: "k"})
	}
	var made [2]domain.Reservation
	var all sync.WaitGroup
	for i, store := range []*Store{first, second} {
		all.Go(func() {
			var err error
			if made[i], err = reserve(store); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "both wait for the lock", func() bool {
		var waiting int
		err := first.db.Postgres().QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`).Scan(&waiting)
		return err == nil && waiting == 2
	})
	if _, _, err := first.Reservations(t.Context(), domain.Filter{}, 10, ""); err != nil { // the lookup
		t.Fatal(err)
	}
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if made[0].ID != made[1].ID {
		t.Errorf("two reservations, %s and %s", made[0].ID, made[1].ID)
	}
	wantBalance(t, first, 1, 10, 6, 4, 0)
}

// Lock order: reserving locks stock and then the reservation, committing the
// other way round, and they wait for each other. Here all lock the items first.
func TestTrapLockOrder(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	stores := []*Store{db.open(t, Options{}), db.open(t, Options{})}
	for item := range int64(8) {
		receive(t, stores[0], item+1, 1_000_000)
	}
	var all sync.WaitGroup
	for caller := range 16 {
		all.Go(func() {
			books := inventory(stores[caller%2])
			for n := range 25 {
				lines := []domain.Line{}
				for _, item := range []int{caller % 8, (caller + 3 + n) % 8} { // in any order
					if !slices.ContainsFunc(lines, func(l domain.Line) bool { return l.ItemID == int64(item+1) }) {
						lines = append(lines, domain.Line{ItemID: int64(item + 1), Quantity: 1})
					}
				}
				made, err := books.Reserve(t.Context(), domain.Reserve{Lines: lines})
				if err != nil {
					t.Error(err)
					return
				}
				other := inventory(stores[(caller+n)%2])
				if _, err := other.Change(t.Context(), domain.Change{ID: made.ID, Step: []domain.Step{domain.Commit, domain.Release}[n%2]}); err != nil {
					t.Error(err)
				}
				if err := other.Expire(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	wantSound(t, stores[0])
	log, err := os.ReadFile(db.server.LogFile())
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(log), "deadlock") || strings.Contains(string(log), "ERROR") {
		t.Errorf("the server says:\n%s", log)
	}
}

// Expire against extend: one replica lists what expires, another extends it,
// and the first expires it all the same.
func TestTrapExpireAgainstExtend(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		books := inventory(store)
		receive(t, store, 1, 10)
		var made []domain.Reservation
		for range 4 {
			r, err := books.Reserve(t.Context(), domain.Reserve{Lines: one(1, 1), TTL: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r)
		}
		now.pass(time.Minute)
		due, err := store.Expiring(t.Context(), 10)
		if err != nil || len(due) != 4 {
			t.Fatalf("%d are due, %v; want 4", len(due), err)
		}
		now.pass(time.Second)
		for i, step := range []domain.Step{domain.Extend, domain.Commit, domain.Release} {
			if _, err := books.Change(t.Context(), domain.Change{ID: made[i].ID, Step: step, TTL: time.Minute}); err != nil {
				t.Fatal(err)
			}
		}
		for _, change := range due {
			if _, err := store.Do(t.Context(), change); err != nil {
				t.Fatal(err)
			}
		}
		for i, want := range []domain.State{domain.Held, domain.Committed, domain.Released, domain.Expired} {
			if got, err := store.Reservation(t.Context(), made[i].ID); err != nil || got.State != want {
				t.Errorf("%s, %v; want %s", got.State, err, want)
			}
		}
		wantBalance(t, store, 1, 10, 8, 1, 1)
		wantSound(t, store)
	})
}

// Sold out is the slowest path when every batch fails as a whole and is tried
// again one by one: one that asks for too much keeps all others waiting, and
// fills the server's log.
func TestTrapSoldOutIsNoError(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		var transactions int
		store := db.open(t, Options{Measured: Measured{Batch: func(context.Context, Batch) { transactions++ }}})
		receive(t, store, 1, 100)
		var commands []domain.Command
		for i := range int64(200) {
			quantity := int64(1)
			if i%2 == 1 {
				quantity = domain.MaxQuantity
			}
			commands = append(commands, domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: one(1, quantity)})
		}
		transactions = 0
		outcomes, err := store.Do(t.Context(), commands...)
		if err != nil {
			t.Fatal(err)
		}
		for i, outcome := range outcomes {
			if code := fault.CodeOf(outcome.Err); (code == fault.SoldOut) != (i%2 == 1) {
				t.Errorf("command %d: %v", i, outcome.Err)
			}
		}
		if transactions != 1 {
			t.Errorf("%d transactions, want 1", transactions)
		}
		wantBalance(t, store, 1, 100, 0, 100, 0)
		if db.server == nil {
			return
		}
		if log, err := os.ReadFile(db.server.LogFile()); err != nil || strings.Contains(string(log), "ERROR") {
			t.Errorf("the server says (%v):\n%s", err, log)
		}
	})
}

// A key that comes again is no reason to look for every key, nor to fail on each that does.
func TestRepeatedKeysFailOneStatementAtMost(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	store := db.open(t, Options{})
	receive(t, store, 1, 100)
	command := domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: one(1, 2)}
	for range 20 {
		outcomes, err := store.Do(t.Context(), command, domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: one(1, 1)})
		if err != nil || outcomes[0].Err != nil || outcomes[1].Err != nil || outcomes[0].Answer.Reservation.ID != command.ID {
			t.Fatalf("%+v, %v", outcomes, err)
		}
	}
	wantBalance(t, store, 1, 100, 78, 22, 0)
	log, err := os.ReadFile(db.server.LogFile())
	if failed := strings.Count(string(log), "ERROR"); err != nil || failed != 1 {
		t.Errorf("%d statements failed (%v):\n%s", failed, err, log)
	}
}

// Decisions on stale rows: a batch that waited for a lock must decide on what
// it finds after the wait, not on what its transaction saw first.
func TestTrapDecisionOnAStaleRow(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	store := db.open(t, Options{})
	receive(t, store, 1, 10)
	receive(t, store, 2, 10)
	for name, command := range map[string]domain.Command{
		"at one place":     domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: one(1, 6)},
		"at two places":    domain.Reserve{ID: newID(), Key: newID(), TTL: time.Minute, Lines: append(one(1, 6), one(2, 1)...)},
		"by an adjustment": domain.Adjustment{ItemID: 1, Delta: -6, Reason: domain.Sold, Key: newID()},
	} {
		tx, err := store.db.Postgres().Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// Another replica, which takes 5 and lets them go again.
		if _, err := tx.Exec(t.Context(), `UPDATE stock SET available = available - 5, held = held + 5 WHERE item_id = 1`); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		go func() {
			outcomes, err := store.Do(context.Background(), command)
			if err == nil {
				err = outcomes[0].Err
			}
			answered <- err
		}()
		eventually(t, "it waits for the lock", func() bool {
			var waiting int
			err := store.db.Postgres().QueryRow(context.Background(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()`).Scan(&waiting)
			return err == nil && waiting == 1
		})
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if code := fault.CodeOf(<-answered); code != fault.SoldOut && code != fault.Conflict {
			t.Errorf("%s: %q, want a refusal", name, code)
		}
		wantBalance(t, store, 1, 10, 5, 5, 0)
		if _, err := store.db.Postgres().Exec(t.Context(), `UPDATE stock SET available = available + 5, held = held - 5 WHERE item_id = 1`); err != nil {
			t.Fatal(err)
		}
	}
}

// A clock that goes wrong moves expiry. It must not sell anything twice.
func TestAClockThatStepsAnHourEitherWaySellsNothingTwice(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		books := inventory(store)
		receive(t, store, 1, 3)
		var made []domain.Reservation
		for range 3 {
			r, err := books.Reserve(t.Context(), domain.Reserve{Lines: one(1, 1), TTL: time.Minute})
			if err != nil {
				t.Fatal(err)
			}
			made = append(made, r)
		}
		now.pass(time.Hour)
		if _, err := books.Change(t.Context(), domain.Change{ID: made[0].ID, Step: domain.Commit}); err != nil {
			t.Errorf("a commit that is late by the clock: %v", err)
		}
		if err := books.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := books.Change(t.Context(), domain.Change{ID: made[1].ID, Step: domain.Commit}); fault.CodeOf(err) != fault.WrongState {
			t.Errorf("a commit after the expiry: %v, want wrong_state", err)
		}
		now.pass(-2 * time.Hour)
		late, err := books.Reserve(t.Context(), domain.Reserve{Lines: one(1, 2), TTL: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		if err := books.Expire(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := books.Change(t.Context(), domain.Change{ID: late.ID, Step: domain.Commit}); err != nil {
			t.Error(err)
		}
		wantBalance(t, store, 1, 3, 0, 0, 3)
		wantSound(t, store)
	})
}

// eventually polls: what is waited for happens in another process.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal(errors.New("never: " + what))
		}
		time.Sleep(2 * time.Millisecond)
	}
}
