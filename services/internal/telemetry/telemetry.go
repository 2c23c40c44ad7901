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
	"slices"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/google/uuid"
	"go.opentelemetry.io/otel/metric"
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
	// LogLimit is how many lines with the same message and level are logged in a
	// second. Those beyond are counted, and one line tells how many. 0: no limit.
	LogLimit int
	// Instrumentation is kiteshop, or contrib: the contributed modules in the
	// place of our own spans. "" is kiteshop.
	Instrumentation string
	// SampleRatio is the part of the traces that is recorded, 0 to 1. Who begins
	// a trace decides for all of it, before its outcome is known: below 1 errors
	// are missing in the same proportion.
	SampleRatio float64
	// Version of the program and Instance, which is each process's own, stand on
	// what is sent. OTEL_RESOURCE_ATTRIBUTES may name another.
	Version, Instance string
	// Environment holds the variables of OpenTelemetry that say where traces,
	// metrics and logs are sent to, by OTLP over HTTP, as
	// OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4318. nil: nothing is sent.
	Environment []string
}

// DefaultConfig logs to output as JSON, from info on, and records all traces if
// environment says where they are sent to.
func DefaultConfig(output io.Writer, environment []string, version string) Config {
	return Config{
		Level: slog.LevelInfo, Format: "json", Output: output, Instrumentation: "kiteshop", LogLimit: 1000, SampleRatio: 1,
		Version: version, Instance: uuid.NewString(), Environment: environment,
	}
}

// Flags declares -log-level, -log-format, -log-limit, -telemetry and -sample-ratio.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.TextVar(&c.Level, "log-level", c.Level, "least `level` that is logged: debug, info, warn or error")
	fs.StringVar(&c.Format, "log-format", c.Format, "json or text")
	fs.IntVar(&c.LogLimit, "log-limit", c.LogLimit, "most `lines` with the same message and level that are logged in a second, 0: no limit")
	fs.StringVar(&c.Instrumentation, "telemetry", c.Instrumentation, "kiteshop, or contrib for the contributed modules of Kitex and Hertz")
	fs.Float64Var(&c.SampleRatio, "sample-ratio", c.SampleRatio, "part of the traces that is recorded, 0 to 1, errors or not; where they go OTEL_EXPORTER_OTLP_ENDPOINT says")
}

// check refuses settings that no telemetry can have.
func (c Config) check() error {
	if c.SampleRatio < 0 || c.SampleRatio > 1 {
		return fmt.Errorf("sample-ratio is %v; it must be from 0 to 1", c.SampleRatio)
	}
	switch c.Instrumentation {
	case "", "kiteshop", "contrib":
		return nil
	default:
		return fmt.Errorf("telemetry is %q; it must be kiteshop or contrib", c.Instrumentation)
	}
}

// Telemetry is what a service writes its log, its metrics and its traces to.
type Telemetry struct {
	Log *slog.Logger
	// Meter makes instruments.
	Meter metric.Meter
	// Metrics serves the instruments in the Prometheus text format, or in that of OpenMetrics.
	Metrics http.Handler
	// Tracer begins traces. What happens below a span takes the tracer from it.
	Tracer trace.Tracer
	// Tracez shows the latest spans, for the debug port. nil: the instrumentation is contributed.
	Tracez http.Handler
	// Diagnosis tells how the parts of the service are now, for the debug port.
	Diagnosis *Diagnosis
	// Contributed instruments Kitex and Hertz. nil: our own spans do.
	Contributed *Contributed

	level   *slog.LevelVar
	sampler *variableSampler
	started started
	stops   []func(context.Context) error
}

// New makes the telemetry of one service, with the Go runtime's metrics in it.
func New(service string, cfg Config) (*Telemetry, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	level := &slog.LevelVar{}
	level.Set(cfg.Level)
	handler, err := newHandler(cfg, level)
	if err != nil {
		return nil, err
	}
	about, err := newResource(service, cfg)
	if err != nil {
		return nil, err
	}
	t := &Telemetry{ // its log is of the sending itself, which is not sent
		Log: slog.New(identified{handler, level}).With("service", service), Diagnosis: &Diagnosis{},
		level: level, sampler: newVariableSampler(cfg.SampleRatio), started: started{cfg.Level, cfg.SampleRatio},
	}
	if cfg.Instrumentation == "contrib" {
		if err := t.newContributed(cfg, about); err != nil {
			return nil, err
		}
		cfg.Environment = nil // what is sent, the contributed modules send
	}
	stopMetrics, err := t.newMetrics(cfg, about)
	if err != nil {
		return nil, err
	}
	if t.Contributed == nil {
		if t.Tracer, err = t.newTracer(cfg, about); err != nil {
			return nil, err
		}
	}
	sender, err := t.newLogSender(cfg, about)
	if err != nil {
		return nil, err
	}
	if sender != nil {
		t.Log = slog.New(identified{slog.NewMultiHandler(handler, sender), level}).With("service", service)
	}
	if err := t.limitLog(cfg.LogLimit); err != nil {
		return nil, err
	}
	t.stops = append(t.stops, stopMetrics) // the last: they count what the others lose
	return t, nil
}

// limitLog keeps the log from flooding; what was left out is told before the rest is stopped.
func (t *Telemetry) limitLog(limit int) error {
	if limit < 0 {
		return fmt.Errorf("log-limit is %d; it must be 0, which is none, or more", limit)
	}
	limiter, err := newLimiter(limit, t.Meter)
	if err != nil || limit == 0 {
		return err
	}
	t.Log = slog.New(limited{t.Log.Handler(), limiter})
	t.stops = slices.Insert(t.stops, 0, func(context.Context) error { limiter.flush(); return nil })
	return nil
}

// Stop sends what waits to be sent, for at most flushTimeout. Nothing is sent
// after it. That the collector takes nothing is no failure of the service.
func (t *Telemetry) Stop(ctx context.Context) error {
	sending, cancel := context.WithTimeout(ctx, flushTimeout)
	defer cancel()
	var problems []error
	for _, stop := range t.stops {
		problems = append(problems, stop(sending))
	}
	err := errors.Join(problems...)
	if err != nil && sending.Err() != nil && ctx.Err() == nil {
		t.Log.WarnContext(ctx, "telemetry that waited to be sent is lost", "error", err)
		return nil
	}
	return err
}

func newHandler(cfg Config, level slog.Leveler) (slog.Handler, error) {
	options := &slog.HandlerOptions{Level: level}
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
		resource.WithAttributes(semconv.ServiceNamespace("kiteshop"), semconv.ServiceName(service),
			semconv.ServiceVersion(cfg.Version), semconv.ServiceInstanceID(cfg.Instance)),
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
