package upstream

import (
	"context"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const activityService = "activity"

// Activity implements domain.Activity by calls to the activity service.
type Activity struct {
	Client activityservice.Client
	// Views sends what was looked at; nil: nothing is recorded.
	Views *transport.Recorder
}

var _ domain.Activity = (*Activity)(nil)

// Viewed implements domain.Activity.
func (a *Activity) Viewed(itemID int64) {
	if a.Views != nil {
		a.Views.Add(itemID, 1)
	}
}

// Records are counts as activity takes them.
func Records(counts transport.Counts) []*activity.Record {
	records := make([]*activity.Record, 0, len(counts))
	for id, quantity := range counts {
		records = append(records, &activity.Record{ItemId: id, Quantity: quantity})
	}
	return records
}

// Trending implements domain.Activity.
func (a *Activity) Trending(ctx context.Context, kind string, limit int) ([]domain.Trend, error) {
	kinds := map[string]activity.Kind{"both": activity.Kind_BOTH, "viewed": activity.Kind_VIEWED, "bought": activity.Kind_BOUGHT}
	asked, known := kinds[kind]
	if !known {
		return nil, fault.Invalid("kind", "must be viewed, bought or both, not %q", kind)
	}
	resp, err := a.Client.GetTrending(ctx, &activity.GetTrendingReq{Kind: asked, Limit: int32(limit)})
	if err != nil {
		return nil, transport.ReadFault(activityService, err)
	}
	trends := make([]domain.Trend, len(resp.GetTrends()))
	for i, one := range resp.GetTrends() {
		trends[i] = domain.Trend{ItemID: one.GetItemId(), Score: one.GetScore(), Error: one.GetError(), Views: one.GetViews(), Sales: one.GetSales()}
	}
	return trends, nil
}
