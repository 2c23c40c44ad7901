package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	kitexclient "github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
	"github.com/kiteshop/kiteshop/services/shop"
)

// TestEveryRequestIsCountedOnceWhateverPartOfThemIsTraced counts what arrives
// by OTLP from a shop that is asked over HTTP, gRPC and Thrift.
func TestEveryRequestIsCountedOnceWhateverPartOfThemIsTraced(t *testing.T) {
	t.Parallel()
	for _, ratio := range []float64{0, 0.3, 1} {
		t.Run(fmt.Sprint(ratio), func(t *testing.T) {
			t.Parallel()
			collector := telemetrytest.Start(t)
			cfg := config(t.TempDir())
			cfg.Gateway.Telemetry.Environment, cfg.Gateway.Telemetry.SampleRatio = collector.Environment(), ratio
			t.Run("the shop", func(t *testing.T) { ask(t, open(t, cfg)) }) // its end sends what is left
			for _, c := range []struct {
				service, metric, labels string
				want                    float64
			}{
				{"gateway", "http.server.request.duration", "http.request.method=GET http.response.status_code=200 http.route=/api/v1/items/:id url.scheme=http", 50},
				{"gateway", "http.server.request.duration", "http.request.method=GET http.response.status_code=404 http.route=/api/v1/items/:id url.scheme=http", 7},
				{"gateway", "http.server.request.duration", "http.request.method=POST http.response.status_code=201 http.route=/api/v1/reservations url.scheme=http", 11},
				{"gateway", "http.server.request.duration", "http.request.method=POST http.response.status_code=409 http.route=/api/v1/reservations url.scheme=http", 3},
				{"gateway", "http.server.active_requests", "http.request.method=GET url.scheme=http", 0},
				{"gateway", "rpc.client.call.duration", "rpc.method=ItemService/GetItem rpc.response.status_code=ok rpc.system.name=kitex server.address=item", 50},
				{"gateway", "rpc.client.call.duration", "rpc.method=StockService/Reserve rpc.response.status_code=sold_out rpc.system.name=kitex server.address=stock", 3},
				{"item", "rpc.server.call.duration", "rpc.method=ItemService/GetItem rpc.response.status_code=ok rpc.system.name=kitex", 50},
				{"item", "rpc.server.call.duration", "rpc.method=ItemService/GetItem rpc.response.status_code=not_found rpc.system.name=kitex", 7},
				{"item", "rpc.server.call.duration", "rpc.method=ItemService/GetItem rpc.response.status_code=ok rpc.system.name=grpc", 20},
				{"stock", "rpc.server.call.duration", "rpc.method=StockService/Reserve rpc.response.status_code=ok rpc.system.name=kitex", 11},
				{"stock", "stock.reservations", "outcome=reserved", 10},
				{"stock", "stock.reservations", "outcome=replayed", 1},
				{"stock", "stock.reservations", "outcome=sold_out", 3},
				{"stock", "stock.reservations", "outcome=failed", 0},
				{"stock", "stock.reservation.steps", "step=commit", 1},
				{"stock", "stock.reservation.steps", "step=expire", 0},
				{"activity", "rpc.server.call.duration", "rpc.method=ActivityService/GetTrending rpc.response.status_code=ok rpc.system.name=kitex", 30},
			} {
				if got := collector.Metric(c.service, c.metric); got[c.labels] != c.want || !hasKey(got, c.labels) {
					t.Errorf("%s of %s has %v; want %v of %s", c.metric, c.service, got, c.want, c.labels)
				}
			}
		})
	}
}

func hasKey(all map[string]float64, key string) bool {
	_, ok := all[key]
	return ok
}

// ask sends 71 requests over HTTP, and one that commits, 20 over gRPC and 30 over Thrift.
func ask(t *testing.T, s running) {
	t.Helper()
	for i := range 57 {
		path, want := "/api/v1/items/1024", http.StatusOK
		if i >= 50 {
			path, want = "/api/v1/items/77", http.StatusNotFound
		}
		s.send("GET", path, "").want(t, want, nil)
	}
	var made reservation
	for i := range 14 {
		quantity, want := 1, http.StatusCreated
		if i >= 11 {
			quantity, want = 1_000_000, http.StatusConflict
		}
		key := fmt.Sprintf("Idempotency-Key: key-%d", max(i, 1)) // the first two are one
		s.send("POST", "/api/v1/reservations", fmt.Sprintf(`{"lines":[{"item_id":1024,"quantity":%d}]}`, quantity), key).want(t, want, &made)
		if i == 10 {
			s.send("POST", "/api/v1/reservations/"+made.ID+"/commit", "").want(t, http.StatusOK, nil)
		}
	}
	items, err := itemservice.NewClient("item", kitexclient.WithHostPorts(s.ItemAddr().String()), kitexclient.WithTransportProtocol(kitextransport.GRPC))
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if _, err := items.GetItem(t.Context(), &itemapi.GetItemReq{Id: 1024}); err != nil {
			t.Fatal(err)
		}
	}
	trends, err := activityservice.NewClient("activity", kitexclient.WithHostPorts(s.ActivityAddr().String()), kitexclient.WithTransportProtocol(kitextransport.Framed))
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		if _, err := trends.GetTrending(t.Context(), &activity.GetTrendingReq{}); err != nil {
			t.Fatal(err)
		}
	}
}

// metricsOf runs a shop on data while use talks to it, and then gives what
// each service shows at /metrics, in the format that has examples.
func metricsOf(t *testing.T, data string, use func(s running)) map[string]string {
	t.Helper()
	cfg := config(data)
	cfg.Gateway.Telemetry.Environment = telemetrytest.Start(t).Environment()
	cfg.Gateway.Identity = identified(t, t.TempDir(), serviceNames()...)
	cfg.Stock.ExpireEvery = 50 * time.Millisecond
	admins := adminPorts(t, &cfg)
	cfg.Gateway.Policies.File = filepath.Join(t.TempDir(), "policies.yaml")
	if err := os.WriteFile(cfg.Gateway.Policies.File, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	use(open(t, cfg))
	texts := map[string]string{}
	read := func(service string) string {
		return (client{t: t, base: "http://" + admins[service]}).send("GET", "/metrics", "", "Accept: application/openmetrics-text").body
	}
	eventually(t, "the stream has ended and the sale is told", func() bool {
		stock := read("stock")
		return strings.Contains(stock, "\nrpc_server_streams_ended_total{") && strings.Contains(stock, "\nrpc_client_call_duration_seconds_count{")
	})
	for service := range admins {
		texts[service] = read(service)
	}
	return texts
}

func adminPorts(t *testing.T, cfg *shop.Config) map[string]string {
	t.Helper()
	admins := map[string]string{}
	for service, at := range map[string]*string{
		"gateway": &cfg.Gateway.Lifecycle.Admin, "item": &cfg.Item.Lifecycle.Admin, "stock": &cfg.Stock.Lifecycle.Admin, "activity": &cfg.Activity.Lifecycle.Admin,
	} {
		*at = freePort(t)
		admins[service] = *at
	}
	return admins
}

// useAll makes every instrument measure something, in a trace that is recorded.
func useAll(t *testing.T, s running) {
	t.Helper()
	trace := traceparent(7)
	for _, path := range []string{"/api/v1/items/1024", "/api/v1/items", "/api/v1/stock/1024", "/api/v1/trending"} {
		s.send("GET", path, "", trace).want(t, http.StatusOK, nil)
	}
	s.send("POST", "/api/v1/items", `{"title":"Hat"}`, trace).want(t, http.StatusCreated, nil)
	s.send("POST", "/api/v1/reservations", `{"lines":[{"item_id":1024,"quantity":1}],"ttl_seconds":1}`, trace).want(t, http.StatusCreated, nil)
	made := s.reserve(1024, 1, trace)
	s.step(made.ID, "commit", trace)
	w := s.watch(watchPath(1024))
	w.next()
	w.close()
	eventually(t, "the reservation is expired", func() bool {
		return strings.Contains(s.send("GET", "/api/v1/reservations?state=EXPIRED", "").body, `"EXPIRED"`)
	})
}

var family = regexp.MustCompile(`(?m)^# TYPE (\S+) (\S+)$`)

// TestTheTableOfTheMetricsIsTrue compares it, both ways, with what the services show.
func TestTheTableOfTheMetricsIsTrue(t *testing.T) {
	t.Parallel()
	table, err := os.ReadFile("../internal/telemetry/README.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string][]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `[a-z].*$").FindAllString(string(table), -1) {
		columns := strings.Split(row, " | ")
		who := strings.Split(strings.Trim(columns[len(columns)-1], "| "), ", ")
		if who[0] == "all" {
			who = []string{"gateway", "item", "stock", "activity"}
		}
		for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(columns[1], -1) {
			for _, service := range who {
				documented[service] = append(documented[service], name[1])
			}
		}
	}
	texts := metricsOf(t, sqldbtest.StartPostgres(t).Database(), func(s running) { useAll(t, s) })
	for service, text := range texts {
		var shown []string
		for _, found := range family.FindAllStringSubmatch(text, -1) {
			name := found[1]
			if found[2] == "counter" {
				name += "_total" // this format leaves it out here
			}
			shown = append(shown, name)
		}
		for _, name := range shown {
			if !slices.Contains(documented[service], name) && name != "target_info" && name != "target" {
				t.Errorf("%s shows %s, which is not in the table", service, name)
			}
		}
		for _, name := range documented[service] {
			setting := []string{"go_memory_limit_bytes", "gateway_jwks_age_seconds", "gateway_tls_certificate_left_seconds"} // this shop has none
			if !slices.Contains(shown, name) && !slices.Contains(setting, name) {
				t.Errorf("%s does not show %s, which the table has", service, name)
			}
		}
	}
}

// TestEachHistogramHasAnExampleOfTheTrace leaves out what is of no request:
// the expiry, and what is told to activity.
func TestEachHistogramHasAnExampleOfTheTrace(t *testing.T) {
	t.Parallel()
	for service, text := range metricsOf(t, t.TempDir(), func(s running) { useAll(t, s) }) {
		histograms := 0
		for _, found := range family.FindAllStringSubmatch(text, -1) {
			if found[2] != "histogram" || found[1] == "stock_reservation_expiry_lag_seconds" || service+" "+found[1] == "stock rpc_client_call_duration_seconds" {
				continue
			}
			histograms++
			example := regexp.MustCompile(`(?m)^` + found[1] + `_bucket\{.*\} \d+ # \{.*trace_id="` + traceOf(7) + `".*\}`)
			if !example.MatchString(text) {
				t.Errorf("%s of %s has no example of the trace", found[1], service)
			}
		}
		if histograms == 0 {
			t.Errorf("%s has no histogram", service)
		}
	}
}

func series(text string) (count int) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			count++
		}
	}
	return count
}

// TestWhatCallersMakeUpMakesNoSeries sends 10,000 requests, or as many as
// TEST_HOSTILE says, each with a path and headers of its own.
func TestWhatCallersMakeUpMakesNoSeries(t *testing.T) {
	t.Parallel()
	const known, callers = 2_000, 8
	requests := 10_000
	if more, err := strconv.Atoi(os.Getenv("TEST_HOSTILE")); err == nil {
		requests = more
	}
	cfg := config(t.TempDir())
	cfg.Gateway.Telemetry.Environment = telemetrytest.Start(t).Environment()
	cfg.Gateway.Telemetry.SampleRatio = 0.01
	admins := adminPorts(t, &cfg)
	s := open(t, cfg)
	metrics := func(service string) string {
		return (client{t: t, base: "http://" + admins[service]}).send("GET", "/metrics", "").body
	}
	flood := func(from, to int) {
		var all sync.WaitGroup
		for caller := range callers {
			all.Go(func() { hostile(t, s.Addr().String(), from+caller, to, callers) })
		}
		all.Wait()
	}
	flood(0, known)
	before := map[string]int{}
	for service := range admins {
		before[service] = series(metrics(service))
	}
	flood(known, requests)
	for service := range admins {
		if after := series(metrics(service)); after != before[service] {
			t.Errorf("%s has %d series, and had %d", service, after, before[service])
		}
	}
	s.send("GET", "/api/v1/items/1024", "", "Baggage: "+strings.Repeat("a=b,", 15_000)).want(t, http.StatusOK, nil)
	megabyte := "Baggage: " + strings.Repeat("a=b,", 250_000)
	if got, err := s.try("GET", "/api/v1/items/1024", strings.NewReader(""), megabyte); err == nil && got.status != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a megabyte of baggage is answered with %d; want 431, or that the connection is closed", got.status)
	}
	s.send("GET", "/api/v1/items/1024", "").want(t, http.StatusOK, nil)
}

// hostile sends the requests from first on, every step-th, over one connection.
func hostile(t *testing.T, address string, first, to, step int) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	answers := bufio.NewReader(conn)
	methods := []string{"GET", "POST", "DELETE", "BREW", "OPTIONS", "PATCH", "get"}
	paths := []string{"/%d", "/api/v1/items/%d", "/api/v1/items/x%d", "/api/v1/%d/watch", "/api/item?id=%d", "/docs/%d/../.."}
	for i := first; i < to; i += step {
		method := methods[i%len(methods)]
		if i%11 == 0 {
			method = fmt.Sprintf("M%d", i)
		}
		path := fmt.Sprintf(paths[i%len(paths)], i+2000)
		fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: h%d.example\r\nUser-Agent: agent/%d\r\nTraceparent: %d-garbage\r\nBaggage: k%d=v%d\r\nX-Request-Id: r%d\r\nContent-Length: 0\r\n\r\n",
			method, path, i, i, i, i, i, i)
		answer, err := http.ReadResponse(answers, &http.Request{Method: method})
		if err != nil {
			t.Errorf("%s %s: %v", method, path, err)
			return
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		if answer.StatusCode >= http.StatusInternalServerError || answer.Close {
			t.Errorf("%s %s: %s", method, path, answer.Status)
			return
		}
	}
}

func TestMethodsThatNobodyHasMakeOneSeries(t *testing.T) {
	t.Parallel()
	const calls = 1000
	cfg := config(t.TempDir())
	admins := adminPorts(t, &cfg)
	s := open(t, cfg)
	conn, err := grpc.NewClient(s.StockAddr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	metrics := func() string {
		return (client{t: t, base: "http://" + admins["stock"]}).send("GET", "/metrics", "").body
	}
	call := func(i int) {
		method := fmt.Sprintf("/garbage%d.Service/Method%d", i, i)
		if err := conn.Invoke(t.Context(), method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	call(0)
	before := series(metrics())
	for i := range calls {
		call(i + 1)
	}
	text := metrics()
	if after := series(text); after != before {
		t.Errorf("there are %d series, and were %d", after, before)
	}
	if !regexp.MustCompile(`(?m)^rpc_server_call_duration_seconds_count\{.*rpc_method="_OTHER",rpc_response_status_code="unimplemented",rpc_system_name="grpc"\} 1001$`).MatchString(text) {
		t.Errorf("the calls are not counted:\n%s", text)
	}
}

// TestNoRequestFailsOrWaitsForTheCollector has collectors of all sorts that do not work.
func TestNoRequestFailsOrWaitsForTheCollector(t *testing.T) {
	t.Parallel()
	const requests = 300
	for name, answer := range map[string]http.HandlerFunc{
		"is down":         nil,
		"never answers":   func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"is unavailable":  func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"is overloaded":   func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTooManyRequests) },
		"knows no caller": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		"talks garbage":   func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\xff\xff\xff")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := freePort(t)
			if answer != nil {
				collector := httptest.NewServer(answer)
				t.Cleanup(collector.CloseClientConnections) // after the shop has stopped
				address = collector.Listener.Addr().String()
			}
			cfg := config(t.TempDir())
			cfg.Gateway.Telemetry.Environment = []string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + address}
			s, stop := openUntil(t, cfg)
			for range requests {
				s.send("GET", "/api/v1/items/1024", "").want(t, http.StatusOK, nil)
			}
			stop() // without an error
		})
	}
}
