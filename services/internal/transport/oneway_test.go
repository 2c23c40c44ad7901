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
	calls []Counts
	at    []time.Duration
}

func (r *receiver) take(_ context.Context, counts Counts, _ ...callopt.Option) error {
	time.Sleep(r.takes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.at = append(r.calls, counts), append(r.at, time.Since(r.start))
	return r.err
}

// record sends to r while do adds, and gives what became of the items.
func record(t *testing.T, r *receiver, do func(*Recorder)) map[string]int {
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
	recorder.outcome = func(items int, of string) {
		mu.Lock()
		defer mu.Unlock()
		outcomes[of] += items
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

func TestQuantitiesOfAnItemAreAddedUpAndItemsShareACall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		outcomes := record(t, r, func(to *Recorder) {
			to.Add(7, 1)
			to.Add(7, 4)
			to.Add(8, 2)
			time.Sleep(1050 * time.Millisecond)
			to.Add(7, 3)
			time.Sleep(time.Second)
		})
		if want := []time.Duration{250 * time.Millisecond, 1250 * time.Millisecond}; !slices.Equal(r.at, want) {
			t.Errorf("calls at %v, want %v", r.at, want)
		}
		if want := []Counts{{7: 5, 8: 2}, {7: 3}}; !slices.EqualFunc(r.calls, want, maps.Equal) {
			t.Errorf("calls of %v, want %v", r.calls, want)
		}
		if want := map[string]int{onewaySent: 3}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestRecordingNeverWaitsAndDropsWhatIsTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{takes: time.Second} // as long as a call to a frozen service
		outcomes := record(t, r, func(to *Recorder) {
			to.Add(1, 1)
			time.Sleep(300 * time.Millisecond) // now it is on its way
			began := time.Now()
			for id := range int64(10_000) {
				to.Add(id, 1)
			}
			to.Add(0, 1) // waits already
			if took := time.Since(began); took != 0 {
				t.Errorf("recording waited for %s", took)
			}
		})
		if want := map[string]int{onewaySent: 1 + 1000, onewayFull: 10_000 - 1000}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
		if got := r.calls[len(r.calls)-1][0]; got != 2 {
			t.Errorf("%d of the item that waited, want 2", got)
		}
	})
}

func TestWhatNobodyTakesIsCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		outcomes := record(t, &receiver{err: errors.New("connection refused")}, func(to *Recorder) {
			to.Add(7, 1)
			to.Add(8, 1)
			time.Sleep(time.Second)
		})
		if want := map[string]int{onewayUnreachable: 2}; !maps.Equal(outcomes, want) {
			t.Errorf("outcomes %v, want %v", outcomes, want)
		}
	})
}

func TestWhatStillWaitsAtTheEndIsSent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := &receiver{}
		outcomes := record(t, r, func(to *Recorder) { to.Add(7, 1) })
		if want := map[string]int{onewaySent: 1}; !maps.Equal(outcomes, want) || !slices.EqualFunc(r.calls, []Counts{{7: 1}}, maps.Equal) {
			t.Errorf("outcomes %v, calls of %v", outcomes, r.calls)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r := &Recorder{waiting: Counts{}, outcome: func(int, string) {}}
	for id := int64(0); b.Loop(); id++ {
		r.Add(id%256, 1)
	}
}
