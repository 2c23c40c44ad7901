package store

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// sell makes reservations of one unit each and takes them through steps.
func sell(t *testing.T, store *Store, itemID int64, steps ...domain.Step) domain.Reservation {
	t.Helper()
	made, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(itemID, 1), TTL: time.Minute, Key: newID()})
	for _, step := range steps {
		if err == nil {
			made, err = inventory(store).Change(t.Context(), domain.Change{ID: made.ID, Step: step})
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestReconcileNamesEveryNumberThatDoesNotAddUp(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		for item := range int64(5) {
			receive(t, store, item+1, 10)
			sell(t, store, item+1)
			sell(t, store, item+1, domain.Commit)
			sell(t, store, item+1, domain.Commit, domain.Fulfil)
		}
		wantSound(t, store)
		for _, wrong := range []string{
			`UPDATE stock SET on_hand = on_hand + 1, available = available + 1 WHERE item_id = 1`,
			`UPDATE stock SET held = held + 2, available = available - 2 WHERE item_id = 2`,
			`UPDATE stock SET committed = committed + 3, available = available - 3 WHERE item_id = 3`,
			`UPDATE movements SET reservation_id = NULL WHERE item_id = 4`,
		} {
			if err := store.db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error { return tx.Exec(ctx, wrong) }); err != nil {
				t.Fatal(err)
			}
		}
		got, err := store.Reconcile(t.Context())
		want := domain.Reconciliation{Balances: 5, Drifts: []domain.Drift{
			{ItemID: 1, Location: "main", Field: "on_hand", Recorded: 10, Counted: 9},
			{ItemID: 2, Location: "main", Field: "held", Recorded: 3, Counted: 1},
			{ItemID: 3, Location: "main", Field: "committed", Recorded: 4, Counted: 1},
			{ItemID: 4, Location: "main", Field: "fulfilled", Recorded: 0, Counted: 1},
		}}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	})
}

func TestWhatIsOlderThanTheRetentionIsForgottenAndTheSumsStay(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		books := inventory(store)
		receive(t, store, 1, 100)
		open := sell(t, store, 1, domain.Commit)
		ended := []domain.Reservation{sell(t, store, 1, domain.Release), sell(t, store, 1, domain.Commit, domain.Fulfil)}
		now.pass(24 * time.Hour)
		young := sell(t, store, 1, domain.Commit, domain.Fulfil)
		purge := func() int {
			t.Helper()
			purged, err := store.Purge(t.Context(), 24*time.Hour, 100)
			if err != nil {
				t.Fatal(err)
			}
			return purged
		}
		if got := purge(); got != 0 { // exactly as old is not older
			t.Errorf("%d forgotten, want none yet", got)
		}
		now.pass(time.Millisecond)
		if got := purge(); got != 2+5 { // 5 commands: one received, one committed, one released, one committed and fulfilled
			t.Errorf("%d forgotten, want 2 reservations and 5 commands", got)
		}
		for id, want := range map[string]fault.Code{open.ID: "", young.ID: "", ended[0].ID: fault.NotFound, ended[1].ID: fault.NotFound} {
			if _, err := store.Reservation(t.Context(), id); fault.CodeOf(err) != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
		wantBalance(t, store, 1, 98, 97, 0, 1)
		wantSound(t, store)

		now.pass(25 * time.Hour) // another day, another checkpoint
		if _, err := books.Change(t.Context(), domain.Change{ID: open.ID, Step: domain.Fulfil}); err != nil {
			t.Error(err)
		}
		if err := books.Purge(t.Context(), 24*time.Hour); err != nil {
			t.Fatal(err)
		}
		wantBalance(t, store, 1, 97, 97, 0, 0)
		wantSound(t, store)
		var fulfilled []int64
		if err := query(t.Context(), store.db.Read(), scanInto(&fulfilled), `SELECT fulfilled FROM checkpoints ORDER BY day`); err != nil || !slices.Equal(fulfilled, []int64{1, 1}) {
			t.Errorf("checkpoints of %d units, %v; want 1 a day", fulfilled, err)
		}
	})
}

func TestItemsThatAreLowOnStockAreListedAndCounted(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		books := inventory(store)
		threshold := int64(10)
		for item, units := range map[int64]int64{1: 9, 2: 10, 3: 5, 4: 1, 5: 20} {
			if item != 4 { // without a threshold
				if _, err := books.Configure(t.Context(), domain.Configure{ItemID: item, LowStock: &threshold}); err != nil {
					t.Fatal(err)
				}
			}
			receive(t, store, item, units)
		}
		if _, err := books.Adjust(t.Context(), domain.Adjustment{ItemID: 3, Delta: 5, Reason: domain.Received, Location: "shelf"}); err != nil {
			t.Fatal(err) // 10 at both locations together
		}
		for range 11 {
			sell(t, store, 5) // 9 of 20 are available
		}
		var ids []int64
		cursor := ""
		for range 2 {
			page, next, err := books.List(t.Context(), true, 1, cursor)
			if err != nil || len(page) != 1 || *page[0].LowStock != threshold {
				t.Fatalf("%+v, %v", page, err)
			}
			ids, cursor = append(ids, page[0].ItemID), next
		}
		if !slices.Equal(ids, []int64{1, 5}) || cursor != "" {
			t.Errorf("low are %d, and then %q; want 1 and 5", ids, cursor)
		}
		if all, _, err := books.List(t.Context(), false, 0, ""); err != nil || len(all) != 5 {
			t.Errorf("%d items, %v; want 5", len(all), err)
		}
		if got, err := store.Reconcile(t.Context()); err != nil || got.Low != 2 {
			t.Errorf("%d are low, %v; want 2", got.Low, err)
		}
	})
}
