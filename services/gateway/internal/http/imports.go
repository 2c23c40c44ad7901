package http

import (
	"context"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

func (h *Handler) importItems(ctx context.Context, c *app.RequestContext) error {
	if err := checkQuery(c, "set_stock"); err != nil {
		return err
	}
	set, err := boolQuery(c, "set_stock")
	if err != nil {
		return err
	}
	if err := mediaType(c, "text/csv"); err != nil {
		return err
	}
	report, err := h.shop.Import(ctx, boundedBody(c, maxImport), set)
	if err != nil {
		return importFault(report.Rows, bodyFault(err))
	}
	return ok(c, consts.StatusOK, report)
}

// importFault says how far an import came; what it took stays.
func importFault(rows int, err error) error {
	f := fault.From(err)
	if rows == 0 {
		return f
	}
	return &fault.Error{Code: f.Code, Fields: f.Fields, Message: f.Message +
		"; rows before it were taken, and importing the whole file again takes the rest"}
}
