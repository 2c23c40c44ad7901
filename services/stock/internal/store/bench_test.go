package store

import (
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// BenchmarkReserve reserves one unit of one hot item a call, durably. "alone"
// gives each call a commit of its own, as the naive form does.
func BenchmarkReserve(b *testing.B) {
	for _, callers := range []int{1, 64, 512} {
		for _, alone := range []bool{true, false} {
			name := fmt.Sprintf("%d callers", callers)
			if alone {
				name += " alone"
			}
			b.Run(name, func(b *testing.B) { benchmarkReserve(b, callers, alone) })
		}
	}
}

func benchmarkReserve(b *testing.B, callers int, alone bool) {
	ctx, now := b.Context(), time.Now()
	store, err := Open(ctx, filepath.Join(b.TempDir(), "stock.db"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = store.Close() })
	if _, err := store.Adjust(ctx, domain.Adjustment{ItemID: 1, Delta: domain.MaxQuantity, Reason: domain.Received, Location: "main"}, now); err != nil {
		b.Fatal(err)
	}
	var made atomic.Int64
	var turn sync.Mutex
	var all sync.WaitGroup
	b.ResetTimer()
	for range callers {
		all.Go(func() {
			for made.Add(1) <= int64(b.N) {
				id := uuid.Must(uuid.NewV7()).String()
				if alone {
					turn.Lock()
				}
				_, err := store.Reserve(ctx, domain.Reserve{
					ID: id, Key: id, TTL: time.Hour, Lines: []domain.Line{{ItemID: 1, Quantity: 1, Location: "main"}},
				}, now)
				if alone {
					turn.Unlock()
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	all.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reservations/s")
}
