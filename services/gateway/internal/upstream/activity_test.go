package upstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// recorder is an activity service that takes some time for each call.
type recorder struct {
	activityservice.Client
	takes time.Duration
	err   error

	mu    sync.Mutex
	calls []string // what came in each call, as "view 3", and when
	at    []time.Duration
	start time.Time
	count map[string]int
}

func (r *recorder) record(kind string, req *activity.RecordReq) error {
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, kind)
	r.at = append(r.at, time.Since(r.start))
	for _, record := range req.Records {
		r.count[kind] += int(record.Quantity)
	}
	return r.err
}

func (r *recorder) RecordView(_ context.Context, req *activity.RecordReq, _ ...callopt.Option) error {
	return r.record("view", req)
}

func (r *recorder) RecordSale(_ context.Context, req *activity.RecordReq, _ ...callopt.Option) error {
	return r.record("sale", req)
}

// run sends to r while do records, and gives what became of the records.
func run(r *recorder, do func(*Activity)) map[string]int {
	r.start, r.count = time.Now(), map[string]int{}
	outcomes := map[string]int{}
	var mu sync.Mutex
	a := NewActivity(r, func(records int, of string) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[of] += records
	})
	stop := make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() { a.Run(stop) })
	do(a)
	close(stop)
	running.Wait()
	return outcomes
}

func TestRecordsWaitForEachOtherAndShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		outcomes := run(r, func(a *Activity) {
			for range 3 {
				a.Viewed(7)
			}
			a.Sold(7, 5)
			time.Sleep(1050 * time.Millisecond)
			a.Viewed(8)
			time.Sleep(time.Second)
		})
		if want := []time.Duration{100 * time.Millisecond, 100 * time.Millisecond, 1100 * time.Millisecond}; !slices.Equal(r.at, want) {
			t.Errorf("calls at %v, want %v", r.at, want)
		}
		if want := []string{"view", "sale", "view"}; !slices.Equal(r.calls, want) {
			t.Errorf("calls %v, want %v", r.calls, want)
		}
		if want := map[string]int{Sent: 5}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
		if want := map[string]int{"view": 4, "sale": 5}; !maps.Equal(r.count, want) {
			t.Errorf("counted %v, want %v", r.count, want)
		}
	})
}

func TestManyRecordsDoNotWaitForTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		run(r, func(a *Activity) {
			for range 512 {
				a.Viewed(7)
			}
			synctest.Wait()
		})
		if len(r.at) == 0 || r.at[0] != 0 || r.count["view"] != 512 {
			t.Errorf("calls at %v, %v", r.at, r.count)
		}
	})
}

func TestRecordingNeverWaitsAndDropsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{takes: time.Second} // as long as a call to a frozen service
		outcomes := run(r, func(a *Activity) {
			a.Viewed(7)
			time.Sleep(200 * time.Millisecond) // now it is on its way
			began := time.Now()
			for range 5000 {
				a.Viewed(7)
				a.Sold(7, 1)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("recording waited for %s", took)
			}
		})
		if want := map[string]int{Sent: 1 + 1024, Full: 10_000 - 1024}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestWhatActivityDoesNotTakeIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcomes := run(&recorder{err: errors.New("connection refused")}, func(a *Activity) {
			a.Viewed(7)
			a.Sold(7, 5)
			time.Sleep(time.Second)
		})
		if want := map[string]int{Unreachable: 2}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestWhatStillWaitsAtTheEndIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{}
		outcomes := run(r, func(a *Activity) { a.Viewed(7) })
		if outcomes[Sent] != 1 || r.count["view"] != 1 {
			t.Errorf("outcomes %v, counted %v", outcomes, r.count)
		}
	})
}

func TestAKindThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	_, err := NewActivity(nil, nil).Trending(t.Context(), "liked", 0)
	if fault.CodeOf(err) != fault.InvalidArgument || err.Error() != `invalid_argument: kind must be viewed, bought or both, not "liked"` {
		t.Errorf("%v", err)
	}
}

func BenchmarkViewed(b *testing.B) {
	a := NewActivity(nil, func(int, string) {})
	for b.Loop() {
		a.Viewed(7)
		if len(a.views) == maxWaiting {
			a.views = nil
		}
	}
}
