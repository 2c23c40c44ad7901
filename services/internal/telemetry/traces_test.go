package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

func TestWhereTracesAreSentToIsChecked(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, environment, want string }{
		{"no URL", "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318", `OTEL_EXPORTER_OTLP_ENDPOINT is "collector:4318"; it must be a URL as http://collector:4318`},
		{"no URL of traces", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=4318", `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is "4318"; it must be a URL as http://collector:4318`},
		{"another protocol", "OTEL_EXPORTER_OTLP_ENDPOINT=http://collector:4317 OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			`OTEL_EXPORTER_OTLP_PROTOCOL is "grpc"; it must be http/protobuf, which is the default, and the port the collector's for it (4318)`},
		{"another exporter", "OTEL_TRACES_EXPORTER=zipkin", `OTEL_TRACES_EXPORTER is "zipkin"; it must be otlp or none`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := telemetry.New("item", telemetry.Config{SampleRatio: 1, Environment: strings.Fields(c.environment)})
			if err == nil || err.Error() != c.want {
				t.Errorf("error = %v, want %s", err, c.want)
			}
		})
	}
}

func TestTracesAreSentToWhereTheEnvironmentSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, environment string
		ratio             float64
		path              string // of the request with a span, or "" for none
	}{
		{"all signals", "OTEL_EXPORTER_OTLP_ENDPOINT=URL/otlp/", 1, "/otlp/v1/traces"},
		{"an address of their own", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1 OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=URL/mine", 1, "/mine"},
		{"not the traces", "OTEL_EXPORTER_OTLP_ENDPOINT=URL OTEL_TRACES_EXPORTER=none", 1, ""},
		{"nothing", "OTEL_EXPORTER_OTLP_ENDPOINT=URL OTEL_SDK_DISABLED=true", 1, ""},
		{"no part of them", "OTEL_EXPORTER_OTLP_ENDPOINT=URL", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			paths := make(chan string, 1)
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { paths <- r.URL.Path }))
			defer server.Close()
			environment := strings.Fields(strings.ReplaceAll(c.environment, "URL", server.URL) + " OTEL_METRICS_EXPORTER=none OTEL_LOGS_EXPORTER=none")
			tel := newTelemetry(t, telemetry.Config{SampleRatio: c.ratio, Environment: environment})
			_, span := tel.Tracer.Start(t.Context(), "request")
			span.End()
			if err := tel.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			close(paths)
			if path := <-paths; path != c.path {
				t.Errorf("the span was sent to %q, want %q", path, c.path)
			}
		})
	}
}

func TestTheSampleRatioIsAPart(t *testing.T) {
	t.Parallel()
	for ratio, want := range map[float64]string{-0.1: "sample-ratio is -0.1; it must be from 0 to 1", 1.5: "sample-ratio is 1.5; it must be from 0 to 1"} {
		if _, err := telemetry.New("item", telemetry.Config{SampleRatio: ratio}); err == nil || err.Error() != want {
			t.Errorf("error = %v, want %s", err, want)
		}
	}
}

func TestASpanNamesItsServiceAndCarriesNoMoreThan2048BytesOfAText(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()})
	_, span := tel.Tracer.Start(t.Context(), "request", trace.WithAttributes(attribute.String("text", strings.Repeat("x", 3000))))
	span.End()
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	spans := collector.Spans()
	if len(spans) != 1 || spans[0].Service != "item" || len(spans[0].Attributes["text"]) != 2048 {
		t.Errorf("the spans are %+v", spans)
	}
}

// receiver answers what a test wants, and tells how many spans came.
func receiver(t *testing.T, answer func() (status int)) (environment []string, came chan int) {
	t.Helper()
	came = make(chan int, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var request collect.ExportTraceServiceRequest
		if err := errors.Join(err, proto.Unmarshal(body, &request)); err != nil {
			t.Error(err)
		}
		w.WriteHeader(answer())
		came <- len(request.GetResourceSpans()[0].GetScopeSpans()[0].GetSpans())
	}))
	t.Cleanup(server.Close)
	return []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=" + server.URL}, came
}

func makeSpans(t *testing.T, tel *telemetry.Telemetry, count int) {
	t.Helper()
	for range count {
		_, span := tel.Tracer.Start(t.Context(), "request")
		span.End()
	}
}

func TestACollectorThatIsAwayCostsSpansAndOneLine(t *testing.T) {
	t.Parallel()
	const spans = 512 // are sent without waiting for more
	var (
		log    bytes.Buffer
		status atomic.Int64
	)
	environment, came := receiver(t, func() int { return int(status.Load()) })
	tel := newTelemetry(t, telemetry.Config{Format: "json", Output: &log, SampleRatio: 1, Environment: environment})
	for _, answer := range []int64{http.StatusNotFound, http.StatusNotFound, http.StatusOK, http.StatusForbidden} {
		status.Store(answer)
		makeSpans(t, tel, spans)
		for sent := 0; sent < spans; {
			sent += <-came
		}
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	var messages []string
	for _, line := range parse(t, &log) {
		messages = append(messages, fmt.Sprint(line["level"], " ", line["msg"], " ", line["signal"]))
	}
	if want := []string{
		"WARN the collector takes no telemetry; it is dropped until it does traces",
		"INFO the collector takes telemetry again traces",
		"WARN the collector takes no telemetry; it is dropped until it does traces",
	}; !slices.Equal(messages, want) {
		t.Errorf("the log is %q, want %q", messages, want)
	}
	if got := metric(t, tel.Metrics, `telemetry_dropped_total\{[^}]*reason="undelivered"[^}]*\}`); got != "1536" {
		t.Errorf("%s spans are counted as dropped, want 1536", got)
	}
}

func TestACollectorThatHangsCostsTheSpansThatFindNoRoom(t *testing.T) {
	t.Parallel()
	const room, more = 8192, 1000
	hang := make(chan struct{})
	environment, came := receiver(t, func() int {
		<-hang
		return http.StatusOK
	})
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: environment})
	makeSpans(t, tel, room+more)
	if got := metric(t, tel.Metrics, `telemetry_dropped_total\{[^}]*reason="full"[^}]*\}`); got != "1000" {
		t.Errorf("%s spans are counted as dropped, want 1000", got)
	}
	close(hang)
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	close(came)
	sent := 0
	for spans := range came {
		sent += spans
	}
	if sent != room {
		t.Errorf("%d spans came, want %d", sent, room)
	}
}

func TestStopGivesUpOnACollectorThatHangs(t *testing.T) {
	t.Parallel()
	hang := make(chan struct{})
	environment, _ := receiver(t, func() int {
		<-hang
		return http.StatusOK
	})
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: environment})
	makeSpans(t, tel, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := tel.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("error = %v", err)
	}
	close(hang)
}
