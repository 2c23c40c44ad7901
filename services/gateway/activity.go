package gateway

import (
	"context"
	"fmt"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/gateway/internal/upstream"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// newActivity adds the part that sends to activity what requests have recorded.
func newActivity(cfg Config, registry *discovery.Registry, rules *transport.Governance, tel *telemetry.Telemetry, life *lifecycle.Service) (domain.Activity, error) {
	options, err := transport.ClientOptions("gateway", registry, rules, tel)
	if err != nil {
		return nil, err
	}
	client, err := activityservice.NewClient("activity", options...)
	if err != nil {
		return nil, fmt.Errorf("activity client: %w", err)
	}
	last, err := lastTrends(rules, tel)
	if err != nil {
		return nil, err
	}
	if !cfg.Record {
		return &upstream.Activity{Client: client, Last: last}, nil
	}
	views, err := transport.NewRecorder(tel, "gateway.activity.records", func(ctx context.Context, counts transport.Counts, options ...callopt.Option) error {
		return client.RecordView(ctx, &activity.RecordReq{Records: upstream.Records(counts)}, options...)
	})
	if err != nil {
		return nil, err
	}
	life.Add(views.Part())
	return &upstream.Activity{Client: client, Views: views, Last: last}, nil
}
