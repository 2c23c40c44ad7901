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
	Actor     string `json:"actor"`
}

// countInput is what a caller may write of a count. A number left out is nil.
type countInput struct {
	OnHand    *int64 `json:"on_hand"`
	Version   *int64 `json:"version"`
	Reference string `json:"reference"`
	Location  string `json:"location"`
	Actor     string `json:"actor"`
}

// rulesInput is what a caller may write of how an item is sold.
type rulesInput struct {
	Policy            member[string] `json:"policy"`
	BackorderLimit    member[*int64] `json:"backorder_limit"`
	DefaultLocation   member[string] `json:"default_location"`
	LowStockThreshold member[*int64] `json:"low_stock_threshold"`
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

func (h *Handler) listStock(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "limit", "cursor", "below_threshold"); err != nil {
		return err
	}
	limit, cursor, err := pageQuery(c)
	if err != nil {
		return err
	}
	belowThreshold, err := boolQuery(c, "below_threshold")
	if err != nil {
		return err
	}
	page, err := h.shop.Stocks.List(ctx, belowThreshold, limit, cursor)
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, page)
}

func (h *Handler) setStock(ctx context.Context, c *app.RequestContext) error {
	id, key, err := h.stockCommand(c)
	if err != nil {
		return err
	}
	var input countInput
	if err := decodeBody(c, &input, typeJSON); err != nil {
		return err
	}
	if err := input.complete(c); err != nil {
		return err
	}
	stock, err := h.shop.SetStock(ctx, domain.Count{
		ItemID: id, OnHand: *input.OnHand, Version: *input.Version,
		Reference: input.Reference, Location: input.Location, Actor: actor(c, input.Actor), Key: key,
	})
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, stock)
}

// complete takes the version from If-Match, if that is given, and refuses a
// count without one.
func (in *countInput) complete(c *app.RequestContext) error {
	header, given, err := ifMatchHeader(c)
	if err != nil {
		return err
	}
	if given {
		version, valid := versionOf(header)
		if !valid {
			return fault.Invalid(headerIfMatch, `must be the location's version as an ETag, such as "3"`)
		}
		if in.Version != nil && *in.Version != version {
			return fault.Invalid(headerIfMatch, "must be the same as the member version, which is %d, or be left out", *in.Version)
		}
		in.Version = &version
	}
	var missing []fault.Field
	if in.OnHand == nil {
		missing = append(missing, fault.Field{Field: "on_hand", Reason: "must be given"})
	}
	if in.Version == nil {
		missing = append(missing, fault.Field{Field: "version", Reason: "must be given, or If-Match: that of the location, or 0 where there never was any stock"})
	}
	if len(missing) > 0 {
		return fault.InvalidFields(missing...)
	}
	return nil
}

func (h *Handler) configureStock(ctx context.Context, c *app.RequestContext) error {
	id, key, err := h.stockCommand(c)
	if err != nil {
		return err
	}
	var input rulesInput
	if err := decodeBody(c, &input, typeJSON, typeMergePatch); err != nil {
		return err
	}
	if err := input.checkLimits(); err != nil {
		return err
	}
	stock, err := h.shop.Configure(ctx, domain.Rules{
		ItemID: id, Policy: input.Policy.value, BackorderLimit: input.BackorderLimit.value,
		DefaultLocation: input.DefaultLocation.value, LowStockThreshold: input.LowStockThreshold.value, Key: key,
	})
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, stock)
}

// checkLimits refuses negative limits, which would remove them: null does that.
func (in rulesInput) checkLimits() error {
	var wrong []fault.Field
	for _, limit := range []struct {
		field string
		given member[*int64]
	}{{"backorder_limit", in.BackorderLimit}, {"low_stock_threshold", in.LowStockThreshold}} {
		if value := limit.given.value; value != nil && *value != nil && **value < 0 {
			wrong = append(wrong, fault.Field{Field: limit.field, Reason: "must be 0 to 1000000000, or null"})
		}
	}
	if len(wrong) > 0 {
		return fault.InvalidFields(wrong...)
	}
	return nil
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
	id, key, err := h.stockCommand(c)
	if err != nil {
		return err
	}
	var input movementInput
	if err := decodeBody(c, &input, typeJSON); err != nil {
		return err
	}
	movement, stock, err := h.shop.Adjust(ctx, domain.Adjustment{
		ItemID: id, Delta: input.Delta, Reason: input.Reason, Reference: input.Reference, Location: input.Location,
		Actor: actor(c, input.Actor), Key: key,
	})
	if err != nil {
		return err
	}
	return ok(c, consts.StatusCreated, movementOutput{Movement: movement, Stock: stock})
}

// stockCommand reads which item a command is for, and its key.
func (h *Handler) stockCommand(c *app.RequestContext) (id int64, key string, err error) {
	if id, err = pathID(c, "item_id"); err != nil {
		return 0, "", err
	}
	key, err = h.idempotencyKey(c)
	return id, key, err
}

// idempotencyKey reads the key of a command, or makes one when there is none,
// and returns it to the caller.
func (h *Handler) idempotencyKey(c *app.RequestContext) (string, error) {
	keys := c.Request.Header.GetAll(headerIdempotencyKey)
	switch {
	case len(keys) == 0:
		keys = []string{h.newID()}
	case len(keys) > 1:
		return "", fault.Invalid(headerIdempotencyKey, "must be given once")
	case !isToken(keys[0], 255):
		return "", fault.Invalid(headerIdempotencyKey, "must be 1 to 255 printable ASCII characters")
	}
	c.Header(headerIdempotencyKey, keys[0])
	return ownKey(c, keys[0]), nil
}
