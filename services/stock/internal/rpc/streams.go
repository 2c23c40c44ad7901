package rpc

import (
	"context"
	"errors"
	"io"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// WatchStock implements stock.StockService.
func (h *Handler) WatchStock(ctx context.Context, req *stock.WatchStockReq, stream stock.StockService_WatchStockServer) error {
	return h.Watches.Watch(ctx, req.GetItemId(), req.GetCursor(), func(state domain.WatchState) error {
		return stream.Send(ctx, toWatched(state))
	})
}

// SyncStock implements stock.StockService.
func (h *Handler) SyncStock(ctx context.Context, stream stock.StockService_SyncStockServer) error {
	for {
		req, err := stream.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = h.syncBatch(ctx, req, stream)
		}
		if err != nil {
			return err
		}
	}
}

func (h *Handler) syncBatch(ctx context.Context, req *stock.SyncStockReq, stream stock.StockService_SyncStockServer) error {
	results, err := h.Inventory.Sync(ctx, fromSync(req))
	if err != nil {
		return err
	}
	h.Synced(ctx, results)
	return stream.Send(ctx, toSynced(req.GetBatch(), results))
}
