package upstream

import (
	"context"
	"time"

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

// List implements domain.Stocks.
func (s Stocks) List(ctx context.Context, belowThreshold bool, limit int, cursor string) (domain.StockPage, error) {
	resp, err := s.Client.ListStock(ctx, &stock.ListStockReq{BelowThreshold: belowThreshold, Limit: int32(limit), Cursor: cursor})
	if err != nil {
		return domain.StockPage{}, transport.ReadFault(stockService, err)
	}
	page := domain.StockPage{Items: make([]domain.Stock, len(resp.GetStocks())), Next: resp.GetNextCursor()}
	for i, one := range resp.GetStocks() {
		page.Items[i] = fromStock(one)
	}
	return page, nil
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
		ItemId: a.ItemID, Delta: a.Delta, Reason: toReason(a.Reason), Reference: a.Reference, Location: a.Location,
		Actor: a.Actor, IdempotencyKey: a.Key,
	})
	if err != nil {
		return domain.Movement{}, domain.Stock{}, transport.WriteFault(stockService, err)
	}
	return fromMovement(resp.GetMovement()), fromStock(resp.GetStock()), nil
}

// Set implements domain.Stocks.
func (s Stocks) Set(ctx context.Context, count domain.Count) (domain.Stock, error) {
	resp, err := s.Client.SetStock(ctx, &stock.SetStockReq{
		ItemId: count.ItemID, OnHand: count.OnHand, Version: count.Version, Reference: count.Reference, Location: count.Location,
		Actor: count.Actor, IdempotencyKey: count.Key,
	})
	if err != nil {
		return domain.Stock{}, transport.WriteFault(stockService, err)
	}
	return fromStock(resp.GetStock()), nil
}

// Configure implements domain.Stocks.
func (s Stocks) Configure(ctx context.Context, rules domain.Rules) (domain.Stock, error) {
	req := &stock.ConfigureStockReq{
		ItemId: rules.ItemID, DefaultLocation: rules.DefaultLocation, BackorderLimit: toLimit(rules.BackorderLimit),
		LowStockThreshold: toLimit(rules.LowStockThreshold), IdempotencyKey: rules.Key,
	}
	if rules.Policy != nil {
		policy := toPolicy(*rules.Policy)
		req.Policy = &policy
	}
	resp, err := s.Client.ConfigureStock(ctx, req)
	if err != nil {
		return domain.Stock{}, transport.WriteFault(stockService, err)
	}
	return fromStock(resp.GetStock()), nil
}

// Import implements domain.StockImporter.
func (s Stocks) Import(ctx context.Context, lines []domain.StockLine, set bool) ([]domain.StockOutcome, error) {
	req := &stock.ImportStockReq{Lines: make([]*stock.ImportLine, len(lines)), SetStock: set}
	for i, line := range lines {
		req.Lines[i] = &stock.ImportLine{ItemId: line.ItemID, Key: line.Key, Quantity: line.Quantity, Policy: toPolicy(line.Policy)}
	}
	resp, err := s.Client.ImportStock(ctx, req)
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
	out := domain.Stock{
		ItemID: s.GetItemId(), Balance: fromBalance(s.GetBalance()), Policy: "deny",
		BackorderLimit: s.BackorderLimit, DefaultLocation: s.GetDefaultLocation(), LowStockThreshold: s.LowStockThreshold,
	}
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
		Reference: m.GetReference(), Location: m.GetLocation(), Actor: m.GetActor(), CreatedAt: time.UnixMilli(m.GetCreatedAt()).UTC(),
	}
}

// toPolicy gives UNSPECIFIED for what is no policy, which stock refuses.
func toPolicy(policy string) stock.Policy {
	switch policy {
	case "deny":
		return stock.Policy_POLICY_DENY
	case "backorder":
		return stock.Policy_POLICY_BACKORDER
	default:
		return stock.Policy_POLICY_UNSPECIFIED
	}
}

// toLimit gives a negative number, which removes a limit, for a pointer to nil.
func toLimit(limit **int64) *int64 {
	if limit == nil {
		return nil
	}
	if *limit == nil {
		none := int64(-1)
		return &none
	}
	return *limit
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
