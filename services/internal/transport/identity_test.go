package transport_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// guardedPolicies have no line for ItemService/CreateItem.
const guardedPolicies = `
edge: {concurrent: 1}
methods:
  ItemService/GetItem:         {effect: read, budget: 1s, attempts: 1, concurrent: 100, callers: [gateway, operator]}
  ItemService/ListItems:       {effect: read, budget: 1s, attempts: 1, concurrent: 100, callers: ["*"]}
  ActivityService/GetTrending: {effect: read, budget: 1s, attempts: 1, concurrent: 100, callers: [gateway]}
  ActivityService/RecordView:  {effect: once, budget: 1s, attempts: 1, concurrent: 100, callers: [gateway]}
  StockService/WatchStock:     {effect: stream, callers: [gateway]}
`

// makeKeys writes a key and a certificate for each service, and gives where they are.
func makeKeys(t testing.TB, services ...string) identity.Config {
	t.Helper()
	dir := t.TempDir()
	for _, service := range services {
		key, certificate, err := identity.Make(service, time.Now(), 1)
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, service+".key"), key, 0o600), os.WriteFile(filepath.Join(dir, service+".crt"), certificate, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return identity.Config{Key: dir, Trust: dir, Required: true}
}

// keyed are the rules of a service with a key.
func keyed(t testing.TB, name string, keys identity.Config, tel *telemetry.Telemetry) (*transport.Governance, *lifecycle.Service) {
	t.Helper()
	life, err := lifecycle.New(tel.Log, lifecycle.Config{Admin: "127.0.0.1:0", Debug: "127.0.0.1:0", StopTimeout: time.Minute}, tel.Metrics)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = life.Close() })
	rules, err := transport.Govern(policy.Config{}, []byte(guardedPolicies), tel, life)
	if err != nil {
		t.Fatal(err)
	}
	if err := rules.Identify(name, keys, tel); err != nil {
		t.Fatal(err)
	}
	return rules, life
}

// guarded is a server of the name item with three services, and who reached their handlers.
type guarded struct {
	*running
	life    *lifecycle.Service
	reached atomic.Int64
	viewed  chan []*activity.Record
}

func serveGuarded(t testing.TB, keys identity.Config, environment ...string) *guarded {
	t.Helper()
	g := &guarded{viewed: make(chan []*activity.Record, 1)}
	handlers := items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		g.reached.Add(1)
		return titled("Kitex")(ctx, id)
	}}
	g.running = serveMade(t, telemetry.Config{SampleRatio: 1, Environment: environment}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		rules, life := keyed(t, "item", keys, tel)
		g.life = life
		return transport.NewServer("127.0.0.1:0", rules, tel)
	}, func(s *transport.Server) error {
		return errors.Join(
			itemservice.RegisterService(s, &openItems{handlers}),
			activityservice.RegisterService(s, &trends{get: trending, viewed: g.viewed}),
			stockservice.RegisterService(s, &stocks{watch: func(ctx context.Context, _ *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
				g.reached.Add(1)
				return to.Send(ctx, &stock.WatchStockResp{})
			}}))
	}, nil)
	return g
}

// openItems answers a call that is for everybody, too.
type openItems struct{ items }

func (*openItems) ListItems(context.Context, *item.ListItemsReq) (*item.ListItemsResp, error) {
	return &item.ListItemsResp{}, nil
}

// as are the options of a client of the service called name; without keys it says nothing of itself.
func (g *guarded) as(t testing.TB, name string, keys identity.Config, more ...client.Option) []client.Option {
	t.Helper()
	tel := quiet(t)
	rules, _ := keyed(t, name, keys, tel)
	options, err := transport.ClientOptions(name, static(t, "item="+g.Addr().String()), rules, tel)
	if err != nil {
		t.Fatal(err)
	}
	return append(options, more...)
}

// callers call GetItem, GetTrending and WatchStock, over one protocol each.
func (g *guarded) callers(t testing.TB, name string, keys identity.Config) map[string]func(ctx context.Context) error {
	t.Helper()
	overGRPC := g.as(t, name, keys, byKitex(kitextransport.GRPC)...)
	ttheader := g.as(t, name, keys)
	items, err1 := itemservice.NewClient("item", ttheader...)
	grpcItems, err2 := itemservice.NewClient("item", overGRPC...)
	trends, err3 := activityservice.NewClient("item", ttheader...)
	stocks, err4 := stockservice.NewClient("item", ttheader...)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return map[string]func(ctx context.Context) error{
		"Protobuf over TTHeader": func(ctx context.Context) error {
			_, err := items.GetItem(ctx, &item.GetItemReq{Id: 7})
			return err
		},
		"Protobuf over gRPC": func(ctx context.Context) error {
			_, err := grpcItems.GetItem(ctx, &item.GetItemReq{Id: 7})
			return err
		},
		"Thrift over TTHeader": func(ctx context.Context) error {
			_, err := trends.GetTrending(ctx, &activity.GetTrendingReq{Limit: 7})
			return err
		},
		"a stream": func(ctx context.Context) error {
			stream, err := stocks.WatchStock(ctx, &stock.WatchStockReq{})
			if err != nil {
				return err
			}
			_, err = stream.Recv(ctx)
			return err
		},
	}
}

func methodOver(protocol string) string {
	switch protocol {
	case "Thrift over TTHeader":
		return "ActivityService/GetTrending"
	case "a stream":
		return "StockService/WatchStock"
	default:
		return "ItemService/GetItem"
	}
}

func TestAMethodAnswersTheServicesOfItsPolicyAlone(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item", "stock")
	g := serveGuarded(t, keys)
	for name, call := range g.callers(t, "gateway", keys) {
		for range 3 {
			if err := call(t.Context()); err != nil {
				t.Errorf("gateway, %s: %v", name, err)
			}
		}
	}
	reached := g.reached.Load()
	for name, call := range g.callers(t, "stock", keys) {
		err := transport.ReadFault("item", call(t.Context()))
		if fault.CodeOf(err) != fault.Internal || !strings.Contains(err.Error(), "the item service does not take the call: permission_denied: stock may not call "+methodOver(name)+"; gateway") {
			t.Errorf("stock, %s: %v", name, err)
		}
	}
	for name, call := range g.callers(t, "gateway", identity.Config{}) {
		err := transport.ReadFault("item", call(t.Context()))
		if want := "unauthenticated: " + methodOver(name) + " needs the token of a service, and the call has none"; fault.CodeOf(err) != fault.Internal || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("without a token, %s: %v", name, err)
		}
	}
	for name, call := range g.callers(t, "gateway", makeKeys(t, "gateway")) {
		err := transport.WriteFault("item", call(t.Context()))
		if want := "unauthenticated: " + methodOver(name) + " needs the token of a service: the token is signed by a key that is not trusted here"; !strings.HasSuffix(err.Error(), want) {
			t.Errorf("with the keys of another shop, %s: %v", name, err)
		}
	}
	if got := g.reached.Load(); got != reached {
		t.Errorf("%d calls that were refused have reached a handler", got-reached)
	}
	for reason, want := range map[string]float64{"not_allowed": 4, "missing": 4, "unknown_key": 4} {
		if got := metricSum(t, g.running, `rpc_server_denied_total\{.*reason="`+reason+`".*\}`); got != want {
			t.Errorf("%v were denied as %s, want %v", got, reason, want)
		}
	}
}

func TestACallThatIsDeniedIsInTheLogWithItsCallersNameAndAddress(t *testing.T) {
	t.Parallel()
	g := serveGuarded(t, makeKeys(t, "item"))
	_ = g.callers(t, "gateway", identity.Config{})["Protobuf over TTHeader"](t.Context())
	for _, line := range g.log.lines(t) {
		if line["msg"] == "call denied" {
			address, _ := line["address"].(string)
			if line["caller"] != "gateway" || line["reason"] != "missing" || line["method"] != "ItemService/GetItem" || !strings.HasPrefix(address, "127.0.0.1:") {
				t.Errorf("it says %v", line)
			}
			return
		}
	}
	t.Errorf("it is not in %v", g.log.lines(t))
}

func TestACallThatIsDeniedIsMeasuredAndHasASpanWithItsCode(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	keys := makeKeys(t, "item", "stock")
	g := serveGuarded(t, keys, collector.Environment()...)
	if err := g.callers(t, "stock", keys)["Protobuf over TTHeader"](t.Context()); err == nil {
		t.Fatal("it is answered")
	}
	if got := metricSum(t, g.running, `rpc_server_call_duration_seconds_count\{.*rpc_response_status_code="permission_denied".*\}`); got != 1 {
		t.Errorf("%v are measured", got)
	}
	settle(t, g.running)
	for _, span := range collector.Spans() {
		if span.Name == "ItemService/GetItem" && span.Attributes["rpc.response.status_code"] == "permission_denied" {
			return
		}
	}
	t.Errorf("there is no such span among %v", collector.Spans())
}

// TestNoTokenButATrueOneIsTaken sends what a caller may make up, over each protocol.
func TestNoTokenButATrueOneIsTaken(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item", "stock")
	g := serveGuarded(t, keys)
	gateway, err := identity.Open("gateway", keys, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	good, err1 := gateway.Bearer("item")
	elsewhere, err2 := gateway.Bearer("stock")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	callers, foreign := g.callers(t, "gateway", identity.Config{}), dialGRPC(t, g.Addr())
	for _, c := range []struct {
		name, token string
		taken       bool
	}{
		{"the true one", good, true},
		{"one for another service", elsewhere, false},
		{"nothing", "", false},
		{"garbage", "Bearer \x01\u00fc.{}.%00", false},
		{"60 KB", "Bearer " + strings.Repeat("a", 60_000), false},
		{"a changed one", good[:len(good)-6] + "AAAAAA", false},
		{"alg none", "Bearer eyJhbGciOiJub25lIn0." + strings.Split(good, ".")[1] + ".", false},
		{"two in one", good + "," + good, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, name := range []string{"Protobuf over TTHeader", "Thrift over TTHeader"} {
				err := callers[name](metainfo.WithValue(t.Context(), "authorization", c.token))
				if (err == nil) != c.taken || err != nil && !strings.Contains(err.Error(), "needs the token of a service") {
					t.Errorf("%s: %v", name, err)
				}
			}
			if strings.Contains(c.token, "\x01") {
				return // no header of HTTP/2 has that
			}
			_, err := foreign.call(metadata.AppendToOutgoingContext(t.Context(), "authorization", c.token), getItem, `{"id":7}`)
			if code := status.Code(err); c.taken && err != nil || !c.taken && code != codes.Unauthenticated {
				t.Errorf("gRPC: %v", err)
			}
		})
	}
}

func TestAGRPCCallWithTwoTokensIsRefused(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item")
	g := serveGuarded(t, keys)
	gateway, err := identity.Open("gateway", keys, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	good, err := gateway.Bearer("item")
	if err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", good, "authorization", good)
	_, err = dialGRPC(t, g.Addr()).call(ctx, getItem, `{"id":7}`)
	if got := status.Convert(err); got.Code() != codes.Unauthenticated || got.Message() != "ItemService/GetItem needs the token of a service, and the call has several; one is allowed" {
		t.Errorf("it is answered with %v", err)
	}
}

func TestAForeignGRPCClientStreamsWithAToken(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item")
	g := serveGuarded(t, keys)
	gateway, err := identity.Open("gateway", keys, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	good, err := gateway.Bearer("item")
	if err != nil {
		t.Fatal(err)
	}
	f := dialGRPC(t, g.Addr())
	if _, err := f.watch(t.Context(), `{}`).numbers("cursor"); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	got, err := f.watch(metadata.AppendToOutgoingContext(t.Context(), "authorization", good), `{}`).numbers("cursor")
	if len(got) != 1 || !errors.Is(err, io.EOF) {
		t.Errorf("with a token: %v, %v", got, err)
	}
	if got := metricSum(t, g.running, `rpc_server_streams_ended_total\{.*rpc_response_status_code="unauthenticated".*\}`); got != 1 {
		t.Errorf("%v streams have ended so", got)
	}
}

func TestFramedAndBufferedThriftAreRefusedWithTheReason(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item")
	g := serveGuarded(t, keys)
	for _, framed := range []bool{true, false} {
		_, err := dialThrift(t, g.running, framed).Call(t.Context(), "GetTrending", thriftArgs{limit: 7}, &thriftText{})
		const want = "unauthenticated: ActivityService/GetTrending needs the token of a service, which framed and buffered Thrift cannot carry; call over TTHeader"
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("framed %t: %v", framed, err)
		}
	}
}

func TestAOnewayCallOfAStrangerIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item", "stock")
	g := serveGuarded(t, keys)
	record := func(name string, keys identity.Config, quantity int64) {
		t.Helper()
		trends, err := activityservice.NewClient("item", g.as(t, name, keys)...)
		if err != nil {
			t.Fatal(err)
		}
		if err := trends.RecordView(t.Context(), &activity.RecordReq{Records: []*activity.Record{{ItemId: 7, Quantity: quantity}}}); err != nil {
			t.Fatal(err)
		}
	}
	foreign := dialThrift(t, g.running, true)
	if _, err := foreign.Call(t.Context(), "RecordView", thriftArgs{item: 7, quantity: 1}, nil); err != nil {
		t.Fatal(err)
	}
	record("gateway", identity.Config{}, 2)
	record("stock", keys, 3)
	await(t, func() bool {
		return metricSum(t, g.running, `rpc_server_denied_total\{.*rpc_method="ActivityService/RecordView".*\}`) == 3
	})
	record("gateway", keys, 4)
	if got := <-g.viewed; len(got) != 1 || got[0].GetQuantity() != 4 {
		t.Errorf("what arrived first is %v", got)
	}
}

func TestWhatIsOpenAsksNobody(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item")
	g := serveGuarded(t, keys)
	items, err := itemservice.NewClient("item", g.as(t, "anybody", identity.Config{})...)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := items.ListItems(t.Context(), &item.ListItemsReq{}); err != nil {
		t.Errorf("a method for everybody: %v", err)
	}
	if _, err := items.ListItems(metainfo.WithValue(t.Context(), "authorization", "Bearer garbage"), &item.ListItemsReq{}); err != nil {
		t.Errorf("a method for everybody, with garbage: %v", err)
	}
	f := dialGRPC(t, g.Addr())
	if health, err := healthpb.NewHealthClient(f.conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || health.GetStatus() != healthpb.HealthCheckResponse_SERVING {
		t.Errorf("the health: %v, %v", health, err)
	}
	f.method(getItem) // as reflection tells it
}

func TestAMethodWithoutAPolicyIsForNobody(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item")
	g := serveGuarded(t, keys)
	items, err := itemservice.NewClient("item", g.as(t, "gateway", keys)...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = items.CreateItem(t.Context(), &item.CreateItemReq{})
	if err = transport.WriteFault("item", err); err == nil || !strings.HasSuffix(err.Error(), "permission_denied: gateway may not call ItemService/CreateItem; nobody may") {
		t.Errorf("it is answered with %v", err)
	}
}

func TestWhereTokensAreNotRequiredOneThatIsThereMustBeTrue(t *testing.T) {
	t.Parallel()
	keys := makeKeys(t, "gateway", "item", "stock")
	lenient := keys
	lenient.Required = false
	g := serveGuarded(t, lenient)
	for name, call := range g.callers(t, "gateway", identity.Config{}) {
		if err := call(t.Context()); err != nil {
			t.Errorf("without a token, %s: %v", name, err)
		}
	}
	if _, err := dialThrift(t, g.running, true).Call(t.Context(), "GetTrending", thriftArgs{limit: 7}, &thriftText{}); err != nil {
		t.Errorf("framed Thrift: %v", err)
	}
	if got := metricSum(t, g.running, `rpc_server_unidentified_total\{.*\}`); got != 5 {
		t.Errorf("%v are counted, want 5", got)
	}
	for name, call := range g.callers(t, "stock", keys) {
		if err := call(t.Context()); err == nil {
			t.Errorf("stock, which may not, %s: it is answered", name)
		}
	}
	for name, call := range g.callers(t, "gateway", makeKeys(t, "gateway")) {
		if err := call(t.Context()); err == nil {
			t.Errorf("with the keys of another shop, %s: it is answered", name)
		}
	}
}

// TestKeysAreReadAgainWhileTheServerAnswers changes the key of a caller in the
// three steps of the README, and then puts a wrong file in place.
func TestKeysAreReadAgainWhileTheServerAnswers(t *testing.T) {
	t.Parallel()
	keys, before := makeKeys(t, "gateway", "item"), ""
	g := serveGuarded(t, keys)
	running, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- g.life.Run(running) }()
	defer func() { stop(); <-ended }()
	reloads := func(outcome string) float64 {
		return metricSum(t, g.running, `files_reloads_total\{file="identity",.*outcome="`+outcome+`".*\}`)
	}
	next := makeKeys(t, "gateway", "item")
	call := g.callers(t, "gateway", identity.Config{Key: next.Key, Trust: next.Trust})["Protobuf over TTHeader"]
	if err := call(t.Context()); err == nil {
		t.Fatal("a key that is not trusted is taken")
	}
	certificate, err1 := os.ReadFile(filepath.Join(next.Trust, "gateway.crt"))
	own, err2 := os.ReadFile(filepath.Join(keys.Trust, "item.crt"))
	if err := errors.Join(err1, err2, os.WriteFile(filepath.Join(keys.Trust, "gateway-next.crt"), certificate, 0o600)); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return reloads("applied") == 1 })
	if err := call(t.Context()); err != nil {
		t.Errorf("its certificate is there: %v", err)
	}

	if err := os.WriteFile(filepath.Join(keys.Trust, "item.crt"), []byte("hunter2"), 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return reloads("refused") == 1 })
	if wrong := metricSum(t, g.running, `files_wrong\{file="identity".*\}`); wrong != 1 {
		t.Errorf("while a file is wrong the metric is %v", wrong)
	}
	if err := call(t.Context()); err != nil {
		t.Errorf("while a file is wrong: %v", err)
	}
	for _, line := range g.log.lines(t) {
		if line["msg"] == "a file is refused, what was read before it still holds" {
			before, _ = line["error"].(string)
		}
	}
	if !strings.HasSuffix(before, "item.crt: it holds no block CERTIFICATE") {
		t.Errorf("the log says %q", before)
	}
	if err := os.WriteFile(filepath.Join(keys.Trust, "item.crt"), own, 0o600); err != nil {
		t.Fatal(err)
	}
	await(t, func() bool { return metricSum(t, g.running, `files_wrong\{file="identity".*\}`) == 0 })
	for _, service := range []string{"gateway", "item"} {
		if left := metricSum(t, g.running, `identity_certificate_left_seconds\{.*service="`+service+`".*\}`); left <= 0 || left > 24*60*60 {
			t.Errorf("the certificate of %s ends in %v s", service, left)
		}
	}
}
