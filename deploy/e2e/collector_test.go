package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	collectmetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

const (
	collectorConfig = root + "/charts/otel-collector/config.yaml"
	// soon is when a test gives up waiting for what must come.
	soon = 30 * time.Second
)

// program finds what .ci/NAME builds.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil && os.Getenv("TEST_SERVERS") == "required" {
		t.Fatalf("there is no %s in PATH", name)
	}
	if err != nil {
		t.Skipf("there is no %s in PATH", name)
	}
	return path
}

func TestTheCollectorTakesEveryConfigurationThatTheChartGivesIt(t *testing.T) {
	t.Parallel()
	collector := program(t, "otelcol-contrib")
	for name, args := range map[string][]string{
		"alone":          nil,
		"without a pod":  {"--set", "kubernetes.enabled=false"},
		"with a Jaeger":  {"--set", "traces.endpoint=jaeger:4317"},
		"with more":      {"--set", "config.exporters.debug.verbosity=detailed"},
		"other sampling": {"--set", "sampling.percent=0.5,sampling.slowMilliseconds=250,sampling.waitSeconds=30"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := renderChart(t, "charts/otel-collector", args...)
			files := labels(find(objects, "ConfigMap", "otel-collector"), "data")
			dir := t.TempDir()
			for file, content := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			container := at(find(objects, "Deployment", "otel-collector"), "spec", "template", "spec", "containers", 0)
			validate := []string{"validate"}
			for _, arg := range list(container, "args") {
				validate = append(validate, strings.Replace(fmt.Sprint(arg), "/etc/otel-collector", dir, 1))
			}
			if len(validate) != len(files)+1 {
				t.Errorf("the collector is given %v of the files %v", validate, files)
			}
			cmd := exec.Command(collector, validate...)
			for _, v := range list(container, "env") {
				value := text(v, "value")
				if text(v, "name") == "NAMESPACE" {
					value = "store"
				}
				cmd.Env = append(cmd.Env, text(v, "name")+"="+value)
			}
			if output, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, output)
			}
		})
	}
}

func TestAllErrorsAndAllSlowTracesAreKeptAndATenthOfTheRest(t *testing.T) {
	t.Parallel()
	jaeger := startReceiver(t)
	collector := startCollector(t, "JAEGER_ENDPOINT="+jaeger.address, "DECISION_WAIT=1s")
	collector.post(t, "/v1/traces", &collecttrace.ExportTraceServiceRequest{ResourceSpans: []*trace.ResourceSpans{{
		ScopeSpans: []*trace.ScopeSpans{{Spans: append(append(spansOf("fast", 1000), spansOf("failed", 50)...), spansOf("slow", 50)...)}},
	}}})
	// Whether one of the rest is kept its id decides, so of these ids it is always this many.
	want := map[string]int{"fast": 114, "failed": 50, "slow": 50}
	eventually(t, func() error {
		if got := jaeger.kinds(); fmt.Sprint(got) != fmt.Sprint(want) {
			return fmt.Errorf("traces have come %v, want %v", got, want)
		}
		return nil
	})
	collector.stop(t) // it decides what waits
	if got := jaeger.kinds(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("at the end traces have come %v, want %v", got, want)
	}
	if got := jaeger.incomplete(); got > 0 {
		t.Errorf("%d traces have come without their second span", got)
	}
}

func TestEveryMetricComesToPrometheusWithItsPodAndAnExample(t *testing.T) {
	t.Parallel()
	collector := startCollector(t)
	collector.post(t, "/v1/metrics", &collectmetrics.ExportMetricsServiceRequest{ResourceMetrics: []*metrics.ResourceMetrics{{
		Resource: &resource.Resource{Attributes: []*common.KeyValue{
			attribute("service.namespace", "kiteshop"), attribute("service.name", "gateway"),
			attribute("service.instance.id", "gateway-1"), attribute("k8s.pod.name", "gateway-1"),
		}},
		ScopeMetrics: []*metrics.ScopeMetrics{{Metrics: []*metrics.Metric{durations(1100)}}},
	}}})
	eventually(t, func() error {
		page, err := collector.metrics()
		if err != nil {
			return err
		}
		for _, want := range []string{
			`(?m)^http_server_request_duration_seconds_count\{(.*,)?http_route="/api/v1/items"(,.*)? 1100`,
			`(?m)^http_server_request_duration_seconds_count\{(.*,)?instance="gateway-1"(,.*)?job="kiteshop/gateway"(,.*)?k8s_pod_name="gateway-1"`,
			`(?m)^http_server_request_duration_seconds_bucket\{.* # \{.*trace_id="0102030405060708090a0b0c0d0e0f10"`,
		} {
			if !regexp.MustCompile(want).MatchString(page) {
				return fmt.Errorf("%s is not in\n%s", want, page)
			}
		}
		return nil
	})
}

// spansOf makes traces of two spans. What is special about a failed trace is in
// the second, and a slow one is as slow as the configuration says.
func spansOf(kind string, traces uint64) []*trace.Span {
	spans := make([]*trace.Span, 0, 2*traces)
	for n := range traces {
		id := sha256.Sum256(fmt.Appendf(nil, "%s %d", kind, n))
		start := uint64(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano())
		took := uint64(20 * time.Millisecond)
		if kind == "slow" {
			took = uint64(501 * time.Millisecond)
		}
		status := &trace.Status{}
		if kind == "failed" {
			status.Code = trace.Status_STATUS_CODE_ERROR
		}
		spans = append(spans,
			&trace.Span{TraceId: id[:16], SpanId: id[16:24], Name: kind, StartTimeUnixNano: start, EndTimeUnixNano: start + took},
			&trace.Span{
				TraceId: id[:16], SpanId: id[24:32], ParentSpanId: id[16:24], Name: kind,
				StartTimeUnixNano: start, EndTimeUnixNano: start + 1, Status: status,
			})
	}
	return spans
}

func durations(count uint64) *metrics.Metric {
	sum := 11.0
	return &metrics.Metric{Name: "http.server.request.duration", Unit: "s", Data: &metrics.Metric_Histogram{Histogram: &metrics.Histogram{
		AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
		DataPoints: []*metrics.HistogramDataPoint{{
			Attributes: []*common.KeyValue{attribute("http.route", "/api/v1/items")}, StartTimeUnixNano: 1, TimeUnixNano: uint64(time.Now().UnixNano()),
			Count: count, Sum: &sum, ExplicitBounds: []float64{0.1}, BucketCounts: []uint64{count, 0},
			Exemplars: []*metrics.Exemplar{{
				TimeUnixNano: uint64(time.Now().UnixNano()), Value: &metrics.Exemplar_AsDouble{AsDouble: 0.01},
				TraceId: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, SpanId: []byte{1, 2, 3, 4, 5, 6, 7, 8},
			}},
		}},
	}}}
}

func attribute(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: value}}}
}

// eventually waits until try has no error.
func eventually(t *testing.T, try func() error) {
	t.Helper()
	for deadline := time.Now().Add(soon); ; time.Sleep(50 * time.Millisecond) {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// collector is one that runs with the chart's configuration.
type collector struct {
	cmd                *exec.Cmd
	receiver, exporter string
	log                bytes.Buffer
}

// startCollector lays over the configuration only where it listens.
func startCollector(t *testing.T, environment ...string) *collector {
	t.Helper()
	grpc, receiver, exporter, own, health := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	host, port, _ := net.SplitHostPort(own)
	addresses := filepath.Join(t.TempDir(), "addresses.yaml")
	if err := os.WriteFile(addresses, fmt.Appendf(nil, `
extensions: {health_check: {endpoint: %q}}
receivers: {otlp: {protocols: {grpc: {endpoint: %q}, http: {endpoint: %q}}}}
exporters: {prometheus: {endpoint: %q}}
service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: %q, port: %s}}}}]}}}
`, health, grpc, receiver, exporter, host, port), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &collector{receiver: receiver, exporter: exporter}
	c.cmd = exec.Command(program(t, "otelcol-contrib"), "--config", collectorConfig, "--config", addresses)
	c.cmd.Env = environment
	c.cmd.Stdout, c.cmd.Stderr = &c.log, &c.log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		if t.Failed() {
			t.Log(c.log.String())
		}
	})
	eventually(t, func() error {
		response, err := http.Get("http://" + health)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("the collector's health is %s", response.Status)
		}
		return nil
	})
	return c
}

func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func (c *collector) post(t *testing.T, path string, message proto.Message) {
	t.Helper()
	body, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.Post("http://"+c.receiver+path, "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Fatalf("POST %s was answered %s", path, response.Status)
	}
}

// metrics is what Prometheus reads.
func (c *collector) metrics() (string, error) {
	request, err := http.NewRequest(http.MethodGet, "http://"+c.exporter+"/metrics", nil)
	if err != nil {
		return "", err
	}
	request.Header.Set("Accept", "application/openmetrics-text; version=1.0.0")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	page, err := io.ReadAll(response.Body)
	return string(page), err
}

func (c *collector) stop(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		t.Fatalf("the collector ended with %v", err)
	}
}

// receiver takes traces as Jaeger does.
type receiver struct {
	collecttrace.UnimplementedTraceServiceServer

	address string
	mu      sync.Mutex
	spans   map[string][]string // the names of a trace's spans, by its id
}

func startReceiver(t *testing.T) *receiver {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &receiver{address: listener.Addr().String(), spans: map[string][]string{}}
	server := grpc.NewServer()
	collecttrace.RegisterTraceServiceServer(server, r)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return r
}

// Export implements the service of OTLP.
func (r *receiver) Export(_ context.Context, request *collecttrace.ExportTraceServiceRequest) (*collecttrace.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, of := range request.GetResourceSpans() {
		for _, scope := range of.GetScopeSpans() {
			for _, span := range scope.GetSpans() {
				id := hex.EncodeToString(span.GetTraceId())
				r.spans[id] = append(r.spans[id], span.GetName())
			}
		}
	}
	return &collecttrace.ExportTraceServiceResponse{}, nil
}

// kinds counts the traces that have come.
func (r *receiver) kinds() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	found := map[string]int{}
	for _, names := range r.spans {
		found[names[0]]++
	}
	return found
}

func (r *receiver) incomplete() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	count := 0
	for _, names := range r.spans {
		if len(names) != 2 {
			count++
		}
	}
	return count
}
