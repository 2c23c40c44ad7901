package sqldb

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// meters measure what a database takes.
type meters struct {
	meter      metric.Meter
	about      []attribute.KeyValue
	statements metric.Float64Histogram
	acquired   metric.Float64Histogram // by pool
	turns      metric.Float64Histogram

	mu   sync.RWMutex
	sets map[statementKey][]metric.RecordOption
}

// statementKey is what statements are told apart by.
type statementKey struct{ operation, failure string }

// The names of the pools.
const (
	readerPool = "reader"
	writerPool = "writer"
)

func newMeters(meter metric.Meter, about []attribute.KeyValue) (*meters, error) {
	if meter == nil {
		meter = noop.Meter{}
	}
	durations := func(name, description string) (metric.Float64Histogram, error) {
		return meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
			metric.WithExplicitBucketBoundaries(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)) // as the semantic conventions advise
	}
	m := &meters{meter: meter, about: about, sets: map[statementKey][]metric.RecordOption{}}
	var err1, err2, err3 error
	m.statements, err1 = durations("db.client.operation.duration", "Time of a statement until its first row.")
	m.acquired, err2 = durations("db.client.connection.wait_time", "Wait for a connection of the pool.")
	m.turns, err3 = durations("sqldb.update.wait", "Wait for the turn of a write: one runs at a time.")
	return m, errors.Join(err1, err2, err3)
}

// ran notes how long a statement took, and how it failed, if it did.
func (m *meters) ran(ctx context.Context, start time.Time, operation, failure string) {
	key := statementKey{operation, failure}
	m.mu.RLock()
	set, ok := m.sets[key]
	m.mu.RUnlock()
	if !ok {
		attrs := append([]attribute.KeyValue{semconv.DBOperationName(operation)}, m.about...)
		if failure != "" {
			attrs = append(attrs, semconv.ErrorTypeKey.String(failure))
		}
		set = []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attrs...))}
		m.mu.Lock()
		m.sets[key] = set
		m.mu.Unlock()
	}
	m.statements.Record(ctx, time.Since(start).Seconds(), set...)
}

// connections are those of a pool.
type connections struct {
	pool       string
	idle, used int64
}

// count reports the connections at each collection, until stop is called.
func (m *meters) count(of func() []connections) (stop func() error, err error) {
	gauge, err := m.meter.Int64ObservableUpDownCounter("db.client.connection.count", metric.WithUnit("{connection}"),
		metric.WithDescription("Connections to the database, by what they do."))
	if err != nil {
		return nil, err
	}
	registration, err := m.meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, c := range of() {
			pool := semconv.DBClientConnectionPoolName(c.pool)
			to.ObserveInt64(gauge, c.idle, metric.WithAttributes(pool, semconv.DBClientConnectionStateIdle))
			to.ObserveInt64(gauge, c.used, metric.WithAttributes(pool, semconv.DBClientConnectionStateUsed))
		}
		return nil
	}, gauge)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}
