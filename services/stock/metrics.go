package stock

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// batchSizes measures how many commands shared a commit.
func batchSizes(meter metric.Meter) (func(commands int), error) {
	batches, err := meter.Int64Histogram("stock_batch_size", metric.WithUnit("{command}"), metric.WithDescription("Commands that shared a commit"),
		metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024))
	return func(commands int) { batches.Record(context.Background(), int64(commands)) }, err
}

// measureWatches shows the counts of the watches to the metrics.
func measureWatches(meter metric.Meter, watches *domain.Watches) error {
	watchers, err1 := meter.Int64ObservableGauge("stock_watchers", metric.WithUnit("{watcher}"), metric.WithDescription("Streams that watch the stock of an item"))
	sent, err2 := meter.Int64ObservableCounter("stock_states_sent", metric.WithUnit("{state}"), metric.WithDescription("States that watchers were sent"))
	leftOut, err3 := meter.Int64ObservableCounter("stock_states_left_out", metric.WithUnit("{state}"),
		metric.WithDescription("States that came and went while a watcher was sent one before"))
	if err := errors.Join(err1, err2, err3); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		counts := watches.Counts()
		o.ObserveInt64(watchers, counts.Watchers)
		o.ObserveInt64(sent, counts.Sent)
		o.ObserveInt64(leftOut, counts.LeftOut)
		return nil
	}, watchers, sent, leftOut)
	return err
}

// syncs counts the counts that were answered, and those of them that were refused.
func syncs(meter metric.Meter) (func(ctx context.Context, results []domain.CountResult), error) {
	answered, err1 := meter.Int64Counter("stock_counts", metric.WithUnit("{count}"), metric.WithDescription("Counts of syncs that were answered, also again"))
	refused, err2 := meter.Int64Counter("stock_counts_refused", metric.WithUnit("{count}"), metric.WithDescription("Counts of syncs that the rules forbid"))
	return func(ctx context.Context, results []domain.CountResult) {
		answered.Add(ctx, int64(len(results)))
		for _, result := range results {
			if result.Problem != "" {
				refused.Add(ctx, 1)
			}
		}
	}, errors.Join(err1, err2)
}
