// Package store keeps the stock and its ledger in SQLite.
package store

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io/fs"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store implements domain.Store.
type Store struct {
	db *sqldb.DB
}

var _ domain.Store = (*Store)(nil)

// Open opens or creates the file at path.
func Open(ctx context.Context, path string) (*Store, error) {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, path, files)
	if err != nil {
		return nil, err
	}
	return &Store{db: db}, nil
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Close gives the file free.
func (s *Store) Close() error { return s.db.Close() }

// Empty tells whether the store has never held any stock.
func (s *Store) Empty(ctx context.Context) (empty bool, err error) {
	err = sqldb.QueryRow(ctx, s.db.Read(), `SELECT NOT EXISTS (SELECT 1 FROM items)`).Scan(&empty)
	return empty, err
}

// Stock implements domain.Store.
func (s *Store) Stock(ctx context.Context, ids []int64) (stocks []domain.Stock, err error) {
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	rows, err := s.db.Read().Query(ctx, `
		SELECT wanted.key, items.policy, stock.location, stock.on_hand, stock.available, stock.held, stock.committed, stock.version
		FROM json_each(?) wanted
		JOIN items ON items.item_id = wanted.value
		JOIN stock ON stock.item_id = items.item_id
		ORDER BY wanted.key, stock.location`, string(list))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()

	stocks = make([]domain.Stock, len(ids))
	for i, id := range ids {
		stocks[i] = domain.Stock{ItemID: id, Policy: domain.Deny}
	}
	for rows.Next() {
		var (
			at       int
			policy   domain.Policy
			location domain.Location
		)
		if err := rows.Scan(&at, &policy, &location.Name, &location.OnHand, &location.Available, &location.Held, &location.Committed, &location.Version); err != nil {
			return nil, err
		}
		stocks[at].Policy = policy
		stocks[at].Locations = append(stocks[at].Locations, location)
	}
	return stocks, rows.Err()
}

// Movements implements domain.Store.
func (s *Store) Movements(ctx context.Context, itemID int64, limit int, cursor string) (movements []domain.Movement, next string, err error) {
	const newest = 1<<63 - 1
	scope := "movements"
	place := []int64{itemID, newest}
	if cursor != "" {
		if place, err = sqldb.DecodeCursor(scope, cursor, 2); err == nil && place[0] != itemID {
			err = sqldb.ErrCursor
		}
		if err != nil {
			return nil, "", fault.Invalid("cursor", "%v", err)
		}
	}
	movements, err = findMovements(ctx, s.db.Read(), `WHERE item_id = ? AND id < ? ORDER BY id DESC LIMIT ?`, itemID, place[1], limit+1)
	if err != nil || len(movements) <= limit {
		return movements, "", err
	}
	movements = movements[:limit]
	return movements, sqldb.EncodeCursor(scope, itemID, movements[limit-1].ID), nil
}

// findMovements selects movements with the rest of a query: WHERE, ORDER BY.
func findMovements(ctx context.Context, q sqldb.Querier, rest string, args ...any) (movements []domain.Movement, err error) {
	rows, err := q.Query(ctx, `SELECT id, item_id, location, delta, reason, reference, created_at FROM movements `+rest, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var (
			m       domain.Movement
			created int64
		)
		if err := rows.Scan(&m.ID, &m.ItemID, &m.Location, &m.Delta, &m.Reason, &m.Reference, &created); err != nil {
			return nil, err
		}
		m.CreatedAt = time.UnixMilli(created).UTC()
		movements = append(movements, m)
	}
	return movements, rows.Err()
}
