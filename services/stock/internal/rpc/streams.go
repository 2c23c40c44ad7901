package rpc

import (
	"context"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// WatchStock implements stock.StockService.
func (h *Handler) WatchStock(context.Context, *stock.WatchStockReq, stock.StockService_WatchStockServer) error {
	return fault.New(fault.Unavailable, "stock cannot be watched yet")
}

// SyncStock implements stock.StockService.
func (h *Handler) SyncStock(context.Context, stock.StockService_SyncStockServer) error {
	return fault.New(fault.Unavailable, "counts cannot be sent yet")
}
