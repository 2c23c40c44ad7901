package store

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Create implements domain.Changer.
func (s *Store) Create(ctx context.Context, c domain.Command, fields domain.Fields) (domain.Stocked, error) {
	return s.once(ctx, c, func(ctx context.Context, tx *sqldb.Tx) (*domain.Item, error) {
		item, err := s.dialect.create(ctx, tx, fields, c.At)
		return &item, err
	})
}

// Update implements domain.Changer.
func (s *Store) Update(ctx context.Context, c domain.Command, id, expected int64, change func(domain.Fields) (domain.Fields, error)) (domain.Stocked, error) {
	answer, err := s.once(ctx, c, func(ctx context.Context, tx *sqldb.Tx) (*domain.Item, error) {
		item, err := findVersion(ctx, tx, id, expected)
		if err != nil {
			return nil, err
		}
		fields, err := change(item.Fields)
		if err != nil {
			return nil, err
		}
		item, err = s.dialect.replace(ctx, tx, item, fields, c.At)
		return &item, err
	})
	if err == nil {
		s.cache.forget(id, answer.Version)
	}
	return answer, err
}

// Delete implements domain.Changer.
func (s *Store) Delete(ctx context.Context, c domain.Command, id, expected int64) error {
	_, err := s.once(ctx, c, func(ctx context.Context, tx *sqldb.Tx) (*domain.Item, error) {
		if _, err := findVersion(ctx, tx, id, expected); err != nil {
			return nil, err
		}
		return nil, tx.Exec(ctx, `DELETE FROM items WHERE id = ?`, id)
	})
	if err == nil {
		s.cache.forget(id, math.MaxInt64)
	}
	return err
}

// Seed creates the item with its own id if the store has never held one.
func (s *Store) Seed(ctx context.Context, item domain.Item) error {
	return s.update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		next, err := s.dialect.newID(ctx, tx)
		if err != nil || next > 1 {
			return err
		}
		return s.dialect.insert(ctx, tx, item)
	})
}

func (d dialect) create(ctx context.Context, tx *sqldb.Tx, fields domain.Fields, now time.Time) (domain.Item, error) {
	id, err := d.newID(ctx, tx)
	if err != nil {
		return domain.Item{}, err
	}
	if fields.SKU == "" {
		fields.SKU = fields.DefaultSKU(id)
	}
	item := domain.Item{ID: id, Fields: fields, Version: 1, CreatedAt: inMillis(now), UpdatedAt: inMillis(now)}
	return item, d.insert(ctx, tx, item)
}

// replace stores fields in place of those of item, unless they are the same.
func (d dialect) replace(ctx context.Context, tx *sqldb.Tx, item domain.Item, fields domain.Fields, now time.Time) (domain.Item, error) {
	if fields.SKU == "" {
		fields.SKU = fields.DefaultSKU(item.ID)
	}
	if fields.Equal(item.Fields) {
		return item, nil
	}
	item.Fields, item.Version, item.UpdatedAt = fields, item.Version+1, inMillis(now)
	return item, d.update(ctx, tx, item)
}

// newID is the id after the highest that ever was. The transaction is the only one that writes.
func (d dialect) newID(ctx context.Context, tx *sqldb.Tx) (id int64, err error) {
	err = sqldb.QueryRow(ctx, tx, d.nextID).Scan(&id)
	return id, err
}

// findVersion returns the item, or VersionMismatch when it has another version than expected.
func findVersion(ctx context.Context, tx *sqldb.Tx, id, expected int64) (domain.Item, error) {
	item, err := findByID(ctx, tx, id)
	if err != nil {
		return domain.Item{}, err
	}
	if expected != 0 && expected != item.Version {
		return domain.Item{}, fault.New(fault.VersionMismatch, "item %d has version %d, not %d: read it again", id, item.Version, expected)
	}
	return *item, nil
}

func (d dialect) insert(ctx context.Context, tx *sqldb.Tx, item domain.Item) error {
	return d.write(ctx, tx, item, `INSERT INTO items
		(sku, title, description, handle, options, variant, vendor, type, tags,
		 price_amount, price_currency, images, status, version, created_at, updated_at, id)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`)
}

func (d dialect) update(ctx context.Context, tx *sqldb.Tx, item domain.Item) error {
	return d.write(ctx, tx, item, `UPDATE items SET
		sku = ?, title = ?, description = ?, handle = ?, options = ?, variant = ?, vendor = ?, type = ?, tags = ?,
		price_amount = ?, price_currency = ?, images = ?, status = ?, version = ?, created_at = ?, updated_at = ?
		WHERE id = ?`)
}

// write runs a statement that takes all columns, the id last.
func (d dialect) write(ctx context.Context, tx *sqldb.Tx, item domain.Item, statement string) error {
	if err := checkFree(ctx, tx, item); err != nil {
		return err
	}
	options, err1 := encodeList(item.Options)
	variant, err2 := encodeList(item.Values())
	tags, err3 := encodeList(item.Tags)
	images, err4 := encodeList(item.Images)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return err
	}
	var amount, currency any
	if item.Price != nil {
		amount, currency = item.Price.Amount, item.Price.Currency
	}
	if err := tx.Exec(ctx, statement,
		item.SKU, item.Title, item.Description, item.Handle, options, variant, item.Vendor, item.Type, tags,
		amount, currency, images, item.Status, item.Version, item.CreatedAt.UnixMilli(), item.UpdatedAt.UnixMilli(), item.ID); err != nil {
		return err
	}
	return d.index(ctx, tx, item, tags)
}

// checkFree returns Conflict when another item has the SKU or is the same variant.
func checkFree(ctx context.Context, tx *sqldb.Tx, item domain.Item) error {
	others, err := find(ctx, tx, `FROM items WHERE sku = ? AND id <> ?`, item.SKU, item.ID)
	if err != nil {
		return err
	}
	if len(others) > 0 {
		return conflict("sku", "%q is taken by item %d", item.SKU, others[0].ID)
	}
	if item.Handle == "" {
		return nil
	}
	other, err := findVariant(ctx, tx, item.Handle, item.Values())
	if err != nil {
		return err
	}
	if other != nil && other.ID != item.ID {
		return conflict("options", "are those of item %d, which has the same handle %q", other.ID, item.Handle)
	}
	return nil
}

// findVariant returns the item with a handle and option values, or nil.
func findVariant(ctx context.Context, tx *sqldb.Tx, handle string, values []string) (*domain.Item, error) {
	variant, err := encodeList(values)
	if err != nil {
		return nil, err
	}
	items, err := find(ctx, tx, `FROM items WHERE handle = ? AND handle <> '' AND variant = ?`, handle, variant)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	return &items[0], nil
}

func conflict(field, format string, args ...any) error {
	f := fault.Invalid(field, format, args...)
	f.Code = fault.Conflict
	return f
}

func inMillis(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
