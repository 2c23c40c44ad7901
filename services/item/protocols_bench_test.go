package item

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
	"github.com/kiteshop/kiteshop/services/item/internal/rpc"
	"github.com/kiteshop/kiteshop/services/item/internal/store"
	"github.com/kiteshop/kiteshop/services/item/internal/upstream"
)

// callDeadline is that of every call, on each side.
const callDeadline = 3 * time.Second

const getItemPath = "/item.ItemService/GetItem"

// BenchmarkProtocols compares the CPU time of a GetItem over each protocol with
// that of one between a client and a server of grpc-go, in the client's process
// and the server's. The handler and the messages, which Kitex encodes, are the
// same on each side, so that only the way between them differs; grpc-go with
// Google's messages would cost more or less by what these do. One iteration is
// one round of each side, in turns; the figures are medians.
//
// Callers that call at the same time share one connection over gRPC, whose
// calls then share system calls; over TTHeader each has one of its own.
func BenchmarkProtocols(b *testing.B) {
	for _, callers := range []int{1, manyCallers} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { compareProtocols(b, callers) })
	}
}

func compareProtocols(b *testing.B, callers int) {
	ours, baseline, serverCPU := startServerProcess(b)
	id := createShirt(b, ours)
	sides := []struct {
		name string
		call getItem
	}{
		{"grpc-go", grpcGoClient(b, baseline)}, // both are grpc-go's: the baseline
		{"ttheader", kitexClient(b, ours)},
		{"grpc-go-client", grpcGoClient(b, ours)},
		{"kitex-grpc-client", kitexClient(b, ours, client.WithTransportProtocol(kitextransport.GRPC))},
	}
	atClient, atServer := make(map[string][]float64), make(map[string][]float64) // µs of CPU for one call
	round := func(name string, call getItem) {
		clientBefore, serverBefore := processCPU(b), serverCPU()
		callTogether(b, callers, func(ctx context.Context) error { return call(ctx, id) })
		perCall := func(used time.Duration) float64 { return used.Seconds() * 1e6 / callsPerRound }
		atClient[name] = append(atClient[name], perCall(processCPU(b)-clientBefore))
		atServer[name] = append(atServer[name], perCall(serverCPU()-serverBefore))
	}
	for range warmUp {
		for _, side := range sides {
			round(side.name, side.call)
		}
	}
	clear(atClient)
	clear(atServer)
	for b.Loop() {
		for _, side := range sides {
			round(side.name, side.call)
		}
	}
	b.ReportMetric(0, "ns/op") // the length of a round says nothing
	baselineClient, baselineServer := median(atClient["grpc-go"]), median(atServer["grpc-go"])
	b.ReportMetric(baselineClient+baselineServer, "grpc-go-µs")
	for _, side := range sides[1:] {
		mine, theirs := median(atClient[side.name]), median(atServer[side.name])
		b.ReportMetric(mine+theirs, side.name+"-µs")
		b.ReportMetric((mine+theirs)/(baselineClient+baselineServer), side.name+"-x")
		b.ReportMetric(theirs/baselineServer, side.name+"-server-x")
	}
}

// getItem is a call over one of the protocols.
type getItem func(ctx context.Context, id int64) error

// checked fails for an answer that is not the whole item.
func checked(resp *itemapi.GetItemResp, err error) error {
	if err == nil && (resp.GetItem().GetTitle() == "" || resp.GetItem().Stock == nil) {
		return errors.New("the item came without its title or its stock")
	}
	return err
}

func kitexClient(b *testing.B, address string, options ...client.Option) getItem {
	b.Helper()
	items, err := itemservice.NewClient("item", append(clientOptions(b, address), options...)...)
	must(b, err)
	return func(ctx context.Context, id int64) error {
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		defer cancel()
		return checked(items.GetItem(ctx, &itemapi.GetItemReq{Id: id}))
	}
}

func grpcGoClient(b *testing.B, address string) getItem {
	b.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodec(kitexMessages{})))
	must(b, err)
	b.Cleanup(func() { must(b, conn.Close()) })
	return func(ctx context.Context, id int64) error {
		ctx, cancel := context.WithTimeout(ctx, callDeadline)
		defer cancel()
		resp := &itemapi.GetItemResp{}
		return checked(resp, conn.Invoke(ctx, getItemPath, &itemapi.GetItemReq{Id: id}, resp))
	}
}

func createShirt(b *testing.B, address string) (id int64) {
	b.Helper()
	items, err := itemservice.NewClient("item", clientOptions(b, address)...)
	must(b, err)
	created, err := items.CreateItem(b.Context(), &itemapi.CreateItemReq{Fields: shirt()})
	must(b, err)
	return created.GetItem().GetId()
}

func clientOptions(tb testing.TB, address string) []client.Option {
	tb.Helper()
	tel, err := telemetry.New("benchmark", telemetry.Config{})
	must(tb, err)
	options, err := transport.ClientOptions("benchmark", static(tb, address), nil, tel)
	must(tb, err)
	return options
}

func static(tb testing.TB, address string) *discovery.Registry {
	tb.Helper()
	registry, err := discovery.Open(discovery.Config{URL: "static://" + address}, slog.New(slog.DiscardHandler))
	must(tb, err)
	return registry
}

// startGRPCGo runs grpc-go's server with the handler of the item service, on a
// store of its own that has the shirt. Its stock is at stockAddress.
func startGRPCGo(tb testing.TB, stockAddress string) (address string) {
	cfg := DefaultConfig()
	cfg.Store.Data = tb.TempDir()
	items, err := store.Open(tb.Context(), cfg.Store, cfg.ItemMaxAge, cfg.Now)
	must(tb, err)
	tb.Cleanup(func() { must(tb, items.Close()) })
	stocks, err := stockservice.NewClient("stock", clientOptions(tb, stockAddress)...)
	must(tb, err)
	stock, err := upstream.NewStock(stocks, time.Minute, cfg.StockMaxAge, slog.New(slog.DiscardHandler))
	must(tb, err)
	handler := &rpc.Handler{Catalogue: &domain.Catalogue{Store: items, Stock: stock, Now: cfg.Now}}
	_, err = handler.CreateItem(tb.Context(), &itemapi.CreateItemReq{Fields: shirt()})
	must(tb, err)

	server := grpc.NewServer(grpc.ForceServerCodec(kitexMessages{}))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "item.ItemService",
		Methods: []grpc.MethodDesc{{MethodName: "GetItem", Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			req := &itemapi.GetItemReq{}
			if err := decode(req); err != nil {
				return nil, err
			}
			return handler.GetItem(ctx, req)
		}}},
	}, nil)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(tb, err)
	go func() { _ = server.Serve(ln) }() // it ends when the server is stopped
	tb.Cleanup(server.Stop)
	return ln.Addr().String()
}

// kitexMessages lets grpc-go send what Kitex generates.
type kitexMessages struct{}

func (kitexMessages) Name() string { return "proto" }

func (kitexMessages) Marshal(message any) ([]byte, error) {
	m, ok := message.(interface {
		Marshal(in []byte) ([]byte, error)
	})
	if !ok {
		return nil, fmt.Errorf("%T is no message of Kitex", message)
	}
	return m.Marshal(nil)
}

func (kitexMessages) Unmarshal(bytes []byte, message any) error {
	m, ok := message.(interface{ Unmarshal(in []byte) error })
	if !ok {
		return fmt.Errorf("%T is no message of Kitex", message)
	}
	return m.Unmarshal(bytes)
}
