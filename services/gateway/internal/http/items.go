package http

import (
	"context"
	"strconv"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	typeJSON       = "application/json"
	typeMergePatch = "application/merge-patch+json"
)

// itemInput is what a caller may write of an item.
type itemInput struct {
	SKU         member[string]        `json:"sku"`
	Title       member[string]        `json:"title"`
	Description member[string]        `json:"description"`
	Handle      member[string]        `json:"handle"`
	Options     member[optionsInput]  `json:"options"`
	Vendor      member[string]        `json:"vendor"`
	Type        member[string]        `json:"type"`
	Tags        member[[]string]      `json:"tags"`
	Price       member[*domain.Money] `json:"price"`
	Images      member[[]string]      `json:"images"`
	Status      member[string]        `json:"status"`
}

func (in itemInput) change() domain.Change {
	change := domain.Change{
		SKU: in.SKU.value, Title: in.Title.value, Description: in.Description.value, Handle: in.Handle.value,
		Vendor: in.Vendor.value, Type: in.Type.value, Tags: in.Tags.value, Price: in.Price.value,
		Images: in.Images.value, Status: in.Status.value,
	}
	if in.Options.value != nil {
		options := domain.Options(*in.Options.value)
		change.Options = &options
	}
	return change
}

// member is a member of a JSON object that may be absent: then value is nil.
// null is the zero value, as a merge patch has it.
type member[T any] struct{ value *T }

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (m *member[T]) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	m.value = new(T)
	return json.UnmarshalDecode(in, m.value)
}

// optionsInput reads an object of strings in its own order.
type optionsInput []domain.Option

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (o *optionsInput) UnmarshalJSONFrom(in *jsontext.Decoder) error {
	if in.PeekKind() != '{' {
		if in.PeekKind() == 'n' {
			return in.SkipValue()
		}
		return fault.Invalid(fieldOf(in.StackPointer()), `must be an object of strings such as {"Size":"S"}`)
	}
	if _, err := in.ReadToken(); err != nil {
		return err
	}
	for in.PeekKind() != '}' {
		var option domain.Option
		if err := json.UnmarshalDecode(in, &option.Name); err != nil {
			return err
		}
		if err := json.UnmarshalDecode(in, &option.Value); err != nil {
			return err
		}
		*o = append(*o, option)
	}
	_, err := in.ReadToken()
	return err
}

func (h *Handler) getItem(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c); err != nil {
		return err
	}
	id, err := pathID(c, "id")
	if err != nil {
		return err
	}
	item, err := h.shop.View(ctx, id)
	if err != nil {
		return err
	}
	setETag(c, item)
	setAge(c, item.Seen)
	return ok(c, consts.StatusOK, item)
}

func (h *Handler) trending(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "limit", "kind"); err != nil {
		return err
	}
	limit, _, err := pageQuery(c)
	if err != nil {
		return err
	}
	trends, err := h.shop.Trending(ctx, c.DefaultQuery("kind", "both"), limit)
	if err != nil {
		return err
	}
	setAge(c, trends.Seen)
	return ok(c, consts.StatusOK, trends)
}

func (h *Handler) listItems(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "limit", "cursor", "q"); err != nil {
		return err
	}
	limit, cursor, err := pageQuery(c)
	if err != nil {
		return err
	}
	var page domain.ItemPage
	if query := c.Query("q"); strings.TrimSpace(query) != "" {
		page, err = h.shop.Items.Search(ctx, query, limit, cursor)
	} else {
		page, err = h.shop.Items.List(ctx, limit, cursor)
	}
	if err != nil {
		return err
	}
	return ok(c, consts.StatusOK, page)
}

func (h *Handler) createItem(ctx context.Context, c *app.RequestContext) error {
	key, err := h.idempotencyKey(c)
	if err != nil {
		return err
	}
	var input itemInput
	if err := decodeBody(c, &input, typeJSON); err != nil {
		return err
	}
	item, err := h.shop.Items.Create(ctx, key, input.change())
	if err != nil {
		return err
	}
	setETag(c, item)
	c.Header("Location", "/api/v1/items/"+strconv.FormatInt(item.ID, 10))
	return ok(c, consts.StatusCreated, item)
}

func (h *Handler) updateItem(ctx context.Context, c *app.RequestContext) error {
	key, id, expected, err := h.itemCommand(c)
	if err != nil {
		return err
	}
	var input itemInput
	if err := decodeBody(c, &input, typeJSON, typeMergePatch); err != nil {
		return err
	}
	item, err := h.shop.Items.Update(ctx, key, id, expected, input.change())
	if err != nil {
		return err
	}
	setETag(c, item)
	return ok(c, consts.StatusOK, item)
}

func (h *Handler) deleteItem(ctx context.Context, c *app.RequestContext) error {
	key, id, expected, err := h.itemCommand(c)
	if err != nil {
		return err
	}
	if err := h.shop.Items.Delete(ctx, key, id, expected); err != nil {
		return err
	}
	c.SetStatusCode(consts.StatusNoContent)
	return nil
}

// itemCommand reads the key of a command, which item is meant, and in which version.
func (h *Handler) itemCommand(c *app.RequestContext) (key string, id, expected int64, err error) {
	if id, err = pathID(c, "id"); err != nil {
		return "", 0, 0, err
	}
	if expected, err = ifMatch(c); err != nil {
		return "", 0, 0, err
	}
	key, err = h.idempotencyKey(c)
	return key, id, expected, err
}

// setAge says how old an answer is that may not be true any more.
func setAge(c *app.RequestContext, seen domain.Seen) {
	if seen.Stale {
		c.Header("Age", strconv.FormatInt(int64(seen.Age.Seconds()), 10))
	}
}

// setETag names the item's version. Stock is not part of it: the ETag is for
// If-Match, not for saving a transfer.
func setETag(c *app.RequestContext, item domain.Item) {
	c.Header("ETag", strconv.Quote(strconv.FormatInt(item.Version, 10)))
}
