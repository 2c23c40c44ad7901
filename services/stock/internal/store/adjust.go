package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// The operations that keys are unique within.
const (
	opAdjust = "adjust"
	opImport = "import"
)

// Adjust implements domain.Store.
func (s *Store) Adjust(ctx context.Context, a domain.Adjustment, now time.Time) (movement domain.Movement, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		movement, err = adjust(ctx, tx, a, now)
		return err
	})
	return movement, err
}

func adjust(ctx context.Context, tx *sqldb.Tx, a domain.Adjustment, now time.Time) (domain.Movement, error) {
	fingerprint := fmt.Sprintf("%d %+d %s %q %q", a.ItemID, a.Delta, a.Reason, a.Reference, a.Location)
	if a.Key != "" {
		known, err := findCommand(ctx, tx, opAdjust, a.Key)
		if err != nil {
			return domain.Movement{}, err
		}
		if known != nil && known.fingerprint != fingerprint {
			return domain.Movement{}, keyReused(a.Key)
		}
		if known != nil {
			return findMovement(ctx, tx, known.result)
		}
	}
	policy, err := ensureItem(ctx, tx, a.ItemID, a.Location)
	if err != nil {
		return domain.Movement{}, err
	}
	movement := domain.Movement{
		ItemID: a.ItemID, Location: a.Location, Delta: a.Delta, Reason: a.Reason, Reference: a.Reference,
		CreatedAt: now.UTC().Truncate(time.Millisecond),
	}
	if err := move(ctx, tx, &movement, policy); err != nil {
		return domain.Movement{}, err
	}
	if a.Key != "" {
		err = saveCommand(ctx, tx, opAdjust, a.Key, command{itemID: a.ItemID, fingerprint: fingerprint, result: movement.ID}, now)
	}
	return movement, err
}

// ensureItem makes the rows of an item that was never received, and returns its policy.
func ensureItem(ctx context.Context, tx *sqldb.Tx, itemID int64, location string) (policy domain.Policy, err error) {
	if err := tx.Exec(ctx, `INSERT INTO items (item_id, policy) VALUES (?, ?) ON CONFLICT DO NOTHING`, itemID, domain.Deny); err != nil {
		return "", err
	}
	if err := sqldb.QueryRow(ctx, tx, `SELECT policy FROM items WHERE item_id = ?`, itemID).Scan(&policy); err != nil {
		return "", err
	}
	err = tx.Exec(ctx, `
		INSERT INTO stock (item_id, location, on_hand, available, held, committed, floor, version)
		VALUES (?, ?, 0, 0, 0, 0, ?, 0) ON CONFLICT DO NOTHING`, itemID, location, floorColumn(policy))
	return policy, err
}

// floorColumn is what the policy's floor is in the table.
func floorColumn(policy domain.Policy) any {
	if floor, ok := policy.Floor(); ok {
		return floor
	}
	return nil
}

// move changes the balance and writes the movement to the ledger.
func move(ctx context.Context, tx *sqldb.Tx, m *domain.Movement, policy domain.Policy) error {
	balance, err := findBalance(ctx, tx, m.ItemID, m.Location)
	if err != nil {
		return err
	}
	after, err := balance.Move(m.Delta, policy)
	if err != nil {
		return err
	}
	if err := saveBalance(ctx, tx, m.ItemID, m.Location, after); err != nil {
		return err
	}
	return saveMovement(ctx, tx, m)
}

// saveMovement writes to the ledger and gives the movement its id.
func saveMovement(ctx context.Context, tx *sqldb.Tx, m *domain.Movement) error {
	return sqldb.QueryRow(ctx, tx, `
		INSERT INTO movements (item_id, location, delta, reason, reference, created_at)
		VALUES (?, ?, ?, ?, ?, ?) RETURNING id`,
		m.ItemID, m.Location, m.Delta, m.Reason, m.Reference, m.CreatedAt.UnixMilli()).Scan(&m.ID)
}

func findBalance(ctx context.Context, tx *sqldb.Tx, itemID int64, location string) (b domain.Balance, err error) {
	err = sqldb.QueryRow(ctx, tx, `SELECT on_hand, available, held, committed, version FROM stock WHERE item_id = ? AND location = ?`,
		itemID, location).Scan(&b.OnHand, &b.Available, &b.Held, &b.Committed, &b.Version)
	return b, err
}

func findMovement(ctx context.Context, tx *sqldb.Tx, id int64) (domain.Movement, error) {
	movements, err := findMovements(ctx, tx, `WHERE id = ?`, id)
	if err != nil {
		return domain.Movement{}, err
	}
	if len(movements) == 0 {
		return domain.Movement{}, fmt.Errorf("movement %d is not in the ledger", id)
	}
	return movements[0], nil
}

// command is what is kept of a command that came with a key.
type command struct {
	itemID      int64
	fingerprint string
	result      int64
}

// findCommand returns nil when the key is new.
func findCommand(ctx context.Context, tx *sqldb.Tx, operation, key string) (*command, error) {
	var c command
	err := sqldb.QueryRow(ctx, tx, `SELECT item_id, fingerprint, result FROM commands WHERE operation = ? AND key = ?`,
		operation, key).Scan(&c.itemID, &c.fingerprint, &c.result)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	return &c, err
}

// saveCommand keeps a command, in place of the one that had the key before.
func saveCommand(ctx context.Context, tx *sqldb.Tx, operation, key string, c command, now time.Time) error {
	err := tx.Exec(ctx, `
		INSERT INTO commands (operation, key, item_id, fingerprint, result, created_at) VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT (operation, key) DO UPDATE SET
			item_id = excluded.item_id, fingerprint = excluded.fingerprint, result = excluded.result, created_at = excluded.created_at`,
		operation, key, c.itemID, c.fingerprint, c.result, now.UnixMilli())
	return err
}
