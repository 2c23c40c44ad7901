package e2e

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "modernc.org/sqlite" // to look into the databases
)

// build compiles a program of ours.
func build(t testing.TB, pkg string) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "program")
	if output, err := exec.Command("go", "build", "-o", program, pkg).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return program
}

// freePort is an address that nobody listened on a moment ago.
func freePort(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// eventually waits until done says so; a program in another process gives no other sign.
func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); <-tick.C {
		if done() {
			return
		}
	}
	t.Fatalf("not within 20 s: %s", what)
}

func TestWhatWasAcknowledgedSurvivesKill9(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	acknowledged := map[string]int64{} // the movements of item 1024, by key
	for round := range 5 {
		p := start(t, dir)
		killed := make(chan struct{})
		time.AfterFunc(time.Duration(40+round*60)*time.Millisecond, func() {
			p.kill()
			close(killed)
		})
		for i := 0; ; i++ {
			key := fmt.Sprintf("%d-%d", round, i)
			got, err := p.try("POST", "/api/v1/stock/1024/movements", strings.NewReader(`{"delta":1,"reason":"counted"}`), "Idempotency-Key: "+key)
			if err != nil {
				break
			}
			var made movement
			got.want(t, http.StatusCreated, &made)
			acknowledged[key] = made.ID
		}
		<-killed
	}
	if len(acknowledged) == 0 {
		t.Fatal("nothing was acknowledged before the kills")
	}
	p := start(t, dir)
	for key, id := range acknowledged {
		var again movement
		p.send("POST", "/api/v1/stock/1024/movements", `{"delta":1,"reason":"counted"}`, "Idempotency-Key: "+key).want(t, http.StatusCreated, &again)
		if again.ID != id {
			t.Errorf("movement %d of key %s is now %d", id, key, again.ID)
		}
	}
	p.kill()
	db, err := sql.Open("sqlite", filepath.Join(dir, "stock.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var drift, movements int
	if err := db.QueryRow(`
		SELECT (SELECT sum(on_hand) FROM stock) - (SELECT sum(delta) FROM movements), (SELECT count(*) FROM movements) - (SELECT count(*) FROM commands)
	`).Scan(&drift, &movements); err != nil {
		t.Fatal(err)
	}
	if drift != 0 || movements != 0 {
		t.Errorf("on hand differs from the ledger by %d, and the ledger from the commands by %d", drift, movements)
	}
}

func TestASecondShopOnTheSameDirectoryIsToldWhoHoldsIt(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := start(t, dir)
	second := exec.Command(os.Args[0])
	second.Env = append(os.Environ(), envRunShop+"="+dir)
	output, err := second.CombinedOutput()
	if second.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v", err)
	}
	want := fmt.Sprintf("kiteshop: %s is in use by process %d; stop it or give another directory with -data\n", filepath.Join(dir, "stock.db"), p.Process.Pid)
	if string(output) != want {
		t.Errorf("it said %q, want %q", output, want)
	}
	p.send("GET", "/api/item", "").want(t, http.StatusOK, nil)
}

func TestAProgramThatCannotStartSaysWhy(t *testing.T) {
	t.Parallel()
	program := build(t, "../..")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	stock := build(t, "../stock/cmd")
	alone := []string{"-data", t.TempDir(), "-rpc", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0"}
	newer := newerDatabase(t)
	for _, c := range []struct {
		name    string
		program string
		args    []string
		env     string
		want    string
	}{
		{"taken port", stock, append(alone, "-rpc", taken.Addr().String()), "", fmt.Sprintf("the rpc address %s cannot be opened (give another with -rpc): listen tcp %[1]s: bind: address already in use", taken.Addr())},
		{"directory that cannot be", stock, append(alone, "-data", filepath.Join(file, "data")), "", fmt.Sprintf("the data directory %s/data cannot be made (give another with -data): mkdir %[1]s: not a directory", file)},
		{"newer database", stock, append(alone, "-data", newer), "", fmt.Sprintf("database %s/stock.db: its schema has version 99 and this program knows 4 at most: run the newer program that made it", newer)},
		{"directory and database", stock, append(alone, "-store", "postgres://shop@127.0.0.1/shop"), "", fmt.Sprintf("-data is %q and -store is given too: choose the SQLite file or the PostgreSQL database", alone[1])},
		{"database that does not answer", program, []string{"-store", "postgres://shop@" + freePort(t) + "/shop?password_file=/dev/null", "-store-wait", "0s"}, "", "database postgres://shop@127.0.0.1:"},
		{"password as an argument", program, []string{"-store=postgres://shop:hunter2@127.0.0.1/shop"}, "", "-store has a secret in it; give it in the environment, as KITESHOP_STORE, or in the file of -config"},
		{"strange database", program, nil, "KITESHOP_STORE=postgres://shop:hunter2@127.0.0.1", "-store: the database is missing or no name; it must be as postgres://user@host[:port]/database"},
		{"debug port for everyone", stock, append(alone, "-debug", "0.0.0.0:0"), "", "debug address 0.0.0.0:0: it must be a loopback address, as 127.0.0.1"},
		{"strange registry", stock, append(alone, "-registry", "consul://a:1"), "", `registry "consul://a:1": it must be one of dns://name=host:port,…, etcd://`},
		{"four services with one tracer", program, []string{"-telemetry", "contrib", "-data", t.TempDir()}, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317",
			"telemetry is contrib, whose tracer is the process's: start each service alone, as go run ./services/item/cmd"},
		{"strange setting in the environment", stock, alone, "KITESHOP_DATTA=x", "the environment sets KITESHOP_DATTA, which is no setting of this program; it knows "},
		{"argument that is no flag", stock, append(alone, "now"), "", `stock takes flags only, and was given ["now"]`},
		{"one address for all services", program, []string{"-advertise", "10.0.0.1:8888"}, "", `advertise is "10.0.0.1:8888"; each service of the shop has a port of its own, so it must be a host, without :8888`},
		{"stop that takes too long", build(t, "../gateway/cmd"), []string{"-keepalive-quiet", "11s"}, "", "keepalive-quiet is 11s; it must be from 0s to 10s"},
		{"unknown command", program, []string{"restart"}, "", `there is no command "restart"; there are import, client, registry, reconcile, identity, key, backup, restore and move, and no command runs the shop`},
		{"import without a shop", program, []string{"import", "-gateway", "http://" + freePort(t), "testdata/products.csv"}, "", "no shop answers at http://"},
		{"import of no file", program, []string{"import", "/nonexistent.csv"}, "", "open /nonexistent.csv: no such file or directory"},
		{"client without a shop", program, []string{"client", "-item", freePort(t)}, "", "unavailable: the item service cannot be reached"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(c.program, c.args...)
			if c.env != "" {
				cmd.Env = append(os.Environ(), c.env)
			}
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			err := cmd.Run()
			if cmd.ProcessState.ExitCode() != 1 {
				t.Errorf("it ended with %v", err)
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "kiteshop: "+c.want) {
				t.Errorf("it said %s, want %s", last, c.want)
			}
		})
	}
}

// newerDatabase is a directory with a stock.db that a later program has migrated.
func newerDatabase(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	p := start(t, dir)
	p.kill()
	db, err := sql.Open("sqlite", filepath.Join(dir, "stock.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)`); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestServicesRunAlone starts each service as its own program, takes stock
// away, and brings it back.
func TestServicesRunAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ports := map[string]string{}
	for _, name := range []string{"item", "stock", "gateway", "item admin", "stock admin", "gateway admin"} {
		ports[name] = freePort(t)
	}
	registry := fmt.Sprintf("static://item=%s,stock=%s", ports["item"], ports["stock"])
	run := func(name string, args ...string) *exec.Cmd {
		cmd := exec.Command(build(t, "../"+name+"/cmd"), append(args, "-registry", registry, "-admin", ports[name+" admin"], "-debug", "127.0.0.1:0")...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		return cmd
	}
	ready := func(name string) func() bool {
		return func() bool {
			response, err := http.Get("http://" + ports[name+" admin"] + "/readyz")
			if err != nil {
				return false
			}
			defer response.Body.Close()
			return response.StatusCode == http.StatusOK
		}
	}
	runStock := func() *exec.Cmd {
		cmd := run("stock", "-rpc", ports["stock"], "-data", dir, "-demo")
		eventually(t, "stock is ready", ready("stock"))
		return cmd
	}
	stocks := runStock()
	run("item", "-rpc", ports["item"], "-data", dir, "-demo")
	gateway := run("gateway", "-http", ports["gateway"])
	eventually(t, "item is ready", ready("item"))
	eventually(t, "the gateway is ready", ready("gateway"))

	c := client{t: t, base: "http://" + ports["gateway"]}
	available := func() *int64 {
		var got struct{ Item item }
		c.send("GET", "/api/item", "").want(t, http.StatusOK, &got)
		return got.Item.Stock
	}
	if units := available(); units == nil || *units != 100 {
		t.Fatalf("the stock is %v", units)
	}
	if err := stocks.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = stocks.Wait()
	eventually(t, "the item is answered without its stock", func() bool { return available() == nil })
	var refused problem
	got := c.send("GET", "/api/v1/stock/1024", "").want(t, http.StatusServiceUnavailable, &refused)
	if refused.Code != "unavailable" || refused.Detail != "the stock service cannot be reached" || got.header.Get("Retry-After") != "1" {
		t.Errorf("refused with %+v, Retry-After %q", refused, got.header.Get("Retry-After"))
	}
	runStock()
	eventually(t, "the stock is known again", func() bool { units := available(); return units != nil && *units == 100 })

	if err := gateway.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := gateway.Wait(); err != nil {
		t.Errorf("the gateway ended with %v", err)
	}
}

func TestTheCommandsTalkToTheRunningShop(t *testing.T) {
	t.Parallel()
	program := build(t, "../..")
	s := open(t, config(t.TempDir()))
	run := func(args ...string) string {
		output, err := exec.Command(program, args...).Output()
		if err != nil {
			t.Fatalf("%v: %v", args, err)
		}
		return string(output)
	}
	if got, want := run("import", "-gateway", s.base, "testdata/products.csv"), "9 rows: 7 items created, 0 updated, 0 unchanged, 0 errors\n"; got != want {
		t.Errorf("import said %q, want %q", got, want)
	}
	want := `item:{id:1024 title:"Kitex" description:"Kitex is an excellent framework!" stock:100}` + "\n"
	if got := run("client", "-item", s.ItemAddr().String(), "-count", "2", "-interval", "1ms"); got != want+want {
		t.Errorf("client said %q, want %q twice", got, want)
	}
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(text []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(text)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func TestTheRequestsIDIsInTheAnswerAndInTheLog(t *testing.T) {
	t.Parallel()
	var log lockedBuffer // the services of a shop write to it at the same time
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Output = &log
	t.Run("requests", func(t *testing.T) {
		s := open(t, cfg)
		if id := s.send("GET", "/api/v1/items/77", "", "X-Request-Id: order-7").header.Get("X-Request-Id"); id != "order-7" {
			t.Errorf("the id came back as %q", id)
		}
		if id := s.send("GET", "/api/item", "", "X-Request-Id: "+strings.Repeat("x", 129)).header.Get("X-Request-Id"); len(id) != 36 {
			t.Errorf("in place of an id that is too long came %q", id)
		}
	})
	for line := range strings.Lines(log.String()) {
		var record struct {
			Service string
			Path    string
			Status  int
			ID      string `json:"request_id"`
			Error   string
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatal(err)
		}
		if record.ID == "order-7" && record.Service == "gateway" && record.Path == "/api/v1/items/77" && record.Status == 404 && record.Error == "not_found: there is no item 77" {
			return
		}
	}
	t.Errorf("no such line in the log: %s", log.String())
}
