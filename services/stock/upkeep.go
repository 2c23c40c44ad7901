package stock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
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

// addUpkeep adds the work in the background.
func addUpkeep(life *lifecycle.Service, cfg Config, inventory *domain.Inventory, tel *telemetry.Telemetry) error {
	audit, err1 := newAudit(inventory, tel.Log, tel.Meter)
	ages, err2 := newAges(tel.Meter)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	add := func(task string, every time.Duration, work func(context.Context) error) {
		life.Add(lifecycle.Periodic(task, every, tel.Log, ages.of(task, work)))
	}
	add("expiry", cfg.ExpireEvery, inventory.Expire)
	add("reconciliation", cfg.ReconcileEvery, audit.reconcile)
	add("retention", purgeEvery, func(ctx context.Context) error { return inventory.Purge(ctx, cfg.Retention) })
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
	drift, err := meter.Int64Gauge("stock.ledger.drift", metric.WithUnit("{number}"),
		metric.WithDescription("Numbers that are not what the ledger and the reservations add up to; must be 0"))
	if err != nil {
		return nil, err
	}
	low, err := meter.Int64Gauge("stock.items.below_threshold", metric.WithUnit("{item}"), metric.WithDescription("Items that are low on stock"))
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

// ages knows when the work in the background last succeeded.
type ages struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func newAges(meter metric.Meter) (*ages, error) {
	a := &ages{last: map[string]time.Time{}}
	_, err := meter.Float64ObservableGauge("stock.upkeep.age", metric.WithUnit("s"), metric.WithDescription("Time since the work last succeeded, or since the start."),
		metric.WithFloat64Callback(func(_ context.Context, to metric.Float64Observer) error {
			a.mu.Lock()
			defer a.mu.Unlock()
			for task, last := range a.last {
				to.Observe(time.Since(last).Seconds(), metric.WithAttributes(attribute.String("task", task)))
			}
			return nil
		}))
	return a, err
}

// of makes work that is noted as task when it succeeds.
func (a *ages) of(task string, work func(context.Context) error) func(context.Context) error {
	note := func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last[task] = time.Now()
	}
	note()
	return func(ctx context.Context) error {
		err := work(ctx)
		if err == nil {
			note()
		}
		return err
	}
}
