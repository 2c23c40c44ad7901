package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// maxSeries bounds the sets of labels of an instrument. What is measured beyond
// them is added up in one, with the label otel_metric_overflow.
const maxSeries = 2000

// Labels are made once for each key, so that a measurement does not make them.
// There must be few keys: never what a caller may make up.
type Labels[K comparable] struct {
	of   func(key K) []attribute.KeyValue
	mu   sync.RWMutex
	sets map[K]Label
}

// Label is a set of attributes, as instruments take it.
type Label struct {
	Record []metric.RecordOption
	Add    []metric.AddOption
}

// NewLabels makes Labels with the attributes that of gives.
func NewLabels[K comparable](of func(key K) []attribute.KeyValue) *Labels[K] {
	return &Labels[K]{of: of, sets: map[K]Label{}}
}

// Get gives the attributes of key.
func (l *Labels[K]) Get(key K) Label {
	l.mu.RLock()
	label, ok := l.sets[key]
	l.mu.RUnlock()
	if ok {
		return label
	}
	set := metric.WithAttributeSet(attribute.NewSet(l.of(key)...))
	label = Label{[]metric.RecordOption{set}, []metric.AddOption{set}}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.sets) < maxSeries {
		l.sets[key] = label
	}
	return label
}
