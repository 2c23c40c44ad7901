package store

import (
	"context"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// keyed are commands of every kind for an item and a reservation of it.
func keyed(reservation string) map[string]func(books *domain.Inventory, key string) (any, error) {
	ctx := context.Background()
	policy, limit, low := domain.Backorder, int64(3), int64(7)
	return map[string]func(*domain.Inventory, string) (any, error){
		"adjust": func(books *domain.Inventory, key string) (any, error) {
			return books.Adjust(ctx, domain.Adjustment{ItemID: 1, Delta: 5, Reason: domain.Received, Reference: "PO-7", Actor: "a", Key: key})
		},
		"set": func(books *domain.Inventory, key string) (any, error) {
			return books.Set(ctx, domain.SetStock{ItemID: 2, OnHand: 40, Location: "shelf", Key: key})
		},
		"sync": func(books *domain.Inventory, key string) (any, error) {
			return books.Sync(ctx, domain.Sync{Name: key, Batch: 1, Actor: "a", Counts: []domain.Count{
				{ItemID: 3, OnHand: 9}, {ItemID: 1, OnHand: 2, Location: "shelf"}, {ItemID: 1, OnHand: 1}, {ItemID: 4},
			}})
		},
		"configure": func(books *domain.Inventory, key string) (any, error) {
			return books.Configure(ctx, domain.Configure{ItemID: 1, Policy: &policy, BackorderLimit: &limit, LowStock: &low, Key: key})
		},
		"reserve": func(books *domain.Inventory, key string) (any, error) {
			return books.Reserve(ctx, domain.Reserve{Lines: one(1, 2), Reference: "cart", Key: key})
		},
		"extend": func(books *domain.Inventory, key string) (any, error) {
			return books.Change(ctx, domain.Change{ID: reservation, Step: domain.Extend, TTL: time.Hour, Key: key})
		},
		"commit": func(books *domain.Inventory, key string) (any, error) {
			return books.Change(ctx, domain.Change{ID: reservation, Step: domain.Commit, Key: key})
		},
		"fulfil": func(books *domain.Inventory, key string) (any, error) {
			return books.Change(ctx, domain.Change{ID: reservation, Step: domain.Fulfil, Actor: "packer", Key: key})
		},
	}
}

// inTurn is the order in which keyed commands are possible.
var inTurn = []string{"adjust", "set", "sync", "configure", "reserve", "extend", "commit", "fulfil"}

func TestAKeyHasOneEffectAndEqualAnswersAlsoAfterARestartAndAtAnotherReplica(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		receive(t, store, 1, 100)
		held, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 10)})
		if err != nil {
			t.Fatal(err)
		}
		commands, answers := keyed(held.ID), map[string]any{}
		for _, name := range inTurn {
			if answers[name], err = commands[name](inventory(store), "the key"); err != nil { // keys are of an operation
				t.Fatalf("%s: %v", name, err)
			}
		}
		before, err := store.Stock(t.Context(), []int64{1, 2})
		if err != nil {
			t.Fatal(err)
		}
		again := func(where string, store *Store) {
			t.Helper()
			for name, do := range commands {
				if got, err := do(inventory(store), "the key"); err != nil || !reflect.DeepEqual(got, answers[name]) {
					t.Errorf("%s %s: %+v, %v; want %+v", name, where, got, err, answers[name])
				}
			}
			if after, err := store.Stock(t.Context(), []int64{1, 2}); err != nil || !reflect.DeepEqual(after, before) {
				t.Errorf("%s: %+v, %v; want %+v", where, after, err, before)
			}
		}
		again("in the same process", store)
		if db.server != nil {
			again("at another replica", db.open(t, Options{Now: now.Now}))
		}
		now.pass(time.Hour)
		if err := inventory(store).Expire(t.Context()); err != nil { // what reserve has made
			t.Fatal(err)
		}
		if before, err = store.Stock(t.Context(), []int64{1, 2}); err != nil {
			t.Fatal(err)
		}
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
		again("after its reservation expired, and a restart", db.open(t, Options{Now: now.Now}))
	})
}

func TestAKeyWithOtherParametersIsRefused(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		books, ctx := inventory(store), t.Context()
		receive(t, store, 1, 100)
		receive(t, store, 2, 100)
		made, err := books.Reserve(ctx, domain.Reserve{Lines: one(1, 1), Key: "k"})
		if err != nil {
			t.Fatal(err)
		}
		for name, again := range map[string]domain.Reserve{
			"another quantity":  {Lines: one(1, 2)},
			"another item":      {Lines: one(2, 1)},
			"another location":  {Lines: []domain.Line{{ItemID: 1, Quantity: 1, Location: "main"}}},
			"another time":      {Lines: one(1, 1), TTL: time.Hour},
			"another reference": {Lines: one(1, 1), Reference: "cart"},
			"another line":      {Lines: append(one(1, 1), one(2, 1)...)},
		} {
			again.Key = "k"
			if _, err := books.Reserve(ctx, again); fault.CodeOf(err) != fault.KeyReused {
				t.Errorf("%s: %v, want key_reused", name, err)
			}
		}
		if _, err := books.Change(ctx, domain.Change{ID: made.ID, Step: domain.Commit, Key: "k"}); err != nil {
			t.Errorf("another operation: %v", err)
		}
		wantBalance(t, store, 1, 100, 99, 0, 1)
		wantBalance(t, store, 2, 100, 100, 0, 0)
	})
}

func TestARefusedCommandDoesNotBurnItsKey(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		reserve := func() (domain.Reservation, error) {
			return inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 5), Key: "k"})
		}
		if _, err := reserve(); fault.CodeOf(err) != fault.SoldOut {
			t.Fatalf("%v, want sold_out", err)
		}
		receive(t, store, 1, 5)
		if made, err := reserve(); err != nil || made.State != domain.Held {
			t.Errorf("%+v, %v", made, err)
		}
		wantBalance(t, store, 1, 5, 0, 5, 0)
	})
}

// Of a hundred calls with one key at the same time, spread over the replicas
// there can be, one has an effect and all have its answer.
func TestEqualKeysAtTheSameTimeHaveOneEffect(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		stores := []*Store{db.open(t, Options{})}
		if db.server != nil {
			stores = append(stores, db.open(t, Options{}))
		}
		receive(t, stores[0], 1, 1000)
		for round := range 5 {
			key := newID()
			ids := make([]string, 100)
			var all sync.WaitGroup
			for i := range ids {
				all.Go(func() {
					made, err := inventory(stores[i%len(stores)]).Reserve(t.Context(), domain.Reserve{Lines: one(1, 10), Key: key})
					if err != nil {
						t.Error(err)
					}
					ids[i] = made.ID
				})
			}
			all.Wait()
			for _, id := range ids {
				if id != ids[0] {
					t.Fatalf("round %d made %s and %s", round, ids[0], id)
				}
			}
		}
		wantBalance(t, stores[0], 1, 1000, 950, 50, 0)
		wantSound(t, stores[0])
	})
}

func TestSetStockRefusesEveryChangeThatItHasNotSeen(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		books, ctx := inventory(store), t.Context()
		receive(t, store, 1, 10)
		var held domain.Reservation
		floor := domain.Backorder
		for _, change := range []struct {
			name string
			do   func() (err error)
		}{
			{"reserve", func() (err error) {
				held, err = books.Reserve(ctx, domain.Reserve{Lines: one(1, 1)})
				return err
			}},
			{"commit", func() error { return errorOf(books.Change(ctx, domain.Change{ID: held.ID, Step: domain.Commit})) }},
			{"fulfil", func() error { return errorOf(books.Change(ctx, domain.Change{ID: held.ID, Step: domain.Fulfil})) }},
			{"adjust", func() error {
				return errorOf(books.Adjust(ctx, domain.Adjustment{ItemID: 1, Delta: -1, Reason: domain.Damaged}))
			}},
			{"set", func() error {
				return errorOf(books.Set(ctx, domain.SetStock{ItemID: 1, OnHand: 9, Version: version(t, store)}))
			}},
			{"configure", func() error { return errorOf(books.Configure(ctx, domain.Configure{ItemID: 1, Policy: &floor})) }},
		} {
			seen := version(t, store)
			if err := change.do(); err != nil {
				t.Fatalf("%s: %v", change.name, err)
			}
			if now := version(t, store); now != seen+1 {
				t.Errorf("%s: version %d after %d", change.name, now, seen)
			}
			if _, err := books.Set(ctx, domain.SetStock{ItemID: 1, OnHand: 5, Version: seen}); fault.CodeOf(err) != fault.VersionMismatch {
				t.Errorf("%s: %v, want version_mismatch", change.name, err)
			}
		}
		wantBalance(t, store, 1, 9, 9, 0, 0)
	})
}

func errorOf[T any](_ T, err error) error { return err }

// version is that of item 1 at the main location.
func version(t *testing.T, store *Store) int64 {
	t.Helper()
	stocks, err := store.Stock(t.Context(), []int64{1})
	if err != nil {
		t.Fatal(err)
	}
	return stocks[0].Locations[0].Version
}
