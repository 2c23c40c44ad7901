// Package telemetrytest gives tests what a service sends to its OpenTelemetry collector.
package telemetrytest

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"

	collect "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes OTLP over HTTP and keeps it.
type Collector struct {
	server *httptest.Server

	mu    sync.Mutex
	spans []Span
}

// Span is one that has arrived. Its ids are in hex; without a parent Parent is "".
type Span struct {
	Service, Name, Trace, ID, Parent string
	Kind                             trace.Span_SpanKind
	Failed                           bool
	Links                            []string // ids of spans
	Attributes                       map[string]string
}

// Start runs a collector until the end of the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", func(w http.ResponseWriter, r *http.Request) {
		var request collect.ExportTraceServiceRequest
		if err := read(r, &request); err != nil {
			t.Error(err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		c.take(request.GetResourceSpans())
	})
	c.server = httptest.NewServer(mux)
	t.Cleanup(c.server.Close)
	return c
}

func read(r *http.Request, message proto.Message) error {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	return proto.Unmarshal(body, message)
}

// Environment makes a service send here.
func (c *Collector) Environment() []string {
	return []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + c.server.URL}
}

// Spans are those that have arrived: all of a service's when it has stopped.
func (c *Collector) Spans() []Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.spans[:len(c.spans):len(c.spans)]
}

func (c *Collector) take(all []*trace.ResourceSpans) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range all {
		service := ""
		for _, attribute := range of.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service, span))
			}
		}
	}
}

func newSpan(service string, from *trace.Span) Span {
	span := Span{
		Service: service, Name: from.GetName(), Kind: from.GetKind(), Failed: from.GetStatus().GetCode() == trace.Status_STATUS_CODE_ERROR,
		Trace: hex.EncodeToString(from.GetTraceId()), ID: hex.EncodeToString(from.GetSpanId()), Parent: hex.EncodeToString(from.GetParentSpanId()),
		Attributes: map[string]string{},
	}
	for _, link := range from.GetLinks() {
		span.Links = append(span.Links, hex.EncodeToString(link.GetSpanId()))
	}
	for _, attribute := range from.GetAttributes() {
		text := attribute.GetValue().GetStringValue()
		if number, ok := attribute.GetValue().GetValue().(*common.AnyValue_IntValue); ok {
			text = strconv.FormatInt(number.IntValue, 10)
		}
		span.Attributes[attribute.GetKey()] = text
	}
	return span
}
