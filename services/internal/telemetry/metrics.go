package telemetry

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
)

// newMetrics makes the instruments, with the Go runtime's among them, serves
// them for Prometheus and sends them if there is a receiver, until stop is
// called. A measurement in a recorded span is kept as an example, with the ids
// of its trace and span.
func (t *Telemetry) newMetrics(cfg Config, about *resource.Resource) (stop func(context.Context) error, err error) {
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("metrics exporter: %w", err)
	}
	readers := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithCardinalityLimit(maxSeries), sdkmetric.WithReader(exporter)}
	sender, err := newMetricSender(cfg, t.Log)
	if err != nil {
		return nil, err
	}
	stop = func(context.Context) error { return nil }
	if sender != nil {
		readers, stop = append(readers, sdkmetric.WithReader(sender)), sender.Shutdown
	}
	provider := sdkmetric.NewMeterProvider(readers...)
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return nil, fmt.Errorf("runtime metrics: %w", err)
	}
	t.Meter = provider.Meter(scope)
	t.Metrics = promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}) // the only format with examples
	return stop, nil
}

// newMetricSender sends every minute, or as OTEL_METRIC_EXPORT_INTERVAL says. It is nil without a receiver.
func newMetricSender(cfg Config, log *slog.Logger) (sdkmetric.Reader, error) {
	url, err := endpoint(cfg.Environment, "metrics", overHTTP)
	if err != nil || url == "" {
		return nil, err
	}
	exporter, err := otlpmetrichttp.New(context.Background(), otlpmetrichttp.WithEndpointURL(url))
	if err != nil {
		return nil, fmt.Errorf("metrics exporter: %w", err)
	}
	out, err := newOutlet("metrics", log, noop.Meter{}) // what is not sent now is in what is sent next
	if err != nil {
		return nil, err
	}
	return sdkmetric.NewPeriodicReader(metricExporter{exporter, out}), nil
}

// metricExporter sends all metrics.
type metricExporter struct {
	sdkmetric.Exporter
	out *outlet
}

// Export implements sdkmetric.Exporter. An error would be printed once more, and repeated by nobody.
func (e metricExporter) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	e.out.leave(ctx, 0, e.Exporter.Export(ctx, all))
	return nil
}
