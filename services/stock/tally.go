package stock

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// tally counts what becomes of reservations.
type tally struct {
	asked, steps metric.Int64Counter
	late         metric.Float64Histogram
	outcomes     *telemetry.Labels[string]
	taken        *telemetry.Labels[domain.Step]
}

// What is answered to those who ask for a reservation.
const (
	reserved = "reserved"
	replayed = "replayed" // the answer of an earlier time
	soldOut  = "sold_out"
	refused  = "refused" // by another rule
	failed   = "failed"
)

func newTally(meter metric.Meter) (*tally, error) {
	var err1, err2, err3 error
	t := &tally{
		outcomes: telemetry.NewLabels(func(outcome string) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String("outcome", outcome)}
		}),
		taken: telemetry.NewLabels(func(step domain.Step) []attribute.KeyValue {
			return []attribute.KeyValue{attribute.String("step", string(step))}
		}),
	}
	t.asked, err1 = meter.Int64Counter("stock.reservations", metric.WithUnit("{reservation}"), metric.WithDescription("Answers to those who asked for a reservation."))
	t.steps, err2 = meter.Int64Counter("stock.reservation.steps", metric.WithUnit("{reservation}"), metric.WithDescription("Steps that reservations took, each once."))
	t.late, err3 = meter.Float64Histogram("stock.reservation.expiry.lag", metric.WithUnit("s"),
		metric.WithDescription("How long after its time a reservation was expired."), metric.WithExplicitBucketBoundaries(0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 900, 3600))
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	for _, outcome := range []string{reserved, replayed, soldOut, refused, failed} {
		t.asked.Add(context.Background(), 0, t.outcomes.Get(outcome).Add...)
	}
	for _, step := range []domain.Step{domain.Commit, domain.Fulfil, domain.Release, domain.Extend, domain.Expire} {
		t.steps.Add(context.Background(), 0, t.taken.Get(step).Add...)
	}
	return t, nil
}

// Asked implements domain.Tally.
func (t *tally) Asked(ctx context.Context, err error, again bool) {
	outcome := reserved
	switch code := fault.CodeOf(err); {
	case err == nil && again:
		outcome = replayed
	case err == nil:
	case code == fault.SoldOut:
		outcome = soldOut
	case code == fault.InvalidArgument, code == fault.KeyReused:
		outcome = refused
	default:
		outcome = failed
	}
	t.asked.Add(ctx, 1, t.outcomes.Get(outcome).Add...)
}

// Stepped implements domain.Tally.
func (t *tally) Stepped(ctx context.Context, step domain.Step, after domain.Reservation) {
	t.steps.Add(ctx, 1, t.taken.Get(step).Add...)
	if step == domain.Expire {
		t.late.Record(ctx, after.UpdatedAt.Sub(after.ExpiresAt).Seconds())
	}
}
