// Package telemetrytest gives tests what a service sends to its OpenTelemetry collector.
package telemetrytest

import (
	"encoding/hex"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	collectlogs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Collector takes OTLP over HTTP and keeps it.
type Collector struct {
	server *httptest.Server

	mu      sync.Mutex
	spans   []Span
	lines   []Line
	metrics map[string]map[string]float64 // by service and name, then by labels
	told    []string                      // beside the texts of lines
	all     []*metrics.ResourceMetrics
}

// Span is one that has arrived. Its ids are in hex; without a parent Parent is "".
type Span struct {
	Service, Name, Trace, ID, Parent string
	Kind                             trace.Span_SpanKind
	Failed                           bool
	Links                            []string // ids of spans
	Attributes                       map[string]string
}

// Line is one of a log that has arrived.
type Line struct{ Service, Level, Text, Trace, Span string }

// Start runs a collector until the end of the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{metrics: map[string]map[string]float64{}}
	mux := http.NewServeMux()
	take := func(signal string, message proto.Message, keep func()) {
		mux.HandleFunc("POST /v1/"+signal, func(w http.ResponseWriter, r *http.Request) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if err := read(r, message); err != nil {
				t.Error(err)
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			keep()
		})
	}
	var (
		traces  collecttrace.ExportTraceServiceRequest
		metrics collectmetrics.ExportMetricsServiceRequest
		logs    collectlogs.ExportLogsServiceRequest
	)
	take("traces", &traces, func() { c.keepSpans(traces.GetResourceSpans()) })
	take("metrics", &metrics, func() { c.keepMetrics(metrics.GetResourceMetrics()) })
	take("logs", &logs, func() { c.keepLines(logs.GetResourceLogs()) })
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

// Lines are those of the logs that have arrived.
func (c *Collector) Lines() []Line {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lines[:len(c.lines):len(c.lines)]
}

// HasMetric tells whether a service has sent an instrument.
func (c *Collector) HasMetric(service, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[service+" "+name] != nil
}

// Metric is what a service has counted with an instrument, as of the last time
// it sent it: a sum, a number that a gauge shows, or how many a histogram has
// measured, by labels as "http.route=/docs http.request.method=GET", sorted.
func (c *Collector) Metric(service, name string) map[string]float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.metrics[service+" "+name])
}

// Attributes are those of the lines of the logs that have arrived, and those of their resources.
func (c *Collector) Attributes() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.told)
}

func (c *Collector) keepSpans(all []*trace.ResourceSpans) {
	for _, of := range all {
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				c.spans = append(c.spans, newSpan(service(of.GetResource()), span))
			}
		}
	}
}

func (c *Collector) keepMetrics(all []*metrics.ResourceMetrics) {
	c.all = append(c.all, all...)
	for _, of := range all {
		for _, scope := range of.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				c.metrics[service(of.GetResource())+" "+metric.GetName()] = points(metric)
			}
		}
	}
}

func points(of *metrics.Metric) map[string]float64 {
	all := map[string]float64{}
	for _, point := range of.GetHistogram().GetDataPoints() {
		all[labels(point.GetAttributes())] = float64(point.GetCount())
	}
	for _, point := range append(of.GetSum().GetDataPoints(), of.GetGauge().GetDataPoints()...) {
		all[labels(point.GetAttributes())] = point.GetAsDouble() + float64(point.GetAsInt()) // one of them is 0
	}
	return all
}

func labels(attributes []*common.KeyValue) string {
	var all []string
	for _, attribute := range attributes {
		all = append(all, attribute.GetKey()+"="+text(attribute.GetValue()))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func text(value *common.AnyValue) string {
	if number, ok := value.GetValue().(*common.AnyValue_IntValue); ok {
		return strconv.FormatInt(number.IntValue, 10)
	}
	return value.GetStringValue()
}

func (c *Collector) keepLines(all []*logs.ResourceLogs) {
	for _, of := range all {
		for _, scope := range of.GetScopeLogs() {
			for _, line := range scope.GetLogRecords() {
				c.told = append(c.told, labels(line.GetAttributes()), labels(of.GetResource().GetAttributes()))
				c.lines = append(c.lines, Line{
					service(of.GetResource()), line.GetSeverityText(), line.GetBody().GetStringValue(),
					hex.EncodeToString(line.GetTraceId()), hex.EncodeToString(line.GetSpanId()),
				})
			}
		}
	}
}

func service(of *resource.Resource) string {
	for _, attribute := range of.GetAttributes() {
		if attribute.GetKey() == "service.name" {
			return attribute.GetValue().GetStringValue()
		}
	}
	return ""
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
		span.Attributes[attribute.GetKey()] = text(attribute.GetValue())
	}
	return span
}
