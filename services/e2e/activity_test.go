package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/shop"
)

// trending is a list of what is in demand.
type trending struct {
	Items []struct {
		Item                       item
		Score, Error, Views, Sales float64
	}
}

// trends lists what is in demand as "title views sales", rounded: a little has
// decayed since.
func (c client) trends(query string) (list []string) {
	c.t.Helper()
	var got trending
	c.send("GET", "/api/v1/trending"+query, "").want(c.t, http.StatusOK, &got)
	for _, one := range got.Items {
		list = append(list, fmt.Sprintf("%s %.0f %.0f", one.Item.Title, one.Views, one.Sales))
	}
	return list
}

func (c client) wantTrends(query string, want ...string) {
	c.t.Helper()
	var got []string
	eventually(c.t, fmt.Sprintf("the trends%s are %q", query, want), func() bool {
		got = c.trends(query)
		return fmt.Sprint(got) == fmt.Sprint(want)
	})
}

func itemPath(id int64) string { return fmt.Sprintf("/api/v1/items/%d", id) }

func TestTrendsShowWhatIsLookedAtAndBought(t *testing.T) {
	t.Parallel()
	s := open(t, config(t.TempDir()))
	if body := s.send("GET", "/api/v1/trending", "").want(t, http.StatusOK, nil).body; body != `{"items":[]}` {
		t.Errorf("before anything happened: %s", body)
	}
	hat, mug, pin, gone := s.create("Hat").ID, s.create("Mug").ID, s.create("Pin").ID, s.create("Gone").ID
	s.receive(mug, 10)
	s.receive(pin, 10)
	for range 4 {
		s.send("GET", itemPath(hat), "").want(t, http.StatusOK, nil)
	}
	for range 9 {
		s.send("GET", itemPath(gone), "").want(t, http.StatusOK, nil)
	}
	s.send("GET", fmt.Sprintf("/api/item?id=%d", mug), "").want(t, http.StatusOK, nil)
	s.send("GET", "/api/v1/items/999", "").want(t, http.StatusNotFound, nil)
	s.send("GET", "/api/v1/items?limit=5", "").want(t, http.StatusOK, nil) // a list is no view
	var both struct{ ID string }
	s.send("POST", reservations, fmt.Sprintf(`{"lines":[{"item_id":%d,"quantity":2},{"item_id":%d,"quantity":1}]}`, mug, pin)).want(t, http.StatusCreated, &both)
	s.reserve(pin, 5) // only a commit is a sale
	s.step(both.ID, "commit")
	s.step(both.ID, "commit") // sells nothing more
	s.step(both.ID, "fulfil")

	s.wantTrends("", "Mug 1 2", "Gone 9 0", "Pin 0 1", "Hat 4 0") // 1 + 2*5, 9, 5, 4
	s.wantTrends("?kind=viewed", "Gone 9 0", "Hat 4 0", "Mug 1 2")
	s.wantTrends("?kind=bought", "Mug 1 2", "Pin 0 1")
	s.wantTrends("?kind=both&limit=2", "Mug 1 2", "Gone 9 0")
	s.send("DELETE", itemPath(gone), "").want(t, http.StatusNoContent, nil)
	s.wantTrends("?kind=viewed", "Hat 4 0", "Mug 1 2")

	var got trending
	s.send("GET", "/api/v1/trending?limit=1", "").want(t, http.StatusOK, &got)
	if first := got.Items[0]; math.Abs(first.Score-11) > 0.5 || first.Error != 0 || first.Item.Stock == nil {
		t.Errorf("the first is %+v", first)
	}
	for query, want := range map[string]field{
		"?limit=0":    {"limit", `must be an integer from 1 to 100, not "0"`},
		"?limit=101":  {"limit", `must be an integer from 1 to 100, not "101"`},
		"?kind=liked": {"kind", `must be viewed, bought or both, not "liked"`},
		"?kind=":      {"kind", `must be viewed, bought or both, not ""`},
		"?cursor=x":   {"cursor", "is no parameter of this path; it takes limit, kind"},
	} {
		var refused problem
		s.send("GET", "/api/v1/trending"+query, "").want(t, http.StatusBadRequest, &refused)
		if len(refused.Errors) != 1 || refused.Errors[0] != want {
			t.Errorf("%s: %+v, want %+v", query, refused.Errors, want)
		}
	}
}

func TestEveryViewArrivesWhileNoneIsDropped(t *testing.T) {
	t.Parallel()
	cfg := config(t.TempDir())
	cfg.Activity.HalfLife = 365 * 24 * time.Hour // nothing decays in the time of a test
	s := open(t, cfg)
	var callers sync.WaitGroup
	for range 10 {
		callers.Go(func() {
			for range 100 {
				s.send("GET", itemPath(1024), "").want(t, http.StatusOK, nil)
			}
		})
	}
	callers.Wait()
	s.wantTrends("?kind=viewed", "Kitex 1000 0")
}

// apart is a shop that finds activity at an address where nobody answers yet.
func apart(t testing.TB, dir string) (cfg shop.Config, activity string) {
	t.Helper()
	cfg = config(dir)
	cfg.Item.RPC, cfg.Stock.RPC, activity = freeAddress(t), freeAddress(t), freeAddress(t)
	cfg.Gateway.Discovery.URL = fmt.Sprintf("static://item=%s,stock=%s,activity=%s", cfg.Item.RPC, cfg.Stock.RPC, activity)
	return cfg, activity
}

func freeAddress(t testing.TB) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// program compiles the service of that name.
func program(t testing.TB, name string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-o", file, "../"+name+"/cmd").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return file
}

// run starts a program that ends with the test.
func run(t testing.TB, file string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(file, append(args, "-log-level", "error", "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0")...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

// TestNothingButTheTrendsNeedsActivity starts a shop without activity, starts
// it, kills it, and freezes it.
func TestNothingButTheTrendsNeedsActivity(t *testing.T) {
	t.Parallel()
	const (
		slowest = time.Second     // of a request for an item, on a busy machine
		refusal = 2 * time.Second // activity has one second
		many    = 3000            // more than the gateway's queue holds
	)
	file := program(t, "activity")
	cfg, address := apart(t, t.TempDir())
	s := open(t, cfg) // which waits until all are ready
	start := func() *exec.Cmd {
		return run(t, file, "-rpc", address, "-registry", "static://activity="+address)
	}
	look := func(times int) {
		t.Helper()
		for range times {
			began := time.Now()
			s.send("GET", itemPath(1024), "").want(t, http.StatusOK, nil)
			if took := time.Since(began); took > slowest {
				t.Fatalf("a request took %s", took)
			}
		}
	}
	wantNone := func() {
		t.Helper()
		var refused problem
		began := time.Now()
		s.send("GET", "/api/v1/trending", "").want(t, http.StatusServiceUnavailable, &refused)
		if took := time.Since(began); refused.Code != "unavailable" || took > refusal {
			t.Errorf("after %s: %+v", took, refused)
		}
	}
	wantStale := func() {
		t.Helper()
		var last struct{ Stale bool }
		began := time.Now()
		got := s.send("GET", "/api/v1/trending", "").want(t, http.StatusOK, &last)
		if took := time.Since(began); !last.Stale || got.header.Get("Age") == "" || took > refusal {
			t.Errorf("after %s: %s, %v", took, got.body, got.header)
		}
	}
	wantSome := func() {
		t.Helper()
		eventually(t, "there are trends", func() bool {
			look(1)
			got := s.send("GET", "/api/v1/trending", "")
			return got.status == http.StatusOK && strings.Contains(got.body, `"Kitex"`) && !strings.Contains(got.body, `"stale"`)
		})
	}
	look(10)
	wantNone()

	activity := start()
	wantSome()
	_ = activity.Process.Kill()
	_ = activity.Wait()
	look(many)
	wantStale()

	activity = start()
	wantSome()
	if err := activity.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	look(many)
	wantStale()
	if err := activity.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	wantSome()
	if err := activity.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := activity.Wait(); err != nil {
		t.Errorf("activity ended with %v", err)
	}
}

// BenchmarkRecordingAView compares the processor time of a request for an item
// with and without recording that it was looked at, over all services, each a
// process of its own. One iteration is one second of each side, in turns.
func BenchmarkRecordingAView(b *testing.B) {
	dir, files := b.TempDir(), map[string]string{}
	for _, name := range []string{"item", "stock", "activity", "gateway"} {
		files[name] = program(b, name)
	}
	item, stock, activity := freeAddress(b), freeAddress(b), freeAddress(b)
	registry := fmt.Sprintf("static://item=%s,stock=%s,activity=%s", item, stock, activity)
	recording, silent := freeAddress(b), freeAddress(b)
	services := []*exec.Cmd{
		run(b, files["stock"], "-rpc", stock, "-data", dir, "-demo", "-registry", registry),
		run(b, files["item"], "-rpc", item, "-data", dir, "-demo", "-registry", registry),
		run(b, files["activity"], "-rpc", activity, "-registry", registry),
		run(b, files["gateway"], "-http", recording, "-registry", registry),
		run(b, files["gateway"], "-http", silent, "-registry", registry, "-record=false"),
	}
	spent := func() (total time.Duration) {
		for _, service := range services {
			total += processorTime(b, service.Process.Pid)
		}
		return total
	}
	requests := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 8}}
	var count atomic.Int64
	get := func(address string) func() error {
		return func() error {
			count.Add(1)
			response, err := requests.Get("http://" + address + itemPath(1024))
			if err != nil {
				return err
			}
			defer response.Body.Close()
			body, err := io.ReadAll(response.Body)
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("%s: %s", response.Status, body)
			}
			return err
		}
	}
	sides := []func() error{get(recording), get(silent)}
	eventually(b, "all services answer", func() bool { return sides[0]() == nil && sides[1]() == nil })
	for _, side := range sides {
		round(b, 8, side)
	}
	var times [2]time.Duration
	var counts [2]int64
	for turn := 0; b.Loop(); turn++ {
		for i := range sides {
			side := (i + turn) % 2 // neither is always the first
			before, done := spent(), count.Load()
			round(b, 8, sides[side])
			times[side] += spent() - before
			counts[side] += count.Load() - done
		}
	}
	with, without := float64(times[0].Microseconds())/float64(counts[0]), float64(times[1].Microseconds())/float64(counts[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(with, "µs-recording")
	b.ReportMetric(without, "µs-silent")
	b.ReportMetric(100*(with/without-1), "%-more")
}

// processorTime is what a process has used, in ticks of 10 ms.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	var ticks int64
	for _, field := range fields[11:13] { // utime and stime
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}
