package telemetry_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

func TestLogAndMetricsAreSentToo(t *testing.T) {
	t.Parallel()
	for name, output := range map[string]io.Writer{"and printed": io.Discard, "and not printed": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			collector := telemetrytest.Start(t)
			tel := newTelemetry(t, telemetry.Config{Level: slog.LevelInfo, Format: "json", Output: output, SampleRatio: 1, Environment: collector.Environment()})
			ctx, span := tel.Tracer.Start(t.Context(), "request")
			tel.Log.DebugContext(ctx, "below the level")
			tel.Log.WarnContext(ctx, "hello")
			span.End()
			if err := tel.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			of := span.SpanContext()
			want := []telemetrytest.Line{{Service: "item", Level: "WARN", Text: "hello", Trace: of.TraceID().String(), Span: of.SpanID().String()}}
			if lines := collector.Lines(); !slices.Equal(lines, want) {
				t.Errorf("the lines are %v, want %v", lines, want)
			}
			if !collector.HasMetric("item", "go.goroutine.count") {
				t.Error("the runtime's metrics did not come")
			}
		})
	}
}

// TestAMeasurementInASpanIsAnExample reads the format that has examples, which
// is that of OpenMetrics.
func TestAMeasurementInASpanIsAnExample(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()})
	took, err := tel.Durations("call.duration", "Time of a call.")
	if err != nil {
		t.Fatal(err)
	}
	ctx, span := tel.Tracer.Start(t.Context(), "request")
	took.Record(ctx, 0.03)
	span.End()
	took.Record(t.Context(), 0.003)

	recorder := httptest.NewRecorder()
	request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	request.Header.Set("Accept", "application/openmetrics-text")
	tel.Metrics.ServeHTTP(recorder, request)
	examples := regexp.MustCompile(`(?m)^call_duration_seconds_bucket\{.*le="(\S+)"\} .* # \{(.*)\}`).FindAllStringSubmatch(recorder.Body.String(), -1)
	of := span.SpanContext()
	if len(examples) != 1 || examples[0][1] != "0.05" || !regexp.MustCompile(`trace_id="`+of.TraceID().String()+`"`).MatchString(examples[0][2]) {
		t.Errorf("the examples are %q in\n%s", examples, recorder.Body)
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
