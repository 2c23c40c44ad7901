package transport_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/cloudwego/kitex/pkg/rpcinfo"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
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
func watchMany(ctx context.Context, t *testing.T, client stockservice.Client, count int) (watches []stock.StockService_WatchStockServer) {
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
	return nil
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
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	start := time.Now()
	watchMany(ctx, t, client, count)
	fmt.Println("opened in", time.Since(start))
	if got := metricSum(t, server, `rpc_server_streams_open\{.*rpc_method="WatchStock".*\}`); got != count {
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
