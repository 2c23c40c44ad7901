// Package rpc answers the calls of activity.thrift.
package rpc

import (
	"context"
	"fmt"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/services/activity/internal/domain"
)

// Handler implements activity.ActivityService.
type Handler struct {
	Trends *domain.Trends
	// Recorded is told how many views or sales a call had, and how many of them were dropped.
	Recorded func(ctx context.Context, kind domain.Kind, records, dropped int)
}

var _ activity.ActivityService = (*Handler)(nil)

// RecordView implements activity.ActivityService.
func (h *Handler) RecordView(ctx context.Context, req *activity.RecordReq) error {
	h.Recorded(ctx, domain.Viewed, len(req.GetRecords()), h.Trends.View(fromRecords(req.GetRecords())))
	return nil
}

// RecordSale implements activity.ActivityService.
func (h *Handler) RecordSale(ctx context.Context, req *activity.RecordReq) error {
	h.Recorded(ctx, domain.Bought, len(req.GetRecords()), h.Trends.Sell(fromRecords(req.GetRecords())))
	return nil
}

// GetTrending implements activity.ActivityService.
func (h *Handler) GetTrending(_ context.Context, req *activity.GetTrendingReq) (*activity.GetTrendingResp, error) {
	trends, err := h.Trends.Top(fromKind(req.GetKind()), int(req.GetLimit()))
	if err != nil {
		return nil, err
	}
	resp := &activity.GetTrendingResp{Trends: make([]*activity.Trend, len(trends))}
	for i, one := range trends {
		resp.Trends[i] = &activity.Trend{ItemId: one.ItemID, Score: one.Score, Error: one.Error, Views: one.Views, Sales: one.Sales}
	}
	return resp, nil
}

func fromRecords(records []*activity.Record) []domain.Record {
	out := make([]domain.Record, len(records))
	for i, r := range records {
		out[i] = domain.Record{ItemID: r.GetItemId(), Quantity: r.GetQuantity()}
		if r.IsSetAt() {
			out[i].At = time.UnixMilli(r.GetAt())
		}
	}
	return out
}

func fromKind(kind activity.Kind) domain.Kind {
	switch kind {
	case activity.Kind_KIND_UNSPECIFIED, activity.Kind_BOTH:
		return domain.Both
	case activity.Kind_VIEWED:
		return domain.Viewed
	case activity.Kind_BOUGHT:
		return domain.Bought
	default:
		return domain.Kind(fmt.Sprint(int64(kind)))
	}
}
