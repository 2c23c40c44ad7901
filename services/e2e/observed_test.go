package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	collecttrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"

	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// observed is a shop of processes that a Collector and a Prometheus observe, as
// charts/ configures them, but each second. Times in its rules are 60 times shorter.
type observed struct {
	client
	postgres   *sqldbtest.Postgres
	database   string // of stock
	registry   *discoverytest.Server
	traces     *grpc.Server // has the Collector's traces
	addresses  map[string]string
	processes  map[string]*exec.Cmd
	programs   map[string]string
	folder     string
	prometheus string // URL
}

const faster = 60

func observe(t *testing.T) *observed {
	t.Helper()
	o := &observed{
		addresses: map[string]string{}, processes: map[string]*exec.Cmd{}, folder: t.TempDir(),
		programs: map[string]string{"collector": needed(t, "otelcol-contrib", ".ci/collector"), "prometheus": needed(t, "prometheus", ".ci/prometheus")},
	}
	o.postgres, o.registry = sqldbtest.StartPostgres(t), discoverytest.Started(t, discoverytest.Etcd{})
	o.database = o.postgres.Database()
	for _, name := range []string{"gateway", "item rpc", "stock rpc", "activity rpc", "otlp grpc", "otlp http", "metrics", "own metrics", "traces", "health", "prometheus"} {
		o.addresses[name] = steadyPort(t)
	}
	o.client, o.prometheus = client{t, "http://" + o.addresses["gateway"]}, "http://"+o.addresses["prometheus"]
	o.makeRules()
	o.govern()
	o.takeTraces()
	o.startCollector("")
	o.startPrometheus()
	for _, name := range []string{"activity", "stock", "item", "gateway"} {
		o.programs[name] = build(t, "../"+name+"/cmd")
		o.startService(name)
	}
	o.within("the shop answers", func() bool {
		got, err := o.try("GET", "/api/v1/trending", strings.NewReader(""))
		if err != nil || got.status != http.StatusOK {
			return false
		}
		got, err = o.try("GET", "/api/v1/items/1024", strings.NewReader(""))
		return err == nil && got.status == http.StatusOK && !strings.Contains(got.body, `"stock":null`)
	})
	return o
}

// steadyPort is a free address that stays free while its server is away: it is
// below the range that the kernel gives to outgoing connections.
func steadyPort(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := fmt.Sprintf("127.0.0.1:%d", 12_000+rand.IntN(19_000))
		if ln, err := net.Listen("tcp", address); err == nil {
			ln.Close()
			return address
		}
	}
	t.Fatal("no free port")
	return ""
}

// needed finds a program; it is in the folder that a script prints.
func needed(t *testing.T, name, script string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path
	case os.Getenv("TEST_SERVERS") == "required":
		t.Fatalf("%s is missing: PATH=$(%s):$PATH", name, script)
	}
	t.Skipf("%s is missing: PATH=$(%s):$PATH", name, script)
	return ""
}

// within waits for what other processes do, with patience for slow machines.
func (o *observed) within(what string, done func() bool) {
	o.t.Helper()
	discoverytest.Eventually(o.t, what, done)
}

func (o *observed) write(name, text string) (path string) {
	o.t.Helper()
	path = filepath.Join(o.folder, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		o.t.Fatal(err)
	}
	return path
}

// makeRules makes those of the chart, with shorter times.
func (o *observed) makeRules() {
	o.t.Helper()
	cmd := exec.Command("go", "run", ".", "-into", o.folder, "-faster", strconv.Itoa(faster), "-queries")
	cmd.Dir = "../../charts/observability/source"
	if output, err := cmd.CombinedOutput(); err != nil {
		o.t.Fatalf("the rules: %v\n%s", err, output)
	}
}

// start runs a program until the test ends. What it says is told if the test fails.
func (o *observed) start(name string, env []string, args ...string) {
	o.t.Helper()
	said, err := os.Create(filepath.Join(o.folder, name+".log"))
	if err != nil {
		o.t.Fatal(err)
	}
	defer said.Close()
	cmd := exec.Command(o.programs[name], args...)
	cmd.Env, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), said, said
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.processes[name] = cmd
	o.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if o.t.Failed() {
			text, _ := os.ReadFile(said.Name())
			o.t.Logf("%s said:\n%s", name, text[max(0, len(text)-2000):])
		}
	})
}

// kill ends a program as a crash does.
func (o *observed) kill(name string) {
	o.t.Helper()
	_ = o.processes[name].Process.Kill()
	_ = o.processes[name].Wait()
}

// freeze stops a program where it is; thaw lets it go on.
func (o *observed) freeze(name string) { _ = o.processes[name].Process.Signal(syscall.SIGSTOP) }
func (o *observed) thaw(name string)   { _ = o.processes[name].Process.Signal(syscall.SIGCONT) }

// startService starts one of the shop; its environment may have more.
func (o *observed) startService(name string, more ...string) {
	o.t.Helper()
	args := []string{"-registry", o.registry.URL("empty_grace=1s"), "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0"}
	args = append(args, o.governed()...)
	switch name {
	case "edge":
		args = append(args, o.edge()...)
		fallthrough
	case "gateway":
		args = append(args, "-http", o.addresses[name])
	case "stock":
		args = append(args, "-reconcile-every", "500ms", "-expire-every", "500ms")
		fallthrough
	case "item":
		args = append(args, "-store", o.database, "-demo")
		fallthrough
	default:
		args = append(args, "-rpc", o.addresses[name+" rpc"])
	}
	o.start(name, append(more, "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+o.addresses["otlp http"], "OTEL_METRIC_EXPORT_INTERVAL=500"), args...)
}

// takeTraces is where the Collector sends what it has sampled, until o.traces stops.
func (o *observed) takeTraces() {
	o.t.Helper()
	ln, err := net.Listen("tcp", o.addresses["traces"])
	if err != nil {
		o.t.Fatal(err)
	}
	o.traces = grpc.NewServer()
	collecttrace.RegisterTraceServiceServer(o.traces, traceTaker{})
	go func() { _ = o.traces.Serve(ln) }()
	o.t.Cleanup(o.traces.Stop)
}

type traceTaker struct {
	collecttrace.UnimplementedTraceServiceServer
}

func (traceTaker) Export(context.Context, *collecttrace.ExportTraceServiceRequest) (*collecttrace.ExportTraceServiceResponse, error) {
	return &collecttrace.ExportTraceServiceResponse{}, nil
}

// startCollector runs the chart's configuration on free ports, with more of its own.
func (o *observed) startCollector(more string) {
	o.t.Helper()
	base, err := filepath.Abs("../../charts/otel-collector/config.yaml")
	if err != nil {
		o.t.Fatal(err)
	}
	_, own, _ := net.SplitHostPort(o.addresses["own metrics"])
	ports := o.write("ports.yaml", fmt.Sprintf(`
extensions: {health_check: {endpoint: %q}}
receivers: {otlp: {protocols: {grpc: {endpoint: %q}, http: {endpoint: %q}}}}
exporters: {prometheus: {endpoint: %q, metric_expiration: 5s}, otlp_grpc/jaeger: {retry_on_failure: {enabled: false}}}
service: {telemetry: {metrics: {readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %s}}}}]}}}
`, o.addresses["health"], o.addresses["otlp grpc"], o.addresses["otlp http"], o.addresses["metrics"], own))
	args := []string{"--config", base, "--config", ports}
	if more != "" {
		args = append(args, "--config", o.write("more.yaml", more))
	}
	o.start("collector", []string{"JAEGER_ENDPOINT=" + o.addresses["traces"], "DECISION_WAIT=1s"}, args...)
}

func (o *observed) startPrometheus() {
	o.t.Helper()
	config := o.write("prometheus.yaml", fmt.Sprintf(`
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: [%q]
scrape_configs:
  - {job_name: shop, honor_labels: true, static_configs: [{targets: [%q]}]}
  - {job_name: otel-collector, static_configs: [{targets: [%q]}]}
`, filepath.Join(o.folder, "rules", "*.yaml"), o.addresses["metrics"], o.addresses["own metrics"]))
	o.start("prometheus", nil, "--config.file", config, "--enable-feature=exemplar-storage", "--storage.tsdb.path", filepath.Join(o.folder, "tsdb"), "--web.listen-address", o.addresses["prometheus"])
}

// get asks Prometheus's interface, and decodes what it says into value.
func (o *observed) get(path string, parameters url.Values, value any) error {
	response, err := http.Get(o.prometheus + path + "?" + parameters.Encode())
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer := struct {
		Data  any
		Error string
	}{Data: value}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return err
	}
	if answer.Error != "" {
		return fmt.Errorf("prometheus: %s", answer.Error)
	}
	return nil
}

// values asks a query; a series that is not a number is none.
func (o *observed) values(query string) ([]float64, error) {
	var data struct{ Result []struct{ Value []any } }
	if err := o.get("/api/v1/query", url.Values{"query": {query}}, &data); err != nil {
		return nil, err
	}
	var all []float64
	for _, series := range data.Result {
		value, err := strconv.ParseFloat(series.Value[1].(string), 64)
		if err == nil && !math.IsNaN(value) {
			all = append(all, value)
		}
	}
	return all, nil
}

// firing are the alerts that fire now, by name, and by window if they have one.
func (o *observed) firing() map[string]bool {
	var data struct {
		Alerts []struct {
			Labels, Annotations map[string]string
			State               string
		}
	}
	if err := o.get("/api/v1/alerts", nil, &data); err != nil {
		o.t.Fatal(err)
	}
	all := map[string]bool{}
	for _, a := range data.Alerts {
		if a.State == "firing" {
			if text := a.Annotations["summary"] + a.Annotations["description"]; strings.Contains(text, "<no value>") || strings.Contains(text, "<error") {
				o.t.Errorf("%s says %q", a.Labels["alertname"], text)
			}
			all[strings.TrimSpace(a.Labels["alertname"]+" "+a.Labels["window"])] = true
		}
	}
	return all
}

// pause lets other processes do something for which there is nothing to wait.
func pause(d time.Duration) { <-time.After(d) }
