// Package upstream reaches the services behind the gateway.
package upstream

import (
	"context"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

const itemService = "item"

// Items implements domain.Items by calls to the item service.
type Items struct {
	Client itemservice.Client
	// Last is what was seen of the items; nil: nothing is shown when item is away.
	Last *Last[int64, domain.Item]
}

var _ domain.Items = Items{}

// Get implements domain.Items.
func (i Items) Get(ctx context.Context, id int64) (domain.Item, error) {
	resp, err := i.Client.GetItem(ctx, &item.GetItemReq{Id: id})
	if err != nil {
		err = transport.ReadFault(itemService, err)
		if fault.CodeOf(err) == fault.NotFound {
			i.Last.forget(id)
		}
		if last, seen, known := i.Last.instead(id, err); known {
			last.Seen, last.Stock = seen, nil // what can be sold is never guessed
			return last, nil
		}
		return domain.Item{}, err
	}
	found := fromItem(resp.GetItem())
	i.Last.keep(id, found)
	return found, nil
}

// Batch implements domain.Items.
func (i Items) Batch(ctx context.Context, ids []int64) ([]domain.Item, error) {
	resp, err := i.Client.BatchGetItems(ctx, &item.BatchGetItemsReq{Ids: ids})
	if err != nil {
		return nil, transport.ReadFault(itemService, err)
	}
	return fromItems(resp.GetItems()), nil
}

// List implements domain.Items.
func (i Items) List(ctx context.Context, limit int, cursor string) (domain.ItemPage, error) {
	resp, err := i.Client.ListItems(ctx, &item.ListItemsReq{Limit: int32(limit), Cursor: cursor})
	if err != nil {
		return domain.ItemPage{}, transport.ReadFault(itemService, err)
	}
	return domain.ItemPage{Items: fromItems(resp.GetItems()), Next: resp.GetNextCursor()}, nil
}

// Search implements domain.Items.
func (i Items) Search(ctx context.Context, query string, limit int, cursor string) (domain.ItemPage, error) {
	resp, err := i.Client.SearchItems(ctx, &item.SearchItemsReq{Query: query, Limit: int32(limit), Cursor: cursor})
	if err != nil {
		return domain.ItemPage{}, transport.ReadFault(itemService, err)
	}
	return domain.ItemPage{Items: fromItems(resp.GetItems()), Next: resp.GetNextCursor(), Capped: resp.GetCapped()}, nil
}

// Create implements domain.Items.
func (i Items) Create(ctx context.Context, key string, fields domain.Change) (domain.Item, error) {
	resp, err := i.Client.CreateItem(ctx, &item.CreateItemReq{Fields: toFields(fields), IdempotencyKey: key})
	if err != nil {
		return domain.Item{}, transport.WriteFault(itemService, err)
	}
	return fromItem(resp.GetItem()), nil
}

// Update implements domain.Items.
func (i Items) Update(ctx context.Context, key string, id, expected int64, change domain.Change) (domain.Item, error) {
	i.Last.forget(id)
	resp, err := i.Client.UpdateItem(ctx, &item.UpdateItemReq{Id: id, ExpectedVersion: expected, Fields: toFields(change), IdempotencyKey: key})
	if err != nil {
		return domain.Item{}, transport.WriteFault(itemService, err)
	}
	return fromItem(resp.GetItem()), nil
}

// Delete implements domain.Items.
func (i Items) Delete(ctx context.Context, key string, id, expected int64) error {
	i.Last.forget(id)
	_, err := i.Client.DeleteItem(ctx, &item.DeleteItemReq{Id: id, ExpectedVersion: expected, IdempotencyKey: key})
	return transport.WriteFault(itemService, err)
}

// Import implements domain.ItemImporter.
func (i Items) Import(ctx context.Context, rows []domain.ImportRow) ([]domain.ImportOutcome, error) {
	req := &item.ImportItemsReq{Rows: make([]*item.ImportRow, len(rows))}
	for at, row := range rows {
		req.Rows[at] = &item.ImportRow{
			Handle: row.Handle, Options: toOptions(row.Options), Fields: toFields(row.Fields),
			AddImages: row.AddImages, ImagesOnly: row.ImagesOnly,
		}
	}
	resp, err := i.Client.ImportItems(ctx, req)
	if err != nil {
		return nil, transport.WriteFault(itemService, err)
	}
	if len(resp.GetResults()) != len(rows) {
		return nil, fault.New(fault.Internal, "an internal error")
	}
	outcomes := make([]domain.ImportOutcome, len(rows))
	for at, result := range resp.GetResults() {
		outcomes[at] = fromImportResult(result)
	}
	return outcomes, nil
}

func fromItems(items []*item.Item) []domain.Item {
	out := make([]domain.Item, len(items))
	for i, one := range items {
		out[i] = fromItem(one)
	}
	return out
}

func fromItem(i *item.Item) domain.Item {
	out := domain.Item{
		ID: i.GetId(), SKU: i.GetSku(), Title: i.GetTitle(), Description: i.GetDescription(), Handle: i.GetHandle(),
		Vendor: i.GetVendor(), Type: i.GetType(), Tags: i.GetTags(), Images: i.GetImages(),
		Stock: i.Stock, Version: i.GetVersion(),
		CreatedAt: time.UnixMilli(i.GetCreatedAt()).UTC(), UpdatedAt: time.UnixMilli(i.GetUpdatedAt()).UTC(),
	}
	for _, option := range i.GetOptions() {
		out.Options = append(out.Options, domain.Option{Name: option.GetName(), Value: option.GetValue()})
	}
	if price := i.GetPrice(); price != nil {
		out.Price = &domain.Money{Amount: price.GetAmount(), Currency: price.GetCurrency()}
	}
	switch i.GetStatus() {
	case item.Status_STATUS_DRAFT:
		out.Status = "draft"
	case item.Status_STATUS_ARCHIVED:
		out.Status = "archived"
	default:
		out.Status = "active"
	}
	return out
}

func toOptions(options []domain.Option) []*item.Option {
	out := make([]*item.Option, len(options))
	for i, option := range options {
		out[i] = &item.Option{Name: option.Name, Value: option.Value}
	}
	return out
}

func toFields(c domain.Change) *item.ItemFields {
	f := &item.ItemFields{
		Sku: c.SKU, Title: c.Title, Description: c.Description, Handle: c.Handle, Vendor: c.Vendor, Type: c.Type,
	}
	if c.Options != nil {
		f.Options = &item.Options{Values: toOptions(*c.Options)}
	}
	if c.Tags != nil {
		f.Tags = &item.Strings{Values: *c.Tags}
	}
	if c.Images != nil {
		f.Images = &item.Strings{Values: *c.Images}
	}
	if c.Price != nil {
		f.Price = &item.Price{}
		if price := *c.Price; price != nil {
			f.Price.Value = &item.Money{Amount: price.Amount, Currency: price.Currency}
		}
	}
	if c.Status != nil {
		status := toStatus(*c.Status)
		f.Status = &status
	}
	return f
}

// toStatus gives UNSPECIFIED for what is no status, which item refuses.
func toStatus(status string) item.Status {
	switch status {
	case "draft":
		return item.Status_STATUS_DRAFT
	case "active":
		return item.Status_STATUS_ACTIVE
	case "archived":
		return item.Status_STATUS_ARCHIVED
	default:
		return item.Status_STATUS_UNSPECIFIED
	}
}

func fromImportResult(r *item.ImportResult) domain.ImportOutcome {
	out := domain.ImportOutcome{ID: r.GetId(), Problem: fault.Field{Field: r.GetField(), Reason: r.GetReason()}}
	switch r.GetOutcome() {
	case item.ImportOutcome_IMPORT_OUTCOME_CREATED:
		out.Outcome = domain.Created
	case item.ImportOutcome_IMPORT_OUTCOME_UPDATED:
		out.Outcome = domain.Updated
	case item.ImportOutcome_IMPORT_OUTCOME_UNCHANGED:
		out.Outcome = domain.Unchanged
	default:
		out.Outcome = domain.Rejected
	}
	return out
}
