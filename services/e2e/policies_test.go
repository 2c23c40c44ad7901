package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

// governed is a shop without activity, whose policies a file changes.
type governed struct {
	client
	file  string
	log   string            // of the gateway
	admin map[string]string // addresses
	debug map[string]string
}

func startGoverned(t *testing.T) *governed {
	t.Helper()
	collector := telemetrytest.Start(t)
	dir, http, stock, item := t.TempDir(), steadyPort(t), steadyPort(t), steadyPort(t)
	r := &governed{
		client: client{t, "http://" + http}, file: filepath.Join(dir, "policies.yaml"), log: filepath.Join(dir, "gateway.log"),
		admin: map[string]string{}, debug: map[string]string{},
	}
	r.write("")
	for name, own := range map[string][]string{
		"stock":   {"-rpc", stock, "-data", dir, "-demo"},
		"item":    {"-rpc", item, "-data", dir, "-demo"},
		"gateway": {"-http", http, "-record=false"},
	} {
		r.admin[name], r.debug[name] = steadyPort(t), steadyPort(t)
		runLogged(t, build(t, "../"+name+"/cmd"), filepath.Join(dir, name+".log"), collector.Environment(), append(own,
			"-policies", r.file, "-registry", "static://item="+item+",stock="+stock, "-admin", r.admin[name], "-debug", r.debug[name])...)
	}
	eventually(t, "the shop answers", func() bool { return r.ask().status == 200 })
	return r
}

// runLogged starts a program that writes its log to a file and ends with the test.
func runLogged(t testing.TB, program, log string, environment []string, args ...string) *os.Process {
	t.Helper()
	output, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	cmd := exec.Command(program, args...)
	cmd.Stderr, cmd.Env = output, append(os.Environ(), environment...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if text, err := os.ReadFile(log); err == nil && t.Failed() {
			t.Logf("%s, the last of it:\n%s", log, text[max(0, len(text)-4000):])
		}
	})
	return cmd.Process
}

// write replaces the file, as one who is careful does.
func (r *governed) write(text string) {
	r.t.Helper()
	if err := os.WriteFile(r.file+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		r.t.Fatal(err)
	}
}

// ask makes a request; without an answer its status is 0.
func (r *governed) ask() answer {
	got, err := r.try("GET", "/api/v1/stock/1024", strings.NewReader(""))
	if err != nil {
		return answer{body: err.Error()}
	}
	return got
}

// sampled tells whether the trace of a request is recorded.
func (r *governed) sampled() bool {
	return strings.HasSuffix(r.ask().header.Get("traceresponse"), "-01")
}

// logged tells whether a request has a line in the gateway's log, which it has before it is answered.
func (r *governed) logged(id string) bool {
	r.t.Helper()
	if got, err := r.try("GET", "/api/v1/stock/1024", strings.NewReader(""), "X-Request-Id: "+id); err != nil || got.status != 200 {
		return false
	}
	return strings.Contains(r.gatewayLog(), `"request_id":"`+id+`"`)
}

func (r *governed) gatewayLog() string {
	r.t.Helper()
	text, err := os.ReadFile(r.log)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *governed) page(address, path string) string {
	r.t.Helper()
	response, err := http.Get("http://" + address + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// metric is the value of the first line of a service's metrics that begins like pattern.
func (r *governed) metric(service, pattern string) string {
	r.t.Helper()
	found := regexp.MustCompile(`(?m)^` + pattern + `\S* (\S+)$`).FindStringSubmatch(r.page(r.admin[service], "/metrics"))
	if found == nil {
		return "none"
	}
	return found[1]
}

// load asks from several sides until the test ends it, and then wants that every request was answered.
func (r *governed) load() (end func()) {
	var group sync.WaitGroup
	stop := make(chan struct{})
	for range 4 {
		group.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := r.ask(); got.status != 200 && got.status != 429 && got.status != 503 {
					r.t.Errorf("a request under load: %d, %s", got.status, got.body)
					return
				}
			}
		})
	}
	return func() { close(stop); group.Wait() }
}

func TestThePoliciesOfProcessesChangeUnderLoad(t *testing.T) {
	t.Parallel()
	r := startGoverned(t)
	defer r.load()()
	n, shipped := 0, r.limit()
	for _, c := range []struct {
		what, changes string
		done          func() bool
	}{
		{"the log's level", "log_level: error", func() bool { n++; return r.ask().status == 200 && !r.logged(fmt.Sprint("quiet-", n)) }},
		{"the sample ratio", "sample_ratio: 0", func() bool { return !r.sampled() }},
		{"the gateway's rate", "edge: {reads: {per_second: 0.01, burst: 1}}", func() bool { got := r.ask(); return got.status == 429 && got.header.Get("Retry-After") != "" }},
		{"the gateway's requests at once", "edge: {concurrent: 1}", func() bool { return r.ask().status == 503 }},
		{"a method's calls at once", "methods: {StockService/GetItemStock: {concurrent: 1, waiting: 0}}", func() bool {
			return r.metric("stock", `rpc_server_refused_total\{.*reason="full",rpc_method="StockService/GetItemStock"`) != "0" && r.limit() == 1
		}},
	} {
		if c.done() {
			t.Errorf("%s is changed before the file is", c.what)
		}
		r.write(c.changes)
		eventually(t, c.what+" changes", c.done)
		r.write("")
		eventually(t, c.what+" is what it was", func() bool {
			n++
			return r.metric("gateway", `files_wrong\{file="policies".*\}`) == "0" && r.sampled() && r.logged(fmt.Sprint("loud-", n)) && r.ask().status == 200 && r.limit() == shipped
		})
	}
}

// limit is how many calls of GetItemStock the diagnosis says that stock works on at once.
func (r *governed) limit() int {
	r.t.Helper()
	var rules policy.Set
	if err := json.Unmarshal([]byte(r.page(r.debug["stock"], "/debug/diagnosis/policies")), &rules); err != nil {
		r.t.Fatal(err)
	}
	return rules.Methods["StockService/GetItemStock"].Concurrent
}

func TestAWrongFileOfPoliciesIsRefusedAndToldOf(t *testing.T) {
	t.Parallel()
	r := startGoverned(t)
	const inForce = `"PerSecond": 77,`
	r.write("edge: {reads: {per_second: 77, burst: 9}}")
	shown := func() bool { return strings.Contains(r.page(r.debug["gateway"], "/debug/diagnosis/policies"), inForce) }
	eventually(t, "the diagnosis shows the change", shown)
	r.write("edge: {reads: {per_second: -1}}")
	eventually(t, "the metric says that the file is wrong", func() bool {
		return r.metric("gateway", `files_wrong\{file="policies".*\}`) == "1" && r.metric("stock", `files_wrong\{file="policies".*\}`) == "1"
	})
	if !shown() {
		t.Error("the rules are others")
	}
	if got := r.metric("gateway", `files_reloads_total\{file="policies".*outcome="refused".*\}`); got != "1" {
		t.Errorf("%s files are counted as refused, want 1", got)
	}
	if !strings.Contains(r.gatewayLog(), "edge.reads.per_second is -1; it must be 0, which is no limit, or more") {
		t.Error("the log does not say what is wrong")
	}
	r.write("")
	eventually(t, "the metric says that it is right again", func() bool { return r.metric("gateway", `files_wrong\{file="policies".*\}`) == "0" })
	if shown() {
		t.Error("what the file no longer says is in force")
	}
}

func TestContributedTelemetrySaysThatItsRatioStays(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, log := filepath.Join(dir, "policies.yaml"), filepath.Join(dir, "log")
	if err := os.WriteFile(file, []byte("sample_ratio: 0.5"), 0o600); err != nil {
		t.Fatal(err)
	}
	runLogged(t, build(t, "../activity/cmd"), log, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"},
		"-policies", file, "-telemetry", "contrib", "-registry", "static://x=127.0.0.1:1", "-rpc", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0")
	eventually(t, "a line says so", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), `the sample ratio stays as it is`)
	})
}
