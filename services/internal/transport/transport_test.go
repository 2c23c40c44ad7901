package transport_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// items answers two calls of the item service; the others panic.
type items struct {
	item.ItemService
	get    func(ctx context.Context, id int64) (*item.GetItemResp, error)
	create func(ctx context.Context, fields *item.ItemFields) (*item.CreateItemResp, error)
}

func (i *items) GetItem(ctx context.Context, req *item.GetItemReq) (*item.GetItemResp, error) {
	return i.get(ctx, req.GetId())
}

func (i *items) CreateItem(ctx context.Context, req *item.CreateItemReq) (*item.CreateItemResp, error) {
	return i.create(ctx, req.GetFields())
}

func titled(title string) func(context.Context, int64) (*item.GetItemResp, error) {
	return func(_ context.Context, id int64) (*item.GetItemResp, error) {
		return &item.GetItemResp{Item: &item.Item{Id: id, Title: title}}, nil
	}
}

func failing(err error) func(context.Context, int64) (*item.GetItemResp, error) {
	return func(context.Context, int64) (*item.GetItemResp, error) { return nil, err }
}

// logBuffer may be written and read at the same time.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(line []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(line)
}

func (b *logBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	var lines []map[string]any
	decoder := json.NewDecoder(bytes.NewReader(b.text.Bytes()))
	for decoder.More() {
		var line map[string]any
		if err := decoder.Decode(&line); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
	return lines
}

// running is a server that answers.
type running struct {
	*transport.Server
	tel  *telemetry.Telemetry
	log  *logBuffer
	stop func() error
}

func serve(t testing.TB, handler items) *running {
	t.Helper()
	return serveReady(t, handler, nil)
}

// serveReady starts a server whose health follows ready.
func serveReady(t testing.TB, handler items, ready func(context.Context) map[string]string) *running {
	t.Helper()
	return serveAny(t, func(s *transport.Server) error { return itemservice.RegisterService(s, &handler) }, ready)
}

// quiet is a telemetry that tells nobody.
func quiet(t testing.TB) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New("tests", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return tel
}

func serveAny(t testing.TB, register func(*transport.Server) error, ready func(context.Context) map[string]string) *running {
	t.Helper()
	return serveWith(t, telemetry.Config{}, register, ready)
}

func serveWith(t testing.TB, cfg telemetry.Config, register func(*transport.Server) error, ready func(context.Context) map[string]string) *running {
	t.Helper()
	return serveMade(t, cfg, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		return transport.NewServer("127.0.0.1:0", nil, tel)
	}, register, ready)
}

func serveMade(t testing.TB, cfg telemetry.Config, open func(*telemetry.Telemetry) (*transport.Server, error), register func(*transport.Server) error,
	ready func(context.Context) map[string]string,
) *running {
	t.Helper()
	log := &logBuffer{}
	cfg.Format, cfg.Output = "json", log
	tel, err := telemetry.New("item", cfg)
	if err != nil {
		t.Fatal(err)
	}
	server, err := open(tel)
	if err != nil {
		t.Fatal(err)
	}
	if err := register(server); err != nil {
		t.Fatal(err)
	}
	server.Describe(idl.Descriptors(), ready)
	part := server.Part()
	ended := make(chan struct{})
	go func() {
		_ = part.Serve() // of a server that is stopped it is Kitex's and means nothing
		close(ended)
	}()
	stop := sync.OnceValue(func() error {
		err := part.Stop(context.Background())
		<-ended
		return err
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("Stop: %v", err)
		}
	})
	return &running{server, tel, log, stop}
}

func static(t testing.TB, list string) *discovery.Registry {
	t.Helper()
	registry, err := discovery.Open(discovery.Config{URL: "static://" + list}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

func memory(t *testing.T) *discovery.Registry {
	t.Helper()
	registry := discovery.NewMemory()
	t.Cleanup(registry.Close)
	return registry
}

// await polls for what happens in the background.
func await(t testing.TB, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to pass")
		}
	}
}

// dial makes a client that finds the item service at address.
func dial(t testing.TB, address fmt.Stringer) itemservice.Client {
	t.Helper()
	return dialIn(t, static(t, "item="+address.String()))
}

// dialPatient is dial for calls that may take a minute.
func dialPatient(t testing.TB, address fmt.Stringer) itemservice.Client {
	t.Helper()
	items, err := itemservice.NewClient("item", append(options(t, static(t, "item="+address.String())), client.WithRPCTimeout(time.Minute))...)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func dialIn(t testing.TB, registry *discovery.Registry) itemservice.Client {
	t.Helper()
	items, err := itemservice.NewClient("item", options(t, registry)...)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

// metricSum adds up the values of the metrics that match a pattern.
func metricSum(t testing.TB, server *running, pattern string) (sum float64) {
	t.Helper()
	recorder := httptest.NewRecorder()
	server.tel.Metrics.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, line := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(recorder.Body.String(), -1) {
		value, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += value
	}
	return sum
}

// options are those of a client of the services in registry.
func options(t testing.TB, registry *discovery.Registry) []client.Option {
	t.Helper()
	options, err := transport.ClientOptions("tests", registry, nil, quiet(t))
	if err != nil {
		t.Fatal(err)
	}
	return options
}
