package telemetry_test

import (
	"strings"
	"testing"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

func TestWhatTheContributedModulesCannotDoIsRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, instrumentation, environment, want string }{
		{"another instrumentation", "jaeger", "", `telemetry is "jaeger"; it must be kiteshop or contrib`},
		{"no collector", "contrib", "", "telemetry is contrib, which needs a collector: OTEL_EXPORTER_OTLP_ENDPOINT must say where, as http://collector:4317"},
		{"no signal", "contrib", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 OTEL_SDK_DISABLED=true",
			"telemetry is contrib, which needs a collector: OTEL_EXPORTER_OTLP_ENDPOINT must say where, as http://collector:4317"},
		{"no URL", "contrib", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=collector:4317", `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "collector:4317"; it must be a URL as http://collector:4317`},
		{"OTLP over HTTP", "contrib", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://collector:4318 OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=http/protobuf",
			`OTEL_EXPORTER_OTLP_TRACES_PROTOCOL is "http/protobuf"; it must be grpc, which is the default, and the port the collector's for it (4317)`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := telemetry.New("item", telemetry.Config{Instrumentation: c.instrumentation, Environment: strings.Fields(c.environment)})
			if err == nil || err.Error() != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
			if _, taken := otel.GetTracerProvider().(*sdktrace.TracerProvider); taken {
				t.Error("the process has a tracer now")
			}
		})
	}
}
