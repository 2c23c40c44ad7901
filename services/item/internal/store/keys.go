package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// once runs a command in a write transaction, which stores its answer too. A
// command that came before is not run: the answer is that of then, or KeyReused.
func (s *Store) once(ctx context.Context, c domain.Command, do func(ctx context.Context, tx *sqldb.Tx) (*domain.Item, error)) (answer domain.Stocked, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		before, err := recall(ctx, tx, c)
		if err != nil {
			return err
		}
		if before != nil {
			answer = *before
			return nil
		}
		item, err := do(ctx, tx)
		if err != nil {
			return err
		}
		answer = domain.Stocked{Item: item, Stock: c.Stock}
		return remember(ctx, tx, c, answer)
	})
	return answer, err
}

// recall returns the answer to a command that came before, or nil.
func recall(ctx context.Context, tx *sqldb.Tx, c domain.Command) (*domain.Stocked, error) {
	if c.Key == "" {
		return nil, nil
	}
	var fingerprint, text string
	err := sqldb.QueryRow(ctx, tx, `SELECT fingerprint, answer FROM commands WHERE command = ?`, rowKey(c)).Scan(&fingerprint, &text)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if fingerprint != c.Fingerprint {
		return nil, fault.New(fault.KeyReused, "the idempotency key %q came before with other parameters", c.Key)
	}
	answer := new(domain.Stocked)
	return answer, json.Unmarshal([]byte(text), answer)
}

// remember keeps the answer as JSON by the names of its Go fields: one that is
// renamed gets lost from what an older version kept.
func remember(ctx context.Context, tx *sqldb.Tx, c domain.Command, answer domain.Stocked) error {
	if c.Key == "" {
		return nil
	}
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return tx.Exec(ctx, `INSERT INTO commands (command, fingerprint, answer, created_at) VALUES (?, ?, ?, ?)`,
		rowKey(c), c.Fingerprint, string(text), c.At.UnixMilli())
}

// rowKey is a command's key in the table commands. No operation has a space in its name.
func rowKey(c domain.Command) string { return c.Operation + " " + c.Key }

// Forget implements domain.Changer.
func (s *Store) Forget(ctx context.Context, before time.Time, limit int) (forgotten int, err error) {
	err = s.update(ctx, func(ctx context.Context, tx *sqldb.Tx) (err error) {
		forgotten = 0
		rows, err := tx.Query(ctx, `
			DELETE FROM commands WHERE command IN (SELECT command FROM commands WHERE created_at < ? ORDER BY created_at LIMIT ?)
			RETURNING command`, before.UnixMilli(), limit)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, rows.Close()) }()
		for rows.Next() {
			forgotten++
		}
		return rows.Err()
	})
	return forgotten, err
}
