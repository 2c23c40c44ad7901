package transport

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Why an attempt is repeated.
const (
	causeHedge      = "hedge"      // the one before takes long
	causeTimeout    = "timeout"    // it took too long
	causeConnection = "connection" // its connection broke
	causeOverloaded = "overloaded" // it was not begun
)

// callMetrics count what happens to calls beside their attempts.
type callMetrics struct {
	repetitions, refusals, hedges metric.Int64Counter
	labels                        *telemetry.Labels[methodLabel]
}

// methodLabel is a method, and a member with its value if there is one.
type methodLabel struct{ method, key, value string }

func newCallMetrics(c *callRules, tel *telemetry.Telemetry) (*callMetrics, error) {
	m := &callMetrics{labels: telemetry.NewLabels(func(l methodLabel) []attribute.KeyValue {
		attrs := []attribute.KeyValue{semconv.RPCMethod(l.method)}
		if l.key != "" {
			attrs = append(attrs, attribute.String(l.key, l.value))
		}
		return attrs
	})}
	var err1, err2, err3 error
	m.repetitions, err1 = tel.Meter.Int64Counter("rpc.client.repetitions", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts after the first of a call, by what made them necessary."))
	m.refusals, err2 = tel.Meter.Int64Counter("rpc.client.repetitions.denied", metric.WithUnit("{attempt}"),
		metric.WithDescription("Attempts that were not repeated because too many were."))
	m.hedges, err3 = tel.Meter.Int64Counter("rpc.client.hedges", metric.WithUnit("{attempt}"),
		metric.WithDescription("Second questions while the first was not answered, by whether they were answered first."))
	open, err4 := tel.Meter.Int64ObservableGauge("rpc.client.breaker.open", metric.WithUnit("{breaker}"),
		metric.WithDescription("1 while a method is not called, or only tried, because too many calls failed, else 0."))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	_, err := tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for name, state := range c.states() {
			to.ObserveInt64(open, int64(one(state != "closed")), metric.WithAttributes(semconv.RPCMethod(name)))
		}
		return nil
	}, open)
	return m, err
}

func (m *callMetrics) add(to metric.Int64Counter, count int64, method, key, value string) {
	to.Add(context.Background(), count, m.labels.Get(methodLabel{method, key, value}).Add...)
}

// expect shows the counters of a method before there is anything to count.
func (m *callMetrics) expect(method string, hedges bool) {
	m.add(m.refusals, 0, method, "", "")
	for _, cause := range []string{causeTimeout, causeConnection, causeOverloaded} {
		m.add(m.repetitions, 0, method, "cause", cause)
	}
	if hedges {
		m.add(m.repetitions, 0, method, "cause", causeHedge)
		m.add(m.hedges, 0, method, "outcome", "won")
		m.add(m.hedges, 0, method, "outcome", "lost")
	}
}

func (m *callMetrics) repeated(method, cause string) { m.add(m.repetitions, 1, method, "cause", cause) }

func (m *callMetrics) denied(method string) { m.add(m.refusals, 1, method, "", "") }

func (m *callMetrics) hedged(method string, won bool) {
	outcome := "lost"
	if won {
		outcome = "won"
	}
	m.add(m.hedges, 1, method, "outcome", outcome)
}

// measure reports how many instances of each service are passed over.
func (b *balancer) measure(meter metric.Meter) error {
	passed, err := meter.Int64ObservableGauge("rpc.client.instances.passed_over", metric.WithUnit("{instance}"),
		metric.WithDescription("Instances that are called only to try them: they refuse connections, do not answer, or are much slower than the others."))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		services := map[string]int64{}
		for _, h := range b.instances.all() {
			services[h.service] += int64(one(h.passedOver()))
		}
		for service, count := range services {
			to.ObserveInt64(passed, count, metric.WithAttributes(semconv.ServerAddress(service)))
		}
		return nil
	}, passed)
	return err
}
