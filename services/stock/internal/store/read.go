package store

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"strings"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// query runs a query and reads each of its rows.
func query(ctx context.Context, q sqldb.Querier, read func(*sql.Rows) error, text string, args ...any) error {
	found, err := q.Query(ctx, text, args...)
	if err != nil {
		return explain(err)
	}
	return explain(errors.Join(each(found, func() error { return read(found) }), found.Close()))
}

// list gives the values as parameters of IN. As each number of parameters is a
// statement of its own, the last is repeated up to a power of two.
func list[T any](values []T) (in string, args []any) {
	size := 1
	for size < len(values) {
		size *= 2
	}
	for i := range size {
		args = append(args, values[min(i, len(values)-1)])
	}
	return "IN (" + strings.Repeat("?, ", size-1) + "?)", args
}

// Stock implements domain.Store.
func (s *Store) Stock(ctx context.Context, ids []int64) ([]domain.Stock, error) {
	return stocksOf(ctx, s.db.Read(), ids)
}

func stocksOf(ctx context.Context, q sqldb.Querier, ids []int64) ([]domain.Stock, error) {
	found := make(map[int64]*domain.Stock, len(ids))
	in, args := list(ids)
	err := query(ctx, q, func(r *sql.Rows) error {
		var at domain.Location
		stock := &domain.Stock{}
		if err := r.Scan(&stock.ItemID, &stock.Policy, &stock.BackorderLimit, &stock.DefaultLocation, &stock.LowStock,
			&at.Name, &at.OnHand, &at.Available, &at.Held, &at.Committed, &at.Version); err != nil {
			return err
		}
		if found[stock.ItemID] == nil {
			found[stock.ItemID] = stock
		}
		found[stock.ItemID].Locations = append(found[stock.ItemID].Locations, at)
		return nil
	}, `SELECT item_id, policy, backorder_limit, default_location, low_stock, location, on_hand, available, held, committed, version
		FROM items JOIN stock USING (item_id) WHERE item_id `+in+` ORDER BY item_id, location`, args...)
	stocks := make([]domain.Stock, len(ids))
	for i, id := range ids {
		stocks[i] = domain.Stock{ItemID: id, Rules: domain.DefaultRules()}
		if stock := found[id]; stock != nil {
			stocks[i] = *stock
		}
	}
	return stocks, err
}

// Stocks implements domain.Store.
func (s *Store) Stocks(ctx context.Context, lowOnly bool, limit int, cursor string) (page []domain.Stock, next string, err error) {
	scope, text := "stock", `SELECT item_id FROM items WHERE item_id > ? AND EXISTS (SELECT 1 FROM stock WHERE stock.item_id = items.item_id) ORDER BY item_id LIMIT ?`
	if lowOnly {
		scope, text = "low stock", `SELECT item_id FROM items WHERE item_id > ? AND `+isLow+` ORDER BY item_id LIMIT ?`
	}
	place := []int64{0}
	if cursor != "" {
		if place, err = sqldb.DecodeCursor(scope, cursor, 1); err != nil {
			return nil, "", fault.Invalid("cursor", "%v", err)
		}
	}
	err = s.view(ctx, func(view sqldb.Querier) error {
		var ids []int64
		if err := query(ctx, view, func(r *sql.Rows) error {
			var id int64
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		}, text, place[0], limit+1); err != nil || len(ids) == 0 {
			return err
		}
		if len(ids) > limit {
			ids = ids[:limit]
			next = sqldb.EncodeCursor(scope, ids[limit-1])
		}
		page, err = stocksOf(ctx, view, ids)
		return err
	})
	return page, next, err
}

// isLow selects items that have less than their low_stock available.
const isLow = `low_stock IS NOT NULL AND coalesce((SELECT sum(available) FROM stock WHERE stock.item_id = items.item_id), 0) < low_stock`

// view runs queries that all see the same moment.
func (s *Store) view(ctx context.Context, work func(view sqldb.Querier) error) error {
	return explain(s.db.Read().View(ctx, work))
}

// Movements implements domain.Store.
func (s *Store) Movements(ctx context.Context, itemID int64, limit int, cursor string) (page []domain.Movement, next string, err error) {
	const scope = "movements"
	place := []int64{itemID, math.MaxInt64}
	if cursor != "" {
		if place, err = sqldb.DecodeCursor(scope, cursor, 2); err == nil && place[0] != itemID {
			err = sqldb.ErrCursor
		}
		if err != nil {
			return nil, "", fault.Invalid("cursor", "%v", err)
		}
	}
	err = query(ctx, s.db.Read(), func(r *sql.Rows) error {
		m, err := scanMovement(r)
		page = append(page, m)
		return err
	}, `SELECT `+movementColumns+` FROM movements WHERE item_id = ? AND id < ? ORDER BY id DESC LIMIT ?`, itemID, place[1], limit+1)
	if err != nil || len(page) <= limit {
		return page, "", err
	}
	page = page[:limit]
	return page, sqldb.EncodeCursor(scope, itemID, page[limit-1].ID), nil
}

// Reservation implements domain.Store.
func (s *Store) Reservation(ctx context.Context, id string) (domain.Reservation, error) {
	found, err := s.reservations(ctx, `WHERE id = ?`, id)
	if err != nil {
		return domain.Reservation{}, err
	}
	if len(found) == 0 {
		return domain.Reservation{}, fault.New(fault.NotFound, "there is no reservation %q", id)
	}
	return found[0], nil
}

// Reservations implements domain.Store.
func (s *Store) Reservations(ctx context.Context, f domain.Filter, limit int, cursor string) (page []domain.Reservation, next string, err error) {
	where, args := []string{"true"}, []any{}
	if f.State != "" {
		where, args = append(where, "state = ?"), append(args, string(f.State))
	}
	if f.Reference != "" {
		where, args = append(where, "reference = ?"), append(args, f.Reference)
	}
	if f.ItemID != 0 {
		where, args = append(where, "id IN (SELECT reservation_id FROM reservation_items WHERE item_id = ?)"), append(args, f.ItemID)
	}
	if cursor != "" {
		where, args = append(where, "id < ?"), append(args, cursor)
	}
	found, err := s.reservations(ctx, "WHERE "+strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	return found[:limit], found[limit-1].ID, nil
}

// reservations selects reservations with the rest of a query: WHERE, ORDER BY.
func (s *Store) reservations(ctx context.Context, rest string, args ...any) (found []domain.Reservation, err error) {
	err = query(ctx, s.db.Read(), func(r *sql.Rows) error {
		one, err := scanReservation(r)
		if err == nil {
			found = append(found, *one)
		}
		return err
	}, `SELECT `+reservationColumns+` FROM reservations `+rest, args...)
	return found, err
}

// Expiring implements domain.Store.
func (s *Store) Expiring(ctx context.Context, limit int) (due []domain.Change, err error) {
	cutoff, err := s.clock(ctx)
	if err != nil {
		return nil, err
	}
	err = query(ctx, s.db.Read(), func(r *sql.Rows) error {
		change := domain.Change{Step: domain.Expire, Cutoff: inTime(cutoff)}
		err := r.Scan(&change.ID)
		due = append(due, change)
		return err
	}, `SELECT id FROM reservations WHERE state = 'HELD' AND expires_at <= ? ORDER BY expires_at LIMIT ?`, cutoff, limit)
	return due, err
}
