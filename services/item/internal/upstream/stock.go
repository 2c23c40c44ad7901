// Package upstream reaches the services that item needs.
package upstream

import (
	"context"
	"log/slog"
	"time"

	"github.com/cloudwego/kitex/client/callopt"
	"github.com/maypok86/otter/v2"
	"golang.org/x/time/rate"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// cachedLevels is how many stock levels are kept in memory, at about 100 bytes each.
const cachedLevels = 100_000

// Stock asks the stock service and keeps its answers for a moment.
type Stock struct {
	client   stockservice.Client
	budget   time.Duration
	maxAge   time.Duration
	now      func() time.Time
	log      *slog.Logger
	levels   *otter.Cache[int64, level]
	warnings rate.Sometimes
}

var _ domain.Stock = (*Stock)(nil)

// level is what was available when the question was asked.
type level struct {
	available int64
	asOf      time.Time
}

// NewStock makes a Stock that waits for at most budget and answers with nothing
// older than maxAge.
func NewStock(client stockservice.Client, budget, maxAge time.Duration, now func() time.Time, log *slog.Logger) (*Stock, error) {
	levels, err := otter.New(&otter.Options[int64, level]{
		MaximumSize:      cachedLevels,
		ExpiryCalculator: otter.ExpiryWriting[int64, level](max(maxAge, time.Millisecond)),
	})
	if err != nil {
		return nil, err
	}
	return &Stock{
		client: client, budget: budget, maxAge: maxAge, now: now, log: log, levels: levels,
		warnings: rate.Sometimes{Interval: time.Second},
	}, nil
}

// Available implements domain.Stock.
func (s *Stock) Available(ctx context.Context, ids []int64) map[int64]int64 {
	start := s.now()
	available := make(map[int64]int64, len(ids))
	var unknown []int64
	for _, id := range ids {
		if l, ok := s.levels.GetIfPresent(id); ok && start.Sub(l.asOf) < s.maxAge {
			available[id] = l.available
		} else {
			unknown = append(unknown, id)
		}
	}
	if len(unknown) == 0 {
		return available
	}
	resp, err := s.client.BatchGetStock(ctx, &stock.BatchGetStockReq{ItemIds: unknown}, callopt.WithRPCTimeout(s.budget))
	if err != nil {
		s.warnings.Do(func() {
			s.log.WarnContext(ctx, "items are answered without their stock", "error", err)
		})
		return available
	}
	for _, answer := range resp.Stocks {
		id, units := answer.GetItemId(), answer.GetBalance().GetAvailable()
		available[id] = units
		s.levels.Set(id, level{available: units, asOf: start})
	}
	return available
}
