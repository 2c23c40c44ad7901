// Package rpc answers the calls of stock.proto.
package rpc

import (
	"context"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/base"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Handler implements stock.StockService.
type Handler struct {
	Inventory *domain.Inventory
	Watches   *domain.Watches
	// Synced is told what became of the counts of a batch.
	Synced func(ctx context.Context, results []domain.CountResult)
}

var _ stock.StockService = (*Handler)(nil)

// GetItemStock implements stock.StockService.
func (h *Handler) GetItemStock(ctx context.Context, req *stock.GetItemStockReq) (*stock.GetItemStockResp, error) {
	stocks, err := h.Inventory.Get(ctx, []int64{req.GetItemId()})
	if err != nil {
		return nil, err
	}
	return &stock.GetItemStockResp{
		Stock: stocks[0].Total().Available, Detail: toStock(stocks[0]), BaseResp: &base.BaseResp{Code: "ok"},
	}, nil
}

// BatchGetStock implements stock.StockService.
func (h *Handler) BatchGetStock(ctx context.Context, req *stock.BatchGetStockReq) (*stock.BatchGetStockResp, error) {
	stocks, err := h.Inventory.Get(ctx, req.GetItemIds())
	if err != nil {
		return nil, err
	}
	return &stock.BatchGetStockResp{Stocks: toStocks(stocks)}, nil
}

// AdjustStock implements stock.StockService.
func (h *Handler) AdjustStock(ctx context.Context, req *stock.AdjustStockReq) (*stock.AdjustStockResp, error) {
	return toAdjusted(h.Inventory.Adjust(ctx, domain.Adjustment{
		ItemID: req.GetItemId(), Delta: req.GetDelta(), Reason: fromReason(req.GetReason()), Reference: req.GetReference(),
		Location: req.GetLocation(), Actor: req.GetActor(), Key: req.GetIdempotencyKey(),
	}))
}

// SetStock implements stock.StockService.
func (h *Handler) SetStock(ctx context.Context, req *stock.SetStockReq) (*stock.AdjustStockResp, error) {
	return toAdjusted(h.Inventory.Set(ctx, domain.SetStock{
		ItemID: req.GetItemId(), OnHand: req.GetOnHand(), Version: req.GetVersion(), Reference: req.GetReference(),
		Location: req.GetLocation(), Actor: req.GetActor(), Key: req.GetIdempotencyKey(),
	}))
}

// ConfigureStock implements stock.StockService.
func (h *Handler) ConfigureStock(ctx context.Context, req *stock.ConfigureStockReq) (*stock.ConfigureStockResp, error) {
	rules := domain.Configure{
		ItemID: req.GetItemId(), DefaultLocation: req.DefaultLocation,
		BackorderLimit: req.BackorderLimit, LowStock: req.LowStockThreshold, Key: req.GetIdempotencyKey(),
	}
	if req.Policy != nil {
		policy := fromPolicy(req.GetPolicy())
		rules.Policy = &policy
	}
	answer, err := h.Inventory.Configure(ctx, rules)
	if err != nil {
		return nil, err
	}
	return &stock.ConfigureStockResp{Stock: toStock(*answer.Stock)}, nil
}

// ListStock implements stock.StockService.
func (h *Handler) ListStock(ctx context.Context, req *stock.ListStockReq) (*stock.ListStockResp, error) {
	stocks, next, err := h.Inventory.List(ctx, req.GetBelowThreshold(), int(req.GetLimit()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &stock.ListStockResp{Stocks: toStocks(stocks), NextCursor: next}, nil
}

// Reconcile implements stock.StockService.
func (h *Handler) Reconcile(ctx context.Context, _ *stock.ReconcileReq) (*stock.ReconcileResp, error) {
	result, err := h.Inventory.Reconcile(ctx)
	if err != nil {
		return nil, err
	}
	resp := &stock.ReconcileResp{Balances: result.Balances, Low: result.Low}
	for _, drift := range result.Drifts {
		resp.Drifts = append(resp.Drifts, &stock.Drift{
			ItemId: drift.ItemID, Location: drift.Location, Field: drift.Field, Recorded: drift.Recorded, Counted: drift.Counted,
		})
	}
	return resp, nil
}

// ListMovements implements stock.StockService.
func (h *Handler) ListMovements(ctx context.Context, req *stock.ListMovementsReq) (*stock.ListMovementsResp, error) {
	movements, next, err := h.Inventory.Movements(ctx, req.GetItemId(), int(req.GetLimit()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	resp := &stock.ListMovementsResp{Movements: make([]*stock.Movement, len(movements)), NextCursor: next}
	for i, movement := range movements {
		resp.Movements[i] = toMovement(movement)
	}
	return resp, nil
}

// ImportStock implements stock.StockService.
func (h *Handler) ImportStock(ctx context.Context, req *stock.ImportStockReq) (*stock.ImportStockResp, error) {
	lines := make([]domain.ImportLine, len(req.GetLines()))
	for i, line := range req.GetLines() {
		lines[i] = domain.ImportLine{ItemID: line.GetItemId(), Key: line.GetKey(), Quantity: line.GetQuantity(), Policy: fromPolicy(line.GetPolicy()), Set: req.GetSetStock()}
	}
	results, err := h.Inventory.Import(ctx, lines)
	if err != nil {
		return nil, err
	}
	resp := &stock.ImportStockResp{Results: make([]*stock.ImportStockResult, len(results))}
	for i, result := range results {
		resp.Results[i] = toImportResult(result)
	}
	return resp, nil
}

// Reserve implements stock.StockService.
func (h *Handler) Reserve(ctx context.Context, req *stock.ReserveReq) (*stock.ReservationResp, error) {
	lines := make([]domain.Line, len(req.GetLines()))
	for i, line := range req.GetLines() {
		lines[i] = domain.Line{ItemID: line.GetItemId(), Quantity: line.GetQuantity(), Location: line.GetLocation()}
	}
	return answer(h.Inventory.Reserve(ctx, domain.Reserve{
		Lines: lines, TTL: seconds(req.GetTtlSeconds()), Reference: req.GetReference(), Key: req.GetIdempotencyKey(),
	}))
}

// CommitReservation implements stock.StockService.
func (h *Handler) CommitReservation(ctx context.Context, req *stock.ChangeReservationReq) (*stock.ReservationResp, error) {
	return answer(h.Inventory.Change(ctx, domain.Change{Step: domain.Commit, ID: req.GetId(), Actor: req.GetActor(), Key: req.GetIdempotencyKey()}))
}

// FulfilReservation implements stock.StockService.
func (h *Handler) FulfilReservation(ctx context.Context, req *stock.ChangeReservationReq) (*stock.ReservationResp, error) {
	return answer(h.Inventory.Change(ctx, domain.Change{Step: domain.Fulfil, ID: req.GetId(), Actor: req.GetActor(), Key: req.GetIdempotencyKey()}))
}

// ReleaseReservation implements stock.StockService.
func (h *Handler) ReleaseReservation(ctx context.Context, req *stock.ChangeReservationReq) (*stock.ReservationResp, error) {
	return answer(h.Inventory.Change(ctx, domain.Change{Step: domain.Release, ID: req.GetId(), Actor: req.GetActor(), Key: req.GetIdempotencyKey()}))
}

// ExtendReservation implements stock.StockService.
func (h *Handler) ExtendReservation(ctx context.Context, req *stock.ExtendReservationReq) (*stock.ReservationResp, error) {
	return answer(h.Inventory.Change(ctx, domain.Change{
		Step: domain.Extend, ID: req.GetId(), TTL: seconds(req.GetTtlSeconds()), Key: req.GetIdempotencyKey(),
	}))
}

// GetReservation implements stock.StockService.
func (h *Handler) GetReservation(ctx context.Context, req *stock.GetReservationReq) (*stock.ReservationResp, error) {
	return answer(h.Inventory.Reservation(ctx, req.GetId()))
}

// ListReservations implements stock.StockService.
func (h *Handler) ListReservations(ctx context.Context, req *stock.ListReservationsReq) (*stock.ListReservationsResp, error) {
	filter := domain.Filter{State: fromState(req.GetState()), ItemID: req.GetItemId(), Reference: req.GetReference()}
	found, next, err := h.Inventory.Reservations(ctx, filter, int(req.GetLimit()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	resp := &stock.ListReservationsResp{Reservations: make([]*stock.Reservation, len(found)), NextCursor: next}
	for i, reservation := range found {
		resp.Reservations[i] = toReservation(reservation)
	}
	return resp, nil
}

func answer(r domain.Reservation, err error) (*stock.ReservationResp, error) {
	if err != nil {
		return nil, err
	}
	return &stock.ReservationResp{Reservation: toReservation(r)}, nil
}
