// Package rpc answers the calls of item.proto.
package rpc

import (
	"context"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/base"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Handler implements item.ItemService.
type Handler struct {
	Catalogue *domain.Catalogue
}

var _ item.ItemService = (*Handler)(nil)

// GetItem implements item.ItemService.
func (h *Handler) GetItem(ctx context.Context, req *item.GetItemReq) (*item.GetItemResp, error) {
	found, err := h.Catalogue.Get(ctx, req.GetId())
	if err != nil {
		return nil, err
	}
	return &item.GetItemResp{Item: toItem(found), BaseResp: &base.BaseResp{Code: "ok"}}, nil
}

// BatchGetItems implements item.ItemService.
func (h *Handler) BatchGetItems(ctx context.Context, req *item.BatchGetItemsReq) (*item.BatchGetItemsResp, error) {
	found, err := h.Catalogue.BatchGet(ctx, req.GetIds())
	if err != nil {
		return nil, err
	}
	return &item.BatchGetItemsResp{Items: toItems(found)}, nil
}

// ListItems implements item.ItemService.
func (h *Handler) ListItems(ctx context.Context, req *item.ListItemsReq) (*item.ListItemsResp, error) {
	page, err := h.Catalogue.List(ctx, int(req.GetLimit()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &item.ListItemsResp{Items: toItems(page.Items), NextCursor: page.Next}, nil
}

// SearchItems implements item.ItemService.
func (h *Handler) SearchItems(ctx context.Context, req *item.SearchItemsReq) (*item.SearchItemsResp, error) {
	page, err := h.Catalogue.Search(ctx, req.GetQuery(), int(req.GetLimit()), req.GetCursor())
	if err != nil {
		return nil, err
	}
	return &item.SearchItemsResp{Items: toItems(page.Items), NextCursor: page.Next, Capped: page.Capped}, nil
}

// CreateItem implements item.ItemService.
func (h *Handler) CreateItem(ctx context.Context, req *item.CreateItemReq) (*item.CreateItemResp, error) {
	created, err := h.Catalogue.Create(ctx, req.GetIdempotencyKey(), fromFields(req.GetFields()))
	if err != nil {
		return nil, err
	}
	return &item.CreateItemResp{Item: toItem(created)}, nil
}

// UpdateItem implements item.ItemService.
func (h *Handler) UpdateItem(ctx context.Context, req *item.UpdateItemReq) (*item.UpdateItemResp, error) {
	updated, err := h.Catalogue.Update(ctx, req.GetIdempotencyKey(), req.GetId(), req.GetExpectedVersion(), fromFields(req.GetFields()))
	if err != nil {
		return nil, err
	}
	return &item.UpdateItemResp{Item: toItem(updated)}, nil
}

// DeleteItem implements item.ItemService.
func (h *Handler) DeleteItem(ctx context.Context, req *item.DeleteItemReq) (*item.DeleteItemResp, error) {
	if err := h.Catalogue.Delete(ctx, req.GetIdempotencyKey(), req.GetId(), req.GetExpectedVersion()); err != nil {
		return nil, err
	}
	return &item.DeleteItemResp{}, nil
}

// ImportItems implements item.ItemService.
func (h *Handler) ImportItems(ctx context.Context, req *item.ImportItemsReq) (*item.ImportItemsResp, error) {
	rows := make([]domain.ImportRow, len(req.GetRows()))
	for i, row := range req.GetRows() {
		rows[i] = fromImportRow(row)
	}
	results, err := h.Catalogue.Import(ctx, rows)
	if err != nil {
		return nil, err
	}
	resp := &item.ImportItemsResp{Results: make([]*item.ImportResult, len(results))}
	for i, result := range results {
		resp.Results[i] = toImportResult(result)
	}
	return resp, nil
}
