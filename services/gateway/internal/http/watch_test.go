package http

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	stdhttp "net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"
	"github.com/cloudwego/hertz/pkg/common/config"
	"github.com/cloudwego/hertz/pkg/common/hlog"
	"github.com/cloudwego/hertz/pkg/network/standard"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestMain(m *testing.M) {
	hlog.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// noKeys are those of a shop that is open to all.
type noKeys struct{ domain.Keys }

func (noKeys) Any() bool { return false }

// catalogue has items 1 to 9.
type catalogue struct{ domain.Items }

func (catalogue) Get(_ context.Context, id int64) (domain.Item, error) {
	if id > 9 {
		return domain.Item{}, fault.New(fault.NotFound, "there is no item %d", id)
	}
	return domain.Item{ID: id}, nil
}

// inventory has 3 units of every item, and tells of changes as a test says.
type inventory struct {
	domain.Stocks
	states chan domain.StockState
}

func stockOf(id, units int64) domain.Stock {
	return domain.Stock{ItemID: id, Balance: domain.Balance{OnHand: units, Available: units, Version: units}, Policy: "deny", DefaultLocation: "main"}
}

func (i inventory) told() chan domain.StockState { return i.states }

func (inventory) Get(_ context.Context, id int64) (domain.Stock, error) { return stockOf(id, 3), nil }

func (i inventory) Watch(ctx context.Context, id, _ int64, take func(domain.StockState)) error {
	take(domain.StockState{Stock: stockOf(id, 3), Cursor: 3})
	for {
		select {
		case state := <-i.states:
			take(state)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// served is the gateway's HTTP side in front of an inventory.
type served struct {
	t           *testing.T
	url         string
	client      *stdhttp.Client
	states      chan domain.StockState
	watches     *domain.Watches
	connections *Connections
	metrics     stdhttp.Handler
}

// overBoth runs a test over HTTP, and over HTTPS.
func overBoth(t *testing.T, test func(t *testing.T, s served)) {
	t.Helper()
	for scheme, secured := range map[string]bool{"http": false, "https": true} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			test(t, serve(t, secured))
		})
	}
}

func serve(t *testing.T, secured bool) served {
	t.Helper()
	return serveAccess(t, Access{Keys: noKeys{}, TLS: secured})
}

func serveAccess(t *testing.T, access Access, change ...func(*domain.Shop)) served {
	t.Helper()
	return serveShop(t, access, "edge: {concurrent: 1024}", inventory{states: make(chan domain.StockState)}, change...)
}

// serveLimited serves by rules.
func serveLimited(t *testing.T, rules string) served {
	t.Helper()
	return serveShop(t, Access{Keys: noKeys{}}, rules, inventory{states: make(chan domain.StockState)})
}

func serveShop(t *testing.T, access Access, rules string, stocks interface {
	domain.Stocks
	domain.StockWatcher
	told() chan domain.StockState
}, change ...func(*domain.Shop)) served {
	t.Helper()
	policies, err := policy.Open(policy.Config{}, []byte(rules))
	if err != nil {
		t.Fatal(err)
	}
	tel, err := telemetry.New("gateway", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := transport.Listen("http", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	connections := NewConnections(time.Second)
	example := httptest.NewTLSServer(nil) // has a certificate, and a client that trusts it
	t.Cleanup(example.Close)
	options := []config.Option{server.WithListener(ln)}
	if access.TLS {
		_ = ln.Close()
		if ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		options = []config.Option{
			server.WithListener(ListenTLS(ln, &tls.Config{Certificates: example.TLS.Certificates, MinVersion: tls.VersionTLS12})),
			server.WithTransport(standard.NewTransporter), server.WithOnAccept(connections.OnAccept),
		}
	}
	shop := &domain.Shop{Items: catalogue{}, Stocks: stocks, Watches: domain.NewWatches(stocks)}
	for _, change := range change {
		change(shop)
	}
	hertz := server.New(append(options, server.WithStreamBody(true), server.WithOnConnect(connections.OnConnect),
		server.WithSenseClientDisconnection(true), server.WithHandleMethodNotAllowed(true), server.WithMaxHeaderBytes(MaxHeaderBytes), server.WithIdleTimeout(time.Minute))...)
	if err := Register(hertz.Engine, connections, shop, access, policies, tel, func() string { return "id" }); err != nil {
		t.Fatal(err)
	}
	go connections.Watch()
	go func() { _ = hertz.Run() }()
	t.Cleanup(func() { _ = hertz.Close() })
	return served{t, access.Scheme() + "://" + ln.Addr().String(), example.Client(), stocks.told(), shop.Watches, connections, tel.Metrics}
}

// change tells all who watch item 7 how many units there are now.
func (s served) change(units int64) {
	s.states <- domain.StockState{Stock: stockOf(7, units), Cursor: units}
}

// get opens a stream; the body ends with the test.
func (s served) get(path string, header ...string) *stdhttp.Response {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	s.t.Cleanup(cancel)
	request, err := stdhttp.NewRequestWithContext(ctx, "GET", s.url+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, line := range header {
		if name, value, given := strings.Cut(line, ": "); given {
			request.Header.Set(name, value)
		}
	}
	response, err := s.client.Do(request)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// wantReaders waits until so many watch.
func (s served) wantReaders(want int) {
	s.t.Helper()
	got := -1
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if _, got = s.watches.Count(); got == want {
			return
		}
	}
	s.t.Fatalf("%d readers, want %d", got, want)
}

// block reads to the next empty line.
func block(t *testing.T, from *bufio.Reader) string {
	t.Helper()
	var lines strings.Builder
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			t.Fatalf("%v after %q", err, lines.String())
		}
		if line == "\n" {
			return lines.String()
		}
		lines.WriteString(line)
	}
}

// stateEvent is the event of so many units, with more members at its end.
func stateEvent(units int64, more string) string {
	return fmt.Sprintf("id: %d\nevent: stock\ndata: "+`{"item_id":7,"on_hand":%[1]d,"available":%[1]d,"held":0,"committed":0,"version":%[1]d,"policy":"deny",`+
		`"backorder_limit":null,"default_location":"main","low_stock_threshold":null,"locations":[]%s}`+"\n", units, more)
}

func TestAWatchIsAStreamOfStates(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		response := s.get("/api/v1/stock/7/watch")
		for name, want := range map[string]string{
			"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Request-Id": "id",
		} {
			if got := response.Header.Get(name); response.StatusCode != stdhttp.StatusOK || got != want {
				t.Errorf("status %d with %s: %s, want %s", response.StatusCode, name, got, want)
			}
		}
		body := bufio.NewReader(response.Body)
		if got := block(t, body); got != "retry: 2000\n" {
			t.Errorf("it begins with %q", got)
		}
		if got := block(t, body); got != stateEvent(3, "") {
			t.Errorf("the first event is %s, want %s", got, stateEvent(3, ""))
		}
		s.change(4)
		if got := block(t, body); got != stateEvent(4, "") {
			t.Errorf("after a change comes %s, want %s", got, stateEvent(4, ""))
		}
		s.states <- domain.StockState{Stock: stockOf(7, 9), Cursor: 9, Behind: true}
		if got, want := block(t, body), stateEvent(9, `,"behind":true`); got != want {
			t.Errorf("after states were left out comes %s, want %s", got, want)
		}
	})
}

func TestAWatchGoesOnAfterTheLastEventThatWasSeen(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		query, header string
		want          int64
	}{
		"nothing seen":          {"", "", 3},
		"an older one":          {"?cursor=2", "", 3},
		"this one":              {"?cursor=3", "", 4},
		"this one, as browsers": {"?cursor=2", "Last-Event-ID: 3", 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, false)
			body := bufio.NewReader(s.get("/api/v1/stock/7/watch"+c.query, c.header).Body)
			block(t, body)
			s.wantReaders(1)
			if c.want == 4 {
				s.change(4)
			}
			if got := block(t, body); got != stateEvent(c.want, "") {
				t.Errorf("the first event is %s, want %s", got, stateEvent(c.want, ""))
			}
		})
	}
}

func TestAWatchThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		for _, c := range []struct {
			path, header string
			status       int
			says         string
		}{
			{"/api/v1/stock/x/watch", "", 400, `item_id must be a positive integer, not \"x\"`},
			{"/api/v1/stock/7/watch?cursor=-1", "", 400, `cursor must be the id of an event, an integer from 0, not \"-1\"`},
			{"/api/v1/stock/7/watch?cursor=", "", 400, `cursor must be the id of an event, an integer from 0, not \"\"`},
			{"/api/v1/stock/7/watch?cursor=%2B1", "", 400, `cursor must be the id of an event, an integer from 0, not \"+1\"`},
			{"/api/v1/stock/7/watch?cursor=x", "Last-Event-ID: 3", 400, `cursor must be the id of an event, an integer from 0, not \"x\"`},
			{"/api/v1/stock/7/watch", "Last-Event-ID: ", 400, `Last-Event-ID must be the id of an event, an integer from 0, not \"\"`},
			{"/api/v1/stock/7/watch", "Last-Event-ID: abc", 400, `Last-Event-ID must be the id of an event, an integer from 0, not \"abc\"`},
			{"/api/v1/stock/7/watch?since=1", "", 400, `since is no parameter of this path; it takes cursor`},
			{"/api/v1/stock/10/watch", "", 404, `there is no item 10`},
		} {
			response := s.get(c.path, c.header)
			text, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != c.status || !strings.Contains(string(text), c.says) || response.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s %s: %d %s (error %v), want %d %s", c.path, c.header, response.StatusCode, text, err, c.status, c.says)
			}
		}
		s.wantReaders(0)
	})
}

func TestAWatchAnswersHEADWithoutWatching(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		response, err := s.client.Head(s.url + "/api/v1/stock/7/watch")
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != stdhttp.StatusOK || response.Header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
			t.Errorf("%s with %v", response.Status, response.Header)
		}
		s.wantReaders(0)
		gone, err := s.client.Head(s.url + "/api/v1/stock/10/watch")
		if err != nil {
			t.Fatal(err)
		}
		defer gone.Body.Close()
		if gone.StatusCode != stdhttp.StatusNotFound {
			t.Errorf("an item that does not exist: %s", gone.Status)
		}
	})
}

func TestAReaderThatGoesIsNoticedAtOnce(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		for range 3 {
			response := s.get("/api/v1/stock/7/watch")
			block(t, bufio.NewReader(response.Body))
			s.wantReaders(1)
			_ = response.Body.Close()
			went := time.Now()
			s.wantReaders(0)
			if took := time.Since(went); took > 2*time.Second { // long before a heartbeat could fail
				t.Errorf("it was noticed after %s", took)
			}
		}
	})
}

func TestStreamsEndCleanlyWhenTheGatewayStops(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		var bodies []io.Reader
		for range 50 {
			body := bufio.NewReader(s.get("/api/v1/stock/7/watch").Body)
			block(t, body)
			bodies = append(bodies, body)
		}
		s.wantReaders(50)
		stopped := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go s.connections.Drain(ctx)
		for _, body := range bodies {
			if _, err := io.Copy(io.Discard, body); err != nil { // the chunk that ends the body came
				t.Errorf("a stream ended with %v", err)
			}
		}
		s.wantReaders(0)
		if took := time.Since(stopped); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}

// dial opens a connection with little room for what is not read.
func (s served) dial() net.Conn {
	s.t.Helper()
	scheme, address, _ := strings.Cut(s.url, "://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	if err := conn.(*net.TCPConn).SetReadBuffer(4 << 10); err != nil {
		s.t.Fatal(err)
	}
	if scheme == "https" {
		return tls.Client(conn, &tls.Config{RootCAs: s.client.Transport.(*stdhttp.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
	}
	return conn
}

// raw opens a stream over such a connection.
func (s served) raw() net.Conn {
	s.t.Helper()
	conn := s.dial()
	if _, err := fmt.Fprintf(conn, "GET /api/v1/stock/7/watch HTTP/1.1\r\nHost: shop\r\n\r\n"); err != nil {
		s.t.Fatal(err)
	}
	return conn
}

func TestASlowReaderSkipsToTheLastStateAndIsToldSo(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		conn := s.raw()
		s.wantReaders(1)
		const last = 5000
		for units := int64(4); units <= last; units++ {
			s.change(units)
		}
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
			t.Fatal(err)
		}
		events, behind := 0, 0
		lines := bufio.NewScanner(conn)
		for lines.Scan() {
			line := lines.Text()
			if !strings.HasPrefix(line, "data: ") {
				continue
			}
			events++
			if strings.Contains(line, `"behind":true`) {
				behind++
			}
			if strings.Contains(line, fmt.Sprintf(`"version":%d,`, last)) {
				break
			}
		}
		if lines.Err() != nil || events >= last/2 || behind == 0 || behind > events {
			t.Errorf("%d events, %d of them behind, of %d states (error %v)", events, behind, last, lines.Err())
		}
	})
}

func TestAReaderWhoTakesNothingIsCutOff(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		conn := s.raw()
		s.wantReaders(1)
		began, changes := time.Now(), time.NewTicker(time.Millisecond)
		defer changes.Stop()
		for units := int64(4); ; units++ {
			<-changes.C
			if _, readers := s.watches.Count(); readers == 0 {
				break
			}
			select {
			case s.states <- domain.StockState{Stock: stockOf(7, units), Cursor: units}:
			case <-time.After(time.Second): // nobody watches any more
			}
			if time.Since(began) > 2*writeTimeout {
				t.Fatal("it still watches")
			}
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		if read, err := io.Copy(io.Discard, conn); read > 256<<10 || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%d bytes were kept for it (error %v)", read, err)
		}
	})
}

func TestAReaderWhoSendsMuchIsCutOff(t *testing.T) {
	t.Parallel()
	s := serve(t, false)
	conn := s.raw()
	s.wantReaders(1)
	junk, sent := make([]byte, 64<<10), 0
	var err error
	for err == nil && sent < 256<<20 {
		var n int
		n, err = conn.Write(junk)
		sent += n
	}
	if err == nil {
		t.Errorf("%d bytes were taken", sent)
	}
	s.wantReaders(0)
}

func TestACommandGoesOnWhenItsCallerHasGone(t *testing.T) {
	t.Parallel()
	gone, leave := context.WithCancel(t.Context())
	leave()
	handled := errors.New("it was not handled")
	c := app.NewContext(0)
	c.SetHandlers(app.HandlersChain{NewConnections(time.Second).handler, func(ctx context.Context, _ *app.RequestContext) { handled = ctx.Err() }})
	c.Next(gone)
	if handled != nil {
		t.Errorf("it ended with %v", handled)
	}
}

func TestAStreamIsNoSlowRequestInTheMetrics(t *testing.T) {
	t.Parallel()
	overBoth(t, func(t *testing.T, s served) {
		response := s.get("/api/v1/stock/7/watch")
		body := bufio.NewReader(response.Body)
		block(t, body)
		block(t, body)
		_ = response.Body.Close()
		s.wantReaders(0)
		s.get("/api/v1/stock/10/watch")
		s.get("/api/v1/stock/7")

		answer := httptest.NewRecorder()
		s.metrics.ServeHTTP(answer, httptest.NewRequest(stdhttp.MethodGet, "/metrics", nil))
		var counts, events []string
		for line := range strings.Lines(answer.Body.String()) {
			if strings.HasPrefix(line, "http_server_request_duration_seconds_count") {
				_, route, _ := strings.Cut(line, `http_route="`)
				counts = append(counts, strings.SplitN(route, `"`, 2)[0]+" "+line[strings.LastIndexByte(line, ' ')+1:])
			}
			if strings.HasPrefix(line, "gateway_watch_events_total") {
				_, event, _ := strings.Cut(line, `event="`)
				events = append(events, strings.SplitN(event, `"`, 2)[0]+" "+line[strings.LastIndexByte(line, ' ')+1:])
			}
		}
		if got, want := strings.Join(counts, ""), "/api/v1/stock/:item_id 1\n/api/v1/stock/:item_id/watch 1\n"; got != want {
			t.Errorf("counted %q, want %q", got, want)
		}
		if got, want := strings.Join(events, ""), "behind 0\nstock 1\nunavailable 0\n"; got != want {
			t.Errorf("events %q, want %q", got, want)
		}
	})
}
