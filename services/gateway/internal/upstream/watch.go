package upstream

import (
	"context"
	"errors"
	"io"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

var _ domain.StockWatcher = Stocks{}

// Watch implements domain.StockWatcher.
func (s Stocks) Watch(ctx context.Context, itemID, cursor int64, take func(domain.StockState)) error {
	ctx, end := context.WithCancel(ctx) // ends the stream, if it does not end by itself
	defer end()
	stream, err := s.Client.WatchStock(ctx, &stock.WatchStockReq{ItemId: itemID, Cursor: cursor})
	if err != nil {
		return transport.ReadFault(stockService, err)
	}
	for {
		resp, err := stream.Recv(ctx)
		if errors.Is(err, io.EOF) {
			return fault.New(fault.Unavailable, "the stock service ended the stream")
		}
		if err != nil {
			return transport.ReadFault(stockService, err)
		}
		take(domain.StockState{Stock: fromStock(resp.GetStock()), Cursor: resp.GetCursor(), Behind: resp.GetBehind()})
	}
}
