package transport

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

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// receiver takes some time for each call.
type receiver struct {
	takes time.Duration
	err   error
	start time.Time

	mu    sync.Mutex
	calls []int // how many records came in each
	at    []time.Duration
}

func (r *receiver) take(_ context.Context, records []int, _ ...callopt.Option) error {
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.at = append(r.calls, len(records)), append(r.at, time.Since(r.start))
	return r.err
}

// record sends to r while do adds, and gives what became of the records.
func record(t *testing.T, r *receiver, do func(*Recorder[int])) map[string]int {
	t.Helper()
	tel, err := telemetry.New("test", telemetry.Config{Format: "json", Output: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	recorder, err := NewRecorder(tel, "records", r.take)
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	var mu sync.Mutex
	recorder.outcome = func(records int, of string) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[of] += records
	}
	r.start = time.Now()
	part := recorder.Part()
	var running sync.WaitGroup
	running.Go(func() { _ = part.Serve() })
	do(recorder)
	if err := part.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	running.Wait()
	return outcomes
}

func TestRecordsWaitForEachOtherAndShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		outcomes := record(t, r, func(to *Recorder[int]) {
			for i := range 3 {
				to.Add(i)
			}
			time.Sleep(1050 * time.Millisecond)
			to.Add(8)
			time.Sleep(time.Second)
		})
		if want := []time.Duration{100 * time.Millisecond, 1100 * time.Millisecond}; !slices.Equal(r.at, want) {
			t.Errorf("calls at %v, want %v", r.at, want)
		}
		if want := []int{3, 1}; !slices.Equal(r.calls, want) {
			t.Errorf("records of the calls %v, want %v", r.calls, want)
		}
		if want := map[string]int{onewaySent: 4}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestManyRecordsDoNotWaitForTheTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		record(t, r, func(to *Recorder[int]) {
			for i := range 512 {
				to.Add(i)
			}
			synctest.Wait()
		})
		if !slices.Equal(r.at, []time.Duration{0}) || !slices.Equal(r.calls, []int{512}) {
			t.Errorf("calls at %v, of %v records", r.at, r.calls)
		}
	})
}

func TestRecordingNeverWaitsAndDropsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{takes: time.Second} // as long as a call to a frozen service
		outcomes := record(t, r, func(to *Recorder[int]) {
			to.Add(0)
			time.Sleep(200 * time.Millisecond) // now it is on its way
			began := time.Now()
			for i := range 10_000 {
				to.Add(i)
			}
			if took := time.Since(began); took != 0 {
				t.Errorf("recording waited for %s", took)
			}
		})
		if want := map[string]int{onewaySent: 1 + 1024, onewayFull: 10_000 - 1024}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestRecordsThatNobodyTakesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcomes := record(t, &receiver{err: errors.New("connection refused")}, func(to *Recorder[int]) {
			to.Add(7)
			to.Add(7)
			time.Sleep(time.Second)
		})
		if want := map[string]int{onewayUnreachable: 2}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestRecordsThatStillWaitAtTheEndAreSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		outcomes := record(t, r, func(to *Recorder[int]) { to.Add(7) })
		if want := map[string]int{onewaySent: 1}; !maps.Equal(outcomes, want) || !slices.Equal(r.calls, []int{1}) {
			t.Errorf("outcomes %v, calls of %v records", outcomes, r.calls)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r := &Recorder[int]{outcome: func(int, string) {}, enough: make(chan struct{}, 1)}
	for b.Loop() {
		r.Add(7)
		if len(r.waiting) == maxWaiting {
			r.waiting = nil
		}
	}
}
