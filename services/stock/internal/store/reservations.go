package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Reserve implements domain.Store.
func (s *Store) Reserve(ctx context.Context, r domain.Reserve, now time.Time) (reservation domain.Reservation, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) (err error) {
		reservation, err = reserve(ctx, tx, r, now.UTC().Truncate(time.Millisecond))
		return err
	})
	return reservation, err
}

func reserve(ctx context.Context, tx *sqldb.Tx, r domain.Reserve, now time.Time) (domain.Reservation, error) {
	if r.Key != "" {
		known, err := reservedBefore(ctx, tx, r)
		if err != nil || known != nil {
			return valueOf(known), err
		}
	}
	if err := hold(ctx, tx, r.Lines); err != nil {
		return domain.Reservation{}, err
	}
	made := domain.Reservation{
		ID: r.ID, State: domain.Held, Lines: r.Lines, Reference: r.Reference,
		ExpiresAt: now.Add(r.TTL), CreatedAt: now, UpdatedAt: now,
	}
	err := tx.Exec(ctx, `
		INSERT INTO reservations (id, state, reference, expires_at, created_at, updated_at, key, fingerprint, ttl)
		VALUES (?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?)`,
		made.ID, made.State, made.Reference, made.ExpiresAt.UnixMilli(), now.UnixMilli(), now.UnixMilli(),
		r.Key, r.Fingerprint(), r.TTL.Milliseconds())
	if err != nil {
		return domain.Reservation{}, err
	}
	for i, line := range r.Lines {
		if err := tx.Exec(ctx, `INSERT INTO reservation_lines (reservation_id, line, item_id, location, quantity) VALUES (?, ?, ?, ?, ?)`,
			made.ID, i, line.ItemID, line.Location, line.Quantity); err != nil {
			return domain.Reservation{}, err
		}
	}
	return made, nil
}

// reservedBefore gives the answer that a command with the key had, or nil.
func reservedBefore(ctx context.Context, tx *sqldb.Tx, r domain.Reserve) (*domain.Reservation, error) {
	var (
		id, fingerprint string
		ttl             int64
	)
	err := sqldb.QueryRow(ctx, tx, `SELECT id, fingerprint, ttl FROM reservations WHERE key = ?`, r.Key).Scan(&id, &fingerprint, &ttl)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if fingerprint != r.Fingerprint() {
		return nil, keyReused(r.Key)
	}
	known, err := findReservation(ctx, tx, id)
	if err != nil {
		return nil, err
	}
	// As it was made, whatever has become of it.
	known.State, known.UpdatedAt = domain.Held, known.CreatedAt
	known.ExpiresAt = known.CreatedAt.Add(time.Duration(ttl) * time.Millisecond)
	return &known, nil
}

func keyReused(key string) error {
	return fault.New(fault.KeyReused, "the idempotency key %q came before with other parameters", key)
}

func valueOf(r *domain.Reservation) domain.Reservation {
	if r == nil {
		return domain.Reservation{}
	}
	return *r
}

// hold sets the units of all lines aside, or returns SoldOut with every line that is short.
func hold(ctx context.Context, tx *sqldb.Tx, lines []domain.Line) error {
	var short []domain.Shortage
	for _, line := range lines {
		policy, balance, err := findAccount(ctx, tx, line.ItemID, line.Location)
		if err != nil {
			return err
		}
		after, tooFew := balance.Hold(line.Quantity, policy)
		if tooFew {
			short = append(short, domain.Shortage{ItemID: line.ItemID, Location: line.Location, Asked: line.Quantity, Available: balance.Available})
		}
		if len(short) == 0 {
			if err := saveBalance(ctx, tx, line.ItemID, line.Location, after); err != nil {
				return err
			}
		}
	}
	if len(short) > 0 {
		return domain.SoldOut(short)
	}
	return nil
}

// findAccount gives an item's policy and balance; what was never received has 0.
func findAccount(ctx context.Context, tx *sqldb.Tx, itemID int64, location string) (policy domain.Policy, b domain.Balance, err error) {
	err = sqldb.QueryRow(ctx, tx, `
		SELECT items.policy, on_hand, available, held, committed, version
		FROM stock JOIN items USING (item_id) WHERE item_id = ? AND location = ?`, itemID, location).
		Scan(&policy, &b.OnHand, &b.Available, &b.Held, &b.Committed, &b.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return domain.Deny, domain.Balance{}, nil
	}
	return policy, b, err
}

func saveBalance(ctx context.Context, tx *sqldb.Tx, itemID int64, location string, b domain.Balance) error {
	return tx.Exec(ctx, `UPDATE stock SET on_hand = ?, available = ?, held = ?, committed = ?, version = ? WHERE item_id = ? AND location = ?`,
		b.OnHand, b.Available, b.Held, b.Committed, b.Version, itemID, location)
}

// Change implements domain.Store.
func (s *Store) Change(ctx context.Context, c domain.Change, now time.Time) (reservation domain.Reservation, err error) {
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) (err error) {
		reservation, err = change(ctx, tx, c, now.UTC().Truncate(time.Millisecond))
		return err
	})
	return reservation, err
}

func change(ctx context.Context, tx *sqldb.Tx, c domain.Change, now time.Time) (domain.Reservation, error) {
	r, err := findReservation(ctx, tx, c.ID)
	if err != nil {
		return domain.Reservation{}, err
	}
	if c.Key != "" {
		known, err := takenBefore(ctx, tx, c, r)
		if err != nil || known != nil {
			return valueOf(known), err
		}
	}
	changes, err := r.Apply(c, now)
	if err != nil {
		return domain.Reservation{}, err
	}
	if changes {
		if err := applyStep(ctx, tx, c.Step, r); err != nil {
			return domain.Reservation{}, err
		}
	}
	if c.Key == "" {
		return r, nil
	}
	err = tx.Exec(ctx, `INSERT INTO reservation_steps (step, key, fingerprint, reservation_id, expires_at, taken_at) VALUES (?, ?, ?, ?, ?, ?)`,
		c.Step, c.Key, c.Fingerprint(), r.ID, r.ExpiresAt.UnixMilli(), r.UpdatedAt.UnixMilli())
	return r, err
}

// takenBefore gives the answer that a step with the key had, or nil.
func takenBefore(ctx context.Context, tx *sqldb.Tx, c domain.Change, r domain.Reservation) (*domain.Reservation, error) {
	var (
		fingerprint    string
		expires, taken int64
	)
	err := sqldb.QueryRow(ctx, tx, `SELECT fingerprint, expires_at, taken_at FROM reservation_steps WHERE step = ? AND key = ?`, c.Step, c.Key).
		Scan(&fingerprint, &expires, &taken)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, err
	case fingerprint != c.Fingerprint():
		return nil, keyReused(c.Key)
	}
	// As it was after the step, whatever has become of it.
	r.State, r.ExpiresAt, r.UpdatedAt = c.Step.State(), time.UnixMilli(expires).UTC(), time.UnixMilli(taken).UTC()
	return &r, nil
}

// applyStep writes a reservation that took a step, the balances of its lines,
// and the ledger where units leave the house.
func applyStep(ctx context.Context, tx *sqldb.Tx, step domain.Step, r domain.Reservation) error {
	if err := tx.Exec(ctx, `UPDATE reservations SET state = ?, expires_at = ?, updated_at = ? WHERE id = ?`,
		r.State, r.ExpiresAt.UnixMilli(), r.UpdatedAt.UnixMilli(), r.ID); err != nil {
		return err
	}
	if step == domain.Extend {
		return nil
	}
	for _, line := range r.Lines {
		balance, err := findBalance(ctx, tx, line.ItemID, line.Location)
		if err != nil {
			return err
		}
		if err := saveBalance(ctx, tx, line.ItemID, line.Location, balance.Step(step, line.Quantity)); err != nil {
			return err
		}
		if step == domain.Fulfil {
			sold := domain.Movement{
				ItemID: line.ItemID, Location: line.Location, Delta: -line.Quantity, Reason: domain.Sold,
				Reference: r.ID, CreatedAt: r.UpdatedAt,
			}
			if err := saveMovement(ctx, tx, &sold); err != nil {
				return err
			}
		}
	}
	return nil
}

// Expire implements domain.Store.
func (s *Store) Expire(ctx context.Context, limit int, now time.Time) (expired int, err error) {
	cutoff := now.UTC().Truncate(time.Millisecond)
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		expired = 0
		due, err := findReservations(ctx, tx, `WHERE state = 'HELD' AND expires_at <= ? ORDER BY expires_at LIMIT ?`, cutoff.UnixMilli(), limit)
		if err != nil {
			return err
		}
		for _, r := range due {
			changes, err := r.Apply(domain.Change{ID: r.ID, Step: domain.Expire, Cutoff: cutoff}, cutoff)
			if err != nil {
				return err
			}
			if changes {
				expired++
				if err := applyStep(ctx, tx, domain.Expire, r); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return expired, err
}

// Reservation implements domain.Store.
func (s *Store) Reservation(ctx context.Context, id string) (domain.Reservation, error) {
	return findReservation(ctx, s.db.Read(), id)
}

func findReservation(ctx context.Context, q sqldb.Querier, id string) (domain.Reservation, error) {
	found, err := findReservations(ctx, q, `WHERE id = ?`, id)
	if err != nil {
		return domain.Reservation{}, err
	}
	if len(found) == 0 {
		return domain.Reservation{}, fault.New(fault.NotFound, "there is no reservation %q", id)
	}
	return found[0], nil
}

// Reservations implements domain.Store.
func (s *Store) Reservations(ctx context.Context, f domain.Filter, limit int, cursor string) ([]domain.Reservation, string, error) {
	where, args := []string{"true"}, []any{}
	if f.State != "" {
		where, args = append(where, "state = ?"), append(args, f.State)
	}
	if f.Reference != "" {
		where, args = append(where, "reference = ?"), append(args, f.Reference)
	}
	if f.ItemID != 0 {
		where, args = append(where, "id IN (SELECT reservation_id FROM reservation_lines WHERE item_id = ?)"), append(args, f.ItemID)
	}
	if cursor != "" {
		if len(cursor) != reservationIDLength {
			return nil, "", fault.Invalid("cursor", "must be the next_cursor of the page before")
		}
		where, args = append(where, "id < ?"), append(args, cursor)
	}
	found, err := findReservations(ctx, s.db.Read(), "WHERE "+strings.Join(where, " AND ")+" ORDER BY id DESC LIMIT ?", append(args, limit+1)...)
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	return found[:limit], found[limit-1].ID, nil
}

// reservationIDLength is that of a UUID.
const reservationIDLength = 36

// findReservations selects reservations with the rest of a query: WHERE, ORDER BY.
func findReservations(ctx context.Context, q sqldb.Querier, rest string, args ...any) (found []domain.Reservation, err error) {
	rows, err := q.Query(ctx, `SELECT id, state, reference, expires_at, created_at, updated_at FROM reservations `+rest, args...)
	if err != nil {
		return nil, err
	}
	for rows.Next() {
		var (
			r                         domain.Reservation
			expires, created, updated int64
		)
		if err = rows.Scan(&r.ID, &r.State, &r.Reference, &expires, &created, &updated); err != nil {
			break
		}
		r.ExpiresAt, r.CreatedAt, r.UpdatedAt = time.UnixMilli(expires).UTC(), time.UnixMilli(created).UTC(), time.UnixMilli(updated).UTC()
		found = append(found, r)
	}
	if err = errors.Join(err, rows.Err(), rows.Close()); err != nil {
		return nil, err
	}
	for i := range found {
		if found[i].Lines, err = findLines(ctx, q, found[i].ID); err != nil {
			return nil, fmt.Errorf("lines of %s: %w", found[i].ID, err)
		}
	}
	return found, nil
}

func findLines(ctx context.Context, q sqldb.Querier, id string) (lines []domain.Line, err error) {
	rows, err := q.Query(ctx, `SELECT item_id, quantity, location FROM reservation_lines WHERE reservation_id = ? ORDER BY line`, id)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var line domain.Line
		if err := rows.Scan(&line.ItemID, &line.Quantity, &line.Location); err != nil {
			return nil, err
		}
		lines = append(lines, line)
	}
	return lines, rows.Err()
}
