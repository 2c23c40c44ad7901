package http

import (
	"context"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const headerIdempotencyKey = "Idempotency-Key"

// movementInput is what a caller may write of a movement.
type movementInput struct {
	Delta     int64  `json:"delta"`
	Reason    string `json:"reason"`
	Reference string `json:"reference"`
	Location  string `json:"location"`
}

// movementOutput is a movement and the stock after it.
type movementOutput struct {
	domain.Movement
	Stock domain.Stock `json:"stock"`
}

func (h *Handler) getStock(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c); err != nil {
		return err
	}
	id, err := pathID(c, "item_id")
	if err != nil {
		return err
	}
	stock, err := h.shop.Stock(ctx, id)
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, stock)
}

func (h *Handler) listMovements(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "limit", "cursor"); err != nil {
		return err
	}
	id, err := pathID(c, "item_id")
	if err != nil {
		return err
	}
	limit, cursor, err := pageQuery(c)
	if err != nil {
		return err
	}
	page, err := h.shop.Movements(ctx, id, limit, cursor)
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, page)
}

func (h *Handler) createMovement(ctx context.Context, c *app.RequestContext) error {
	id, err := pathID(c, "item_id")
	if err != nil {
		return err
	}
	key, err := h.idempotencyKey(c)
	if err != nil {
		return err
	}
	var input movementInput
	if err := decodeBody(c, &input, typeJSON); err != nil {
		return err
	}
	movement, stock, err := h.shop.Adjust(ctx, domain.Adjustment{
		ItemID: id, Delta: input.Delta, Reason: input.Reason, Reference: input.Reference, Location: input.Location, Key: key,
	})
	if err != nil {
		return err
	}
	return ok(c, consts.StatusCreated, movementOutput{Movement: movement, Stock: stock})
}

// idempotencyKey reads the key of a command, or makes one, and returns it to the caller.
func (h *Handler) idempotencyKey(c *app.RequestContext) (string, error) {
	key := string(c.GetHeader(headerIdempotencyKey))
	if key == "" {
		key = h.newID()
	}
	if !isToken(key, 255) {
		return "", fault.Invalid(headerIdempotencyKey, "must be 1 to 255 printable ASCII characters")
	}
	c.Header(headerIdempotencyKey, key)
	return key, nil
}
