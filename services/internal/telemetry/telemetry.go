// Package telemetry gives a service its log and its metrics, and carries the
// id of a request from the edge to the last service that works on it.
package telemetry

import (
	"context"
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
	semconv "go.opentelemetry.io/otel/semconv/v1.37.0"
)

// Config chooses what is logged and how.
type Config struct {
	// Level is debug, info, warn or error; below it nothing is logged.
	Level slog.Level
	// Format is json or text.
	Format string
	// Output takes the log. nil: nothing is logged.
	Output io.Writer
}

// Flags declares -log-level and -log-format.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.TextVar(&c.Level, "log-level", c.Level, "least `level` that is logged: debug, info, warn or error")
	fs.StringVar(&c.Format, "log-format", c.Format, "json or text")
}

// Telemetry is what a service writes its log and its metrics to.
type Telemetry struct {
	Log *slog.Logger
	// Meter makes instruments.
	Meter metric.Meter
	// Metrics serves the instruments in the Prometheus text format.
	Metrics http.Handler
}

// New makes the telemetry of one service, with the Go runtime's metrics in it.
func New(service string, cfg Config) (*Telemetry, error) {
	var handler slog.Handler
	options := &slog.HandlerOptions{Level: cfg.Level}
	switch {
	case cfg.Output == nil:
		handler = slog.DiscardHandler
	case cfg.Format == "json":
		handler = slog.NewJSONHandler(cfg.Output, options)
	case cfg.Format == "text":
		handler = slog.NewTextHandler(cfg.Output, options)
	default:
		return nil, fmt.Errorf("log-format is %q; it must be json or text", cfg.Format)
	}

	registry := prometheus.NewRegistry()
	exporter, err := otelprometheus.New(otelprometheus.WithRegisterer(registry))
	if err != nil {
		return nil, fmt.Errorf("metrics exporter: %w", err)
	}
	provider := sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(exporter),
		sdkmetric.WithResource(resource.NewSchemaless(semconv.ServiceName(service))))
	if err := runtime.Start(runtime.WithMeterProvider(provider)); err != nil {
		return nil, fmt.Errorf("runtime metrics: %w", err)
	}
	return &Telemetry{
		Log:     slog.New(requestIDs{handler}).With("service", service),
		Meter:   provider.Meter("github.com/kiteshop/kiteshop"),
		Metrics: promhttp.HandlerFor(registry, promhttp.HandlerOpts{}),
	}, nil
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

// requestIDs adds the request's id to every record.
type requestIDs struct{ slog.Handler }

func (h requestIDs) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	return h.Handler.Handle(ctx, record)
}

func (h requestIDs) WithAttrs(attrs []slog.Attr) slog.Handler {
	return requestIDs{h.Handler.WithAttrs(attrs)}
}

func (h requestIDs) WithGroup(name string) slog.Handler {
	return requestIDs{h.Handler.WithGroup(name)}
}
