package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

const columns = `items.id, items.sku, items.title, items.description, items.handle, items.options,
	items.vendor, items.type, items.tags, items.price_amount, items.price_currency, items.images,
	items.status, items.version, items.created_at, items.updated_at`

// Get implements domain.Store.
func (s *Store) Get(ctx context.Context, id int64) (*domain.Item, error) {
	return s.cache.get(ctx, id, func(ctx context.Context, id int64) (*domain.Item, error) {
		return findByID(ctx, s.db.Read(), id)
	})
}

// BatchGet implements domain.Store.
func (s *Store) BatchGet(ctx context.Context, ids []int64) ([]domain.Item, error) {
	return findByIDs(ctx, s.db.Read(), s.dialect, ids)
}

func findByIDs(ctx context.Context, q sqldb.Querier, d dialect, ids []int64) ([]domain.Item, error) {
	list, err := encodeList(ids)
	if err != nil {
		return nil, err
	}
	return find(ctx, q, d.byIDs, list)
}

// List implements domain.Store.
func (s *Store) List(ctx context.Context, limit int, cursor string) (domain.Page, error) {
	const scope = "items"
	after := int64(0)
	if cursor != "" {
		place, err := sqldb.DecodeCursor(scope, cursor, 1)
		if err != nil {
			return domain.Page{}, fault.Invalid("cursor", "%v", err)
		}
		after = place[0]
	}
	items, err := find(ctx, s.db.Read(), `FROM items WHERE id > ? ORDER BY id LIMIT ?`, after, limit+1)
	if err != nil || len(items) <= limit {
		return domain.Page{Items: items}, err
	}
	items = items[:limit]
	return domain.Page{Items: items, Next: sqldb.EncodeCursor(scope, items[limit-1].ID)}, nil
}

func findByID(ctx context.Context, q sqldb.Querier, id int64) (*domain.Item, error) {
	items, err := find(ctx, q, `FROM items WHERE id = ?`, id)
	if err != nil {
		return nil, err
	}
	if len(items) == 0 {
		return nil, fault.New(fault.NotFound, "there is no item %d", id)
	}
	return &items[0], nil
}

// find selects the columns of items with the rest of a query: FROM, WHERE, ORDER BY.
func find(ctx context.Context, q sqldb.Querier, rest string, args ...any) (items []domain.Item, err error) {
	rows, err := q.Query(ctx, "SELECT "+columns+" "+rest, args...)
	if err != nil {
		return nil, translate(err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		item, err := scan(rows)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, translate(rows.Err())
}

func scan(rows *sql.Rows) (domain.Item, error) {
	var (
		item                  domain.Item
		options, tags, images string
		amount                sql.Null[int64]
		currency              sql.Null[string]
		created, updated      int64
	)
	if err := rows.Scan(&item.ID, &item.SKU, &item.Title, &item.Description, &item.Handle, &options,
		&item.Vendor, &item.Type, &tags, &amount, &currency, &images,
		&item.Status, &item.Version, &created, &updated); err != nil {
		return domain.Item{}, err
	}
	if err := errors.Join(
		decodeList(options, &item.Options),
		decodeList(tags, &item.Tags),
		decodeList(images, &item.Images),
	); err != nil {
		return domain.Item{}, fmt.Errorf("item %d: %w", item.ID, err)
	}
	if amount.Valid {
		item.Price = &domain.Money{Amount: amount.V, Currency: currency.V}
	}
	item.CreatedAt, item.UpdatedAt = time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
	return item, nil
}

// decodeList reads a JSON list; an empty one becomes nil.
func decodeList[T any](text string, list *[]T) error {
	if text == "[]" {
		return nil
	}
	return json.Unmarshal([]byte(text), list)
}

// encodeList writes a JSON list, nil as [].
func encodeList[T any](list []T) (string, error) {
	if len(list) == 0 {
		return "[]", nil
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false) // the tags are searched as they stand
	err := encoder.Encode(list)
	return strings.TrimSuffix(text.String(), "\n"), err
}
