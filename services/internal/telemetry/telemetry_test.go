package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

func newTelemetry(t *testing.T, cfg telemetry.Config) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New("item", cfg)
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

// parse reads the lines of a JSON log, without their times.
func parse(t *testing.T, log *bytes.Buffer) []map[string]any {
	t.Helper()
	var lines []map[string]any
	decoder := json.NewDecoder(log)
	for decoder.More() {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		delete(line, slog.TimeKey)
		lines = append(lines, line)
	}
	return lines
}

func TestALogLineCarriesTheRequestItBelongsTo(t *testing.T) {
	t.Parallel()
	ctx := telemetry.WithRequestID(t.Context(), "req-1")
	for _, c := range []struct {
		name string
		ctx  context.Context
		with []any
		want map[string]any
	}{
		{"in a request", ctx, nil, map[string]any{"request_id": "req-1"}},
		{"in a request, with attributes of the logger", ctx, []any{"part", "store"}, map[string]any{"request_id": "req-1", "part": "store"}},
		{"outside of a request", t.Context(), nil, map[string]any{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			tel := newTelemetry(t, telemetry.Config{Format: "json", Output: &log})
			tel.Log.With(c.with...).WarnContext(c.ctx, "hello", "n", 7)

			for key, value := range map[string]any{"level": "WARN", "msg": "hello", "service": "item", "n": 7.0} {
				c.want[key] = value
			}
			lines := parse(t, &log)
			if len(lines) != 1 || !maps.Equal(lines[0], c.want) {
				t.Errorf("log = %v, want one line %v", lines, c.want)
			}
		})
	}
}

func TestTheTextFormatCarriesTheRequestToo(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	tel := newTelemetry(t, telemetry.Config{Format: "text", Output: &log})
	tel.Log.InfoContext(telemetry.WithRequestID(t.Context(), "req-1"), "hello")
	_, line, _ := strings.Cut(log.String(), " ") // after the time
	if want := "level=INFO msg=hello service=item request_id=req-1\n"; line != want {
		t.Errorf("line = %q, want %q", line, want)
	}
}

func TestTheInnerRequestIDReplacesTheOuter(t *testing.T) {
	t.Parallel()
	outer := telemetry.WithRequestID(t.Context(), "outer")
	inner := telemetry.WithRequestID(outer, "inner")
	for ctx, want := range map[context.Context]string{t.Context(): "", outer: "outer", inner: "inner"} {
		if got := telemetry.RequestID(ctx); got != want {
			t.Errorf("RequestID = %q, want %q", got, want)
		}
	}
}

func TestNothingBelowTheLevelIsLogged(t *testing.T) {
	t.Parallel()
	all := []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError}
	for i, level := range all {
		t.Run(level.String(), func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			tel := newTelemetry(t, telemetry.Config{Level: level, Format: "json", Output: &log})
			for _, each := range all {
				tel.Log.Log(t.Context(), each, "hello")
			}
			var logged []string
			for _, line := range parse(t, &log) {
				logged = append(logged, line["level"].(string))
			}
			var want []string
			for _, each := range all[i:] {
				want = append(want, each.String())
			}
			if !slices.Equal(logged, want) {
				t.Errorf("logged levels = %v, want %v", logged, want)
			}
		})
	}
}

func TestNewRefusesAnUnknownFormat(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"", "xml", "JSON"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			_, err := telemetry.New("item", telemetry.Config{Format: format, Output: io.Discard})
			if want := `log-format is "` + format + `"; it must be json or text`; err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestWithoutAnOutputNothingIsLogged(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, telemetry.Config{})
	if tel.Log.Enabled(t.Context(), slog.LevelError) {
		t.Error("errors are logged, to nowhere")
	}
}

func TestFlagsSetLevelFormatAndRatio(t *testing.T) {
	t.Parallel()
	cfg := telemetry.DefaultConfig(io.Discard, nil, "")
	fs := flag.NewFlagSet("item", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	cfg.Flags(fs)
	if err := fs.Parse([]string{"-log-level", "debug", "-log-format", "text", "-sample-ratio", "0.5"}); err != nil {
		t.Fatal(err)
	}
	if cfg.Level != slog.LevelDebug || cfg.Format != "text" || cfg.SampleRatio != 0.5 {
		t.Errorf("config = %+v, want debug, text and 0.5", cfg)
	}
	if err := fs.Parse([]string{"-log-level", "loud"}); err == nil {
		t.Error("the level loud is taken")
	}
}

func TestDurationsAreCountedInFractionsOfASecond(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, telemetry.Config{})
	took, err := tel.Durations("call.duration", "Time of a call.")
	if err != nil {
		t.Fatal(err)
	}
	for _, seconds := range []float64{0.003, 0.03, 0.3} {
		took.Record(t.Context(), seconds)
	}
	for bound, want := range map[string]string{"0.005": "1", "0.025": "1", "0.05": "2", "0.25": "2", "0.5": "3", "10": "3"} {
		if got := metric(t, tel.Metrics, `call_duration_seconds_bucket\{[^}]*le="`+bound+`"\}`); got != want {
			t.Errorf("durations of at most %s s = %s, want %s", bound, got, want)
		}
	}
}

// value reads one value from the metrics.
func value(t *testing.T, handler http.Handler, name string) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	found := regexp.MustCompile(`(?m)^` + name + `(?:\{[^}]*\})? (\S+)$`).FindSubmatch(recorder.Body.Bytes())
	if found == nil {
		t.Fatalf("there is no %s in\n%s", name, recorder.Body)
	}
	return string(found[1])
}

// metric reads one value from /metrics over real HTTP.
func metric(t *testing.T, handler http.Handler, name string) string {
	t.Helper()
	server := httptest.NewServer(handler)
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("status %s (error %v): %s", response.Status, err, body)
	}
	found := regexp.MustCompile(`(?m)^` + name + `(?:\{[^}]*\})? (\S+)$`).FindSubmatch(body)
	if found == nil {
		t.Fatalf("there is no %s in\n%s", name, body)
	}
	return string(found[1])
}

func TestEachProcessIsAnInstanceUnlessTheEnvironmentNamesOne(t *testing.T) {
	// not parallel: the environment is the process's
	instance := func() string {
		tel := newTelemetry(t, telemetry.DefaultConfig(io.Discard, nil, "v1.2.3"))
		return value(t, tel.Metrics, `target_info\{.*service_instance_id="([^"]+)",service_name="item",service_namespace="kiteshop",service_version="v1.2.3".*\}`)
	}
	if first, second := instance(), instance(); first == second || len(first) != 36 {
		t.Errorf("the instances are %s and %s, want two", first, second)
	}
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-7")
	if named := instance(); named != "pod-7" {
		t.Errorf("the instance is %s, want pod-7", named)
	}
}

func TestMetricsServeTheRuntimeAndTheInstruments(t *testing.T) {
	t.Parallel()
	tel := newTelemetry(t, telemetry.Config{})
	if got := metric(t, tel.Metrics, "go_goroutine_count"); got == "0" {
		t.Error("go_goroutine_count = 0 while one serves")
	}
	counter, err := tel.Meter.Int64Counter("orders")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	if got := metric(t, tel.Metrics, "orders_total"); got != "3" {
		t.Errorf("orders_total = %s, want 3", got)
	}
}

func TestServicesInOneProcessCountApart(t *testing.T) {
	t.Parallel()
	for units, want := range map[int64]string{2: "2", 5: "5"} {
		tel := newTelemetry(t, telemetry.Config{})
		counter, err := tel.Meter.Int64Counter("orders")
		if err != nil {
			t.Fatal(err)
		}
		counter.Add(t.Context(), units)
		if got := metric(t, tel.Metrics, "orders_total"); got != want {
			t.Errorf("orders_total = %s, want %s", got, want)
		}
	}
}
