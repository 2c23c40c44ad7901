package gateway

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// lookEvery is how often files are looked at.
const lookEvery = 500 * time.Millisecond

// files are read again while the gateway runs. Of one that is wrong, what was
// read before still holds.
type files struct {
	tel      *telemetry.Telemetry
	reloads  metric.Int64Counter
	labels   *telemetry.Labels[fileOutcome]
	followed []*followed
}

type followed struct {
	name    string
	reload  func() (changed bool, err error)
	problem string      // that was last told; "": there is none
	wrong   atomic.Bool // there is one
}

type fileOutcome struct{ file, outcome string }

// What became of a file.
const (
	applied = "applied"
	refused = "refused"
)

func newFiles(tel *telemetry.Telemetry) (*files, error) {
	f := &files{tel: tel, labels: telemetry.NewLabels(func(of fileOutcome) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("file", of.file), attribute.String("outcome", of.outcome)}
	})}
	var err1 error
	f.reloads, err1 = tel.Meter.Int64Counter("gateway.files.reloads", metric.WithUnit("{file}"),
		metric.WithDescription("Files that changed and were applied, or refused because they were wrong."))
	wrong, err2 := tel.Meter.Int64ObservableGauge("gateway.files.wrong", metric.WithUnit("{file}"),
		metric.WithDescription("1 while the file is wrong and what was read before holds, else 0."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	_, err := tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for _, one := range f.followed {
			is := int64(0)
			if one.wrong.Load() {
				is = 1
			}
			to.ObserveInt64(wrong, is, metric.WithAttributes(attribute.String("file", one.name)))
		}
		return nil
	}, wrong)
	return f, err
}

// follow adds a file, before run is called.
func (f *files) follow(name string, reload func() (changed bool, err error)) {
	f.followed = append(f.followed, &followed{name: name, reload: reload})
	for _, outcome := range []string{applied, refused} {
		f.reloads.Add(context.Background(), 0, f.labels.Get(fileOutcome{name, outcome}).Add...)
	}
}

func (f *files) run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, one := range f.followed {
				f.look(ctx, one)
			}
		}
	}
}

func (f *files) look(ctx context.Context, one *followed) {
	changed, err := one.reload()
	switch {
	case err != nil && err.Error() != one.problem:
		one.problem = err.Error()
		one.wrong.Store(true)
		f.reloads.Add(ctx, 1, f.labels.Get(fileOutcome{one.name, refused}).Add...)
		f.tel.Log.ErrorContext(ctx, "a file is refused, what was read before it still holds", "file", one.name, "error", err)
	case err == nil && (changed || one.problem != ""):
		one.problem = ""
		one.wrong.Store(false)
		f.reloads.Add(ctx, 1, f.labels.Get(fileOutcome{one.name, applied}).Add...)
		f.tel.Log.InfoContext(ctx, "a file has changed, and holds", "file", one.name)
	}
}
