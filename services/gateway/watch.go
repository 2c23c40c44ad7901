package gateway

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// measureWatches reports what is watched at each collection.
func measureWatches(watches *domain.Watches, tel *telemetry.Telemetry) error {
	items, err1 := tel.Meter.Int64ObservableGauge("gateway.watch.items", metric.WithUnit("{item}"), metric.WithDescription("Items that are watched, each over one stream from stock."))
	readers, err2 := tel.Meter.Int64ObservableGauge("gateway.watch.readers", metric.WithUnit("{reader}"), metric.WithDescription("Open streams to those who watch the stock of an item."))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	_, err := tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		watched, watching := watches.Count()
		to.ObserveInt64(items, int64(watched))
		to.ObserveInt64(readers, int64(watching))
		return nil
	}, items, readers)
	return err
}
