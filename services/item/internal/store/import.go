package store

import (
	"context"
	"errors"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Import implements domain.Changer: one transaction for all rows.
func (s *Store) Import(ctx context.Context, rows []domain.ImportRow, now time.Time) ([]domain.ImportResult, error) {
	results := make([]domain.ImportResult, len(rows))
	var run importRun
	err := s.update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		run = importRun{dialect: s.dialect, tx: tx, now: now, changed: map[int64]int64{}}
		for i, row := range rows {
			err := tx.Try(ctx, func() (err error) {
				results[i], err = run.row(ctx, row)
				return err
			})
			if refusal, ok := errors.AsType[*fault.Error](err); ok && len(refusal.Fields) > 0 {
				results[i] = domain.ImportResult{Outcome: domain.Rejected, Problem: refusal.Fields[0]}
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for id, version := range run.changed {
		s.cache.forget(id, version)
	}
	return results, nil
}

// importRun is one call of Import. Its methods return a fault for a row that is refused.
type importRun struct {
	dialect
	tx      *sqldb.Tx
	now     time.Time
	changed map[int64]int64 // versions of the items that changed, by id
}

func (r *importRun) row(ctx context.Context, row domain.ImportRow) (domain.ImportResult, error) {
	if !utf8.ValidString(row.Handle) || strings.ContainsRune(row.Handle, 0) { // PostgreSQL would refuse to look for it
		return domain.ImportResult{}, fault.Invalid("handle", "must be valid UTF-8 without the character U+0000")
	}
	if row.ImagesOnly {
		return r.images(ctx, row)
	}
	current, err := findVariant(ctx, r.tx, row.Handle, domain.Fields{Options: row.Options}.Values())
	if err != nil {
		return domain.ImportResult{}, err
	}
	if current == nil {
		return r.create(ctx, row)
	}
	fields, err := row.Merge(&current.Fields, nil)
	if err != nil {
		return domain.ImportResult{}, err
	}
	outcome, err := r.replace(ctx, *current, fields)
	return domain.ImportResult{Outcome: outcome, ID: current.ID}, err
}

func (r *importRun) create(ctx context.Context, row domain.ImportRow) (domain.ImportResult, error) {
	var sibling *domain.Fields
	if row.Patch.Title == nil {
		siblings, err := find(ctx, r.tx, `FROM items WHERE handle = ? AND handle <> '' ORDER BY id LIMIT 1`, row.Handle)
		if err != nil {
			return domain.ImportResult{}, err
		}
		if len(siblings) > 0 {
			sibling = &siblings[0].Fields
		}
	}
	fields, err := row.Merge(nil, sibling)
	if err != nil {
		return domain.ImportResult{}, err
	}
	item, err := r.dialect.create(ctx, r.tx, fields, r.now)
	return domain.ImportResult{Outcome: domain.Created, ID: item.ID}, err
}

func (r *importRun) images(ctx context.Context, row domain.ImportRow) (domain.ImportResult, error) {
	items, err := find(ctx, r.tx, `FROM items WHERE handle = ? AND handle <> '' ORDER BY id`, row.Handle)
	if err != nil {
		return domain.ImportResult{}, err
	}
	if len(items) == 0 {
		return domain.ImportResult{}, fault.Invalid("handle", "%q has no item that the image could belong to", row.Handle)
	}
	result := domain.ImportResult{Outcome: domain.Unchanged}
	for _, item := range items {
		fields, err := row.MergeImages(item.Fields)
		if err != nil {
			return domain.ImportResult{}, err
		}
		outcome, err := r.replace(ctx, item, fields)
		if err != nil {
			return domain.ImportResult{}, err
		}
		if outcome == domain.Updated {
			result.Outcome = outcome
		}
	}
	return result, nil
}

func (r *importRun) replace(ctx context.Context, item domain.Item, fields domain.Fields) (domain.Outcome, error) {
	after, err := r.dialect.replace(ctx, r.tx, item, fields, r.now)
	if err != nil || after.Version == item.Version {
		return domain.Unchanged, err
	}
	r.changed[item.ID] = after.Version
	return domain.Updated, nil
}
