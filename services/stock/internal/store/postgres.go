package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// The timeouts of a batch. What a dead process has locked is free after
// idleTimeout; patience covers that, so that its successor can go on.
const (
	lockTimeout      = time.Second
	statementTimeout = 2 * time.Second
	idleTimeout      = 2 * time.Second // of a transaction whose client says nothing
	patience         = 6 * time.Second // from the first try of a batch to the start of the last
	maxPause         = 100 * time.Millisecond
)

// postgres runs batches on PostgreSQL, beside those of other processes.
//
// A batch first locks the rows of its items, in the order of their ids, and of
// their stock, and then reads what it needs, each with a statement of its own: such a statement
// sees what others have committed until then. Then it decides, and sends all
// that changes together with the COMMIT. So there are two round trips, and who
// holds the locks sees everything that anybody has sent.
type postgres struct {
	pool *pgxpool.Pool
	// now is the clock; nil: the server's.
	now func() time.Time
	at  func(point string)
	// changed is told the items whose stock has changed, after the commit; notices tell them to others.
	changed func(items ...int64)
	notices *notices
	// lost are the processes of the server whose answer never came. What was
	// sent to them may still arrive.
	lost []uint32
	// wary is for how many batches more keys are looked for before they are used.
	wary int
}

func newPostgres(ctx context.Context, db *sqldb.DB, options Options) (*postgres, error) {
	cfg := db.Postgres().Config()
	settings := cfg.ConnConfig.RuntimeParams
	settings["lock_timeout"] = millis(lockTimeout)
	settings["statement_timeout"] = millis(statementTimeout)
	settings["idle_in_transaction_session_timeout"] = millis(idleTimeout)
	// All that a batch reads it reads by keys. The planner knows nothing of a new
	// table, and would search all of it for each of them.
	settings["enable_seqscan"], settings["enable_bitmapscan"] = "off", "off"
	cfg.MaxConns, cfg.MinConns = 2, 1 // one lane, and another connection while one breaks
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	p := &postgres{pool: pool, now: options.Now, at: options.at, changed: options.Changed}
	if p.notices, err = newNotices(ctx, db, options); err != nil {
		pool.Close()
		return nil, err
	}
	return p, nil
}

func (p *postgres) close() {
	p.notices.close()
	p.pool.Close()
}

// tell says which items a commit has changed.
func (p *postgres) tell(items ...int64) {
	if len(items) > 0 {
		p.changed(items...)
		p.notices.add(items)
	}
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// apply tries until the outcome is known. All commands have keys, so that what
// was committed unseen is found by the next try.
func (p *postgres) apply(ctx context.Context, commands []domain.Command) ([]domain.Outcome, error) {
	deadline := time.Now().Add(patience)
	unknown := false // whether a COMMIT was sent whose answer never came
	for {
		outcomes, err := p.try(ctx, commands)
		if err == nil {
			p.at("answer")
			return outcomes, nil
		}
		unknown = unknown || errors.Is(err, sqldb.ErrOutcomeUnknown)
		if !isTransient(err) || time.Now().After(deadline) {
			if unknown {
				return nil, fault.New(fault.OutcomeUnknown, "the answer of the database was lost; repeat the call with the same key").Because(err)
			}
			return nil, explain(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(rand.N(maxPause)): //nolint:gosec // it is no secret
		}
	}
}

const uniqueViolation = "23505"

// isTransient tells whether the same batch may succeed later: the others were
// in the way, or the server is away.
func isTransient(err error) bool {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok && slices.Contains([]string{
		"40001", "40P01", // a serialization failure, a deadlock
		uniqueViolation, // somebody else used a key meanwhile for other items, or has made the same row
	}, refusal.Code) {
		return true
	}
	err = sqldb.Explain(err)
	return errors.Is(err, sqldb.ErrUnavailable) || errors.Is(err, sqldb.ErrOutcomeUnknown)
}

func (p *postgres) try(ctx context.Context, commands []domain.Command) (outcomes []domain.Outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience) // a server that hangs
	defer cancel()
	conn, err := p.pool.Acquire(ctx)
	if err != nil {
		return nil, sqldb.Explain(err)
	}
	defer conn.Release() // the pool closes what is inside a transaction
	if err := p.endLost(ctx, conn); err != nil {
		return nil, err
	}
	defer func() {
		if errors.Is(err, sqldb.ErrOutcomeUnknown) {
			p.lost = append(p.lost, conn.Conn().PgConn().PID())
		}
	}()
	p.at("load")
	if place, ok := onePlace(commands); ok {
		if outcomes, done, err := p.reserve(ctx, conn.Conn(), place, commands); done || err != nil {
			if done {
				p.tell(place.ItemID)
			}
			return outcomes, err
		}
	}
	books, err := p.load(ctx, conn.Conn(), needsOf(commands))
	if err != nil {
		rollback(ctx, conn)
		return nil, err
	}
	outcomes = run(books, commands)
	if !books.Changed() {
		rollback(ctx, conn)
		return outcomes, nil
	}
	p.at("write")
	if err := p.write(ctx, conn.Conn(), books); err != nil {
		rollback(ctx, conn)
		return nil, err
	}
	p.tell(changedItems(books)...)
	return outcomes, nil
}

// endLost ends the processes whose answer was lost. Else one that is slow could
// reserve at last what its callers have been refused meanwhile.
func (p *postgres) endLost(ctx context.Context, conn *pgxpool.Conn) error {
	for len(p.lost) > 0 {
		ended := false
		if err := conn.QueryRow(ctx, `SELECT coalesce(bool_and(pg_terminate_backend(pid, 1000)), true) FROM pg_stat_activity
			WHERE pid = $1 AND application_name = current_setting('application_name')`, p.lost[0]).Scan(&ended); err != nil {
			return err
		}
		if !ended {
			return fmt.Errorf("%w: its process %d does not end", sqldb.ErrUnavailable, p.lost[0])
		}
		p.lost = p.lost[1:]
	}
	return nil
}

// rollback ends a transaction; when it fails the pool closes the connection, which ends it too.
func rollback(ctx context.Context, conn *pgxpool.Conn) { _, _ = conn.Exec(ctx, `ROLLBACK`) }

// serverTime is the server's time in milliseconds. Of a row that was waited for it
// is the time after the wait.
const serverTime = `(extract(epoch FROM clock_timestamp()) * 1000)::bigint`

// load locks the items and reads the rest, in one round trip.
func (p *postgres) load(ctx context.Context, conn *pgx.Conn, n needs) (*domain.Books, error) {
	var (
		l     = newLoader()
		batch = &pgx.Batch{}
	)
	read := func(fill func(rows) error, query string, args ...any) {
		batch.Queue(query, args...).Query(func(found pgx.Rows) error { return fill(found) })
	}
	batch.Queue(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE`)
	if len(n.newItems) > 0 {
		batch.Queue(`INSERT INTO items (item_id) SELECT unnest($1::bigint[]) ON CONFLICT DO NOTHING`, n.newItems)
	}
	if len(n.newItems)+len(n.reservations) == 0 {
		// What was never received cannot be reserved, so a lock on what was is enough.
		read(l.accounts, `SELECT `+accountColumns+`, `+serverTime+` FROM items JOIN stock USING (item_id)
			WHERE item_id = ANY ($1::bigint[]) ORDER BY item_id, location FOR UPDATE`, n.items)
	} else {
		// The lines of a reservation never change, so its items are known before the lock.
		const items = `item_id = ANY ($1::bigint[] || ARRAY(SELECT item_id FROM reservation_lines WHERE reservation_id = ANY ($2::text[]::uuid[])))`
		read(l.items, `SELECT `+itemColumns+`, `+serverTime+` FROM items WHERE `+items+` ORDER BY item_id FOR UPDATE`, n.items, n.reservations)
		read(l.balances, `SELECT `+stockColumns+` FROM stock WHERE `+items+` ORDER BY item_id, location FOR UPDATE`, n.items, n.reservations)
	}
	const made = `SELECT ` + reservationColumns + `, key, fingerprint, ttl FROM reservations WHERE `
	if len(n.reservations) > 0 {
		read(l.reservations, made+`id = ANY ($1::text[]::uuid[])`, n.reservations)
	}
	if len(n.reserveKeys) > 0 {
		read(l.reservations, made+`key = ANY ($1::text[])`, n.reserveKeys)
	}
	if len(n.commands) > 0 {
		read(l.commands, `SELECT command, fingerprint, answer FROM commands WHERE command = ANY ($1::text[])`, n.commands)
	}
	if len(n.imports) > 0 {
		read(l.imports, `SELECT key, item_id, quantity FROM imports WHERE key = ANY ($1::text[])`, n.imports)
	}
	if n.movements > 0 || len(n.fulfilled) > 0 {
		read(l.movementIDs, `SELECT nextval(pg_get_serial_sequence('movements', 'id'))
			FROM generate_series(1, $1::bigint + (SELECT count(*) FROM reservation_lines WHERE reservation_id = ANY ($2::text[]::uuid[])))`,
			n.movements, n.fulfilled)
	}
	if err := conn.SendBatch(ctx, batch).Close(); err != nil {
		return nil, err
	}
	if p.now != nil {
		l.books.Now = p.now().UTC().Truncate(time.Millisecond)
	}
	return l.done(), nil
}

func (l *loader) movementIDs(r rows) error {
	return each(r, func() error {
		var id int64
		err := r.Scan(&id)
		l.books.MovementIDs = append(l.books.MovementIDs, id)
		return err
	})
}

// write sends the changes and the COMMIT, in one round trip.
func (p *postgres) write(ctx context.Context, conn *pgx.Conn, books *domain.Books) error {
	texts, err := answers(books)
	if err != nil {
		return err
	}
	batch := &pgx.Batch{}
	queueItems(batch, books)
	queueReservations(batch, books)
	if len(books.Movements) > 0 {
		queueMovements(batch, books)
	}
	if len(books.Remember) > 0 {
		var commands, fingerprints []string
		for _, key := range books.Remember {
			commands, fingerprints = append(commands, rowKey(key)), append(fingerprints, books.Done[key].Fingerprint)
		}
		batch.Queue(`INSERT INTO commands (command, fingerprint, answer, created_at) SELECT *, $4::bigint FROM unnest($1::text[], $2::text[], $3::text[])`,
			commands, fingerprints, texts, books.Now.UnixMilli())
	}
	if len(books.Imports) > 0 {
		imports := slices.Compact(slices.Sorted(slices.Values(books.Imports)))
		items, quantities := make([]int64, len(imports)), make([]int64, len(imports))
		for i, key := range imports {
			items[i], quantities[i] = books.Imported[key].ItemID, books.Imported[key].Quantity
		}
		batch.Queue(`INSERT INTO imports (key, item_id, quantity) SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[])
			ON CONFLICT (key) DO UPDATE SET item_id = excluded.item_id, quantity = excluded.quantity`, imports, items, quantities)
	}
	batch.Queue(`COMMIT`)
	sent := conn.SendBatch(ctx, batch)
	p.at("commit")
	err = sent.Close()
	if refusal, refused := errors.AsType[*pgconn.PgError](err); err == nil || refused && refusal.SeverityUnlocalized == "ERROR" {
		return err
	}
	return errors.Join(sqldb.ErrOutcomeUnknown, err)
}

func queueItems(batch *pgx.Batch, books *domain.Books) {
	if len(books.Rules) > 0 {
		var (
			ids           = slices.Sorted(maps.Keys(books.Rules))
			policies, def []string
			limits, low   []*int64
		)
		for _, id := range ids {
			r := books.Stocks[id].Rules
			policies, def = append(policies, string(r.Policy)), append(def, r.DefaultLocation)
			limits, low = append(limits, r.BackorderLimit), append(low, r.LowStock)
		}
		batch.Queue(`UPDATE items SET policy = n.policy, backorder_limit = n.backorder_limit, default_location = n.default_location, low_stock = n.low_stock
			FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::text[], $5::bigint[]) n (`+itemColumns+`) WHERE items.item_id = n.item_id`,
			ids, policies, limits, def, low)
	}
	created, changed := balancesOf(books)
	if len(created) > 0 {
		batch.Queue(`INSERT INTO stock (`+stockColumns+`, floor)
			SELECT * FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[])`,
			columns(books, created)...)
	}
	if len(changed) > 0 {
		batch.Queue(`UPDATE stock SET on_hand = n.on_hand, available = n.available, held = n.held, committed = n.committed, version = n.version, floor = n.floor
			FROM unnest($1::bigint[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::bigint[]) n (`+stockColumns+`, floor)
			WHERE stock.item_id = n.item_id AND stock.location = n.location`,
			columns(books, changed)...)
	}
}

// columns are stockColumns and floor of places.
func columns(books *domain.Books, places []domain.Place) []any {
	var (
		locations                                          = make([]string, len(places))
		items, onHand, available, held, committed, version = make([]int64, len(places)), make([]int64, len(places)), make([]int64, len(places)), make([]int64, len(places)), make([]int64, len(places)), make([]int64, len(places))
		floors                                             = make([]int64, len(places))
	)
	for i, place := range places {
		of := books.Stocks[place.ItemID]
		at := of.At(place.Location)
		items[i], locations[i], floors[i] = place.ItemID, place.Location, of.Floor()
		onHand[i], available[i], held[i], committed[i], version[i] = at.OnHand, at.Available, at.Held, at.Committed, at.Version
	}
	return []any{items, locations, onHand, available, held, committed, version, floors}
}

func queueReservations(batch *pgx.Batch, books *domain.Books) {
	if len(books.Made) > 0 {
		var (
			ids, states, lines, references, keys, prints, of []string
			expires, ttls, items                             []int64
		)
		for _, m := range books.Made {
			ids, states, lines = append(ids, m.ID), append(states, string(m.State)), append(lines, linesText(m.Lines))
			references, keys, prints = append(references, m.Reference), append(keys, m.Key), append(prints, fingerprint(books, m))
			expires, ttls = append(expires, m.ExpiresAt.UnixMilli()), append(ttls, m.TTL.Milliseconds())
			for _, id := range itemsOf(m.Lines) {
				of, items = append(of, m.ID), append(items, id)
			}
		}
		batch.Queue(`INSERT INTO reservations (id, state, lines, reference, expires_at, key, fingerprint, ttl, created_at, updated_at)
			SELECT *, $9::bigint, $9::bigint FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[])`,
			ids, states, lines, references, expires, keys, prints, ttls, books.Now.UnixMilli())
		batch.Queue(`INSERT INTO reservation_items (item_id, reservation_id) SELECT * FROM unnest($1::bigint[], $2::uuid[])`, items, of)
	}
	if len(books.Stepped) > 0 {
		var (
			ids              = slices.Sorted(maps.Keys(books.Stepped))
			states           []string
			expires, updated []int64
		)
		for _, id := range ids {
			r := books.Stepped[id]
			states, expires, updated = append(states, string(r.State)), append(expires, r.ExpiresAt.UnixMilli()), append(updated, r.UpdatedAt.UnixMilli())
		}
		batch.Queue(`UPDATE reservations SET state = n.state, expires_at = n.expires_at, updated_at = n.updated_at
			FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) n (id, state, expires_at, updated_at) WHERE reservations.id = n.id`,
			ids, states, expires, updated)
	}
}

func queueMovements(batch *pgx.Batch, books *domain.Books) {
	var (
		ids, items, deltas, times              []int64
		locations, reasons, references, actors []string
		reservations                           []*string
	)
	for _, m := range books.Movements {
		ids, items, deltas, times = append(ids, m.ID), append(items, m.ItemID), append(deltas, m.Delta), append(times, m.CreatedAt.UnixMilli())
		locations, reasons = append(locations, m.Location), append(reasons, string(m.Reason))
		references, actors = append(references, m.Reference), append(actors, m.Actor)
		var reservation *string
		if id, ok := books.Fulfilled[m]; ok {
			reservation = &id
		}
		reservations = append(reservations, reservation)
	}
	batch.Queue(`INSERT INTO movements (`+movementColumns+`, reservation_id)
		SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::text[]::uuid[])`,
		ids, items, locations, deltas, reasons, references, actors, times, reservations)
}
