package upstream

import (
	"context"
	"time"

	"github.com/cloudwego/kitex/client/callopt"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const stockService = "stock"

// Stocks implements domain.Stocks by calls to the stock service.
type Stocks struct {
	Client stockservice.Client
}

var _ domain.Stocks = Stocks{}

// Get implements domain.Stocks.
func (s Stocks) Get(ctx context.Context, itemID int64) (domain.Stock, error) {
	resp, err := s.Client.GetItemStock(ctx, &stock.GetItemStockReq{ItemId: itemID})
	if err != nil {
		return domain.Stock{}, transport.ReadFault(stockService, err)
	}
	return fromStock(resp.GetDetail()), nil
}

// Movements implements domain.Stocks.
func (s Stocks) Movements(ctx context.Context, itemID int64, limit int, cursor string) (domain.MovementPage, error) {
	resp, err := s.Client.ListMovements(ctx, &stock.ListMovementsReq{ItemId: itemID, Limit: int32(limit), Cursor: cursor})
	if err != nil {
		return domain.MovementPage{}, transport.ReadFault(stockService, err)
	}
	page := domain.MovementPage{Items: make([]domain.Movement, len(resp.GetMovements())), Next: resp.GetNextCursor()}
	for i, movement := range resp.GetMovements() {
		page.Items[i] = fromMovement(movement)
	}
	return page, nil
}

// Adjust implements domain.Stocks.
func (s Stocks) Adjust(ctx context.Context, a domain.Adjustment) (domain.Movement, domain.Stock, error) {
	resp, err := s.Client.AdjustStock(ctx, &stock.AdjustStockReq{
		ItemId: a.ItemID, Delta: a.Delta, Reason: toReason(a.Reason), Reference: a.Reference, Location: a.Location, IdempotencyKey: a.Key,
	})
	if err != nil {
		return domain.Movement{}, domain.Stock{}, transport.WriteFault(stockService, err)
	}
	return fromMovement(resp.GetMovement()), fromStock(resp.GetStock()), nil
}

// Import implements domain.StockImporter.
func (s Stocks) Import(ctx context.Context, lines []domain.StockLine, set bool) ([]domain.StockOutcome, error) {
	req := &stock.ImportStockReq{Lines: make([]*stock.ImportLine, len(lines)), SetStock: set}
	for i, line := range lines {
		policy := stock.Policy_POLICY_DENY
		if line.Policy == "backorder" {
			policy = stock.Policy_POLICY_BACKORDER
		}
		req.Lines[i] = &stock.ImportLine{ItemId: line.ItemID, Key: line.Key, Quantity: line.Quantity, Policy: policy}
	}
	resp, err := s.Client.ImportStock(ctx, req, callopt.WithRPCTimeout(importTimeout))
	if err != nil {
		return nil, transport.WriteFault(stockService, err)
	}
	if len(resp.GetResults()) != len(lines) {
		return nil, fault.New(fault.Internal, "an internal error")
	}
	outcomes := make([]domain.StockOutcome, len(lines))
	for i, result := range resp.GetResults() {
		outcomes[i] = domain.StockOutcome{Changed: result.GetChanged(), Earlier: result.EarlierQuantity, Problem: result.GetReason()}
	}
	return outcomes, nil
}

func fromStock(s *stock.Stock) domain.Stock {
	out := domain.Stock{ItemID: s.GetItemId(), Balance: fromBalance(s.GetBalance()), Policy: "deny"}
	if s.GetPolicy() == stock.Policy_POLICY_BACKORDER {
		out.Policy = "backorder"
	}
	for _, location := range s.GetLocations() {
		out.Locations = append(out.Locations, domain.Location{Location: location.GetLocation(), Balance: fromBalance(location.GetBalance())})
	}
	return out
}

func fromBalance(b *stock.Balance) domain.Balance {
	return domain.Balance{
		OnHand: b.GetOnHand(), Available: b.GetAvailable(), Held: b.GetHeld(), Committed: b.GetCommitted(), Version: b.GetVersion(),
	}
}

func fromMovement(m *stock.Movement) domain.Movement {
	return domain.Movement{
		ID: m.GetId(), ItemID: m.GetItemId(), Delta: m.GetDelta(), Reason: fromReason(m.GetReason()),
		Reference: m.GetReference(), Location: m.GetLocation(), CreatedAt: time.UnixMilli(m.GetCreatedAt()).UTC(),
	}
}

// toReason gives UNSPECIFIED for what is no reason, which stock refuses.
func toReason(reason string) stock.Reason {
	switch reason {
	case "received":
		return stock.Reason_REASON_RECEIVED
	case "returned":
		return stock.Reason_REASON_RETURNED
	case "damaged":
		return stock.Reason_REASON_DAMAGED
	case "counted":
		return stock.Reason_REASON_COUNTED
	case "sold":
		return stock.Reason_REASON_SOLD
	default:
		return stock.Reason_REASON_UNSPECIFIED
	}
}

func fromReason(reason stock.Reason) string {
	switch reason {
	case stock.Reason_REASON_RECEIVED:
		return "received"
	case stock.Reason_REASON_RETURNED:
		return "returned"
	case stock.Reason_REASON_DAMAGED:
		return "damaged"
	case stock.Reason_REASON_COUNTED:
		return "counted"
	case stock.Reason_REASON_SOLD:
		return "sold"
	default:
		return "unknown"
	}
}
