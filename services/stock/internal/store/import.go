package store

import (
	"context"
	"errors"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Import implements domain.Store: one transaction for all lines.
func (s *Store) Import(ctx context.Context, lines []domain.ImportLine, set bool, now time.Time) ([]domain.ImportResult, error) {
	results := make([]domain.ImportResult, len(lines))
	err := s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		for i, line := range lines {
			err := tx.Try(ctx, func() (err error) {
				results[i], err = importLine(ctx, tx, line, set, now)
				return err
			})
			if refusal, ok := errors.AsType[*fault.Error](err); ok {
				results[i] = domain.ImportResult{Problem: refusal}
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// importLine receives the quantity the first time that the key comes for the
// item, and brings on_hand to it with set.
func importLine(ctx context.Context, tx *sqldb.Tx, line domain.ImportLine, set bool, now time.Time) (domain.ImportResult, error) {
	known, err := findCommand(ctx, tx, opImport, line.Key)
	if err != nil {
		return domain.ImportResult{}, err
	}
	first := known == nil || known.itemID != line.ItemID // a new item may have the variant of one that was deleted
	policyChanged, err := setPolicy(ctx, tx, line.ItemID, line.Policy)
	if err != nil {
		return domain.ImportResult{}, err
	}
	result := domain.ImportResult{Changed: policyChanged}
	movement := domain.Movement{
		ItemID: line.ItemID, Location: domain.MainLocation, Reason: domain.Received, Delta: line.Quantity,
		Reference: "import", CreatedAt: now.UTC().Truncate(time.Millisecond),
	}
	switch {
	case first:
	case set:
		balance, err := findBalance(ctx, tx, line.ItemID, domain.MainLocation)
		if err != nil {
			return domain.ImportResult{}, err
		}
		movement.Reason, movement.Delta = domain.Counted, line.Quantity-balance.OnHand
	case known.result != line.Quantity:
		result.Earlier = &known.result
		return result, nil
	default:
		return result, nil
	}
	if movement.Delta != 0 {
		if err := move(ctx, tx, &movement, line.Policy); err != nil {
			return domain.ImportResult{}, err
		}
		result.Changed = true
	}
	return result, saveCommand(ctx, tx, opImport, line.Key, command{itemID: line.ItemID, result: line.Quantity}, now)
}

// setPolicy gives an item its policy, and says whether it had another.
func setPolicy(ctx context.Context, tx *sqldb.Tx, itemID int64, policy domain.Policy) (changed bool, err error) {
	before, err := ensureItem(ctx, tx, itemID, domain.MainLocation)
	if err != nil || before == policy {
		return false, err
	}
	if floor, ok := policy.Floor(); ok {
		var lowest int64
		if err := sqldb.QueryRow(ctx, tx, `SELECT min(available) FROM stock WHERE item_id = ?`, itemID).Scan(&lowest); err != nil {
			return false, err
		}
		if lowest < floor {
			return false, fault.New(fault.Conflict, "%d available, and the policy %s allows no less than %d", lowest, policy, floor)
		}
	}
	if err := tx.Exec(ctx, `UPDATE items SET policy = ? WHERE item_id = ?`, policy, itemID); err != nil {
		return false, err
	}
	err = tx.Exec(ctx, `UPDATE stock SET floor = ?, version = version + 1 WHERE item_id = ?`, floorColumn(policy), itemID)
	return true, err
}
