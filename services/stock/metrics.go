package stock

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
	"github.com/kiteshop/kiteshop/services/stock/internal/store"
)

// measureBatches makes what a store tells of its batches and of the calls that wait for them.
func measureBatches(tel *telemetry.Telemetry) (store.Measured, error) {
	commands := []metric.Int64HistogramOption{metric.WithUnit("{command}"), metric.WithExplicitBucketBoundaries(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)}
	size, err1 := tel.Meter.Int64Histogram("stock.batch.size", append(commands, metric.WithDescription("Commands that shared a commit."))...)
	hottest, err2 := tel.Meter.Int64Histogram("stock.batch.hottest", append(commands,
		metric.WithDescription("Commands of a batch that wanted the item that most of them wanted."))...)
	took, err3 := tel.Durations("stock.batch.duration", "Time of a batch, from its first statement to the end of its commit.")
	waited, err4 := tel.Durations("stock.queue.wait", "How long a call waited for its batch.")
	labels := telemetry.NewLabels(func(failure fault.Code) []attribute.KeyValue {
		if failure == "" {
			return nil
		}
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(string(failure))}
	})
	return store.Measured{
		Waited: func(ctx context.Context, wait time.Duration) { waited.Record(ctx, wait.Seconds()) },
		Batch: func(ctx context.Context, batch store.Batch) {
			size.Record(ctx, int64(batch.Commands))
			if batch.Hottest > 0 { // else they were about reservations alone
				hottest.Record(ctx, int64(batch.Hottest))
			}
			var failure fault.Code
			if batch.Err != nil {
				failure = fault.CodeOf(batch.Err)
			}
			took.Record(ctx, batch.Took.Seconds(), labels.Get(failure).Record...)
		},
	}, errors.Join(err1, err2, err3, err4)
}

// measureQueue reports the calls that wait for the next batch at each collection.
func measureQueue(meter metric.Meter, waiting func() int) error {
	_, err := meter.Int64ObservableGauge("stock.queue.length", metric.WithUnit("{call}"), metric.WithDescription("Calls that wait for the next batch."),
		metric.WithInt64Callback(func(_ context.Context, to metric.Int64Observer) error {
			to.Observe(int64(waiting()))
			return nil
		}))
	return err
}

// measureWatches shows the counts of the watches to the metrics.
func measureWatches(meter metric.Meter, watches *domain.Watches) error {
	watchers, err1 := meter.Int64ObservableGauge("stock.watchers", metric.WithUnit("{watcher}"), metric.WithDescription("Streams that watch the stock of an item"))
	sent, err2 := meter.Int64ObservableCounter("stock.states.sent", metric.WithUnit("{state}"), metric.WithDescription("States that watchers were sent"))
	leftOut, err3 := meter.Int64ObservableCounter("stock.states.skipped", metric.WithUnit("{state}"),
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
	answered, err1 := meter.Int64Counter("stock.counts", metric.WithUnit("{count}"), metric.WithDescription("Counts of syncs that were answered, also again"))
	refused, err2 := meter.Int64Counter("stock.counts.refused", metric.WithUnit("{count}"), metric.WithDescription("Counts of syncs that the rules forbid"))
	answered.Add(context.Background(), 0)
	refused.Add(context.Background(), 0)
	return func(ctx context.Context, results []domain.CountResult) {
		answered.Add(ctx, int64(len(results)))
		for _, result := range results {
			if result.Problem != "" {
				refused.Add(ctx, 1)
			}
		}
	}, errors.Join(err1, err2)
}
