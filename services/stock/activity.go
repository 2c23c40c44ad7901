package stock

import (
	"context"
	"fmt"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
	"github.com/kiteshop/kiteshop/services/stock/internal/upstream"
)

// newSales adds the part that tells activity what is sold.
func newSales(cfg Config, registry *discovery.Registry, rules *transport.Governance, tel *telemetry.Telemetry, life *lifecycle.Service) (domain.Sales, error) {
	if !cfg.Record {
		return nil, nil //nolint:nilnil // nobody is told
	}
	registry.Watch("activity")
	options, err := transport.ClientOptions("stock", registry, rules, tel)
	if err != nil {
		return nil, err
	}
	client, err := activityservice.NewClient("activity", options...)
	if err != nil {
		return nil, fmt.Errorf("activity client: %w", err)
	}
	sales, err := transport.NewRecorder(tel, "stock.activity.records", func(ctx context.Context, counts transport.Counts, options ...callopt.Option) error {
		return client.RecordSale(ctx, &activity.RecordReq{Records: upstream.Records(counts)}, options...)
	})
	if err != nil {
		return nil, err
	}
	life.Add(sales.Part())
	return &upstream.Activity{Sales: sales}, nil
}
