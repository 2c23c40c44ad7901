package transport

import (
	"context"
	"sync"
	"time"

	"github.com/cloudwego/kitex/client/callopt"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// onewayTimeout bounds a call that has no answer: dialling, and writing.
	onewayTimeout = time.Second
	// maxWaiting is how many items may wait to be sent, and the most that activity takes in a call.
	maxWaiting = 1000
	// sendEvery is how long an item waits. Kitex dials a connection for each
	// oneway call, and what is wanted is wanted many times, so calls are shared.
	sendEvery = 250 * time.Millisecond
)

// Counts are quantities by item.
type Counts map[int64]int64

// Recorder adds up quantities of items and sends them by oneway calls. They
// may be lost; who adds one never waits and never fails.
type Recorder struct {
	send    func(ctx context.Context, counts Counts, options ...callopt.Option) error
	outcome func(items int, of string)

	mu      sync.Mutex
	waiting Counts
}

// What became of an item's quantity.
const (
	onewaySent        = "sent"        // to the network; that it arrived nobody says
	onewayFull        = "full"        // dropped: maxWaiting other items waited already
	onewayUnreachable = "unreachable" // dropped: nobody took it
)

// NewRecorder makes a Recorder, whose Part sends. The counter has the name
// given and says what became of the quantities, of an item in a call each.
func NewRecorder(tel *telemetry.Telemetry, counter string, send func(ctx context.Context, counts Counts, options ...callopt.Option) error) (*Recorder, error) {
	records, err := tel.Meter.Int64Counter(counter,
		metric.WithUnit("{item}"), metric.WithDescription("Quantities of items that were sent, or dropped: too many items waited, or the service was unreachable."))
	if err != nil {
		return nil, err
	}
	labels := telemetry.NewLabels(func(outcome string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("outcome", outcome)}
	})
	r := &Recorder{send: send, waiting: Counts{}, outcome: func(items int, of string) {
		records.Add(context.Background(), int64(items), labels.Get(of).Add...)
	}}
	for _, outcome := range []string{onewaySent, onewayFull, onewayUnreachable} {
		r.outcome(0, outcome)
	}
	return r, nil
}

// Add puts a quantity of an item to what waits, or drops it when too many others do.
func (r *Recorder) Add(itemID, quantity int64) {
	r.mu.Lock()
	_, waits := r.waiting[itemID]
	taken := waits || len(r.waiting) < maxWaiting
	if taken {
		r.waiting[itemID] += quantity
	}
	r.mu.Unlock()
	if !taken {
		r.outcome(1, onewayFull)
	}
}

// Part sends what waits, and at the end what still waits.
func (r *Recorder) Part() lifecycle.Part { return lifecycle.Background("recorder", r.run) }

func (r *Recorder) run(ctx context.Context) {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.sendWaiting()
		case <-ctx.Done():
			r.sendWaiting()
			return
		}
	}
}

func (r *Recorder) sendWaiting() {
	r.mu.Lock()
	counts := r.waiting
	r.waiting = Counts{}
	r.mu.Unlock()
	if len(counts) == 0 {
		return
	}
	outcome := onewaySent
	// The counts are of many requests, so the call belongs to none.
	if err := r.send(context.Background(), counts, callopt.WithRPCTimeout(onewayTimeout)); err != nil {
		outcome = onewayUnreachable
	}
	r.outcome(len(counts), outcome)
}
