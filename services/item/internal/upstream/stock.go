// Package upstream reaches the services that item needs.
package upstream

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"
	"golang.org/x/time/rate"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// cachedLevels is how many stock levels are kept in memory, at about 100 bytes each.
const cachedLevels = 100_000

// Stock asks the stock service and keeps its answers for a moment. Callers that
// want to know the same at the same time share one question.
type Stock struct {
	client   stockservice.Client
	budget   time.Duration
	log      *slog.Logger
	levels   *otter.Cache[int64, int64] // available units by item
	lookups  *stats.Counter
	unknown  atomic.Int64
	warnings rate.Sometimes
}

var _ domain.Stock = (*Stock)(nil)

// NewStock makes a Stock that waits for at most budget and keeps an answer for
// maxAge from its arrival.
func NewStock(client stockservice.Client, budget, maxAge time.Duration, log *slog.Logger) (*Stock, error) {
	lookups := stats.NewCounter()
	levels, err := otter.New(&otter.Options[int64, int64]{
		MaximumSize:      cachedLevels,
		StatsRecorder:    lookups,
		ExpiryCalculator: otter.ExpiryWriting[int64, int64](max(maxAge, time.Nanosecond)),
	})
	if err != nil {
		return nil, err
	}
	return &Stock{client: client, budget: budget, log: log, levels: levels, lookups: lookups, warnings: rate.Sometimes{Interval: time.Second}}, nil
}

// Lookups counts the levels that were looked for: those that were in memory and those that were not.
func (s *Stock) Lookups() (hits, misses int64) {
	counts := s.lookups.Snapshot()
	return int64(counts.Hits), int64(counts.Misses)
}

// Unknown counts the questions that stock did not answer in time.
func (s *Stock) Unknown() int64 { return s.unknown.Load() }

// Available implements domain.Stock.
func (s *Stock) Available(ctx context.Context, id int64) domain.Available {
	if level, known := s.levels.GetEntryQuietly(id); known { // quietly: a miss is counted below
		s.lookups.RecordHits(1)
		return domain.Available{Units: level.Value, Known: true}
	}
	units, known := s.BatchAvailable(ctx, []int64{id})[id]
	return domain.Available{Units: units, Known: known}
}

// BatchAvailable implements domain.Stock.
func (s *Stock) BatchAvailable(ctx context.Context, ids []int64) map[int64]int64 {
	available, err := s.levels.BulkGet(ctx, ids, otter.BulkLoaderFunc[int64, int64](s.ask))
	if err != nil {
		s.unknown.Add(1)
		s.warnings.Do(func() {
			s.log.WarnContext(ctx, "items are answered without their stock", "error", err)
		})
	}
	return available
}

// ask goes on when the caller that began it gives up: others wait for the answer too.
func (s *Stock) ask(ctx context.Context, ids []int64) (map[int64]int64, error) {
	req := &stock.BatchGetStockReq{ItemIds: ids}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.budget)
	defer cancel()
	resp, err := s.client.BatchGetStock(ctx, req)
	if err != nil {
		return nil, err
	}
	available := make(map[int64]int64, len(ids))
	for _, answer := range resp.Stocks {
		available[answer.GetItemId()] = answer.GetBalance().GetAvailable()
	}
	return available, nil
}
