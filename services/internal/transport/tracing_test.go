package transport_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"
	"testing"

	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"
	"go.opentelemetry.io/otel/baggage"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func newTelemetry(t *testing.T, service string, environment []string) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(service, telemetry.Config{SampleRatio: 1, Environment: environment})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tel.Stop(context.Background()) })
	return tel
}

// serveTraced starts an item service that sends its spans to where environment says.
func serveTraced(t *testing.T, environment []string, handler items) *running {
	t.Helper()
	return serveWith(t, telemetry.Config{SampleRatio: 1, Environment: environment}, func(s *transport.Server) error {
		return itemservice.RegisterService(s, &handler)
	}, nil)
}

// settle stops a server and sends its spans.
func settle(t *testing.T, server *running) {
	t.Helper()
	if err := errors.Join(server.stop(), server.tel.Stop(context.Background())); err != nil {
		t.Error(err)
	}
}

// byKitex is a client's option that makes it speak protocol.
func byKitex(protocol kitextransport.Protocol) []client.Option {
	return []client.Option{client.WithTransportProtocol(kitextransport.PurePayload), client.WithTransportProtocol(protocol)}
}

func TestEveryCallHasItsCallersSpanAboveItOverEachProtocol(t *testing.T) {
	t.Parallel()
	const calls = 1000
	for _, c := range []struct {
		name, method string
		oneway       bool
		protocol     kitextransport.Protocol
	}{
		{"Protobuf over TTHeader", "ItemService/GetItem", false, kitextransport.TTHeaderFramed},
		{"Protobuf over gRPC", "ItemService/GetItem", false, kitextransport.GRPC},
		{"Thrift over TTHeader", "ActivityService/GetTrending", false, kitextransport.TTHeaderFramed},
		{"Thrift over TTHeader, oneway", "ActivityService/RecordView", true, kitextransport.TTHeaderFramed},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			collector := telemetrytest.Start(t)
			viewed := make(chan []*activity.Record, calls)
			server := serveWith(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()}, func(s *transport.Server) error {
				return errors.Join(itemservice.RegisterService(s, &items{get: titled("Kitex")}),
					activityservice.RegisterService(s, &trends{get: trending, viewed: viewed}))
			}, nil)
			registry := static(t, "item="+server.Addr().String()+",activity="+server.Addr().String())
			options := append(options(t, registry), byKitex(c.protocol)...)
			kitex, err1 := itemservice.NewClient("item", options...)
			thrift, err2 := activityservice.NewClient("activity", options...)
			if err := errors.Join(err1, err2); err != nil {
				t.Fatal(err)
			}
			call := map[string]func(ctx context.Context) error{
				"ItemService/GetItem": func(ctx context.Context) error {
					_, err := kitex.GetItem(ctx, &item.GetItemReq{Id: 7})
					return err
				},
				"ActivityService/GetTrending": func(ctx context.Context) error {
					_, err := thrift.GetTrending(ctx, &activity.GetTrendingReq{Limit: 7})
					return err
				},
				"ActivityService/RecordView": func(ctx context.Context) error {
					return thrift.RecordView(ctx, &activity.RecordReq{Records: []*activity.Record{{ItemId: 7, Quantity: 1}}})
				},
			}[c.method]

			tel := newTelemetry(t, "tests", collector.Environment())
			callMany(t, tel, calls, call)
			for range calls {
				if !c.oneway {
					break
				}
				<-viewed
			}
			settle(t, server)
			if err := tel.Stop(context.Background()); err != nil {
				t.Error(err)
			}
			checkChains(t, collector.Spans(), c.method, calls)
		})
	}
}

// callMany makes calls from many goroutines, each below a span of its own.
func callMany(t *testing.T, tel *telemetry.Telemetry, calls int, call func(context.Context) error) {
	t.Helper()
	turns := make(chan struct{}, calls)
	for range calls {
		turns <- struct{}{}
	}
	close(turns)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range turns {
				ctx, span := tel.Tracer.Start(context.Background(), "request")
				if err := call(ctx); err != nil {
					t.Error(err)
				}
				span.End()
			}
		})
	}
	all.Wait()
}

// checkChains wants calls traces of a request, the call in the client, and the call in the server.
func checkChains(t *testing.T, spans []telemetrytest.Span, method string, calls int) {
	t.Helper()
	byID := map[string]telemetrytest.Span{}
	for _, span := range spans {
		byID[span.ID] = span
	}
	if len(byID) != 3*calls {
		t.Errorf("%d spans arrived, want %d", len(byID), 3*calls)
	}
	chains := map[string]bool{}
	for _, span := range byID {
		if span.Service != "item" {
			continue
		}
		caller := byID[span.Parent]
		request := byID[caller.Parent]
		if span.Name != method || span.Kind.String() != "SPAN_KIND_SERVER" || caller.Name != method || caller.Kind.String() != "SPAN_KIND_CLIENT" || request.Name != "request" ||
			span.Trace != caller.Trace || span.Trace != request.Trace {
			t.Fatalf("the chain is %+v, %+v, %+v", span, caller, request)
		}
		chains[span.Trace] = true
	}
	if len(chains) != calls {
		t.Errorf("%d of %d calls are below their request", len(chains), calls)
	}
}

const (
	sentTrace = "0af7651916cd43dd8448eb211c80319c"
	sentSpan  = "b7ad6b7169203331"
)

func TestAForeignGRPCCallersTraceIsGoneOnWith(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	server := serveTraced(t, collector.Environment(), items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		return titled(trace.SpanContextFromContext(ctx).TraceState().String()+" "+baggage.FromContext(ctx).String())(ctx, id)
	}})
	for _, c := range []struct{ flags, baggage, title string }{
		{"01", "user=7", "vendor=1 user=7"},
		{"00", "user=7", "vendor=1 user=7"},
		{"01", "user=" + strings.Repeat("x", 8192), "vendor=1 "},
	} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+sentTrace+"-"+sentSpan+"-"+c.flags, "tracestate", "vendor=1", "baggage", c.baggage)
		got, err := dialGRPC(t, server.Addr()).call(ctx, "item.ItemService/GetItem", `{"id":"7"}`)
		if err != nil {
			t.Fatal(err)
		}
		if title := got["item"].(map[string]any)["title"]; title != c.title {
			t.Errorf("with flags %s the handler sees %q, want %q", c.flags, title, c.title)
		}
	}
	settle(t, server)
	spans := collector.Spans()
	if len(spans) != 2 { // not that with flags 00
		t.Fatalf("%d spans arrived, want 2", len(spans))
	}
	for _, span := range spans {
		if span.Trace != sentTrace || span.Parent != sentSpan || span.Attributes["rpc.system.name"] != "grpc" {
			t.Errorf("the span is %+v", span)
		}
	}
}

func TestAServiceThatSendsNothingPassesTheTraceOn(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	last := serveTraced(t, collector.Environment(), items{get: titled("Kitex")})
	next := dial(t, last.Addr())
	silent := serveTraced(t, nil, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		return next.GetItem(ctx, &item.GetItemReq{Id: id})
	}})
	tel := newTelemetry(t, "tests", collector.Environment())
	ctx, span := tel.Tracer.Start(t.Context(), "request")
	if _, err := dial(t, silent.Addr()).GetItem(ctx, &item.GetItemReq{Id: 7}); err != nil {
		t.Fatal(err)
	}
	span.End()
	settle(t, silent)
	settle(t, last)
	if err := tel.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkChains(t, collector.Spans(), "ItemService/GetItem", 1)
}

func TestOnlyFailuresAreErrorsOfASpan(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, status, kind string
		err                error
		failed             bool
	}{
		{"an answer", "ok", "", nil, false},
		{"nothing there", "not_found", "", fault.New(fault.NotFound, "there is no item 7"), false},
		{"sold out", "sold_out", "", fault.New(fault.SoldOut, "sold out"), false},
		{"too many", "overloaded", "overloaded", fault.New(fault.Overloaded, "later"), true},
		{"our mistake", "internal", "internal", errors.New("oops"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			collector := telemetrytest.Start(t)
			handler := items{get: titled("Kitex")}
			if c.err != nil {
				handler.get = failing(c.err)
			}
			server := serveTraced(t, collector.Environment(), handler)
			tel := newTelemetry(t, "tests", collector.Environment())
			ctx, span := tel.Tracer.Start(t.Context(), "request")
			_, _ = dial(t, server.Addr()).GetItem(ctx, &item.GetItemReq{Id: 7})
			span.End()
			settle(t, server)
			if err := tel.Stop(t.Context()); err != nil {
				t.Error(err)
			}
			calls := 0
			for _, span := range collector.Spans() {
				if span.Name == "request" {
					continue
				}
				calls++
				if span.Failed != c.failed || span.Attributes["rpc.response.status_code"] != c.status || span.Attributes["error.type"] != c.kind {
					t.Errorf("the span is %+v", span)
				}
			}
			if calls != 2 {
				t.Errorf("%d spans of the call arrived, want the client's and the server's", calls)
			}
		})
	}
}

func TestALineOfTheLogNamesTheSpanItWasWrittenIn(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	server := serveTraced(t, collector.Environment(), items{get: failing(errors.New("oops"))})
	_, _ = dial(t, server.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7})
	settle(t, server)
	spans := collector.Spans()
	lines := server.log.lines(t)
	if len(spans) != 1 || len(lines) != 1 || lines[0]["trace_id"] != spans[0].Trace || lines[0]["span_id"] != spans[0].ID {
		t.Errorf("the log is %v, the spans are %v", lines, spans)
	}
}

func TestAStreamHasItsCallersSpanAboveIt(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	handler := stocks{watch: func(ctx context.Context, req *stock.WatchStockReq, stream stock.StockService_WatchStockServer) error {
		if req.GetItemId() == 0 {
			return fault.New(fault.Unavailable, "the database is not available")
		}
		return stream.Send(ctx, &stock.WatchStockResp{Cursor: 7})
	}}
	server := serveWith(t, telemetry.Config{SampleRatio: 1, Environment: collector.Environment()}, handler.register, nil)
	client := dialStock(t, server.Addr())
	tel := newTelemetry(t, "tests", collector.Environment())
	for id := range int64(2) {
		ctx, span := tel.Tracer.Start(t.Context(), "request")
		stream, err := client.WatchStock(ctx, &stock.WatchStockReq{ItemId: id})
		for err == nil {
			_, err = stream.Recv(ctx)
		}
		if errors.Is(err, io.EOF) != (id == 1) {
			t.Errorf("item %d: %v", id, err)
		}
		span.End()
	}
	settle(t, server)
	if err := tel.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	checkChains(t, collector.Spans(), "StockService/WatchStock", 2)
	codes := map[string]bool{}
	for _, span := range collector.Spans() {
		if span.Kind.String() == "SPAN_KIND_SERVER" {
			codes[fmt.Sprintf("%s %t", span.Attributes["rpc.response.status_code"], span.Failed)] = true
		}
	}
	if want := map[string]bool{"ok false": true, "unavailable true": true}; !maps.Equal(codes, want) {
		t.Errorf("the streams ended with %v, want %v", codes, want)
	}
}
