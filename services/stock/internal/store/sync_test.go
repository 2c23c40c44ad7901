package store

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

func TestCountsApplyButForThoseThatTheRulesForbid(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		now := newClock()
		store := db.open(t, Options{Now: now.Now})
		books, ctx := inventory(store), t.Context()
		for item := range int64(4) {
			receive(t, store, item+1, 10)
		}
		limit, shelf := int64(2), "shelf"
		if _, err := books.Configure(ctx, domain.Configure{ItemID: 2, Policy: new(domain.Backorder), BackorderLimit: &limit}); err != nil {
			t.Fatal(err)
		}
		if _, err := books.Configure(ctx, domain.Configure{ItemID: 4, DefaultLocation: &shelf}); err != nil {
			t.Fatal(err)
		}
		for _, item := range []int64{1, 2} {
			sell(t, store, item)
			sell(t, store, item, domain.Commit)
			sell(t, store, item, domain.Commit)
		}
		got, err := books.Sync(ctx, domain.Sync{Name: "March", Batch: 7, Actor: "Ann", Counts: []domain.Count{
			{ItemID: 1, OnHand: 2},                     // 3 are held or sold
			{ItemID: 2, OnHand: 1},                     // as many, and 2 may be owed
			{ItemID: 3, OnHand: 10},                    // right already
			{ItemID: 3, OnHand: 4, Location: "window"}, // where there was none
			{ItemID: 4, OnHand: 5},                     // at its default, the shelf
			{ItemID: 4, OnHand: 12, Location: "main"},
			{ItemID: 5, OnHand: 0}, // never received, and still not
		}})
		want := []domain.CountResult{
			{Problem: "7 available, a change of -8 would leave -1, and the policy deny allows no less than 0"},
			{Delta: -9}, {}, {Delta: 4}, {Delta: 5}, {Delta: 2}, {},
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
		wantBalance(t, store, 1, 10, 7, 1, 2)
		wantBalance(t, store, 2, 1, -2, 1, 2)
		wantBalance(t, store, 3, 14, 14, 0, 0)
		wantBalance(t, store, 4, 17, 17, 0, 0)
		wantBalance(t, store, 5, 0, 0, 0, 0)
		wantSound(t, store)
		var counted []domain.Movement
		for item := range int64(5) {
			ledger, _, err := books.Movements(ctx, item+1, 0, "")
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range slices.Backward(ledger) {
				if m.Reason == domain.Counted {
					m.ID = 0
					counted = append(counted, m)
				}
			}
		}
		movement := domain.Movement{Reason: domain.Counted, Reference: "March/7", Actor: "Ann", CreatedAt: now.Now()}
		var moved []domain.Movement
		for _, of := range []domain.Movement{
			{ItemID: 2, Location: "main", Delta: -9}, {ItemID: 3, Location: "window", Delta: 4},
			{ItemID: 4, Location: "shelf", Delta: 5}, {ItemID: 4, Location: "main", Delta: 2},
		} {
			movement.ItemID, movement.Location, movement.Delta = of.ItemID, of.Location, of.Delta
			moved = append(moved, movement)
		}
		if !reflect.DeepEqual(counted, moved) {
			t.Errorf("movements %+v, want %+v", counted, moved)
		}
	})
}

func TestABatchOfCountsThatCannotBeIsRefusedWithWhatIsAllowed(t *testing.T) {
	t.Parallel()
	store := database{cfg: sqldb.Config{Data: t.TempDir()}}.open(t, Options{})
	count := func(change func(*domain.Count)) []domain.Count {
		counts := []domain.Count{{ItemID: 1, OnHand: 1}, {ItemID: 2, OnHand: 1}}
		change(&counts[1])
		return counts
	}
	good := count(func(*domain.Count) {})
	for _, c := range []struct {
		name   string
		sync   domain.Sync
		fields []string
	}{
		{"no name", domain.Sync{Batch: 1, Counts: good}, []string{"sync"}},
		{"a long name", domain.Sync{Name: strings.Repeat("a", 101), Batch: 1, Counts: good}, []string{"sync"}},
		{"a name that is not ASCII", domain.Sync{Name: "März", Batch: 1, Counts: good}, []string{"sync"}},
		{"no number", domain.Sync{Name: "a", Counts: good}, []string{"batch"}},
		{"no counts", domain.Sync{Name: "a", Batch: 1}, []string{"counts"}},
		{"too many counts", domain.Sync{Name: "a", Batch: 1, Counts: counts(501)}, []string{"counts"}},
		{"a long actor", domain.Sync{Name: "a", Batch: 1, Counts: good, Actor: strings.Repeat("a", 256)}, []string{"actor"}},
		{"no item", domain.Sync{Name: "a", Batch: 1, Counts: count(func(c *domain.Count) { c.ItemID = 0 })}, []string{"counts[1].item_id"}},
		{"less than nothing", domain.Sync{Name: "a", Batch: 1, Counts: count(func(c *domain.Count) { c.OnHand = -1 })}, []string{"counts[1].on_hand"}},
		{"more than there can be", domain.Sync{Name: "a", Batch: 1, Counts: count(func(c *domain.Count) { c.OnHand = domain.MaxQuantity + 1 })}, []string{"counts[1].on_hand"}},
		{"a bad location", domain.Sync{Name: "a", Batch: 1, Counts: count(func(c *domain.Count) { c.Location = "\xff" })}, []string{"counts[1].location"}},
		{"an item twice", domain.Sync{Name: "a", Batch: 1, Counts: count(func(c *domain.Count) { c.ItemID = 1 })}, []string{"counts[1].item_id"}},
		{"an item twice, once by its default", domain.Sync{Name: "a", Batch: 1, Counts: append(good, domain.Count{ItemID: 1, Location: "main"})}, []string{"counts[2].location"}},
		{"everything", domain.Sync{Counts: count(func(c *domain.Count) { *c = domain.Count{OnHand: -1} })}, []string{"batch", "counts[1].item_id", "counts[1].on_hand", "sync"}},
	} {
		_, err := inventory(store).Sync(t.Context(), c.sync)
		var fields []string
		for _, field := range fault.From(err).Fields {
			fields = append(fields, field.Field)
		}
		if fault.CodeOf(err) != fault.InvalidArgument || !slices.Equal(fields, c.fields) {
			t.Errorf("%s: %v, want what is wrong with %v", c.name, err, c.fields)
		}
	}
	many := domain.Sync{Name: "a", Batch: 1, Counts: make([]domain.Count, domain.MaxCounts)}
	if _, err := inventory(store).Sync(t.Context(), many); len(fault.From(err).Fields) != 20 {
		t.Errorf("%d problems are listed, want 20 of all", len(fault.From(err).Fields))
	}
	if _, err := inventory(store).Sync(t.Context(), domain.Sync{Name: strings.Repeat("~", 100), Batch: 1<<63 - 1, Counts: good}); err != nil {
		t.Errorf("the longest name and number: %v", err)
	}
}

// counts are of so many items, one unit each.
func counts(n int) (all []domain.Count) {
	for i := range int64(n) {
		all = append(all, domain.Count{ItemID: i + 1, OnHand: 1})
	}
	return all
}

func TestABatchWithOtherCountsIsRefused(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		books := inventory(db.open(t, Options{}))
		first := domain.Sync{Name: "a", Batch: 1, Counts: []domain.Count{{ItemID: 1, OnHand: 5}, {ItemID: 2, OnHand: 5}}}
		if _, err := books.Sync(t.Context(), first); err != nil {
			t.Fatal(err)
		}
		for name, changed := range map[string][]domain.Count{
			"another number":   {{ItemID: 1, OnHand: 5}, {ItemID: 2, OnHand: 6}},
			"another item":     {{ItemID: 1, OnHand: 5}, {ItemID: 3, OnHand: 5}},
			"another location": {{ItemID: 1, OnHand: 5}, {ItemID: 2, OnHand: 5, Location: "main"}},
			"another order":    {{ItemID: 2, OnHand: 5}, {ItemID: 1, OnHand: 5}},
			"fewer":            {{ItemID: 1, OnHand: 5}},
		} {
			if _, err := books.Sync(t.Context(), domain.Sync{Name: "a", Batch: 1, Counts: changed}); fault.CodeOf(err) != fault.KeyReused {
				t.Errorf("%s: %v, want key_reused", name, err)
			}
		}
		for name, other := range map[string]domain.Sync{"another batch": {Name: "a", Batch: 2}, "another sync": {Name: "a/1", Batch: 1}} {
			other.Counts = []domain.Count{{ItemID: 9, OnHand: other.Batch + int64(len(other.Name))}}
			if got, err := books.Sync(t.Context(), other); err != nil || got[0].Delta == 0 {
				t.Errorf("%s: %+v, %v", name, got, err)
			}
		}
	})
}

// Each sends all batches in turn, as who sends again on a second stream while
// the first still works.
func TestBatchesThatTwoSendAtTheSameTimeHaveOneEffect(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		stores := []*Store{db.open(t, Options{})}
		if db.server != nil {
			stores = append(stores, db.open(t, Options{}))
		}
		const senders, batches, items = 4, 30, 50
		answers := make([][][]domain.CountResult, senders)
		var all sync.WaitGroup
		for i := range answers {
			all.Go(func() {
				for batch := range int64(batches) {
					s := domain.Sync{Name: "count", Batch: batch + 1, Counts: counts(items)}
					for item := range s.Counts {
						s.Counts[item].OnHand = 2 * (batch + 1)
					}
					got, err := inventory(stores[i%len(stores)]).Sync(t.Context(), s)
					if err != nil {
						t.Error(err)
					}
					answers[i] = append(answers[i], got)
				}
			})
		}
		all.Wait()
		want := slices.Repeat([]domain.CountResult{{Delta: 2}}, items)
		for i, of := range answers {
			for batch, results := range of {
				if !slices.Equal(results, want) {
					t.Errorf("sender %d was answered %+v to batch %d, want 2 more of each", i, results, batch+1)
				}
			}
		}
		for item := range int64(items) {
			wantBalance(t, stores[0], item+1, 2*batches, 2*batches, 0, 0)
			ledger, _, err := stores[0].Movements(t.Context(), item+1, 1000, "")
			if err != nil || len(ledger) != batches {
				t.Errorf("item %d has %d movements, %v; want one of each batch", item+1, len(ledger), err)
			}
		}
		wantSound(t, stores[0])
	})
}

func TestTheLargestBatchesShareACommitWithOthers(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		store := db.open(t, Options{})
		longest := strings.Repeat("\U0001F3EC", domain.MaxText-10) // of 4 bytes each
		var all sync.WaitGroup
		for i := range 4 {
			all.Go(func() {
				s := domain.Sync{Name: fmt.Sprint("sync ", i), Batch: 1, Counts: counts(domain.MaxCounts)}
				for n := range s.Counts {
					s.Counts[n].Location = fmt.Sprint(longest, i)
				}
				got, err := inventory(store).Sync(t.Context(), s)
				if want := slices.Repeat([]domain.CountResult{{Delta: 1}}, domain.MaxCounts); err != nil || !slices.Equal(got, want) {
					t.Errorf("%+v, %v", got, err)
				}
			})
			all.Go(func() { receive(t, store, 1, 1) })
		}
		all.Wait()
		wantBalance(t, store, 1, 8, 8, 0, 0)
		wantBalance(t, store, domain.MaxCounts, 4, 4, 0, 0)
		wantSound(t, store)
	})
}
