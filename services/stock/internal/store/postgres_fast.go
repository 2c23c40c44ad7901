package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// reserveOnePlace reserves all or nothing of one item at one location in one
// statement, which commits by itself: half the round trips for a lone caller
// and for the callers of a hot item. It locks the row of the stock and not that
// of the item, which is why the others lock both.
const reserveOnePlace = reserveHead + reserveTail

// reserveUnknown also finds that a key came before, instead of failing on it.
// To look for the keys costs a fifth of the statement's time.
const reserveUnknown = reserveHead + ` AND NOT EXISTS (SELECT 1 FROM reservations WHERE key = ANY ($7::text[]))` + reserveTail

// wariness is for how many batches keys are looked for, after one came again.
const wariness = 256

const reserveHead = `
	WITH taken AS (
		UPDATE stock SET available = available - $3::bigint, held = held + $3, version = version + $4::bigint
		FROM items
		WHERE stock.item_id = $1 AND items.item_id = stock.item_id AND location = coalesce(nullif($2::text, ''), default_location)
			AND available - $3 >= floor`

const reserveTail = `
		RETURNING location, ',"Location":' || to_json(location) || '}]' AS ending, coalesce($5::bigint, ` + serverTime + `) AS now
	), made AS (
		INSERT INTO reservations (id, state, lines, reference, expires_at, created_at, updated_at, key, fingerprint, ttl)
		SELECT id, 'HELD', '[{"ItemID":' || $1::bigint || ',"Quantity":' || quantity || ending, reference, now + ttl, now, now, key, fingerprint, ttl
		FROM taken, unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[]) n (id, key, fingerprint, reference, ttl, quantity)
	), entered AS (
		INSERT INTO reservation_items (item_id, reservation_id) SELECT $1, id FROM taken, unnest($6) id
	)
	SELECT location, now FROM taken`

// onePlace gives the place when all commands reserve there and nowhere else,
// each with a key of its own.
func onePlace(commands []domain.Command) (place domain.Place, ok bool) {
	keys := make(map[string]bool, len(commands))
	for i, command := range commands {
		r, reserves := command.(domain.Reserve)
		if !reserves || len(r.Lines) != 1 || keys[r.Key] {
			return place, false
		}
		keys[r.Key] = true
		at := domain.Place{ItemID: r.Lines[0].ItemID, Location: r.Lines[0].Location}
		if i > 0 && at != place {
			return place, false
		}
		place = at
	}
	return place, true
}

// reserve runs commands that all reserve at one place. done is false when they
// have to be looked at one by one: there is too little, or a key came before.
func (p *postgres) reserve(ctx context.Context, conn *pgx.Conn, place domain.Place, commands []domain.Command) (outcomes []domain.Outcome, done bool, err error) {
	var (
		ids                      = make([][16]byte, len(commands)) // as text, it would take the server long to read them
		keys, prints, references = make([]string, len(commands)), make([]string, len(commands)), make([]string, len(commands))
		ttls, quantities         = make([]int64, len(commands)), make([]int64, len(commands))
		sum                      int64 // of at most maxBatch quantities, so it cannot overflow
		now                      *int64
	)
	for i, command := range commands {
		r := command.(domain.Reserve) //nolint:forcetypeassert // onePlace has seen it
		id, err := uuid.Parse(r.ID)
		if err != nil {
			return nil, false, err
		}
		ids[i], keys[i], prints[i], references[i] = id, r.Key, r.Fingerprint(), r.Reference
		ttls[i], quantities[i] = r.TTL.Milliseconds(), r.Lines[0].Quantity
		sum += quantities[i]
	}
	if p.now != nil {
		millis := p.now().UnixMilli()
		now = &millis
	}
	var (
		location string
		millis   int64
	)
	statement := reserveOnePlace
	if p.wary > 0 {
		p.wary, statement = p.wary-1, reserveUnknown
	}
	err = conn.QueryRow(ctx, statement, place.ItemID, place.Location, sum, len(commands), now, ids, keys, prints, references, ttls, quantities).
		Scan(&location, &millis)
	switch refusal, refused := errors.AsType[*pgconn.PgError](err); {
	case errors.Is(err, pgx.ErrNoRows):
		return nil, false, nil
	case refused && refusal.Code == uniqueViolation:
		p.wary = wariness
		return nil, false, nil
	case refused && refusal.SeverityUnlocalized == "ERROR":
		return nil, false, err
	case err != nil:
		return nil, false, fmt.Errorf("%w: %w", sqldb.ErrOutcomeUnknown, err)
	}
	outcomes = make([]domain.Outcome, len(commands))
	for i, command := range commands {
		r := command.(domain.Reserve) //nolint:forcetypeassert // as above
		made := inTime(millis)
		outcomes[i].Answer.Reservation = &domain.Reservation{
			ID: r.ID, State: domain.Held, Reference: r.Reference, ExpiresAt: made.Add(r.TTL.Truncate(time.Millisecond)), CreatedAt: made, UpdatedAt: made,
			Lines: []domain.Line{{ItemID: place.ItemID, Location: location, Quantity: quantities[i]}},
		}
	}
	return outcomes, true, nil
}
