package domain

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

var errSent = errors.New("the watcher has gone")

// shelf is what the watches read.
type shelf struct {
	mu      sync.Mutex
	version map[int64]int64
	err     error
	reads   [][]int64
}

func (s *shelf) read(_ context.Context, ids []int64) ([]Stock, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, ids)
	stocks := make([]Stock, len(ids))
	for i, id := range ids {
		stocks[i] = Stock{ItemID: id, Rules: DefaultRules()}
		if version := s.version[id]; version > 0 {
			stocks[i].Locations = []Location{{Name: MainLocation, Balance: Balance{OnHand: 10 * version, Available: 10 * version, Version: version}}}
		}
	}
	return stocks, s.err
}

func (s *shelf) set(itemID, version int64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version[itemID], s.err = version, err
}

// taken gives the reads since the last time.
func (s *shelf) taken() [][]int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := s.reads
	s.reads = nil
	return reads
}

// onWatches runs a test in a time of its own, with watches that run.
func onWatches(t *testing.T, test func(t *testing.T, w *Watches, s *shelf)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		w, s, all := NewWatches(), &shelf{version: map[int64]int64{}}, sync.WaitGroup{}
		all.Go(func() { w.Run(ctx, s.read) })
		test(t, w, s)
		stop()
		all.Wait()
		if counts := w.Counts(); counts.Watchers != 0 || len(w.topics) != 0 {
			t.Errorf("%d watchers and %d topics are left", counts.Watchers, len(w.topics))
		}
	})
}

// watcher is one that takes some time for each state.
type watcher struct {
	mu     sync.Mutex
	states []WatchState
	err    error
	stop   context.CancelFunc
	ended  chan struct{}
}

func watch(t *testing.T, w *Watches, itemID, cursor int64, takes time.Duration) *watcher {
	ctx, stop := context.WithCancel(t.Context())
	one := &watcher{stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(one.ended)
		one.err = w.Watch(ctx, itemID, cursor, func(state WatchState) error {
			time.Sleep(takes)
			one.mu.Lock()
			defer one.mu.Unlock()
			one.states = append(one.states, state)
			return nil
		})
	}()
	return one
}

// versions are those of the states that came.
func (o *watcher) versions() (versions []int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, state := range o.states {
		versions = append(versions, state.Total().Version)
	}
	return versions
}

func (o *watcher) end(t *testing.T, want fault.Code) {
	t.Helper()
	o.stop()
	<-o.ended
	if fault.CodeOf(o.err) != want {
		t.Errorf("the watch ended with %v, want %q", o.err, want)
	}
}

func TestAWatcherIsSentTheStateNowUnlessItHasItAndThenTheNext(t *testing.T) {
	for _, c := range []struct {
		name            string
		cursor, version int64
		want            []int64
	}{
		{"it has seen none", 0, 3, []int64{3, 4}},
		{"it has seen none, and there never was any stock", 0, 0, []int64{0, 1}},
		{"it has seen an older one", 2, 3, []int64{3, 4}},
		{"it has seen it", 3, 3, []int64{4}},
		{"it has seen one of a database that was restored since", 9, 3, []int64{3, 4}},
	} {
		t.Run(c.name, func(t *testing.T) {
			onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
				s.set(7, c.version, nil)
				one := watch(t, w, 7, c.cursor, 0)
				time.Sleep(time.Minute)
				s.set(7, c.version+1, nil)
				w.Changed(7)
				time.Sleep(time.Minute)
				if got := one.versions(); !slices.Equal(got, c.want) {
					t.Errorf("states of the versions %v, want %v", got, c.want)
				}
				one.end(t, "")
			})
		})
	}
}

func TestAChangeIsSentAtOnce(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		one := watch(t, w, 7, 0, 0)
		time.Sleep(1700 * time.Millisecond) // between two polls
		s.set(7, 1, nil)
		w.Changed(6, 7)
		synctest.Wait()
		if got := one.versions(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("states of the versions %v, want 0 and 1", got)
		}
		one.end(t, "")
	})
}

func TestAChangeThatNobodyToldOfIsSeenByThePoll(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		one := watch(t, w, 7, 0, 0)
		synctest.Wait()
		s.set(7, 1, nil)
		time.Sleep(watchPoll)
		synctest.Wait()
		if got := one.versions(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("states of the versions %v, want 0 and 1", got)
		}
		one.end(t, "")
	})
}

func TestNothingIsReadWhenNobodyWatches(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		one := watch(t, w, 7, 0, 0)
		synctest.Wait()
		one.end(t, "")
		before := len(s.taken())
		for range 100 {
			w.Changed(7, 8)
			time.Sleep(time.Second)
		}
		if after := len(s.taken()); before != 1 || after != 0 {
			t.Errorf("%d reads for the watcher and %d afterwards, want 1 and none", before, after)
		}
	})
}

func TestAThousandWatchersOfOneItemCostOneReadAndSeeTheLastState(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		var all []*watcher
		for range 1000 {
			all = append(all, watch(t, w, 7, 0, 0))
		}
		time.Sleep(watchPause)
		if reads := len(s.taken()); reads < 1 || reads > 2 {
			t.Errorf("%d reads for those who came together, want 1, or 2 if some came during the first", reads)
		}
		for version := range int64(500) {
			s.set(7, version+1, nil)
			w.Changed(7)
			time.Sleep(time.Millisecond)
		}
		time.Sleep(watchPause)
		for _, one := range all {
			versions := one.versions()
			if last := versions[len(versions)-1]; last != 500 || len(versions) > 1+11 || !slices.IsSorted(versions) {
				t.Fatalf("states of the versions %v, want at most 20 a second up to 500", versions)
			}
			one.end(t, "")
		}
	})
}

func TestASlowWatcherIsToldThatItIsBehindAndThenSeesTheLastState(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		s.set(7, 1, nil)
		slow := watch(t, w, 7, 0, 10*time.Second)
		for version := range int64(5) {
			time.Sleep(time.Second)
			s.set(7, version+2, nil)
			w.Changed(7)
		}
		time.Sleep(time.Minute)
		s.set(7, 7, nil)
		w.Changed(7)
		time.Sleep(time.Minute)
		slow.end(t, "")
		var behind []bool
		for _, state := range slow.states {
			behind = append(behind, state.Behind)
		}
		if got := slow.versions(); !slices.Equal(got, []int64{1, 6, 7}) || !slices.Equal(behind, []bool{false, true, false}) {
			t.Errorf("states of the versions %v, behind %v; want 1, 6 and 7, behind at 6", got, behind)
		}
		if counts := w.Counts(); counts.Sent != 3 || counts.LeftOut != 4 {
			t.Errorf("%+v, want 3 sent and 4 left out", counts)
		}
	})
}

// A watcher that comes is not shown what was read before it came.
func TestTheFirstStateIsNoOlderThanTheWatch(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		first := watch(t, w, 7, 0, 0)
		synctest.Wait()
		s.set(7, 1, nil) // and nobody tells
		second := watch(t, w, 7, 0, 0)
		time.Sleep(watchPause)
		synctest.Wait()
		if got := second.versions(); !slices.Equal(got, []int64{1}) {
			t.Errorf("states of the versions %v, want 1", got)
		}
		first.end(t, "")
		second.end(t, "")
	})
}

func TestAnOutageRefusesWhoComesAndKeepsWhoWatches(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		before := watch(t, w, 7, 0, 0)
		synctest.Wait()
		s.set(7, 1, fault.New(fault.Unavailable, "the database is away"))
		during := watch(t, w, 7, 0, 0)
		time.Sleep(10 * time.Second)
		during.end(t, fault.Unavailable)
		s.set(7, 1, nil)
		time.Sleep(watchPoll)
		synctest.Wait()
		if got := before.versions(); !slices.Equal(got, []int64{0, 1}) {
			t.Errorf("states of the versions %v, want 0 and 1", got)
		}
		before.end(t, "")
	})
}

func TestManyItemsAreReadInFewQueries(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, s *shelf) {
		var all []*watcher
		for item := range int64(2 * watchChunk) {
			all = append(all, watch(t, w, item+1, 0, 0))
		}
		synctest.Wait()
		time.Sleep(2 * watchPause)
		s.taken()
		w.Changed()
		synctest.Wait()
		if reads := s.taken(); len(reads) != 2 || len(reads[0]) != watchChunk || len(reads[1]) != watchChunk {
			t.Errorf("%d reads, want 2 of %d items", len(reads), watchChunk)
		}
		for _, one := range all {
			one.end(t, "")
		}
	})
}

func TestMoreThanTheMostWatchersAreRefusedUntilSomeLeave(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, _ *shelf) {
		var all []*watcher
		for range MaxWatchers {
			all = append(all, watch(t, w, 7, 0, 0))
		}
		synctest.Wait()
		watch(t, w, 7, 0, 0).end(t, fault.Overloaded)
		all[0].end(t, "")
		all[0] = watch(t, w, 7, 0, 0)
		synctest.Wait()
		for _, one := range all {
			one.end(t, "")
		}
	})
}

func TestAWatchThatCannotBeIsRefusedWithWhatIsAllowed(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, _ *shelf) {
		watch(t, w, 0, 0, 0).end(t, fault.InvalidArgument)
		watch(t, w, -1, 0, 0).end(t, fault.InvalidArgument)
		watch(t, w, 7, -1, 0).end(t, fault.InvalidArgument)
	})
}

func TestAWatchEndsWhenItsStateCannotBeSent(t *testing.T) {
	onWatches(t, func(t *testing.T, w *Watches, _ *shelf) {
		if err := w.Watch(t.Context(), 7, 0, func(WatchState) error { return errSent }); !errors.Is(err, errSent) {
			t.Errorf("%v, want %v", err, errSent)
		}
	})
}
