package telemetry

import (
	"errors"

	"github.com/cloudwego/hertz/pkg/app"
	hertz "github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/server"
	hertztracing "github.com/hertz-contrib/obs-opentelemetry/tracing"
	"github.com/kitex-contrib/obs-opentelemetry/provider"
	kitextracing "github.com/kitex-contrib/obs-opentelemetry/tracing"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Contributed is the modules kitex-contrib/obs-opentelemetry and
// hertz-contrib/obs-opentelemetry in the place of our own spans: theirs are
// begun, named, counted and sent as they do it. The README lists what that is.
type Contributed struct{}

// newContributed makes the contributed tracer and meter those of the process.
// They send by OTLP over gRPC to where the environment of the process says.
func (t *Telemetry) newContributed(cfg Config, about *resource.Resource) error {
	traces, err1 := endpoint(cfg.Environment, "traces", overGRPC)
	metrics, err2 := endpoint(cfg.Environment, "metrics", overGRPC)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if traces == "" && metrics == "" {
		return errors.New("telemetry is contrib, which needs a collector: OTEL_EXPORTER_OTLP_ENDPOINT must say where, as http://collector:4317")
	}
	sender := provider.NewOpenTelemetryProvider(
		provider.WithResource(about),
		provider.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(cfg.SampleRatio))),
		provider.WithEnableTracing(traces != ""),
		provider.WithEnableMetrics(metrics != ""))
	t.stops = append(t.stops, sender.Shutdown)
	t.Contributed, t.Tracer = &Contributed{}, otel.Tracer(scope)
	return nil
}

// Server instruments a Kitex server.
func (*Contributed) Server() []server.Option {
	return kitextracing.NewServerSuite(kitextracing.WithEnableGRPCMetadata()).Options()
}

// Client instruments a Kitex client.
func (*Contributed) Client() []client.Option {
	return kitextracing.NewClientSuite(kitextracing.WithEnableGRPCMetadata()).Options()
}

// HTTP instruments a Hertz server whose requests go through HTTPSpans.
func (*Contributed) HTTP() hertz.Option {
	option, _ := hertztracing.NewServerTracer()
	return option
}

// HTTPSpans gives each request a span, and calls named before the answer is sent.
func (*Contributed) HTTPSpans(named app.HandlerFunc) app.HandlerFunc {
	_, cfg := hertztracing.NewServerTracer(hertztracing.WithCustomResponseHandler(named))
	return hertztracing.ServerMiddleware(cfg)
}
