package transport

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// lookEvery is how often files are looked at.
const lookEvery = 500 * time.Millisecond

// Files are looked at as long as a service runs. Of one that is wrong, what was
// read before still holds.
type Files struct {
	tel     *telemetry.Telemetry
	reloads metric.Int64Counter
	labels  *telemetry.Labels[fileOutcome]

	mu       sync.Mutex // metrics may be collected before all files are named
	followed []*followed
}

type followed struct {
	name    string
	reload  func() (changed bool, err error)
	problem string       // that was last told; "": there is none
	wrong   atomic.Int64 // 1 while there is one
	label   metric.MeasurementOption
}

type fileOutcome struct{ file, became string }

// What became of a file.
const (
	applied = "applied"
	refused = "refused"
)

func (o fileOutcome) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{attribute.String("file", o.file), attribute.String("outcome", o.became)}
}

// newFiles makes life look at them.
func newFiles(tel *telemetry.Telemetry, life *lifecycle.Service) (*Files, error) {
	reloads, err1 := tel.Meter.Int64Counter("files.reloads", metric.WithUnit("{file}"),
		metric.WithDescription("Files that changed and were applied, or refused because they were wrong."))
	wrong, err2 := tel.Meter.Int64ObservableGauge("files.wrong", metric.WithUnit("{file}"),
		metric.WithDescription("1 while the file is wrong and what was read before holds, else 0."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	f := &Files{tel: tel, reloads: reloads, labels: telemetry.NewLabels(fileOutcome.attributes)}
	life.Add(lifecycle.Periodic("files", lookEvery, tel.Log, f.look))
	_, err := tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, one := range f.all() {
			to.ObserveInt64(wrong, one.wrong.Load(), one.label)
		}
		return nil
	}, wrong)
	return f, err
}

// Follow has reload called every 500 ms, which tells whether the file says
// something new, or what is wrong with it. Files are named before the service runs.
func (f *Files) Follow(name string, reload func() (changed bool, err error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.followed = append(f.followed, &followed{name: name, reload: reload, label: metric.WithAttributes(attribute.String("file", name))})
	for _, became := range []string{applied, refused} { // an alert needs a number from which it rises
		f.reloads.Add(context.Background(), 0, f.labels.Get(fileOutcome{name, became}).Add...)
	}
}

// all is not to be changed.
func (f *Files) all() []*followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.followed
}

func (f *Files) look(ctx context.Context) error {
	for _, one := range f.all() {
		f.lookAt(ctx, one)
	}
	return nil
}

func (f *Files) lookAt(ctx context.Context, one *followed) {
	changed, err := one.reload()
	switch {
	case err != nil && err.Error() != one.problem:
		one.problem = err.Error()
		one.wrong.Store(1)
		f.reloads.Add(ctx, 1, f.labels.Get(fileOutcome{one.name, refused}).Add...)
		f.tel.Log.ErrorContext(ctx, "a file is refused, what was read before it still holds", "file", one.name, "error", err)
	case err == nil && (changed || one.problem != ""):
		one.problem = ""
		one.wrong.Store(0)
		f.reloads.Add(ctx, 1, f.labels.Get(fileOutcome{one.name, applied}).Add...)
		f.tel.Log.InfoContext(ctx, "a file has changed, and holds", "file", one.name)
	}
}
