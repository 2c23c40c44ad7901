package item

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/item/internal/store"
	"github.com/kiteshop/kiteshop/services/item/internal/upstream"
)

// measureCaches reports at each collection how often what is wanted was in memory.
func measureCaches(meter metric.Meter, items *store.Store, stock *upstream.Stock) error {
	requests, err1 := meter.Int64ObservableCounter("item.cache.requests", metric.WithUnit("{request}"),
		metric.WithDescription("Items that were looked for in memory, and their stock levels."))
	unknown, err2 := meter.Int64ObservableCounter("item.stock.unknown", metric.WithUnit("{call}"),
		metric.WithDescription("Questions to stock that were not answered in time, so that items were answered without their stock."))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	label := func(cache, result string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("cache", cache), attribute.String("result", result)))
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		for cache, lookups := range map[string]func() (hits, misses int64){"item": items.Lookups, "stock": stock.Lookups} {
			hits, misses := lookups()
			to.ObserveInt64(requests, hits, label(cache, "hit"))
			to.ObserveInt64(requests, misses, label(cache, "miss"))
		}
		to.ObserveInt64(unknown, stock.Unknown())
		return nil
	}, requests, unknown)
	return err
}
