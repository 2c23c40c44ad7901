package stock

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

const (
	// purgeEvery is how often what is older than the retention is looked for.
	purgeEvery = time.Hour
	// minRetention is promised to callers: so long is a key remembered.
	minRetention = 24 * time.Hour
)

func (c *Config) check() error {
	switch {
	case c.ExpireEvery <= 0:
		return fmt.Errorf("expire-every is %s; it must be more than 0", c.ExpireEvery)
	case c.ReconcileEvery <= 0:
		return fmt.Errorf("reconcile-every is %s; it must be more than 0", c.ReconcileEvery)
	case c.Retention < minRetention:
		return fmt.Errorf("retention is %s; it must be at least %s", c.Retention, minRetention)
	}
	return nil
}

// audit compares the balances with what they are made of, and tells it to the
// log and to the metrics.
type audit struct {
	inventory  *domain.Inventory
	log        *slog.Logger
	drift, low metric.Int64Gauge
}

func newAudit(inventory *domain.Inventory, log *slog.Logger, meter metric.Meter) (*audit, error) {
	drift, err := meter.Int64Gauge("stock_drift", metric.WithUnit("{balance}"),
		metric.WithDescription("Numbers that are not what the ledger and the reservations add up to; must be 0"))
	if err != nil {
		return nil, err
	}
	low, err := meter.Int64Gauge("stock_below_threshold", metric.WithUnit("{item}"), metric.WithDescription("Items that are low on stock"))
	if err != nil {
		return nil, err
	}
	return &audit{inventory: inventory, log: log, drift: drift, low: low}, nil
}

func (a *audit) reconcile(ctx context.Context) error {
	result, err := a.inventory.Reconcile(ctx)
	if err != nil {
		return err
	}
	a.drift.Record(ctx, int64(len(result.Drifts)))
	a.low.Record(ctx, result.Low)
	for _, d := range result.Drifts {
		a.log.ErrorContext(ctx, "the stock is not what its records add up to",
			"item_id", d.ItemID, "location", d.Location, "field", d.Field, "recorded", d.Recorded, "counted", d.Counted)
	}
	return nil
}
