package telemetry_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

// look gives what /debug/tracez shows of the spans called request.
func look(t *testing.T, tel *telemetry.Telemetry) string {
	t.Helper()
	answer := httptest.NewRecorder()
	tel.Tracez.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/debug/tracez?zspanname=request&ztype=1", nil))
	return answer.Body.String()
}

const beginning = "From now on spans are kept, until nobody has looked here for 15m0s. Make some requests and load this page again.\n"

func TestSpansAreKeptFromTheFirstLookOnUntilNobodyHasLookedFor15Minutes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, telemetry.Config{SampleRatio: 1})
		traced := func() (id string) {
			_, span := tel.Tracer.Start(t.Context(), "request")
			defer span.End()
			if !span.IsRecording() {
				return ""
			}
			return span.SpanContext().TraceID().String()
		}
		if id := traced(); id != "" {
			t.Errorf("trace %s is recorded, for nobody", id)
		}
		if page := look(t, tel); page != beginning {
			t.Errorf("the first look shows %q", page)
		}
		id := traced()
		if page := look(t, tel); id == "" || !strings.Contains(page, id) {
			t.Errorf("the page has no trace %q: %s", id, page)
		}
		time.Sleep(15*time.Minute - time.Second)
		if page := look(t, tel); !strings.Contains(page, id) {
			t.Errorf("after less than 15 minutes the page has no trace %q: %s", id, page)
		}
		time.Sleep(15*time.Minute + time.Second)
		if again := traced(); again != "" {
			t.Errorf("trace %s is recorded, for nobody", again)
		}
		if page := look(t, tel); page != beginning {
			t.Errorf("after more than 15 minutes the page is %q", page)
		}
		time.Sleep(time.Hour) // the timer must not outlast the test
	})
}

func TestSpansThatAreSentAreShownToo(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	tel := newTelemetry(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()})
	now := time.Now() // the page has a list for each range of durations: these took no time
	makeSpan := func() {
		_, span := tel.Tracer.Start(t.Context(), "request", trace.WithTimestamp(now))
		span.End(trace.WithTimestamp(now))
	}
	makeSpan()
	look(t, tel)
	makeSpan()
	page := look(t, tel)
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	spans := collector.Spans()
	if len(spans) != 2 || strings.Contains(page, spans[0].Trace) || !strings.Contains(page, spans[1].Trace) {
		t.Errorf("the page must show the second of %+v: %s", spans, page)
	}
}

func TestHowManySpansAreKeptOfANameIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry(t, telemetry.Config{SampleRatio: 1})
		look(t, tel)
		for range 100 {
			makeSpans(t, tel, 1)
			time.Sleep(time.Second) // of one second one is kept
		}
		if page := look(t, tel); strings.Count(page, "Status{") != 10 {
			t.Errorf("the page has %d spans, want 10: %s", strings.Count(page, "Status{"), page)
		}
		time.Sleep(time.Hour)
	})
}
