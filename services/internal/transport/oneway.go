package transport

import (
	"context"
	"slices"
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
	// maxWaiting is how many records may wait to be sent.
	maxWaiting = 1024
	// maxSent is how many records one call has.
	maxSent = 512
	// sendEvery is how long a record waits, unless maxSent are there before.
	// Kitex dials a connection for each oneway call, so they share calls.
	sendEvery = 100 * time.Millisecond
)

// Recorder sends records by oneway calls. A record may be lost; who adds one
// never waits and never fails.
type Recorder[T any] struct {
	send    func(ctx context.Context, records []T, options ...callopt.Option) error
	outcome func(records int, of string)
	enough  chan struct{} // has one element when maxSent records wait

	mu      sync.Mutex
	waiting []T
}

// What became of a record.
const (
	onewaySent        = "sent"        // to the network; that it arrived nobody says
	onewayFull        = "full"        // dropped: maxWaiting others waited already
	onewayUnreachable = "unreachable" // dropped: nobody took it
)

// NewRecorder makes a Recorder, whose Part sends. The counter has the name
// given and says what became of the records.
func NewRecorder[T any](tel *telemetry.Telemetry, counter string, send func(ctx context.Context, records []T, options ...callopt.Option) error) (*Recorder[T], error) {
	records, err := tel.Meter.Int64Counter(counter,
		metric.WithDescription("Records that were sent, or dropped: the queue was full, or the service unreachable."))
	if err != nil {
		return nil, err
	}
	labels := map[string]metric.MeasurementOption{}
	for _, outcome := range []string{onewaySent, onewayFull, onewayUnreachable} {
		labels[outcome] = metric.WithAttributes(attribute.String("outcome", outcome))
	}
	r := &Recorder[T]{send: send, enough: make(chan struct{}, 1)}
	r.outcome = func(count int, of string) { records.Add(context.Background(), int64(count), labels[of]) }
	return r, nil
}

// Add puts a record among those that wait, or drops it when too many do.
func (r *Recorder[T]) Add(record T) {
	r.mu.Lock()
	waiting := len(r.waiting)
	if waiting < maxWaiting {
		r.waiting = append(r.waiting, record)
	}
	r.mu.Unlock()
	switch {
	case waiting >= maxWaiting:
		r.outcome(1, onewayFull)
	case waiting+1 >= maxSent:
		select {
		case r.enough <- struct{}{}:
		default:
		}
	}
}

// Part sends what waits, and at the end what still waits.
func (r *Recorder[T]) Part() lifecycle.Part {
	running, stop := context.WithCancel(context.Background()) // lives as long as the service, not as a request
	return lifecycle.Part{
		Name: "recorder",
		Serve: func() error {
			r.run(running.Done())
			return nil
		},
		Stop: func(context.Context) error {
			stop()
			return nil
		},
	}
}

func (r *Recorder[T]) run(stop <-chan struct{}) {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.enough:
		case <-stop:
			r.sendWaiting()
			return
		}
		r.sendWaiting()
	}
}

func (r *Recorder[T]) sendWaiting() {
	r.mu.Lock()
	records := r.waiting
	r.waiting = nil
	r.mu.Unlock()
	for batch := range slices.Chunk(records, maxSent) {
		outcome := onewaySent
		// The records are of many requests, so the call belongs to none.
		if err := r.send(context.Background(), batch, callopt.WithRPCTimeout(onewayTimeout)); err != nil {
			outcome = onewayUnreachable
		}
		r.outcome(len(batch), outcome)
	}
}
