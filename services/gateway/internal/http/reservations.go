package http

import (
	"context"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// reserveInput is what a caller may write of a reservation. A field left out is nil.
type reserveInput struct {
	Lines      []domain.Line `json:"lines"`
	TTLSeconds *int64        `json:"ttl_seconds"`
	Reference  string        `json:"reference"`
}

type extendInput struct {
	TTLSeconds *int64 `json:"ttl_seconds"`
}

type fulfilInput struct {
	Actor string `json:"actor"`
}

func (h *Handler) reserve(ctx context.Context, c *app.RequestContext) error {
	key, err := h.idempotencyKey(c)
	if err != nil {
		return err
	}
	var input reserveInput
	if err := decodeBody(c, &input, typeJSON); err != nil {
		return err
	}
	ttl, err := ttlSeconds(input.TTLSeconds)
	if err != nil {
		return err
	}
	reservation, err := h.shop.Stocks.Reserve(ctx, domain.Reserve{Lines: input.Lines, TTLSeconds: ttl, Reference: input.Reference, Key: key})
	if err != nil {
		return err
	}
	c.Header("Location", "/api/v1/reservations/"+reservation.ID)
	return ok(c, consts.StatusCreated, reservation)
}

// ttlSeconds tells a 0 that was written, which is refused, from a field that was left out.
func ttlSeconds(given *int64) (int64, error) {
	if given == nil {
		return 0, nil
	}
	if *given < 1 || *given > 86400 {
		return 0, fault.Invalid("ttl_seconds", "must be 1 to 86400, not %d", *given)
	}
	return *given, nil
}

// step answers POST /api/v1/reservations/:id/:step. Only extend must have a body.
func (h *Handler) step(name string) handler {
	return func(ctx context.Context, c *app.RequestContext) error {
		key, err := h.idempotencyKey(c)
		if err != nil {
			return err
		}
		step := domain.Step{ID: c.Param("id"), Name: name, Key: key}
		switch name {
		case "extend":
			var input extendInput
			if err = decodeBody(c, &input, typeJSON); err == nil {
				step.TTLSeconds, err = ttlSeconds(input.TTLSeconds)
			}
		case "fulfil":
			var input fulfilInput
			err = decodeOptionalBody(c, &input, typeJSON)
			step.Actor = actor(c, input.Actor)
		default:
			err = decodeOptionalBody(c, &struct{}{}, typeJSON)
		}
		if err != nil {
			return err
		}
		reservation, err := h.shop.Stocks.Step(ctx, step)
		if err != nil {
			return err
		}
		return ok(c, consts.StatusOK, reservation)
	}
}

func (h *Handler) getReservation(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c); err != nil {
		return err
	}
	reservation, err := h.shop.Stocks.Reservation(ctx, c.Param("id"))
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, reservation)
}

func (h *Handler) listReservations(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "limit", "cursor", "state", "item_id", "reference"); err != nil {
		return err
	}
	limit, cursor, err := pageQuery(c)
	if err != nil {
		return err
	}
	filter := domain.ReservationFilter{State: c.Query("state"), Reference: c.Query("reference")}
	if state, given := c.GetQuery("state"); given && state == "" {
		return fault.Invalid("state", "must be HELD, COMMITTED, FULFILLED, RELEASED or EXPIRED, or be left out")
	}
	if text, given := c.GetQuery("item_id"); given {
		if filter.ItemID, err = positive("item_id", text); err != nil {
			return err
		}
	}
	page, err := h.shop.Stocks.Reservations(ctx, filter, limit, cursor)
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, page)
}
