package http

import (
	"bufio"
	"context"
	"fmt"
	"net"
	stdhttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/policy"
)

// outcome asks, and gives the status, the seconds of Retry-After and the body.
func (s served) outcome(method, path string) (status int, retryAfter, body string) {
	s.t.Helper()
	answer, text := s.ask(method, path)
	return answer.StatusCode, answer.Header.Get(headerRetryAfter), text
}

func (s served) wantRefused(reason string, want int) {
	s.t.Helper()
	recorder := httptest.NewRecorder()
	s.metrics.ServeHTTP(recorder, httptest.NewRequest(stdhttp.MethodGet, "/metrics", nil))
	for line := range strings.Lines(recorder.Body.String()) {
		if strings.HasPrefix(line, "gateway_refused_total{") && strings.Contains(line, `reason="`+reason+`"`) {
			if got := strings.TrimSpace(line[strings.LastIndexByte(line, ' '):]); got != fmt.Sprint(want) {
				s.t.Errorf("%s refusals are counted for %s, want %d", got, reason, want)
			}
			return
		}
	}
	s.t.Errorf("nothing is counted for %s", reason)
}

// slow holds the calls for item 7 until the test lets them go on.
type slow struct {
	inventory
	began chan struct{}
	goOn  chan struct{}
}

func (i slow) Get(ctx context.Context, id int64) (domain.Stock, error) {
	if id == 7 {
		i.began <- struct{}{}
		<-i.goOn
	}
	return i.inventory.Get(ctx, id)
}

func TestOneRequestMoreThanMayBeWorkedOnIsRefused(t *testing.T) {
	t.Parallel()
	stocks := slow{inventory{states: make(chan domain.StockState)}, make(chan struct{}), make(chan struct{})}
	s := serveShop(t, Access{Keys: noKeys{}}, "edge: {concurrent: 2}", stocks)
	stream := s.get("/api/v1/stock/8/watch") // is none of them
	if stream.StatusCode != stdhttp.StatusOK {
		t.Fatalf("the stream: %s", stream.Status)
	}
	answers := make(chan int, 2)
	for range 2 {
		go func() {
			status, _, _ := s.outcome("GET", "/api/v1/stock/7")
			answers <- status
		}()
		<-stocks.began
	}
	for _, path := range []string{"/api/v1/stock/8", "/api/v1/nothing"} {
		status, retryAfter, body := s.outcome("GET", path)
		if status != 503 || retryAfter != "1" || !strings.Contains(body, `"code":"overloaded"`) || !strings.Contains(body, "2 requests are worked on, and there may be no more; try again later") {
			t.Errorf("%s: %d, Retry-After %q, %s", path, status, retryAfter, body)
		}
	}
	for _, path := range []string{"/docs", "/openapi.json"} {
		if status, _, _ := s.outcome("GET", path); status != 200 {
			t.Errorf("%s: %d", path, status)
		}
	}
	if status := s.get("/api/v1/stock/8/watch").StatusCode; status != 200 {
		t.Errorf("one more stream: %d", status)
	}
	close(stocks.goOn)
	for range 2 {
		if status := <-answers; status != 200 {
			t.Errorf("a request that was let in: %d", status)
		}
	}
	if status, _, _ := s.outcome("GET", "/api/v1/stock/8"); status != 200 {
		t.Errorf("a request after them: %d", status)
	}
	s.wantRefused(refusedConcurrent, 2)
	s.wantRefused(refusedReads, 0)
}

func TestWhoAsksTooOftenIsToldWhenToComeBack(t *testing.T) {
	t.Parallel()
	s := serveLimited(t, "edge: {concurrent: 9, reads: {per_second: 0.001, burst: 2}, writes: {per_second: 0.0001, burst: 1}}")
	for i, want := range []int{200, 404, 429} {
		status, retryAfter, body := s.outcome("GET", []string{"/api/v1/stock/7", "/api/v1/nothing", "/api/v1/stock/7"}[i])
		if status != want {
			t.Errorf("read %d: %d, want %d", i, status, want)
		}
		if status == 429 && (retryAfter != "1000" || !strings.Contains(body, `"code":"rate_limited"`) ||
			!strings.Contains(body, "0.001 reads a second are allowed to each caller, and 2 at once; try again in 1000 s")) {
			t.Errorf("Retry-After %q, %s", retryAfter, body)
		}
	}
	if status, _, _ := s.outcome("HEAD", "/api/v1/stock/7"); status != 429 {
		t.Errorf("HEAD: %d", status)
	}
	if status, _, _ := s.outcome("GET", "/api/v1/stock/7/watch"); status != 429 {
		t.Errorf("a stream: %d", status)
	}
	if status, _, _ := s.outcome("GET", "/docs"); status != 200 {
		t.Errorf("the description: %d", status)
	}
	for _, want := range []int{415, 429} { // it has no body
		if status, _, _ := s.outcome("POST", "/api/v1/items"); status != want {
			t.Errorf("write: %d, want %d", status, want)
		}
	}
	s.wantRefused(refusedReads, 3)
	s.wantRefused(refusedWrites, 1)
	s.wantRefused(refusedConcurrent, 0)
}

func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	t.Parallel()
	s := serveLimited(t, "edge: {concurrent: 9, writes: {per_second: 0.001, burst: 1}}")
	s.outcome("POST", "/api/v1/imports")
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(25 * time.Second)); err != nil { // below the server's read timeout
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /api/v1/imports HTTP/1.1\r\nHost: shop\r\nContent-Type: text/csv\r\nContent-Length: 1000000\r\n\r\n%s", strings.Repeat("x", 8<<10)) // Hertz begins when it has 8 KiB
	response, err := stdhttp.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != stdhttp.StatusTooManyRequests {
		t.Errorf("status = %s", response.Status)
	}
}

func TestEachCallerHasItsOwnRateWhichMayChange(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		cs, err := newCallers()
		if err != nil {
			t.Fatal(err)
		}
		twice := policy.Rate{PerSecond: 2, Burst: 3}
		for _, step := range []struct {
			who     string
			after   time.Duration
			allowed policy.Rate
			wait    time.Duration
		}{
			{"a", 0, twice, 0},
			{"a", 0, twice, 0},
			{"a", 0, twice, 0},
			{"a", 0, twice, 500 * time.Millisecond},
			{"a", 0, twice, 500 * time.Millisecond}, // who was refused has taken nothing
			{"b", 0, twice, 0},
			{"a", 400 * time.Millisecond, twice, 100 * time.Millisecond},
			{"a", 100 * time.Millisecond, twice, 0},
			{"a", 0, policy.Rate{PerSecond: 0.1, Burst: 1}, 10 * time.Second},
			{"a", 0, policy.Rate{PerSecond: 100, Burst: 1}, 10 * time.Millisecond},
			{"a", time.Minute, twice, 0},
		} {
			time.Sleep(step.after)
			if got := cs.ask(step.who, step.allowed, time.Now()).Round(time.Millisecond); got != step.wait {
				t.Errorf("%+v: %s", step, got)
			}
		}
	})
}

func TestAsManyCallersAreRememberedAsMayBe(t *testing.T) {
	t.Parallel()
	cs, err := newCallers()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 * maxCallers {
		cs.ask(fmt.Sprint(i), policy.Rate{PerSecond: 1, Burst: 1}, time.Time{})
	}
	cs.known.CleanUp()
	if size := cs.known.EstimatedSize(); size != maxCallers {
		t.Errorf("%d callers are remembered, want %d", size, maxCallers)
	}
}

func TestACallerIsAnAddressOrANetworkOfIPv6(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7:1234":            "192.0.2.7",
		"[::ffff:192.0.2.7]:1234":   "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[2001:db8:1:2:ffff::1]:81": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":         "fe80::/64",
		"[2001:db8:1:3::1]:80":      "2001:db8:1:3::/64",
		"/run/gateway.sock":         "/run/gateway.sock",
	} {
		if got := sourceOf(address); got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
}
