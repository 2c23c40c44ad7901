package upstream

import (
	"context"
	"slices"

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
	// Last is what was in demand; nil: nothing is shown when activity is away.
	Last *Last[TrendsAsked, []domain.Trend]
}

// TrendsAsked is what is asked of trends.
type TrendsAsked struct {
	Kind  string
	Limit int
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
func (a *Activity) Trending(ctx context.Context, kind string, limit int) ([]domain.Trend, domain.Seen, error) {
	kinds := map[string]activity.Kind{"both": activity.Kind_BOTH, "viewed": activity.Kind_VIEWED, "bought": activity.Kind_BOUGHT}
	asked, known := kinds[kind]
	if !known {
		return nil, domain.Seen{}, fault.Invalid("kind", "must be viewed, bought or both, not %q", kind)
	}
	resp, err := a.Client.GetTrending(ctx, &activity.GetTrendingReq{Kind: asked, Limit: int32(limit)})
	if err != nil {
		err = transport.ReadFault(activityService, err)
		if last, seen, known := a.Last.instead(TrendsAsked{kind, limit}, err); known {
			return slices.Clone(last), seen, nil // the shop puts the items into it
		}
		return nil, domain.Seen{}, err
	}
	trends := make([]domain.Trend, len(resp.GetTrends()))
	for i, one := range resp.GetTrends() {
		trends[i] = domain.Trend{ItemID: one.GetItemId(), Score: one.GetScore(), Error: one.GetError(), Views: one.GetViews(), Sales: one.GetSales()}
	}
	a.Last.keep(TrendsAsked{kind, limit}, slices.Clone(trends))
	return trends, domain.Seen{}, nil
}
