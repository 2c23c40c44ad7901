package upstream

import (
	"context"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// Reserve implements domain.Reservations.
func (s Stocks) Reserve(ctx context.Context, r domain.Reserve) (domain.Reservation, error) {
	req := &stock.ReserveReq{
		Lines: make([]*stock.ReservationLine, len(r.Lines)), TtlSeconds: r.TTLSeconds, Reference: r.Reference, IdempotencyKey: r.Key,
	}
	for i, line := range r.Lines {
		req.Lines[i] = &stock.ReservationLine{ItemId: line.ItemID, Quantity: line.Quantity, Location: line.Location}
	}
	return changed(s.Client.Reserve(ctx, req))
}

// Step implements domain.Reservations.
func (s Stocks) Step(ctx context.Context, step domain.Step) (domain.Reservation, error) {
	req := &stock.ChangeReservationReq{Id: step.ID, IdempotencyKey: step.Key, Actor: step.Actor}
	switch step.Name {
	case "commit":
		return changed(s.Client.CommitReservation(ctx, req))
	case "fulfil":
		return changed(s.Client.FulfilReservation(ctx, req))
	case "release":
		return changed(s.Client.ReleaseReservation(ctx, req))
	case "extend":
		return changed(s.Client.ExtendReservation(ctx, &stock.ExtendReservationReq{Id: step.ID, TtlSeconds: step.TTLSeconds, IdempotencyKey: step.Key}))
	default:
		return domain.Reservation{}, fault.New(fault.NotFound, "there is no step %q; there are commit, fulfil, release and extend", step.Name)
	}
}

func changed(resp *stock.ReservationResp, err error) (domain.Reservation, error) {
	if err != nil {
		return domain.Reservation{}, transport.WriteFault(stockService, err)
	}
	return fromReservation(resp.GetReservation()), nil
}

// Reservation implements domain.Reservations.
func (s Stocks) Reservation(ctx context.Context, id string) (domain.Reservation, error) {
	resp, err := s.Client.GetReservation(ctx, &stock.GetReservationReq{Id: id})
	if err != nil {
		return domain.Reservation{}, transport.ReadFault(stockService, err)
	}
	return fromReservation(resp.GetReservation()), nil
}

// Reservations implements domain.Reservations.
func (s Stocks) Reservations(ctx context.Context, f domain.ReservationFilter, limit int, cursor string) (domain.ReservationPage, error) {
	state, known := states()[f.State]
	if !known {
		return domain.ReservationPage{}, fault.Invalid("state", "must be HELD, COMMITTED, FULFILLED, RELEASED or EXPIRED, not %q", f.State)
	}
	resp, err := s.Client.ListReservations(ctx, &stock.ListReservationsReq{
		State: state, ItemId: f.ItemID, Reference: f.Reference, Limit: int32(limit), Cursor: cursor,
	})
	if err != nil {
		return domain.ReservationPage{}, transport.ReadFault(stockService, err)
	}
	page := domain.ReservationPage{Items: make([]domain.Reservation, len(resp.GetReservations())), Next: resp.GetNextCursor()}
	for i, reservation := range resp.GetReservations() {
		page.Items[i] = fromReservation(reservation)
	}
	return page, nil
}

// states are the names of the states; "" selects all.
func states() map[string]stock.ReservationState {
	return map[string]stock.ReservationState{
		"":          stock.ReservationState_RESERVATION_STATE_UNSPECIFIED,
		"HELD":      stock.ReservationState_RESERVATION_STATE_HELD,
		"COMMITTED": stock.ReservationState_RESERVATION_STATE_COMMITTED,
		"FULFILLED": stock.ReservationState_RESERVATION_STATE_FULFILLED,
		"RELEASED":  stock.ReservationState_RESERVATION_STATE_RELEASED,
		"EXPIRED":   stock.ReservationState_RESERVATION_STATE_EXPIRED,
	}
}

func fromReservation(r *stock.Reservation) domain.Reservation {
	out := domain.Reservation{
		ID: r.GetId(), Reference: r.GetReference(), Lines: make([]domain.Line, len(r.GetLines())),
		ExpiresAt: milliseconds(r.GetExpiresAt()), CreatedAt: milliseconds(r.GetCreatedAt()), UpdatedAt: milliseconds(r.GetUpdatedAt()),
	}
	for name, state := range states() {
		if state == r.GetState() {
			out.State = name
		}
	}
	for i, line := range r.GetLines() {
		out.Lines[i] = domain.Line{ItemID: line.GetItemId(), Quantity: line.GetQuantity(), Location: line.GetLocation()}
	}
	return out
}

func milliseconds(n int64) time.Time { return time.UnixMilli(n).UTC() }
