package e2e

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkWatchers has 10,000 watchers of one hot item on a gateway in a
// process of its own. One iteration is a second of reservations by 4 callers
// at another gateway. The figures: memory of the gateway for a watcher that
// waits, and after the load; events that all watchers get in a second, and the
// gateway's processor time for one; and, as medians, the time from the last
// answer to a caller until every watcher has the last state.
func BenchmarkWatchers(b *testing.B) {
	const watchers = 10_000
	cfg := config(b.TempDir())
	cfg.Item.RPC, cfg.Stock.RPC = freeAddress(b), freeAddress(b)
	cfg.Gateway.Discovery.URL = fmt.Sprintf("static://item=%s,stock=%s", cfg.Item.RPC, cfg.Stock.RPC)
	shop := open(b, cfg)
	shop.send("POST", "/api/v1/stock/1024/movements", `{"delta":1000000000,"reason":"received"}`).want(b, http.StatusCreated, nil)
	address := freeAddress(b)
	gateway := run(b, program(b, "gateway"), "-http", address, "-registry", cfg.Gateway.Discovery.URL, "-record=false")
	watched := client{t: b, base: "http://" + address}
	eventually(b, "the gateway answers", func() bool {
		got, err := watched.try("GET", "/api/v1/stock/1024", nil)
		return err == nil && got.status == http.StatusOK
	})
	before := memory(b, gateway.Process.Pid)
	crowd := newCrowd(b, address, watchers)
	waiting := memory(b, gateway.Process.Pid)

	reserve := post(b, &http.Client{}, shop.base+"/api/v1/reservations", `{"lines":[{"item_id":1024,"quantity":1}]}`, http.StatusCreated)
	var settled, rates []float64
	events, began, used := crowd.events.Load(), time.Now(), cpu(b, gateway.Process.Pid)
	for b.Loop() {
		rates = append(rates, round(b, 4, reserve).rate)
		ended := time.Now()
		var last stock
		shop.send("GET", "/api/v1/stock/1024", "").want(b, http.StatusOK, &last)
		eventually(b, "every watcher has the last state", func() bool { return crowd.have(last.Version) })
		settled = append(settled, float64(time.Since(ended))/float64(time.Millisecond))
	}
	seen := float64(crowd.events.Load() - events)
	b.ReportMetric(seen/time.Since(began).Seconds(), "events/s")
	b.ReportMetric(float64((cpu(b, gateway.Process.Pid)-used).Microseconds())/seen, "cpu-µs/event")
	slices.Sort(settled)
	slices.Sort(rates)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(waiting-before)/watchers, "B/watcher")
	b.ReportMetric(float64(memory(b, gateway.Process.Pid)-before)/watchers, "B/watcher-after")
	b.ReportMetric(rates[len(rates)/2], "reservations/s")
	b.ReportMetric(settled[len(settled)/2], "settled-ms")
	b.ReportMetric(settled[len(settled)-1], "settled-max-ms")
}

// memory is what a process has in memory, in bytes.
func memory(b *testing.B, pid int) int64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kilobytes, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	n, err := strconv.ParseInt(kilobytes, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n << 10
}

// cpu is the processor time that a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	const user, system, ticks = 11, 12, 100 // fields after the name in parentheses; ticks in a second
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	var sum int64
	for _, field := range []int{user, system} {
		n, err := strconv.ParseInt(fields[field], 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks
}

// crowd is many who watch item 1024.
type crowd struct {
	versions []atomic.Int64 // the last that each has seen
	events   atomic.Int64
}

// newCrowd opens that many streams and waits until each has its first state.
func newCrowd(b *testing.B, address string, watchers int) *crowd {
	b.Helper()
	c := &crowd{versions: make([]atomic.Int64, watchers)}
	next := make(chan int)
	var dialers sync.WaitGroup
	for range 16 {
		dialers.Go(func() {
			for i := range next {
				conn, err := net.Dial("tcp", address)
				if err != nil {
					b.Error(err)
					continue
				}
				b.Cleanup(func() { _ = conn.Close() })
				if _, err := fmt.Fprintf(conn, "GET /api/v1/stock/1024/watch HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
					b.Error(err)
				}
				go c.read(conn, &c.versions[i])
			}
		})
	}
	for i := range watchers {
		next <- i
	}
	close(next)
	dialers.Wait()
	eventually(b, "every watcher has a state", func() bool { return c.have(1) })
	return c
}

func (c *crowd) read(conn net.Conn, version *atomic.Int64) {
	lines := bufio.NewReaderSize(conn, 1<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return
		}
		if id, ok := bytes.CutPrefix(line, []byte("id: ")); ok {
			if n, err := strconv.ParseInt(string(bytes.TrimSpace(id)), 10, 64); err == nil {
				version.Store(n)
				c.events.Add(1)
			}
		}
	}
}

// have tells whether every watcher has seen that version.
func (c *crowd) have(version int64) bool {
	for i := range c.versions {
		if c.versions[i].Load() < version {
			return false
		}
	}
	return true
}
