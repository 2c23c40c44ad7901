package stock

import (
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cloudwego/kitex/pkg/streaming"
	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
	"github.com/kiteshop/kiteshop/services/stock/internal/rpc"
	"github.com/kiteshop/kiteshop/services/stock/internal/store"
)

var errCut = errors.New("the stream is cut")

// handler answers streams from a new SQLite file. metrics reads /metrics.
func handler(t *testing.T) (h *rpc.Handler, metrics func() string) {
	t.Helper()
	tel, err := telemetry.New("stock", telemetry.Config{Format: "json", Output: t.Output()})
	if err != nil {
		t.Fatal(err)
	}
	watches := domain.NewWatches()
	stocks, err := store.Open(t.Context(), sqldb.Config{Data: t.TempDir()}, store.Options{Changed: watches.Changed})
	if err != nil {
		t.Fatal(err)
	}
	synced, err := syncs(tel.Meter)
	if err := errors.Join(err, measureWatches(tel.Meter, watches)); err != nil {
		t.Fatal(err)
	}
	inventory := &domain.Inventory{Store: stocks, NewID: func() string { return uuid.Must(uuid.NewV7()).String() }}
	part := watching(watches, inventory)
	var running sync.WaitGroup
	running.Go(func() { _ = part.Serve() })
	t.Cleanup(func() {
		_ = part.Stop(context.Background())
		running.Wait()
		_ = stocks.Close()
	})
	return &rpc.Handler{Inventory: inventory, Watches: watches, Synced: synced}, func() string {
		answer := httptest.NewRecorder()
		tel.Metrics.ServeHTTP(answer, httptest.NewRequestWithContext(t.Context(), "GET", "/metrics", nil))
		return answer.Body.String()
	}
}

// batches is a caller's stream of batches, which is cut instead of the answer
// number cut. It sends the next batch when the one before was answered.
type batches struct {
	streaming.ServerStream
	send    []*stock.SyncStockReq
	cut     int
	taken   int
	answers []*stock.SyncStockResp
}

func (b *batches) Recv(context.Context) (*stock.SyncStockReq, error) {
	if b.taken != len(b.answers) {
		return nil, errors.New("a batch is taken before the one before is answered")
	}
	if b.taken == len(b.send) {
		return nil, io.EOF
	}
	b.taken++
	return b.send[b.taken-1], nil
}

func (b *batches) Send(_ context.Context, answer *stock.SyncStockResp) error {
	if b.taken == b.cut {
		return errCut
	}
	b.answers = append(b.answers, answer)
	return nil
}

// numbered is a batch that counts so many units of item 1.
func numbered(batch, onHand int64) *stock.SyncStockReq {
	return &stock.SyncStockReq{Sync: "March", Batch: batch, Counts: []*stock.StockCount{{ItemId: 1, OnHand: onHand}}, Actor: "Ann"}
}

// deltas are those of item 1, as its ledger has them.
func deltas(t *testing.T, h *rpc.Handler) (deltas []int64) {
	t.Helper()
	ledger, _, err := h.Inventory.Movements(t.Context(), 1, 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range slices.Backward(ledger) {
		deltas = append(deltas, m.Delta)
	}
	return deltas
}

func TestBatchesAreAnsweredOneByOneUntilTheCallerEnds(t *testing.T) {
	t.Parallel()
	h, metrics := handler(t)
	stream := &batches{send: []*stock.SyncStockReq{numbered(1, 5), numbered(2, 3), numbered(2, 3)}}
	if err := h.SyncStock(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	for i, want := range []*stock.SyncStockResp{
		{Batch: 1, Results: []*stock.SyncStockResult{{Delta: 5}}},
		{Batch: 2, Results: []*stock.SyncStockResult{{Delta: -2}}},
		{Batch: 2, Results: []*stock.SyncStockResult{{Delta: -2}}},
	} {
		if got := stream.answers[i]; !reflect.DeepEqual(got, want) {
			t.Errorf("answer %d is %v, want %v", i, got, want)
		}
	}
	if got := deltas(t, h); !slices.Equal(got, []int64{5, -2}) {
		t.Errorf("movements of %v, want 5 and -2", got)
	}
	if text := metrics(); !strings.Contains(text, "\nstock_counts_total{") {
		t.Errorf("the metrics have no stock_counts_total:\n%s", text)
	}
}

func TestABatchWhoseAnswerWasCutOffHasOneEffectWhenItIsSentAgain(t *testing.T) {
	t.Parallel()
	h, _ := handler(t)
	send := []*stock.SyncStockReq{numbered(1, 5), numbered(2, 3), numbered(3, 8)}
	for cut := range len(send) {
		stream := &batches{send: send[cut:], cut: 1}
		if err := h.SyncStock(t.Context(), stream); !errors.Is(err, errCut) || len(stream.answers) != 0 {
			t.Fatalf("%v and %d answers, want %v", err, len(stream.answers), errCut)
		}
	}
	stream := &batches{send: send}
	if err := h.SyncStock(t.Context(), stream); err != nil {
		t.Fatal(err)
	}
	var got []int64
	for _, answer := range stream.answers {
		got = append(got, answer.Results[0].Delta)
	}
	if want := []int64{5, -2, 5}; !slices.Equal(got, want) || !slices.Equal(deltas(t, h), want) {
		t.Errorf("answered %v, movements of %v; want %v", got, deltas(t, h), want)
	}
}

func TestABatchThatIsRefusedEndsTheStreamAndWhatWasAnsweredStays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bad  *stock.SyncStockReq
		code fault.Code
	}{
		"a bad one":                        {numbered(0, 3), fault.InvalidArgument},
		"one that came with other counts":  {numbered(1, 3), fault.KeyReused},
		"one without anything in it":       {&stock.SyncStockReq{}, fault.InvalidArgument},
		"one with more than there can be":  {numbered(2, domain.MaxQuantity+1), fault.InvalidArgument},
		"one whose count is not there":     {&stock.SyncStockReq{Sync: "March", Batch: 2, Counts: []*stock.StockCount{nil}}, fault.InvalidArgument},
		"one that counts an item two ways": {&stock.SyncStockReq{Sync: "March", Batch: 2, Counts: []*stock.StockCount{{ItemId: 1}, {ItemId: 1, OnHand: 1}}}, fault.InvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, _ := handler(t)
			stream := &batches{send: []*stock.SyncStockReq{numbered(1, 5), c.bad, numbered(3, 1)}}
			if err := h.SyncStock(t.Context(), stream); fault.CodeOf(err) != c.code || stream.taken != 2 || len(stream.answers) != 1 {
				t.Errorf("%v after %d batches and %d answers, want %s after 2 and 1", err, stream.taken, len(stream.answers), c.code)
			}
			if got := deltas(t, h); !slices.Equal(got, []int64{5}) {
				t.Errorf("movements of %v, want 5", got)
			}
		})
	}
}

// states is the stream of a watcher.
type states struct {
	streaming.ServerStream
	sent chan *stock.WatchStockResp
}

func (s *states) Send(_ context.Context, state *stock.WatchStockResp) error {
	s.sent <- state
	return nil
}

func TestAWatchSendsTheStockUntilItsContextEnds(t *testing.T) {
	t.Parallel()
	h, metrics := handler(t)
	stream := &states{sent: make(chan *stock.WatchStockResp)}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- h.WatchStock(ctx, &stock.WatchStockReq{ItemId: 1}, stream) }()
	if state := <-stream.sent; state.Cursor != 0 || state.Stock.ItemId != 1 || state.Stock.Balance.OnHand != 0 {
		t.Errorf("the first state is %v, want none of item 1", state)
	}
	if err := h.SyncStock(ctx, &batches{send: []*stock.SyncStockReq{numbered(1, 5)}}); err != nil {
		t.Fatal(err)
	}
	state := <-stream.sent
	want, err := h.GetItemStock(ctx, &stock.GetItemStockReq{ItemId: 1})
	if err != nil || state.Cursor != 1 || state.Behind || !reflect.DeepEqual(state.Stock, want.Detail) {
		t.Errorf("the second state is %v, %v; want %v", state, err, want)
	}
	text := metrics()
	for _, want := range []string{"\nstock_watchers{", "\nstock_states_sent_total{", "\nstock_states_skipped_total{"} {
		if !strings.Contains(text, want) {
			t.Errorf("the metrics have no %s:\n%s", want, text)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestAWatchOfNoItemIsRefused(t *testing.T) {
	t.Parallel()
	h, _ := handler(t)
	if err := h.WatchStock(t.Context(), &stock.WatchStockReq{}, &states{}); fault.CodeOf(err) != fault.InvalidArgument {
		t.Errorf("%v, want invalid_argument", err)
	}
}
