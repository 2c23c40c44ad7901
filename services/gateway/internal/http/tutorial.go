package http

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
)

// tutorialID is the item that the tutorial's handler asks for.
const tutorialID = 1024

// tutorialItem is the tutorial's own route: ?id=1024, also without id.
func (h *Handler) tutorialItem(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "id"); err != nil {
		return err
	}
	id := int64(tutorialID)
	if text, given := c.GetQuery("id"); given {
		var err error
		if id, err = positive("id", text); err != nil {
			return err
		}
	}
	item, err := h.shop.View(ctx, id)
	if err != nil {
		return err
	}
	setAge(c, item.Seen)
	if acceptsText(string(c.GetHeader("Accept"))) {
		c.Data(consts.StatusOK, "text/plain; charset=utf-8", []byte(tutorialLine(item)))
		return nil
	}
	return ok(c, consts.StatusOK, map[string]domain.Item{"item": item})
}

// acceptsText tells whether plain text is asked for by name and JSON is not.
func acceptsText(accept string) bool {
	var types []string
	for part := range strings.SplitSeq(accept, ",") {
		name, _, _ := strings.Cut(part, ";")
		types = append(types, strings.TrimSpace(name))
	}
	return slices.Contains(types, "text/plain") && !slices.Contains(types, typeJSON)
}

// tutorialLine is the answer that the tutorial shows, in Protobuf's text form.
func tutorialLine(item domain.Item) string {
	line := fmt.Sprintf("item:{id:%d title:%s", item.ID, strconv.Quote(item.Title))
	if item.Description != "" {
		line += " description:" + strconv.Quote(item.Description)
	}
	return line + "}"
}
