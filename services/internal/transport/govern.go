package transport

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// reloadEvery is how often the file of changes is looked at.
const reloadEvery = 500 * time.Millisecond

// Governance is what rules the calls of a service, those it makes and those it
// answers. nil rules nothing: that is for programs that call once and end.
type Governance struct {
	// Policies are by method, as StockService/Reserve.
	Policies *policy.Policies
	identity *identity.Identity // nil: nobody is asked who calls
	required bool               // calls without a token are refused
}

// Govern opens the rules that ship with the changes of a file, which apply as
// long as the service runs. A file that is wrong at the start is an error; one
// that becomes wrong is logged and counted, and the rules stay.
func Govern(cfg policy.Config, shipped []byte, tel *telemetry.Telemetry, life *lifecycle.Service) (*Governance, error) {
	policies, err := policy.Open(cfg, shipped)
	if err != nil {
		return nil, err
	}
	tel.Diagnosis.Add("policies", func() any { return policies.Now() })
	policies.OnChange(func(set *policy.Set) { tel.Adjust(context.Background(), set.Level, set.SampleRatio) })
	if cfg.File == "" {
		return &Governance{Policies: policies}, nil
	}
	watch, err := newPolicyWatch(policies, tel)
	if err != nil {
		return nil, err
	}
	life.Add(lifecycle.Background("policies", watch.run))
	return &Governance{Policies: policies}, nil
}

// policyWatch looks at the file of changes.
type policyWatch struct {
	policies *policy.Policies
	tel      *telemetry.Telemetry
	reloads  metric.Int64Counter
	labels   *telemetry.Labels[string] // by outcome
	problem  string                    // that was last told; "": there is none
	wrong    atomic.Int64              // 1 while there is one
}

// What became of a file.
const (
	applied = "applied"
	refused = "refused"
)

func newPolicyWatch(policies *policy.Policies, tel *telemetry.Telemetry) (*policyWatch, error) {
	w := &policyWatch{policies: policies, tel: tel, labels: telemetry.NewLabels(func(outcome string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("outcome", outcome)}
	})}
	var err1 error
	w.reloads, err1 = tel.Meter.Int64Counter("policies.reloads", metric.WithUnit("{file}"),
		metric.WithDescription("Files of changes to the policies that were applied, or refused because they were wrong."))
	wrong, err2 := tel.Meter.Int64ObservableGauge("policies.wrong", metric.WithUnit("{file}"),
		metric.WithDescription("1 while the file of changes to the policies is wrong and those before it apply, else 0."))
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for _, outcome := range []string{applied, refused} {
		w.reloads.Add(context.Background(), 0, w.labels.Get(outcome).Add...)
	}
	_, err := tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		to.ObserveInt64(wrong, w.wrong.Load())
		return nil
	}, wrong)
	return w, err
}

func (w *policyWatch) run(ctx context.Context) {
	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			w.look(ctx)
		}
	}
}

func (w *policyWatch) look(ctx context.Context) {
	changed, err := w.policies.Reload()
	switch {
	case err != nil && err.Error() != w.problem:
		w.problem = err.Error()
		w.wrong.Store(1)
		w.reloads.Add(ctx, 1, w.labels.Get(refused).Add...)
		w.tel.Log.ErrorContext(ctx, "the policies' file is refused, what applied before it still applies", "error", err)
	case err == nil && (changed || w.problem != ""):
		w.problem = ""
		w.wrong.Store(0)
		w.reloads.Add(ctx, 1, w.labels.Get(applied).Add...)
		w.tel.Log.InfoContext(ctx, "the policies are changed")
	}
}
