package upstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const (
	activityService = "activity"
	// activityTimeout bounds a call to activity, which works in memory.
	activityTimeout = time.Second
	// maxWaiting is how many records may wait to be sent.
	maxWaiting = 1024
	// maxSent is how many records one call has.
	maxSent = 512
	// sendEvery is how long a record waits, unless maxSent are there before.
	// Kitex dials a connection for each oneway call, so they share calls.
	sendEvery = 100 * time.Millisecond
)

// What became of a record.
const (
	Sent        = "sent"        // to the network; that it arrived nobody says
	Full        = "full"        // dropped: maxWaiting others waited already
	Unreachable = "unreachable" // dropped: activity did not take it
)

// Activity implements domain.Activity by calls to the activity service. What
// it is told waits in memory until Run sends it.
type Activity struct {
	client  activityservice.Client
	outcome func(records int, of string)
	enough  chan struct{} // has one element when maxSent records wait

	mu           sync.Mutex
	views, sales []*activity.Record
}

var _ domain.Activity = (*Activity)(nil)

// NewActivity makes an Activity that tells outcome what became of the records.
func NewActivity(client activityservice.Client, outcome func(records int, of string)) *Activity {
	return &Activity{client: client, outcome: outcome, enough: make(chan struct{}, 1)}
}

// Viewed implements domain.Activity.
func (a *Activity) Viewed(itemID int64) { a.add(&a.views, itemID, 1) }

// Sold implements domain.Activity.
func (a *Activity) Sold(itemID, quantity int64) { a.add(&a.sales, itemID, quantity) }

func (a *Activity) add(to *[]*activity.Record, itemID, quantity int64) {
	a.mu.Lock()
	waiting := len(a.views) + len(a.sales)
	if waiting < maxWaiting {
		*to = append(*to, &activity.Record{ItemId: itemID, Quantity: quantity})
	}
	a.mu.Unlock()
	switch {
	case waiting >= maxWaiting:
		a.outcome(1, Full)
	case waiting+1 >= maxSent:
		select {
		case a.enough <- struct{}{}:
		default:
		}
	}
}

// Run sends what waits until stop is closed, and then what still waits.
func (a *Activity) Run(stop <-chan struct{}) {
	tick := time.NewTicker(sendEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.enough:
		case <-stop:
			a.send()
			return
		}
		a.send()
	}
}

func (a *Activity) send() {
	a.mu.Lock()
	views, sales := a.views, a.sales
	a.views, a.sales = nil, nil
	a.mu.Unlock()
	a.sendTo(a.client.RecordView, views)
	a.sendTo(a.client.RecordSale, sales)
}

func (a *Activity) sendTo(method func(context.Context, *activity.RecordReq, ...callopt.Option) error, records []*activity.Record) {
	for batch := range slices.Chunk(records, maxSent) {
		outcome := Sent
		// The records are of many requests, so the call belongs to none.
		if err := method(context.Background(), &activity.RecordReq{Records: batch}, callopt.WithRPCTimeout(activityTimeout)); err != nil {
			outcome = Unreachable
		}
		a.outcome(len(batch), outcome)
	}
}

// Trending implements domain.Activity.
func (a *Activity) Trending(ctx context.Context, kind string, limit int) ([]domain.Trend, error) {
	kinds := map[string]activity.Kind{"": activity.Kind_BOTH, "both": activity.Kind_BOTH, "viewed": activity.Kind_VIEWED, "bought": activity.Kind_BOUGHT}
	asked, known := kinds[kind]
	if !known {
		return nil, fault.Invalid("kind", "must be viewed, bought or both, not %q", kind)
	}
	resp, err := a.client.GetTrending(ctx, &activity.GetTrendingReq{Kind: asked, Limit: int32(limit)}, callopt.WithRPCTimeout(activityTimeout))
	if err != nil {
		return nil, transport.ReadFault(activityService, err)
	}
	trends := make([]domain.Trend, len(resp.GetTrends()))
	for i, one := range resp.GetTrends() {
		trends[i] = domain.Trend{ItemID: one.GetItemId(), Score: one.GetScore(), Error: one.GetError(), Views: one.GetViews(), Sales: one.GetSales()}
	}
	return trends, nil
}
