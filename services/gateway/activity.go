package gateway

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/gateway/internal/upstream"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// newActivity adds the part that sends to activity what requests have recorded.
func newActivity(cfg Config, registry *discovery.Registry, tel *telemetry.Telemetry, life *lifecycle.Service) (domain.Activity, error) {
	client, err := activityservice.NewClient("activity", transport.ClientOptions("gateway", registry)...)
	if err != nil {
		return nil, fmt.Errorf("activity client: %w", err)
	}
	records, err := tel.Meter.Int64Counter("gateway_activity_records",
		metric.WithDescription("Views and sales that were sent to activity, or dropped: the queue was full, or activity unreachable."))
	if err != nil {
		return nil, err
	}
	labels := map[string]metric.MeasurementOption{}
	for _, outcome := range []string{upstream.Sent, upstream.Full, upstream.Unreachable} {
		labels[outcome] = metric.WithAttributes(attribute.String("outcome", outcome))
	}
	activity := upstream.NewActivity(client, func(count int, outcome string) {
		records.Add(context.Background(), int64(count), labels[outcome])
	})
	if !cfg.Record {
		return silent{activity}, nil
	}
	running, stop := context.WithCancel(context.Background()) // lives as long as the service, not as a request
	life.Add(lifecycle.Part{
		Name: "activity sender",
		Serve: func() error {
			activity.Run(running.Done())
			return nil
		},
		Stop: func(context.Context) error {
			stop()
			return nil
		},
	})
	return activity, nil
}

// silent records nothing.
type silent struct{ domain.Activity }

// Viewed implements domain.Activity.
func (silent) Viewed(int64) {}

// Sold implements domain.Activity.
func (silent) Sold(int64, int64) {}
