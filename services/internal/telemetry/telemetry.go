// Package telemetry gives a service its log, its metrics and its traces, and
// carries the id of a request from the edge to the last service that works on it.
package telemetry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// Config chooses what is logged, and what is sent to an OpenTelemetry collector.
type Config struct {
	// Level is debug, info, warn or error; below it nothing is logged.
	Level slog.Level
	// Format is json or text.
	Format string
	// Output takes the log. nil: nothing is logged.
	Output io.Writer
	// SampleRatio is the part of the traces that is recorded, 0 to 1. Who begins
	// a trace decides for all of it, before its outcome is known: below 1 errors
	// are missing in the same proportion.
	SampleRatio float64
	// Version of the program, which stands on what is sent.
	Version string
	// Environment holds the variables of OpenTelemetry that say where traces are
	// sent to, as OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318. nil: nothing is sent.
	Environment []string
}

// DefaultConfig logs to output as JSON, from info on, and sends all traces to
// where environment says.
func DefaultConfig(output io.Writer, environment []string, version string) Config {
	return Config{Level: slog.LevelInfo, Format: "json", Output: output, SampleRatio: 1, Version: version, Environment: environment}
}

// Flags declares -log-level, -log-format and -sample-ratio.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.TextVar(&c.Level, "log-level", c.Level, "least `level` that is logged: debug, info, warn or error")
	fs.StringVar(&c.Format, "log-format", c.Format, "json or text")
	fs.Float64Var(&c.SampleRatio, "sample-ratio", c.SampleRatio, "part of the traces that is recorded, 0 to 1, errors or not; where they go OTEL_EXPORTER_OTLP_ENDPOINT says")
}

// Telemetry is what a service writes its log, its metrics and its traces to.
type Telemetry struct {
	Log *slog.Logger
	// Meter makes instruments.
	Meter metric.Meter
	// Metrics serves the instruments in the Prometheus text format.
	Metrics http.Handler
	// Tracer begins traces. What happens below a span takes the tracer from it.
	Tracer trace.Tracer

	stops []func(context.Context) error
}

// New makes the telemetry of one service, with the Go runtime's metrics in it.
func New(service string, cfg Config) (*Telemetry, error) {
	handler, err := newHandler(cfg)
	if err != nil {
		return nil, err
	}
	about, err := newResource(service, cfg)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("metrics exporter: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(exporter), sdkmetric.WithResource(about))
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return nil, fmt.Errorf("runtime metrics: %w", err)
	}
	t := &Telemetry{
		Log:     slog.New(requestIDs{handler}).With("service", service),
		Meter:   provider.Meter(scope),
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}
	if t.Tracer, err = t.newTracer(cfg, about); err != nil {
		return nil, err
	}
	return t, nil
}

// Stop sends what waits to be sent, for at most flushTimeout. Nothing is sent after it.
func (t *Telemetry) Stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var problems []error
	for _, stop := range t.stops {
		problems = append(problems, stop(ctx))
	}
	return errors.Join(problems...)
}

func newHandler(cfg Config) (slog.Handler, error) {
	options := &slog.HandlerOptions{Level: cfg.Level}
	switch {
	case cfg.Output == nil:
		return slog.DiscardHandler, nil
	case cfg.Format == "json":
		return slog.NewJSONHandler(cfg.Output, options), nil
	case cfg.Format == "text":
		return slog.NewTextHandler(cfg.Output, options), nil
	default:
		return nil, fmt.Errorf("log-format is %q; it must be json or text", cfg.Format)
	}
}

// newResource says of whom the telemetry is. OTEL_RESOURCE_ATTRIBUTES add to it.
func newResource(service string, cfg Config) (*resource.Resource, error) {
	about, err := resource.New(context.Background(),
		resource.WithHost(),
		resource.WithTelemetrySDK(),
		resource.WithAttributes(semconv.ServiceNamespace("kiteshop"), semconv.ServiceName(service), semconv.ServiceVersion(cfg.Version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("OTEL_RESOURCE_ATTRIBUTES: %w", err)
	}
	return about, nil
}

// Durations makes a histogram of seconds, with the boundaries that OpenTelemetry's
// semantic conventions advise for requests.
func (t *Telemetry) Durations(name, description string) (metric.Float64Histogram, error) {
	return t.Meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description),
		metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10))
}

// requestIDKey is the name under which Kitex carries the id over every hop.
const requestIDKey = "REQUEST_ID"

// WithRequestID marks all that is done under ctx, also in the services it calls.
func WithRequestID(ctx context.Context, id string) context.Context {
	return metainfo.WithPersistentValue(ctx, requestIDKey, id)
}

// RequestID is the id of the request that ctx belongs to, or "".
func RequestID(ctx context.Context) string {
	id, _ := metainfo.GetPersistentValue(ctx, requestIDKey)
	return id
}

// requestIDs adds the ids of the request, the trace and the span to every record.
type requestIDs struct{ slog.Handler }

func (h requestIDs) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

func (h requestIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestIDs{h.Handler.WithAttrs(attrs)}
}

func (h requestIDs) WithGroup(name string) slog.Handler {
	return requestIDs{h.Handler.WithGroup(name)}
}
