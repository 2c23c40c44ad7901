package transport_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cloudwego/kitex/pkg/rpcinfo"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestOneClientCallsOverTTHeaderAndStreamsOverGRPC(t *testing.T) {
	t.Parallel()
	protocols := make(chan kitextransport.Protocol, 2)
	server := serveStock(t, stocks{
		get: func(ctx context.Context, _ int64) (*stock.GetItemStockResp, error) {
			protocols <- rpcinfo.GetRPCInfo(ctx).Config().TransportProtocol()
			return &stock.GetItemStockResp{}, nil
		},
		watch: func(ctx context.Context, _ *stock.WatchStockReq, to stock.StockService_WatchStockServer) error {
			protocols <- rpcinfo.GetRPCInfo(ctx).Config().TransportProtocol()
			return to.Send(ctx, &stock.WatchStockResp{})
		},
	})
	client := dialStock(t, server.Addr())
	if _, err := client.GetItemStock(t.Context(), &stock.GetItemStockReq{}); err != nil {
		t.Fatal(err)
	}
	if got := <-protocols; got&kitextransport.TTHeader == 0 {
		t.Errorf("a call goes over %s, want TTHeader", got)
	}
	stream, err := client.WatchStock(t.Context(), &stock.WatchStockReq{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := <-protocols; got != kitextransport.GRPC {
		t.Errorf("a stream goes over %s, want gRPC", got)
	}
}

// watchMany opens so many streams at the same moment, and returns when each has its first message.
func watchMany(ctx context.Context, t *testing.T, client stockservice.Client, count int) {
	t.Helper()
	var all sync.WaitGroup
	failed := make(chan error, count)
	for range count {
		all.Go(func() {
			stream, err := client.WatchStock(ctx, &stock.WatchStockReq{})
			if err == nil {
				_, err = stream.Recv(ctx)
			}
			if err != nil {
				failed <- err
			}
		})
	}
	all.Wait()
	if len(failed) > 0 {
		t.Fatalf("%d of %d streams were not opened; the first: %v", len(failed), count, <-failed)
	}
}

func TestAThousandIdleStreamsOfOneClientHarmNoCall(t *testing.T) {
	t.Parallel()
	const count = 1000
	server := serveStock(t, stocks{
		get: func(_ context.Context, id int64) (*stock.GetItemStockResp, error) {
			return &stock.GetItemStockResp{Stock: id}, nil
		},
		watch: watchUntilTheEnd,
	})
	client := dialStock(t, server.Addr())
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	watchMany(ctx, t, client, count)
	if got := metricSum(t, server, `rpc_server_streams_open\{.*rpc_method="StockService/WatchStock".*\}`); got != count {
		t.Errorf("%v streams are open, want %d", got, count)
	}
	for id := range int64(100) {
		if got, err := client.GetItemStock(t.Context(), &stock.GetItemStockReq{ItemId: id}); err != nil || got.GetStock() != id {
			t.Fatalf("a call beside them: %v, %v", got, err)
		}
	}
	cancel()
	await(t, func() bool { return metricSum(t, server, `rpc_server_streams_open\{.*\}`) == 0 })
}

func TestStreamsGoToTheInstancesThatAcceptThem(t *testing.T) {
	t.Parallel()
	server := serveStock(t, stocks{watch: watchUntilTheEnd})
	list := "stock=" + refusing(t) + ",stock=" + server.Addr().String() + ",stock=" + refusing(t)
	client, err := stockservice.NewClient("stock", options(t, static(t, list))...)
	if err != nil {
		t.Fatal(err)
	}
	watchMany(t.Context(), t, client, 200)
}

func TestWithoutAnInstanceThatAcceptsAStreamFailsAsUnavailable(t *testing.T) {
	t.Parallel()
	client, err := stockservice.NewClient("stock", options(t, static(t, "stock="+refusing(t)))...)
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.WatchStock(t.Context(), &stock.WatchStockReq{})
	unreached := *fault.New(fault.Unavailable, "the item service cannot be reached")
	wantFaults(t, err, unreached, unreached)
}

func TestStreamsOfAServerThatStopsGoToTheOther(t *testing.T) {
	t.Parallel()
	stopped, other := serveStock(t, stocks{watch: watchUntilTheEnd}), serveStock(t, stocks{watch: watchUntilTheEnd})
	list := "stock=" + stopped.Addr().String() + ",stock=" + other.Addr().String()
	client, err := stockservice.NewClient("stock", options(t, static(t, list))...)
	if err != nil {
		t.Fatal(err)
	}
	const count = 100
	var all sync.WaitGroup
	var failed atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range count {
		all.Go(func() {
			for ctx.Err() == nil {
				stream, err := client.WatchStock(ctx, &stock.WatchStockReq{})
				for err == nil {
					_, err = stream.Recv(ctx)
				}
				if ctx.Err() == nil && fault.CodeOf(transport.ReadFault("stock", err)) != fault.Unavailable {
					failed.Add(1)
				}
			}
		})
	}
	open := func(server *running) float64 { return metricSum(t, server, `rpc_server_streams_open\{.*\}`) }
	await(t, func() bool { return open(stopped) > 0 && open(stopped)+open(other) == count })
	if err := stopped.stop(); err != nil {
		t.Error(err)
	}
	await(t, func() bool { return open(other) == count })
	cancel()
	all.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d streams ended with something else than unavailable", failed.Load())
	}
}

func TestAStreamIsOpenedAgainWhenTheServerIsBack(t *testing.T) {
	t.Parallel()
	first := serveStock(t, stocks{watch: watchUntilTheEnd})
	client := dialStock(t, first.Addr())
	watchMany(t.Context(), t, client, 40)
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}
	handler := stocks{watch: watchUntilTheEnd}
	serveMade(t, telemetry.Config{}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
		return transport.NewServer(first.Addr().String(), nil, tel)
	}, handler.register, nil)
	watchMany(t.Context(), t, client, 40)
}

func TestAMessageThatIsTooLargeForAStreamHasAKnownOutcome(t *testing.T) {
	t.Parallel()
	client := dialStock(t, serveStock(t, stocks{sync: echo}).Addr())
	stream, err := client.SyncStock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(t.Context(), &stock.SyncStockReq{Actor: strings.Repeat("x", transport.MaxMessageBytes)}); err != nil {
		t.Fatal(err)
	}
	_, err = stream.Recv(t.Context())
	internal := *fault.New(fault.Internal, "an internal error")
	wantFaults(t, err, internal, internal)
}

func TestAStreamWhoseServerHasFallenSilentEnds(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("it takes the 30 s that a client waits for a sign of life")
	}
	server := serveStock(t, stocks{watch: watchUntilTheEnd})
	proxy, silence := silencing(t, server.Addr())
	stream, err := dialStock(t, proxy).WatchStock(t.Context(), &stock.WatchStockReq{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(t.Context()); err != nil {
		t.Fatal(err)
	}
	silence()
	start := time.Now()
	_, err = stream.Recv(t.Context())
	if got := fault.CodeOf(transport.ReadFault("stock", err)); got != fault.Unavailable || time.Since(start) > patience {
		t.Errorf("after %s the stream ended as %s: %v", time.Since(start), got, err)
	}
}

// silencing is a proxy that can be told to keep its connections and to forward nothing more.
func silencing(t *testing.T, to net.Addr) (at net.Addr, silence func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	var silent atomic.Bool
	forward := func(from, to net.Conn) {
		bytes := make([]byte, 64<<10)
		for {
			n, err := from.Read(bytes)
			if err != nil {
				return
			}
			if !silent.Load() {
				_, _ = to.Write(bytes[:n])
			}
		}
	}
	go func() {
		for {
			client, err := ln.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", to.String())
			if err != nil {
				return
			}
			t.Cleanup(func() { _, _ = client.Close(), server.Close() })
			go forward(client, server)
			go forward(server, client)
		}
	}()
	return ln.Addr(), func() { silent.Store(true) }
}
