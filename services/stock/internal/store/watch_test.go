package store

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// hearing is what a store has told.
type hearing struct {
	mu    sync.Mutex
	items map[int64]int
	some  int // how often it was not known which
}

func (h *hearing) changed(items ...int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(items) == 0 {
		h.some++
	}
	for _, id := range items {
		h.items[id]++
	}
}

// times is how often an item was told.
func (h *hearing) times(itemID int64) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.items[itemID]
}

// take gives the items that were told since the last time, in order.
func (h *hearing) take() []int64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	items := slices.Sorted(maps.Keys(h.items))
	clear(h.items)
	return items
}

// hear waits until so many different items were told.
func (h *hearing) hear(t *testing.T, items int) []int64 {
	t.Helper()
	eventually(t, fmt.Sprintf("%d items are told", items), func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.items) >= items
	})
	return h.take()
}

// listens waits until the store hears the others.
func (h *hearing) listens(t *testing.T, times int) {
	t.Helper()
	eventually(t, "the store listens", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.some >= times
	})
}

func newHearing() *hearing { return &hearing{items: map[int64]int{}} }

// watching is a store with watches that run, as the service has them.
type watching struct {
	*Store
	*domain.Watches
}

func watchOn(t *testing.T, db database) watching {
	t.Helper()
	w := domain.NewWatches()
	store := db.open(t, Options{Changed: w.Changed})
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	all.Go(func() { w.Run(ctx, store.Stock) })
	t.Cleanup(func() { stop(); all.Wait() })
	return watching{store, w}
}

// watcher keeps the versions of the states that it was sent.
type watcher struct {
	mu       sync.Mutex
	versions []int64
	last     domain.Stock
	err      error
	stop     context.CancelFunc
	ended    chan struct{}
}

func (w watching) watch(t *testing.T, itemID, cursor int64) *watcher {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	one := &watcher{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(one.ended)
		one.err = w.Watch(ctx, itemID, cursor, func(state domain.WatchState) error {
			one.mu.Lock()
			defer one.mu.Unlock()
			one.versions, one.last = append(one.versions, state.Total().Version), state.Stock
			return nil
		})
	}()
	t.Cleanup(func() {
		stop()
		<-one.ended
		if one.err != nil {
			t.Errorf("a watch ended with %v", one.err)
		}
	})
	return one
}

// sees waits for the state of a version.
func (o *watcher) sees(t *testing.T, version int64) {
	t.Helper()
	eventually(t, fmt.Sprintf("a watcher sees version %d", version), func() bool {
		o.mu.Lock()
		defer o.mu.Unlock()
		return len(o.versions) > 0 && o.versions[len(o.versions)-1] >= version
	})
	o.mu.Lock()
	defer o.mu.Unlock()
	if last := o.versions[len(o.versions)-1]; last != version {
		t.Errorf("a watcher sees version %d, want %d", last, version)
	}
}

func TestEveryCommandTellsTheItemsWhoseStockItChangedOnce(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		told := newHearing()
		store := db.open(t, Options{Changed: told.changed})
		times := 1
		if db.server != nil {
			times = 2 // the process hears its own notice too
			told.listens(t, 1)
		}
		want := func(what string, items ...int64) {
			t.Helper()
			eventually(t, what+" is told", func() bool {
				return !slices.ContainsFunc(items, func(id int64) bool { return told.times(id) < times })
			})
			if got := told.take(); !slices.Equal(got, items) {
				t.Errorf("%s: %v are told, want %v", what, got, items)
			}
		}
		receive(t, store, 1, 100)
		want("receive", 1)
		held, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 10)})
		if err != nil {
			t.Fatal(err)
		}
		want("reserve", 1)
		commands := keyed(held.ID)
		for _, name := range inTurn {
			items, other := map[string][]int64{"set": {2}, "sync": {1, 3}, "extend": {}}[name]
			if !other {
				items = []int64{1}
			}
			for _, when := range []string{"the first time", "again"} {
				if _, err := commands[name](inventory(store), "the key"); err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				want(name+" "+when, items...)
				items = nil
			}
		}
		if _, err := inventory(store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 1000)}); fault.CodeOf(err) != fault.SoldOut {
			t.Error(err)
		}
		want("what is refused")
	})
}

func TestAChangeIsToldWhenItCanBeSeen(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		var (
			opened = make(chan struct{})
			store  *Store
			told   = newHearing()
		)
		store = db.open(t, Options{Changed: func(items ...int64) {
			<-opened
			for _, id := range items {
				if stocks, err := store.Stock(context.Background(), []int64{id}); err != nil || stocks[0].Total().Version != 1 {
					t.Errorf("item %d is told when there is %+v, %v; want its first version", id, stocks, err)
				}
			}
			told.changed(items...)
		}})
		close(opened)
		for item := range int64(10) {
			receive(t, store, item+1, 5)
			if told.times(item+1) == 0 {
				t.Errorf("the change of item %d is answered before it is told", item+1)
			}
		}
		if err := store.Close(); err != nil { // before the test ends, which Changed looks at
			t.Fatal(err)
		}
	})
}

func TestAProcessHearsWhichItemsAnotherHasChanged(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	told := newHearing()
	db.open(t, Options{Changed: told.changed})
	other := db.open(t, Options{})
	told.listens(t, 1)
	var want []int64
	for _, size := range []int{1, 2, domain.MaxImportLines} { // the last takes several payloads
		var lines []domain.ImportLine
		want = nil
		for i := range size {
			item := int64(1_000_000_000_000_000_000 + i)
			lines = append(lines, domain.ImportLine{ItemID: item, Key: newID(), Quantity: 1, Policy: domain.Deny})
			want = append(want, item)
		}
		if _, err := inventory(other).Import(t.Context(), lines); err != nil {
			t.Fatal(err)
		}
		if got := told.hear(t, size); !slices.Equal(got, want) {
			t.Errorf("%d items are heard, from %d on, want %d", len(got), got[0], size)
		}
	}
}

func TestOfTooManyItemsItIsToldThatSomeHaveChanged(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	told := newHearing()
	db.open(t, Options{Changed: told.changed})
	told.listens(t, 1)
	n := &notices{changed: map[int64]bool{}, woken: make(chan struct{}, 1)}
	var items []int64
	for i := range int64(maxNoticed + 1) {
		items = append(items, i+1)
	}
	n.add(items[:maxNoticed])
	if payloads := n.take(); len(payloads) != maxNoticed/noticeItems {
		t.Errorf("%d payloads, want %d", len(payloads), maxNoticed/noticeItems)
	}
	n.add(items[:1])
	n.add(items[1:])
	payloads := n.take()
	if !slices.Equal(payloads, []string{someItems}) || len(n.take()) != 0 {
		t.Fatalf("payloads %q, want %q", payloads, someItems)
	}
	if _, err := connect(t, db).Exec(t.Context(), `SELECT pg_notify($1, $2)`, channel, payloads[0]); err != nil {
		t.Fatal(err)
	}
	told.listens(t, 2)
}

func TestWatchersSeeWhatOtherProcessesDo(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		here := watchOn(t, db)
		there := here
		if db.server != nil {
			there = watchOn(t, db)
		}
		seen := here.watch(t, 1, 0)
		seen.sees(t, 0)
		receive(t, there.Store, 1, 5)
		seen.sees(t, 1)
		if _, err := inventory(there.Store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 2)}); err != nil {
			t.Fatal(err)
		}
		seen.sees(t, 2)
		want, err := here.Stock(t.Context(), []int64{1})
		if err != nil || !reflect.DeepEqual(seen.last, want[0]) {
			t.Errorf("the last state is %+v, %v; want %+v", seen.last, err, want)
		}
	})
}

// A statement that no store has made is told by nobody.
func TestAChangeOfWhichNoNoticeCameIsSeenByThePoll(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		here := watchOn(t, db)
		receive(t, here.Store, 1, 5)
		seen := here.watch(t, 1, 0)
		seen.sees(t, 1)
		if err := here.db.Update(t.Context(), func(ctx context.Context, tx *sqldb.Tx) error {
			return tx.Exec(ctx, `UPDATE stock SET version = version + 1 WHERE item_id = 1`)
		}); err != nil {
			t.Fatal(err)
		}
		seen.sees(t, 2)
	})
}

func TestAListenerThatIsEndedListensAgainAndNothingIsMissed(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	told, outages := newHearing(), make(chan error, 10)
	db.open(t, Options{Changed: told.changed, Listening: func(err error) { outages <- err }})
	here, there := watchOn(t, db), watchOn(t, db)
	receive(t, there.Store, 1, 5)
	seen := here.watch(t, 1, 0)
	seen.sees(t, 1)
	told.listens(t, 1)
	pool := connect(t, db)
	for round := range 3 {
		count := func(what string) (listeners int) {
			if err := pool.QueryRow(t.Context(), `SELECT count(`+what+`) FROM pg_stat_activity WHERE query LIKE 'LISTEN %'`).Scan(&listeners); err != nil {
				t.Fatal(err)
			}
			return listeners
		}
		eventually(t, "three stores listen", func() bool { return count("*") == 3 })
		if ended := count("pg_terminate_backend(pid)"); ended != 3 {
			t.Fatalf("%d listeners were ended, want 3", ended)
		}
		receive(t, there.Store, 1, 5)
		seen.sees(t, int64(round+2))
		if err := <-outages; err == nil {
			t.Error("the outage is told without a reason")
		}
		if err := <-outages; err != nil {
			t.Errorf("%v, want that it listens again", err)
		}
		told.listens(t, round+2)
	}
	receive(t, there.Store, 2, 5)
	eventually(t, "item 2 is heard", func() bool { return told.times(2) == 1 })
}

func TestAChangeDuringAnOutageIsSeenAfterIt(t *testing.T) {
	t.Parallel()
	db := onPostgres(t)
	s := proxied(t, db)
	near, far := db.open(t, Options{}), watchOn(t, s.database)
	receive(t, near, 1, 5)
	seen, waits := far.watch(t, 1, 0), far.watch(t, 2, 0)
	seen.sees(t, 1)
	waits.sees(t, 0)
	s.proxy.Stop()
	receive(t, near, 1, 5)
	if err := s.proxy.Start(); err != nil {
		t.Fatal(err)
	}
	seen.sees(t, 2)
	waits.mu.Lock()
	defer waits.mu.Unlock()
	if len(waits.versions) != 1 {
		t.Errorf("who watches an unchanged item was sent the versions %v, want 0 alone", waits.versions)
	}
}

func TestAThousandWatchersOfAnItemSeeTheLastState(t *testing.T) {
	t.Parallel()
	onEachEngine(t, func(t *testing.T, db database) {
		replicas := []watching{watchOn(t, db)}
		if db.server != nil {
			replicas = append(replicas, watchOn(t, db))
		}
		receive(t, replicas[0].Store, 1, 1000)
		var watchers []*watcher
		for i := range 1000 {
			watchers = append(watchers, replicas[i%len(replicas)].watch(t, 1, 0))
		}
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() {
				for range 50 {
					if _, err := inventory(replicas[i%len(replicas)].Store).Reserve(t.Context(), domain.Reserve{Lines: one(1, 1)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		for _, seen := range watchers {
			seen.sees(t, 401)
			seen.mu.Lock()
			if !slices.IsSorted(seen.versions) || len(slices.Compact(slices.Clone(seen.versions))) != len(seen.versions) {
				t.Errorf("versions %v, want each once and in order", seen.versions)
			}
			seen.mu.Unlock()
		}
	})
}
