package upstream

import (
	"context"
	"log/slog"
	"reflect"
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
func serve(t *testing.T, handler *levels, budget time.Duration, now func() time.Time) *Stock {
	t.Helper()
	tel, err := telemetry.New("test", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := transport.NewServer("127.0.0.1:0", tel)
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
	registry, err := discovery.Open(discovery.Config{URL: "static://stock=" + server.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	client, err := stockservice.NewClient("stock", transport.ClientOptions("test", registry)...)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStock(client, budget, 200*time.Millisecond, now, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestALevelIsAskedForAgainWhenItIsTooOld(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000, 0)
	var asked [][]int64
	handler := &levels{answer: func(_ context.Context, ids []int64) (map[int64]int64, error) {
		asked = append(asked, ids)
		return map[int64]int64{1: int64(len(asked)), 2: int64(len(asked))}, nil
	}}
	s := serve(t, handler, time.Minute, func() time.Time { return now })
	for _, step := range []struct {
		later time.Duration
		ids   []int64
		want  map[int64]int64
	}{
		{0, []int64{1}, map[int64]int64{1: 1}},
		{199 * time.Millisecond, []int64{1, 2}, map[int64]int64{1: 1, 2: 2}},
		{time.Millisecond, []int64{1, 2}, map[int64]int64{1: 3, 2: 2}},
	} {
		now = now.Add(step.later)
		if got := s.Available(t.Context(), step.ids); !reflect.DeepEqual(got, step.want) {
			t.Errorf("after %s: %v, want %v", step.later, got, step.want)
		}
	}
	handler.mu.Lock()
	defer handler.mu.Unlock()
	if want := [][]int64{{1}, {2}, {1}}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
}

func TestWithoutAnAnswerInTimeAStockIsUnknownAndNotAnOldNumber(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000, 0)
	var stuck atomic.Bool
	handler := &levels{answer: func(ctx context.Context, _ []int64) (map[int64]int64, error) {
		if stuck.Load() {
			<-ctx.Done() // the budget reaches the service
			return nil, ctx.Err()
		}
		return map[int64]int64{1: 7}, nil
	}}
	s := serve(t, handler, 50*time.Millisecond, func() time.Time { return now })
	if got, want := s.Available(t.Context(), []int64{1}), (map[int64]int64{1: 7}); !reflect.DeepEqual(got, want) {
		t.Fatalf("available %v, want %v", got, want)
	}
	stuck.Store(true)
	now = now.Add(time.Second)
	if got := s.Available(t.Context(), []int64{1}); len(got) != 0 {
		t.Errorf("available %v", got)
	}
}
