package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Reconcile implements domain.Store.
func (s *Store) Reconcile(ctx context.Context) (result domain.Reconciliation, err error) {
	err = s.view(ctx, func(view sqldb.Querier) error {
		if err := query(ctx, view, func(r *sql.Rows) error { return r.Scan(&result.Balances, &result.Low) },
			`SELECT (SELECT count(*) FROM stock), (SELECT count(*) FROM items WHERE `+isLow+`)`); err != nil {
			return err
		}
		return query(ctx, view, func(r *sql.Rows) error {
			var (
				drift                                           domain.Drift
				onHand, held, committed, fulfilled              int64
				countedOnHand, countedHeld, countedCommitted, f int64
			)
			err := r.Scan(&drift.ItemID, &drift.Location, &onHand, &countedOnHand, &held, &countedHeld, &committed, &countedCommitted, &fulfilled, &f)
			for _, pair := range []struct {
				field             string
				recorded, counted int64
			}{{"on_hand", onHand, countedOnHand}, {"held", held, countedHeld}, {"committed", committed, countedCommitted}, {"fulfilled", fulfilled, f}} {
				if drift.Field, drift.Recorded, drift.Counted = pair.field, pair.recorded, pair.counted; drift.Recorded != drift.Counted {
					result.Drifts = append(result.Drifts, drift)
				}
			}
			return err
		}, reconciliation)
	})
	return result, err
}

// reconciliation selects the balances that are not what they are made of, each
// number beside the one that was counted. fulfilled is what left the house by
// movements, and by reservations.
const reconciliation = `
	WITH moved AS (
		SELECT item_id, location, sum(delta) AS on_hand,
			sum(CASE WHEN reservation_id IS NOT NULL THEN -delta ELSE 0 END) AS fulfilled
		FROM movements GROUP BY item_id, location
	), reserved AS (
		SELECT item_id, location,
			sum(CASE WHEN state = 'HELD' THEN quantity ELSE 0 END) AS held,
			sum(CASE WHEN state = 'COMMITTED' THEN quantity ELSE 0 END) AS committed,
			sum(CASE WHEN state = 'FULFILLED' THEN quantity ELSE 0 END) AS fulfilled
		FROM reservation_lines GROUP BY item_id, location
	), forgotten AS (
		SELECT item_id, location, sum(fulfilled) AS fulfilled FROM checkpoints GROUP BY item_id, location
	), compared AS (
		SELECT stock.item_id, stock.location,
			stock.on_hand, coalesce(moved.on_hand, 0) AS counted_on_hand,
			stock.held, coalesce(reserved.held, 0) AS counted_held,
			stock.committed, coalesce(reserved.committed, 0) AS counted_committed,
			coalesce(moved.fulfilled, 0) AS fulfilled, coalesce(reserved.fulfilled, 0) + coalesce(forgotten.fulfilled, 0) AS counted_fulfilled
		FROM stock
		LEFT JOIN moved ON moved.item_id = stock.item_id AND moved.location = stock.location
		LEFT JOIN reserved ON reserved.item_id = stock.item_id AND reserved.location = stock.location
		LEFT JOIN forgotten ON forgotten.item_id = stock.item_id AND forgotten.location = stock.location
	)
	SELECT * FROM compared
	WHERE on_hand <> counted_on_hand OR held <> counted_held OR committed <> counted_committed OR fulfilled <> counted_fulfilled
	ORDER BY item_id, location`

// Purge implements domain.Store. Fulfilled units leave a checkpoint.
func (s *Store) Purge(ctx context.Context, retention time.Duration, limit int) (purged int, err error) {
	now, err := s.clock(ctx)
	if err != nil {
		return 0, err
	}
	before, day := now-retention.Milliseconds(), inTime(now).Format(time.DateOnly)
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		purged = 0
		var ids []string
		err := query(ctx, tx, func(r *sql.Rows) error {
			var id string
			err := r.Scan(&id)
			ids = append(ids, id)
			return err
		}, `SELECT id FROM reservations WHERE state IN ('FULFILLED', 'RELEASED', 'EXPIRED') AND updated_at < ? ORDER BY id LIMIT ?`, before, limit)
		if err != nil {
			return err
		}
		if len(ids) > 0 {
			if err := forget(ctx, tx, ids, day); err != nil {
				return err
			}
		}
		commands := 0
		if err := query(ctx, tx, func(r *sql.Rows) error { commands++; return nil },
			`DELETE FROM commands WHERE command IN (SELECT command FROM commands WHERE created_at < ? ORDER BY created_at LIMIT ?) RETURNING command`, before, limit); err != nil {
			return err
		}
		purged = len(ids) + commands
		return nil
	})
	return purged, explain(err)
}

// forget deletes reservations and adds what they fulfilled to the day's checkpoint.
func forget(ctx context.Context, tx *sqldb.Tx, ids []string, day string) error {
	in, args := list(ids)
	if err := tx.Exec(ctx, `
		INSERT INTO checkpoints (day, item_id, location, fulfilled)
		SELECT CAST(? AS TEXT), item_id, location, sum(quantity) FROM reservation_lines
		WHERE state = 'FULFILLED' AND reservation_id `+in+` GROUP BY item_id, location
		ON CONFLICT (day, item_id, location) DO UPDATE SET fulfilled = checkpoints.fulfilled + excluded.fulfilled`,
		append([]any{day}, args...)...); err != nil {
		return err
	}
	if err := tx.Exec(ctx, `DELETE FROM reservation_items WHERE (item_id, reservation_id) IN
		(SELECT item_id, reservation_id FROM reservation_lines WHERE reservation_id `+in+`)`, args...); err != nil {
		return err
	}
	return tx.Exec(ctx, `DELETE FROM reservations WHERE id `+in, args...)
}
