package rpc

import (
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

func toItem(i domain.Stocked) *item.Item {
	out := &item.Item{
		Id: i.ID, Sku: i.SKU, Title: i.Title, Description: i.Description, Handle: i.Handle,
		Options: toOptions(i.Options), Vendor: i.Vendor, Type: i.Type, Tags: i.Tags, Images: i.Images,
		Status: toStatus(i.Status), Version: i.Version,
		CreatedAt: i.CreatedAt.UnixMilli(), UpdatedAt: i.UpdatedAt.UnixMilli(),
	}
	if i.Price != nil {
		out.Price = &item.Money{Amount: i.Price.Amount, Currency: i.Price.Currency}
	}
	if i.Stock.Known {
		units := i.Stock.Units // a pointer into i would move all of i to the heap
		out.Stock = &units
	}
	return out
}

func toItems(items []domain.Stocked) []*item.Item {
	out := make([]*item.Item, len(items))
	for i, one := range items {
		out[i] = toItem(one)
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

func fromOptions(options []*item.Option) []domain.Option {
	out := make([]domain.Option, len(options))
	for i, option := range options {
		out[i] = domain.Option{Name: option.GetName(), Value: option.GetValue()}
	}
	return out
}

func fromFields(f *item.ItemFields) domain.Patch {
	if f == nil {
		return domain.Patch{}
	}
	p := domain.Patch{
		SKU: f.Sku, Title: f.Title, Description: f.Description, Handle: f.Handle, Vendor: f.Vendor, Type: f.Type,
	}
	if f.Options != nil {
		options := fromOptions(f.Options.Values)
		p.Options = &options
	}
	if f.Tags != nil {
		p.Tags = &f.Tags.Values
	}
	if f.Images != nil {
		p.Images = &f.Images.Values
	}
	if f.Price != nil {
		price := fromMoney(f.Price.Value)
		p.Price = &price
	}
	if f.Status != nil {
		status := fromStatus(*f.Status)
		p.Status = &status
	}
	return p
}

func fromMoney(m *item.Money) *domain.Money {
	if m == nil {
		return nil
	}
	return &domain.Money{Amount: m.Amount, Currency: m.Currency}
}

func toStatus(s domain.Status) item.Status {
	switch s {
	case domain.Draft:
		return item.Status_STATUS_DRAFT
	case domain.Archived:
		return item.Status_STATUS_ARCHIVED
	default:
		return item.Status_STATUS_ACTIVE
	}
}

// fromStatus gives "" for what is no status, which the domain refuses.
func fromStatus(s item.Status) domain.Status {
	switch s {
	case item.Status_STATUS_DRAFT:
		return domain.Draft
	case item.Status_STATUS_ACTIVE:
		return domain.Active
	case item.Status_STATUS_ARCHIVED:
		return domain.Archived
	default:
		return ""
	}
}

func fromImportRow(row *item.ImportRow) domain.ImportRow {
	return domain.ImportRow{
		Handle: row.GetHandle(), Options: fromOptions(row.GetOptions()), Patch: fromFields(row.GetFields()),
		AddImages: row.GetAddImages(), ImagesOnly: row.GetImagesOnly(),
	}
}

func toImportResult(r domain.ImportResult) *item.ImportResult {
	return &item.ImportResult{Outcome: toOutcome(r.Outcome), Id: r.ID, Field: r.Problem.Field, Reason: r.Problem.Reason}
}

func toOutcome(o domain.Outcome) item.ImportOutcome {
	switch o {
	case domain.Created:
		return item.ImportOutcome_IMPORT_OUTCOME_CREATED
	case domain.Updated:
		return item.ImportOutcome_IMPORT_OUTCOME_UPDATED
	case domain.Unchanged:
		return item.ImportOutcome_IMPORT_OUTCOME_UNCHANGED
	default:
		return item.ImportOutcome_IMPORT_OUTCOME_REJECTED
	}
}
