package upstream

import (
	"context"
	"log/slog"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// levels answers BatchGetStock with what answer says.
type levels struct {
	stock.StockService
	mu     sync.Mutex // what answer uses belongs to the tests too
	answer func(ctx context.Context, ids []int64) (map[int64]int64, error)
}

func (l *levels) BatchGetStock(ctx context.Context, req *stock.BatchGetStockReq) (*stock.BatchGetStockResp, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	available, err := l.answer(ctx, req.ItemIds)
	resp := &stock.BatchGetStockResp{}
	for _, id := range req.ItemIds {
		resp.Stocks = append(resp.Stocks, &stock.Stock{ItemId: id, Balance: &stock.Balance{Available: available[id]}})
	}
	return resp, err
}

// serve runs a stock service and returns a Stock that asks it.
func serve(t *testing.T, handler *levels, budget, maxAge time.Duration) *Stock {
	t.Helper()
	tel, err := telemetry.New("test", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := transport.NewServer("127.0.0.1:0", nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	if err := stockservice.RegisterService(server, handler); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Part().Serve() }()
	t.Cleanup(func() {
		_ = server.Part().Stop(context.Background())
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	registry, err := discovery.Open(discovery.Config{URL: "static://stock=" + server.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	options, err := transport.ClientOptions("test", registry, nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	client, err := stockservice.NewClient("stock", options...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStock(client, budget, maxAge, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestOnlyWhatIsNotInMemoryIsAskedFor(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		maxAge time.Duration
		asked  [][]int64
		last   map[int64]int64
	}{
		{time.Hour, [][]int64{{1}, {2}}, map[int64]int64{1: 1, 2: 2}},
		{time.Nanosecond, [][]int64{{1}, {1, 2}, {1, 2}}, map[int64]int64{1: 3, 2: 3}},
	} {
		var asked [][]int64
		handler := &levels{answer: func(_ context.Context, ids []int64) (map[int64]int64, error) {
			slices.Sort(ids)
			asked = append(asked, ids)
			return map[int64]int64{1: int64(len(asked)), 2: int64(len(asked))}, nil
		}}
		s := serve(t, handler, time.Minute, c.maxAge)
		s.BatchAvailable(t.Context(), []int64{1})
		s.BatchAvailable(t.Context(), []int64{1, 2})
		if got := s.BatchAvailable(t.Context(), []int64{1, 2}); !reflect.DeepEqual(got, c.last) {
			t.Errorf("kept for %s: %v, want %v", c.maxAge, got, c.last)
		}
		handler.mu.Lock()
		if !reflect.DeepEqual(asked, c.asked) {
			t.Errorf("kept for %s: asked for %v, want %v", c.maxAge, asked, c.asked)
		}
		handler.mu.Unlock()
	}
}

func TestWithoutAnAnswerInTimeAStockIsUnknownAndNotAnOldNumber(t *testing.T) {
	t.Parallel()
	var stuck atomic.Bool
	handler := &levels{answer: func(ctx context.Context, _ []int64) (map[int64]int64, error) {
		if stuck.Load() {
			<-ctx.Done() // the budget reaches the service
			return nil, ctx.Err()
		}
		return map[int64]int64{1: 7}, nil
	}}
	s := serve(t, handler, time.Second, time.Nanosecond)
	if got, want := s.BatchAvailable(t.Context(), []int64{1}), (map[int64]int64{1: 7}); !reflect.DeepEqual(got, want) {
		t.Fatalf("available %v, want %v", got, want)
	}
	stuck.Store(true)
	if got := s.BatchAvailable(t.Context(), []int64{1}); len(got) != 0 {
		t.Errorf("available %v", got)
	}
	if got := s.Available(t.Context(), 1); got.Known {
		t.Errorf("available %+v", got)
	}
}
