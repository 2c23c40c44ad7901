package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
	"github.com/kiteshop/kiteshop/services/shop"
)

// traced runs a shop while use talks to it, and gives the spans that have been
// sent when it has stopped.
func traced(t *testing.T, cfg shop.Config, use func(t *testing.T, s running)) []telemetrytest.Span {
	t.Helper()
	collector := telemetrytest.Start(t)
	cfg.Gateway.Telemetry.Environment = collector.Environment()
	cfg.Gateway.Policies.File = oneAttempt(t)
	t.Run("the shop", func(t *testing.T) { use(t, open(t, cfg)) }) // its end stops the shop
	return collector.Spans()
}

// oneAttempt is a file of policies with which a slow machine makes no more spans than a fast one.
func oneAttempt(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	text := "methods: {ItemService/GetItem: &once {hedge: 0s, attempts: 1}, StockService/BatchGetStock: *once, StockService/Reserve: *once}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// above lists the span called id and those above it: "service name < service name".
func above(spans map[string]telemetrytest.Span, id string) string {
	span, ok := spans[id]
	if !ok {
		return "the caller " + id
	}
	if parent, ok := spans[span.Parent]; ok && parent.Trace != span.Trace {
		return "another trace"
	}
	return span.Service + " " + span.Name + " < " + above(spans, span.Parent)
}

// TestEveryRequestIsOneTrace has callers that send requests at the same time,
// half of them reads and half reservations, each with a trace of its own.
func TestEveryRequestIsOneTrace(t *testing.T) {
	t.Parallel()
	const requests, callers = 1000, 16
	for _, c := range []struct{ name, data, statement string }{
		{"SQLite", t.TempDir(), "stock COMMIT stock < stock transaction < stock batch < "},
		{"PostgreSQL", sqldbtest.StartPostgres(t).Database(), "stock WITH stock < stock batch < "},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			arrived := traced(t, config(c.data), func(t *testing.T, s running) {
				s.send("POST", "/api/v1/stock/1024/movements", `{"delta":1000,"reason":"received"}`, traceparent(requests)).want(t, http.StatusCreated, nil)
				var all sync.WaitGroup
				for caller := range callers {
					all.Go(func() {
						for i := caller; i < requests; i += callers {
							readOrReserve(t, s, i)
						}
					})
				}
				all.Wait()
			})
			spans, commits, statements := map[string]telemetrytest.Span{}, 0, 0
			for _, span := range arrived {
				spans[span.ID] = span
			}
			counts := map[string]int{}
			for id, span := range spans {
				if span.Service == "activity" {
					continue // what it is told is of many requests
				}
				path := above(spans, id)
				i, err := strconv.Atoi(strings.TrimLeft(span.Trace, "0"))
				if err != nil || !strings.HasSuffix(path, "the caller "+spanOf(i)) {
					t.Fatalf("trace %s has %s", span.Trace, path)
				}
				counts[strings.TrimSuffix(path, " < the caller "+spanOf(i))]++
				if strings.HasPrefix(path, c.statement) {
					statements++
				}
				if span.Name == "batch" {
					commits += 1 + len(span.Links)
				}
			}
			for path, want := range map[string]int{
				"gateway GET /api/v1/items/:id": requests / 2,
				"item ItemService/GetItem < gateway ItemService/GetItem < gateway GET /api/v1/items/:id": requests / 2,
				"gateway POST /api/v1/reservations": requests / 2,
				"stock commit < stock StockService/Reserve < gateway StockService/Reserve < gateway POST /api/v1/reservations": requests / 2,
			} {
				if counts[path] != want {
					t.Errorf("%d spans are %s, want %d", counts[path], path, want)
				}
			}
			if commits != requests/2+1 || statements == 0 {
				t.Errorf("the batches name %d commands, want %d; they have %d statements", commits, requests/2+1, statements)
			}
		})
	}
}

// readOrReserve sends request i and looks at the trace that the answer names.
func readOrReserve(t *testing.T, s running, i int) {
	t.Helper()
	method, path, body, status := "GET", "/api/v1/items/1024", "", http.StatusOK
	if i%2 == 1 {
		method, path, body, status = "POST", "/api/v1/reservations", `{"lines":[{"item_id":1024,"quantity":1}]}`, http.StatusCreated
	}
	got, err := s.try(method, path, strings.NewReader(body), traceparent(i))
	if err != nil || got.status != status || !strings.HasPrefix(got.header.Get("traceresponse"), "00-"+traceOf(i)+"-") {
		t.Errorf("%s: %+v, %v", path, got, err)
	}
}

func traceOf(i int) string { return fmt.Sprintf("%032d", i+1) }

func spanOf(i int) string { return fmt.Sprintf("%016d", i) }

// traceparent is that of a caller whose span has the number of its trace.
func traceparent(i int) string { return "Traceparent: 00-" + traceOf(i) + "-" + spanOf(i+1) + "-01" }

// TestTheCallsOfABatchAndTheBatchNameEachOther looks at all links of a shop
// whose callers come at the same time.
func TestTheCallsOfABatchAndTheBatchNameEachOther(t *testing.T) {
	t.Parallel()
	spans := map[string]telemetrytest.Span{}
	for _, span := range traced(t, config(t.TempDir()), func(t *testing.T, s running) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() {
				s.try("POST", "/api/v1/reservations", strings.NewReader(`{"lines":[{"item_id":1024,"quantity":1}]}`))
			})
		}
		all.Wait()
	}) {
		spans[span.ID] = span
	}
	links := 0
	for _, span := range spans {
		for _, id := range span.Links {
			links++
			if other := spans[id]; len(other.Links) == 0 || (other.Name == "batch") == (span.Name == "batch") {
				t.Errorf("%+v names %+v", span, other)
			}
		}
	}
	if links == 0 || links%2 != 0 {
		t.Errorf("there are %d links", links)
	}
}

func TestARefusalSaysWhereItsTraceIs(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Output = &log
	var refused struct {
		TraceID string `json:"trace_id"`
	}
	var response string
	spans := traced(t, cfg, func(t *testing.T, s running) {
		got := s.send("GET", "/api/v1/items/77", "")
		got.want(t, http.StatusNotFound, &refused)
		response = got.header.Get("traceresponse")
	})
	for _, span := range spans {
		if span.Failed {
			t.Errorf("a refusal is an error of %+v", span)
		}
		if span.Name == "GET /api/v1/items/:id" && (span.Trace != refused.TraceID || response != "00-"+span.Trace+"-"+span.ID+"-01") {
			t.Errorf("the problem names %q, traceresponse is %q; the span is %+v", refused.TraceID, response, span)
		}
		if want := `"trace_id":"` + span.Trace + `","span_id":"` + span.ID + `"`; span.Parent == "" && !strings.Contains(log.String(), want) {
			t.Errorf("no line of the log has %s", want)
		}
	}
	if len(spans) != 4 { // the request, the call twice, the query
		t.Errorf("%d spans arrived, want 4", len(spans))
	}
}

// TestTheSampleRatioIsOfWholeTraces asks for a tenth of a thousand traces. That
// fewer than 50 or more than 160 come is less likely than one in a million.
func TestTheSampleRatioIsOfWholeTraces(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.SampleRatio = 0.1
	spans := map[string]telemetrytest.Span{}
	for _, span := range traced(t, cfg, func(t *testing.T, s running) {
		for range 1000 {
			s.send("GET", "/api/v1/items/1024", "").want(t, http.StatusOK, nil)
		}
	}) {
		spans[span.ID] = span
	}
	roots, answers := 0, 0
	for id, span := range spans {
		switch path := above(spans, id); {
		case span.Service == "activity":
		case path == "gateway GET /api/v1/items/:id < the caller ":
			roots++
		case path == "item ItemService/GetItem < gateway ItemService/GetItem < gateway GET /api/v1/items/:id < the caller ":
			answers++
		case !strings.HasSuffix(path, "gateway GET /api/v1/items/:id < the caller "):
			t.Errorf("%s has lost its trace", path)
		}
	}
	if roots < 50 || roots > 160 || roots != answers {
		t.Errorf("%d requests and %d calls of item were recorded, of 1000", roots, answers)
	}
}

func TestWithoutACollectorATraceIsPassedOnAndNoneIsBegun(t *testing.T) {
	t.Parallel()
	var log lockedBuffer
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Output, cfg.Gateway.Telemetry.Environment = &log, nil
	t.Run("requests", func(t *testing.T) {
		s := open(t, cfg)
		got := s.send("GET", "/api/v1/items/77", "", traceparent(7))
		var refused struct {
			TraceID string `json:"trace_id"`
		}
		got.want(t, http.StatusNotFound, &refused)
		if response := got.header.Get("traceresponse"); refused.TraceID != traceOf(7) || response != "" {
			t.Errorf("the problem names %q, and traceresponse is %q", refused.TraceID, response)
		}
		if response := s.send("GET", "/api/v1/items/77", "").header.Get("traceresponse"); response != "" {
			t.Errorf("a trace was begun: %s", response)
		}
	})
	if lines := strings.Count(log.String(), `"trace_id":"`+traceOf(7)+`"`); lines != 1 || strings.Count(log.String(), "trace_id") != 1 {
		t.Errorf("%d lines name the trace, want that of the request: %s", lines, log.String())
	}
}

func TestEachServiceSendsItsMetricsAndTheLogOfARequest(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Environment = collector.Environment()
	t.Run("the shop", func(t *testing.T) {
		open(t, cfg).send("GET", "/api/v1/items/1024", "", traceparent(7)).want(t, http.StatusOK, nil)
	})
	requests := 0
	for _, line := range collector.Lines() {
		if line.Service == "gateway" && line.Text == "request" && line.Trace == traceOf(7) {
			requests++
		}
	}
	if requests != 1 {
		t.Errorf("%d lines are of the request, want 1: %v", requests, collector.Lines())
	}
	for service, metric := range map[string]string{
		"gateway": "http.server.request.duration", "item": "rpc.server.call.duration", "stock": "rpc.server.call.duration", "activity": "activity.records",
	} {
		if !collector.HasMetric(service, metric) {
			t.Errorf("%s has sent no %s", service, metric)
		}
	}
}
