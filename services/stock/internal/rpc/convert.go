package rpc

import (
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

func toStock(s domain.Stock) *stock.Stock {
	out := &stock.Stock{
		ItemId: s.ItemID, Balance: toBalance(s.Total()), Policy: stock.Policy_POLICY_DENY,
		BackorderLimit: s.BackorderLimit, DefaultLocation: s.DefaultLocation, LowStockThreshold: s.LowStock,
	}
	if s.Policy == domain.Backorder {
		out.Policy = stock.Policy_POLICY_BACKORDER
	}
	for _, location := range s.Locations {
		out.Locations = append(out.Locations, &stock.LocationStock{Location: location.Name, Balance: toBalance(location.Balance)})
	}
	return out
}

func toBalance(b domain.Balance) *stock.Balance {
	return &stock.Balance{OnHand: b.OnHand, Available: b.Available, Held: b.Held, Committed: b.Committed, Version: b.Version}
}

func toMovement(m domain.Movement) *stock.Movement {
	return &stock.Movement{
		Id: m.ID, ItemId: m.ItemID, Location: m.Location, Delta: m.Delta, Reason: toReason(m.Reason),
		Reference: m.Reference, CreatedAt: m.CreatedAt.UnixMilli(), Actor: m.Actor,
	}
}

func toReason(r domain.Reason) stock.Reason {
	switch r {
	case domain.Received:
		return stock.Reason_REASON_RECEIVED
	case domain.Returned:
		return stock.Reason_REASON_RETURNED
	case domain.Damaged:
		return stock.Reason_REASON_DAMAGED
	case domain.Counted:
		return stock.Reason_REASON_COUNTED
	case domain.Sold:
		return stock.Reason_REASON_SOLD
	default:
		return stock.Reason_REASON_UNSPECIFIED
	}
}

// fromReason gives "" for what is no reason, which the domain refuses.
func fromReason(r stock.Reason) domain.Reason {
	switch r {
	case stock.Reason_REASON_RECEIVED:
		return domain.Received
	case stock.Reason_REASON_RETURNED:
		return domain.Returned
	case stock.Reason_REASON_DAMAGED:
		return domain.Damaged
	case stock.Reason_REASON_COUNTED:
		return domain.Counted
	case stock.Reason_REASON_SOLD:
		return domain.Sold
	default:
		return ""
	}
}

// fromPolicy gives "" for what is no policy, which the domain refuses.
func fromPolicy(p stock.Policy) domain.Policy {
	switch p {
	case stock.Policy_POLICY_DENY:
		return domain.Deny
	case stock.Policy_POLICY_BACKORDER:
		return domain.Backorder
	default:
		return ""
	}
}

func toStocks(stocks []domain.Stock) []*stock.Stock {
	out := make([]*stock.Stock, len(stocks))
	for i, one := range stocks {
		out[i] = toStock(one)
	}
	return out
}

// toAdjusted answers what changes on_hand.
func toAdjusted(answer domain.Answer, err error) (*stock.AdjustStockResp, error) {
	if err != nil {
		return nil, err
	}
	resp := &stock.AdjustStockResp{Stock: toStock(*answer.Stock)}
	if answer.Movement != nil {
		resp.Movement = toMovement(*answer.Movement)
	}
	return resp, nil
}

func toWatched(state domain.WatchState) *stock.WatchStockResp {
	return &stock.WatchStockResp{Stock: toStock(state.Stock), Cursor: state.Total().Version, Behind: state.Behind}
}

func fromSync(req *stock.SyncStockReq) domain.Sync {
	s := domain.Sync{Name: req.GetSync(), Batch: req.GetBatch(), Actor: req.GetActor(), Counts: make([]domain.Count, len(req.GetCounts()))}
	for i, count := range req.GetCounts() {
		s.Counts[i] = domain.Count{ItemID: count.GetItemId(), OnHand: count.GetOnHand(), Location: count.GetLocation()}
	}
	return s
}

func toSynced(batch int64, results []domain.CountResult) *stock.SyncStockResp {
	resp := &stock.SyncStockResp{Batch: batch, Results: make([]*stock.SyncStockResult, len(results))}
	for i, result := range results {
		resp.Results[i] = &stock.SyncStockResult{Delta: result.Delta, Reason: result.Problem}
	}
	return resp
}

func toImportResult(r domain.ImportResult) *stock.ImportStockResult {
	out := &stock.ImportStockResult{Changed: r.Changed, EarlierQuantity: r.Earlier}
	if r.Problem != nil {
		out.Reason = r.Problem.Message
	}
	return out
}

func toReservation(r domain.Reservation) *stock.Reservation {
	out := &stock.Reservation{
		Id: r.ID, State: toState(r.State), Reference: r.Reference,
		ExpiresAt: r.ExpiresAt.UnixMilli(), CreatedAt: r.CreatedAt.UnixMilli(), UpdatedAt: r.UpdatedAt.UnixMilli(),
	}
	for _, line := range r.Lines {
		out.Lines = append(out.Lines, &stock.ReservationLine{ItemId: line.ItemID, Quantity: line.Quantity, Location: line.Location})
	}
	return out
}

func toState(s domain.State) stock.ReservationState {
	switch s {
	case domain.Held:
		return stock.ReservationState_RESERVATION_STATE_HELD
	case domain.Committed:
		return stock.ReservationState_RESERVATION_STATE_COMMITTED
	case domain.Fulfilled:
		return stock.ReservationState_RESERVATION_STATE_FULFILLED
	case domain.Released:
		return stock.ReservationState_RESERVATION_STATE_RELEASED
	case domain.Expired:
		return stock.ReservationState_RESERVATION_STATE_EXPIRED
	default:
		return stock.ReservationState_RESERVATION_STATE_UNSPECIFIED
	}
}

// fromState gives "" for UNSPECIFIED, which selects all, and for what is no
// state what the domain refuses.
func fromState(s stock.ReservationState) domain.State {
	for _, state := range []domain.State{domain.Held, domain.Committed, domain.Fulfilled, domain.Released, domain.Expired} {
		if toState(state) == s {
			return state
		}
	}
	if s == stock.ReservationState_RESERVATION_STATE_UNSPECIFIED {
		return ""
	}
	return "unknown"
}

// seconds reads a time to live; what would overflow is refused by the domain all the same.
func seconds(n int64) time.Duration {
	return time.Duration(min(max(n, -1), 1<<32)) * time.Second
}
