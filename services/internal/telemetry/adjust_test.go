package telemetry_test

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

func TestTheLevelChangesWhatIsPrintedAndSentUntilItIsTakenBack(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	var log bytes.Buffer
	tel := newTelemetry(t, telemetry.Config{Level: slog.LevelWarn, Format: "json", Output: &log, LogLimit: 100, Environment: collector.Environment()})
	early := tel.Log.With("since", "the start") // what has been derived changes too
	warn, debug, loud := slog.LevelWarn, slog.LevelDebug, slog.LevelError
	for i, level := range []*slog.Level{nil, &debug, &loud, &warn, &debug, nil} {
		tel.Adjust(t.Context(), level, nil)
		for _, of := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			early.Log(t.Context(), of, strings.Repeat("i", i)+" "+of.String())
		}
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	want := []string{
		" WARN", " ERROR",
		"the log's level is changed", "i DEBUG", "i INFO", "i WARN", "i ERROR",
		"the log's level is changed", "ii ERROR",
		"iii WARN", "iii ERROR", // info is below both
		"the log's level is changed", "iiii DEBUG", "iiii INFO", "iiii WARN", "iiii ERROR",
		"the log's level is changed", "iiiii WARN", "iiiii ERROR",
	}
	var printed, sent []string
	for _, line := range parse(t, &log) {
		printed = append(printed, line["msg"].(string))
	}
	for _, line := range collector.Lines() {
		sent = append(sent, line.Text)
	}
	if !slices.Equal(printed, want) {
		t.Errorf("printed %q, want %q", printed, want)
	}
	if !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
}

func TestTheSampleRatioChangesUntilItIsTakenBack(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()})
	tracer := tel.Tracer // whoever has it already
	none := 0.0
	for _, step := range []struct {
		ratio *float64
		want  bool
	}{{nil, true}, {&none, false}, {nil, true}} {
		tel.Adjust(t.Context(), nil, step.ratio)
		for range 20 {
			if _, span := tracer.Start(t.Context(), "request"); span.SpanContext().IsSampled() != step.want {
				t.Errorf("ratio %v: a trace is sampled: %t", step.ratio, !step.want)
			}
		}
	}
	half := 0.5
	tel.Adjust(t.Context(), nil, &half)
	sampled := 0
	for range 1000 {
		if _, span := tracer.Start(t.Context(), "request"); span.SpanContext().IsSampled() {
			sampled++
		}
	}
	if sampled < 350 || sampled > 650 { // 9 standard deviations
		t.Errorf("%d of 1000 traces are sampled, want about 500", sampled)
	}
}
