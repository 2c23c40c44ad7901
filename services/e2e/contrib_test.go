package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"

	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

// promises is what the README of telemetry promises of both instrumentations,
// and its table of the contributed one says what that keeps.
var promises = map[string]func(all, some exported) error{
	"a request is one trace over TTHeader":                   func(all, _ exported) error { return all.chains(overTTHeader, "item", "gateway", "gateway") },
	"a request is one trace over gRPC":                       func(all, _ exported) error { return all.chains(overGRPC, "item") },
	"a request is one trace over Thrift":                     func(all, _ exported) error { return all.chains(overThrift, "activity", "gateway", "gateway") },
	"a request is one trace over a stream":                   func(all, _ exported) error { return all.chains(overStream, "stock") },
	"what is below a call is below its span":                 exported.hasStatements,
	"who begins a trace decides for all of it":               func(_, some exported) error { return some.isOfWholeTraces() },
	"the durations of all requests are sent, sampled or not": func(_, some exported) error { return some.counts(callers * perCallerOfSome) },
	"the durations of all calls are on /metrics":             func(_, some exported) error { return some.countsOnMetrics(callers * perCallerOfSome) },
	"durations are in seconds":                               func(all, _ exported) error { return all.isInSeconds() },
	"no label is what a client made up":                      func(all, _ exported) error { return all.hasNoMadeUpLabel() },
	"no span is named by what a client made up":              func(all, _ exported) error { return all.hasNoMadeUpName() },
	"a text in a span has 2048 bytes":                        func(all, _ exported) error { return all.hasShortTexts() },
	"a refusal is no error":                                  func(all, _ exported) error { return all.hasNoError() },
	"the answer names its span":                              func(all, _ exported) error { return all.isNamed() },
	"the log is sent":                                        func(all, _ exported) error { return all.hasLog() },
	lastSpans:                                                func(all, _ exported) error { return all.hasLast() },
}

const lastSpans = "the last spans are sent when a service stops"

// Each kind of request has traces of its own: the number of one begins with that of its kind.
const (
	overTTHeader = 1000 * (iota + 1)
	overGRPC
	overThrift
	overStream
	last
	refused
	made
	mark

	callers         = 8
	perCaller       = 25 // of each caller and each kind
	perCallerOfSome = 50 // where a tenth of the traces is recorded
	madeUp          = "made-up.example"
)

func TestTheTableOfTheContributedModulesIsTrue(t *testing.T) {
	t.Parallel()
	programs := map[string]string{}
	for _, name := range []string{"stock", "item", "activity", "gateway"} {
		programs[name] = build(t, "../"+name+"/cmd")
	}
	keeps := contributedKeeps(t)
	for _, instrumentation := range []string{"kiteshop", "contrib"} {
		t.Run(instrumentation, func(t *testing.T) {
			t.Parallel()
			all := export(t, programs, instrumentation, "1", sendAll)
			some := export(t, programs, instrumentation, "0.1", sendSome)
			for promise, check := range promises {
				err := check(all, some)
				wanted, listed := keeps[promise]
				switch {
				case instrumentation == "kiteshop" && err != nil:
					t.Errorf("%s: %v", promise, err)
				case instrumentation == "contrib" && !listed:
					t.Errorf("the table has no line for %q, which it %s", promise, verdict(err))
				case instrumentation == "contrib" && promise == lastSpans && !wanted && err == nil: // they are sent every 5 s, and it may be time
				case instrumentation == "contrib" && wanted != (err == nil):
					t.Errorf("the table is wrong about %q: it %s", promise, verdict(err))
				}
			}
			for promise := range keeps {
				if promises[promise] == nil {
					t.Errorf("the table has a line for %q, which is no promise", promise)
				}
			}
		})
	}
}

func verdict(err error) string {
	if err == nil {
		return "passes"
	}
	return "fails: " + err.Error()
}

// contributedKeeps reads the table: which promises the contributed modules keep.
func contributedKeeps(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile("../internal/telemetry/README.md")
	if err != nil {
		t.Fatal(err)
	}
	keeps := map[string]bool{}
	for _, line := range regexp.MustCompile(`(?m)^\| (.*) \| (passes|fails)\b.*\|$`).FindAllStringSubmatch(string(text), -1) {
		keeps[line[1]] = line[2] == "passes"
	}
	return keeps
}

// exported is what a collector was sent by services that have run and stopped.
type exported struct {
	spans     map[string]telemetrytest.Span
	lines     []telemetrytest.Line
	metrics   []*metrics.ResourceMetrics
	onMetrics string            // the gateway's /metrics before it stopped
	named     map[string]string // the last answers' traceresponse, by trace
}

// services are those that run.
type services struct {
	client // of the gateway
	item   string
	stock  string
	admin  string // of the gateway
	sent   *telemetrytest.Collector
}

// observe runs the services, each in a process of its own, while send makes requests.
func export(t *testing.T, programs map[string]string, instrumentation, ratio string, send func(t *testing.T, s services) map[string]string) exported {
	t.Helper()
	collector := telemetrytest.Start(t)
	environment := collector.Environment()
	if instrumentation == "contrib" {
		environment = collector.OverGRPC(t)
	}
	at := map[string]string{}
	for _, name := range []string{"stock", "item", "activity", "http", "admin"} {
		at[name] = freePort(t)
	}
	dir, registry := t.TempDir(), fmt.Sprintf("static://item=%s,stock=%s,activity=%s", at["item"], at["stock"], at["activity"])
	var running []*exec.Cmd
	run := func(name string, args ...string) {
		cmd := exec.Command(programs[name], append(args, "-registry", registry, "-debug", "127.0.0.1:0", "-telemetry", instrumentation, "-sample-ratio", ratio)...)
		cmd.Env = append(os.Environ(), environment...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		running = append(running, cmd)
	}
	run("stock", "-rpc", at["stock"], "-data", dir, "-demo", "-admin", "127.0.0.1:0")
	run("activity", "-rpc", at["activity"], "-admin", "127.0.0.1:0")
	run("item", "-rpc", at["item"], "-data", dir, "-demo", "-admin", "127.0.0.1:0")
	run("gateway", "-http", at["http"], "-admin", at["admin"])
	s := services{client{t: t, base: "http://" + at["http"]}, at["item"], at["stock"], at["admin"], collector}
	eventually(t, "all services answer", func() bool {
		unsampled := strings.TrimSuffix(traceparent(made), "1") + "0"
		item, err1 := s.try("GET", "/api/v1/items/1024", strings.NewReader(""), unsampled)
		trending, err2 := s.try("GET", "/api/v1/trending", strings.NewReader(""), unsampled)
		return errors.Join(err1, err2) == nil && strings.Contains(item.body, `"stock":100`) && trending.status == http.StatusOK
	})
	named := send(t, s)
	onMetrics, err := client{t: t, base: "http://" + s.admin}.try("GET", "/metrics", strings.NewReader(""))
	if err != nil {
		t.Fatal(err)
	}
	for i := len(running) - 1; i >= 0; i-- {
		if err := errors.Join(running[i].Process.Signal(syscall.SIGTERM), running[i].Wait()); err != nil {
			t.Errorf("%s ended with %v", running[i].Path, err)
		}
	}
	o := exported{spans: map[string]telemetrytest.Span{}, lines: collector.Lines(), metrics: collector.Metrics(), onMetrics: onMetrics.body, named: named}
	for _, span := range collector.Spans() {
		o.spans[span.ID] = span
	}
	return o
}

// sendAll sends all kinds of requests, many at a time, and in the end one more.
func sendAll(t *testing.T, s services) map[string]string {
	item, err1 := grpc.NewClient(s.item, grpc.WithTransportCredentials(insecure.NewCredentials()))
	stock, err2 := grpc.NewClient(s.stock, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer item.Close()
	defer stock.Close()
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for i := caller * perCaller; i < (caller+1)*perCaller; i++ {
				getOK(t, s, "/api/v1/items/1024", traceparent(overTTHeader+i))
				getOK(t, s, "/api/v1/trending", traceparent(overThrift+i))
				askByGRPC(t, item, "/item.ItemService/GetItem", overGRPC+i)
				askByGRPC(t, stock, "/stock.StockService/WatchStock", overStream+i)
			}
		})
	}
	all.Wait()
	s.try("GET", "/api/v1/items/77", strings.NewReader(""), traceparent(refused))
	getMadeUp(t, s)
	awaitSpans(t, s)
	got := s.send("GET", "/api/v1/items/1024", "", traceparent(last))
	return map[string]string{traceOf(last): got.header.Get("traceresponse")}
}

func getOK(t *testing.T, s services, path string, header ...string) {
	if got, err := s.try("GET", path, strings.NewReader(""), header...); err != nil || got.status != http.StatusOK {
		t.Errorf("%s: %d %v %s", path, got.status, err, got.body)
	}
}

// sendSome sends requests without a trace.
func sendSome(t *testing.T, s services) map[string]string {
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for range perCallerOfSome {
				getOK(t, s, "/api/v1/stock/1024")
			}
		})
	}
	all.Wait()
	awaitSpans(t, s)
	return nil
}

// awaitSpans waits until each service has sent the spans of all requests before.
func awaitSpans(t *testing.T, s services) {
	marked := map[string]string{traceOf(mark): "activity", traceOf(mark + 1): "item", traceOf(mark + 2): "stock", traceOf(mark + 3): "gateway"}
	for i, path := range []string{"/api/v1/trending", "/api/v1/items?limit=1", "/api/v1/stock/1024/movements", "/api/item"} {
		s.send("GET", path, "", traceparent(mark+i))
	}
	eventually(t, "the spans have been sent", func() bool {
		came := map[string]bool{}
		for _, span := range s.sent.Spans() {
			if span.Service == marked[span.Trace] {
				came[span.Service] = true
			}
		}
		return len(came) == len(marked)
	})
}

// askByGRPC asks for item 1024, as a caller of another kind, and takes one answer.
func askByGRPC(t *testing.T, conn *grpc.ClientConn, method string, i int) {
	ctx, leave := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "traceparent", strings.TrimPrefix(traceparent(i), "Traceparent: ")))
	defer leave()
	request := bytesMessage(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1024))
	var answer bytesMessage
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodec(bytesCodec{}))
	if err == nil {
		err = errors.Join(stream.SendMsg(&request), stream.CloseSend(), stream.RecvMsg(&answer))
	}
	if err != nil {
		t.Errorf("%s: %v", method, err)
	}
}

// getMadeUp asks for what is not there, by names of its own.
func getMadeUp(t *testing.T, s services) {
	request, err := http.NewRequest(http.MethodGet, s.base+"/"+madeUp, nil)
	if err != nil {
		t.Error(err)
		return
	}
	name, value, _ := strings.Cut(traceparent(made), ": ")
	request.Header.Set(name, value)
	request.Header.Set("User-Agent", strings.Repeat("x", 3000))
	request.Host = madeUp
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Error(err)
		return
	}
	_ = response.Body.Close()
}

type bytesMessage []byte

type bytesCodec struct{}

func (bytesCodec) Name() string                  { return "proto" }
func (bytesCodec) Marshal(m any) ([]byte, error) { return *m.(*bytesMessage), nil }
func (bytesCodec) Unmarshal(b []byte, m any) error {
	*m.(*bytesMessage) = b
	return nil
}

// chains wants for each request of a kind a span of the first service, as a
// server, and above it those of the others up to the caller's.
func (o exported) chains(kind int, names ...string) error {
	found := map[string]bool{}
	for _, span := range o.spans {
		if span.Service == names[0] && span.Kind == trace.Span_SPAN_KIND_SERVER && o.goesUp(span, names[1:], kind) {
			found[span.Trace] = true
		}
	}
	if want := callers * perCaller; len(found) != want {
		return fmt.Errorf("%d of %d are", len(found), want)
	}
	return nil
}

func (o exported) goesUp(span telemetrytest.Span, names []string, kind int) bool {
	own := span.Trace
	for _, name := range names {
		parent, ok := o.spans[span.Parent]
		if !ok || parent.Service != name || parent.Trace != own {
			return false
		}
		span = parent
	}
	for i := kind; i < kind+callers*perCaller; i++ {
		if own == traceOf(i) {
			return span.Parent == spanOf(i+1)
		}
	}
	return false
}

func (o exported) hasStatements(exported) error {
	for _, span := range o.spans {
		if parent, ok := o.spans[span.Parent]; ok && span.Name == "SELECT item" && parent.Service == "item" && parent.Trace == span.Trace {
			return nil
		}
	}
	return errors.New("no statement is below a call")
}

func (o exported) isOfWholeTraces() error {
	begun, orphans := 0, 0
	for _, span := range o.spans {
		_, hasParent := o.spans[span.Parent]
		switch {
		case span.Service == "gateway" && span.Parent == "":
			begun++
		case span.Service == "gateway": // below a caller's span
		case span.Service == "activity" && span.Parent == "": // what it is told is of many requests
		case !hasParent:
			orphans++
		}
	}
	if begun == 0 || orphans > 0 {
		return fmt.Errorf("%d traces are begun by the gateway, and %d others have lost theirs", begun, orphans)
	}
	return nil
}

var errNoMetric = errors.New("no such metric was sent")

// histograms gives the last sent of those whose name fits, by service and name.
func (o exported) histograms(name string) map[string]*metrics.Metric {
	found := map[string]*metrics.Metric{}
	for _, of := range o.metrics {
		service := ""
		for _, attribute := range of.GetResource().GetAttributes() {
			if attribute.GetKey() == "service.name" {
				service = attribute.GetValue().GetStringValue()
			}
		}
		for _, scope := range of.GetScopeMetrics() {
			for _, metric := range scope.GetMetrics() {
				if metric.GetHistogram() != nil && regexp.MustCompile(name).MatchString(metric.GetName()) {
					found[service+" "+metric.GetName()] = metric
				}
			}
		}
	}
	return found
}

const requestDurations = `^http\.server\.(request\.duration|duration|latency)$`

func (o exported) counts(want int) error {
	counted := 0
	for name, metric := range o.histograms(requestDurations) {
		if !strings.HasPrefix(name, "gateway ") {
			continue
		}
		for _, point := range metric.GetHistogram().GetDataPoints() {
			counted += int(point.GetCount())
		}
	}
	if counted < want { // what asked whether the shop is ready is counted too
		return fmt.Errorf("%d of %d requests are counted", counted, want)
	}
	return nil
}

func (o exported) countsOnMetrics(want int) error {
	line := regexp.MustCompile(`(?m)^http_server_request_duration_seconds_count\{.*http_route="/api/v1/stock/:item_id".*\} (\d+)$`).FindStringSubmatch(o.onMetrics)
	if line == nil || line[1] != fmt.Sprint(want) {
		return fmt.Errorf("the line is %q", line)
	}
	return nil
}

func (o exported) isInSeconds() error {
	durations := o.histograms(`^(http|rpc)\..*(duration|latency)$`)
	if len(durations) == 0 {
		return errNoMetric
	}
	for name, metric := range durations {
		if metric.GetUnit() != "s" {
			return fmt.Errorf("the unit of %s is %q", name, metric.GetUnit())
		}
	}
	return nil
}

func (o exported) hasNoMadeUpLabel() error {
	if len(o.metrics) == 0 {
		return errNoMetric
	}
	for _, of := range o.metrics {
		if text := fmt.Sprint(of.GetScopeMetrics()); strings.Contains(text, madeUp) {
			return errors.New("a label is the client's")
		}
	}
	return nil
}

func (o exported) hasNoMadeUpName() error {
	for _, span := range o.spans {
		if strings.Contains(span.Name, madeUp) {
			return fmt.Errorf("a span is named %q", span.Name)
		}
	}
	return nil
}

func (o exported) hasShortTexts() error {
	for _, span := range o.spans {
		for key, text := range span.Attributes {
			if len(text) > 2048 {
				return fmt.Errorf("%s has %d bytes", key, len(text))
			}
		}
	}
	return nil
}

func (o exported) hasNoError() error {
	for _, span := range o.spans {
		if span.Trace == traceOf(refused) && span.Failed {
			return fmt.Errorf("%s %s is an error", span.Service, span.Name)
		}
	}
	return nil
}

func (o exported) isNamed() error {
	if named := o.named[traceOf(last)]; !strings.HasPrefix(named, "00-"+traceOf(last)+"-") {
		return fmt.Errorf("traceresponse is %q", named)
	}
	return nil
}

func (o exported) hasLog() error {
	for _, line := range o.lines {
		if line.Service == "gateway" && line.Trace == traceOf(last) {
			return nil
		}
	}
	return errors.New("no line of the gateway came")
}

func (o exported) hasLast() error {
	for _, span := range o.spans {
		if span.Trace == traceOf(last) && span.Service == "gateway" {
			return nil
		}
	}
	return errors.New("the spans of the last request are missing")
}
