// Package store keeps the stock and its ledger in a database: SQLite for one
// process, PostgreSQL for several.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// Store implements domain.Store.
type Store struct {
	db      *sqldb.DB
	lane    *lane
	now     func() time.Time
	release func() // what the engine holds besides db
}

var _ domain.Store = (*Store)(nil)

// Options are what a store may be told.
type Options struct {
	// Now is the clock. Nil: that of PostgreSQL, which all replicas share, or of the machine with SQLite.
	Now func() time.Time
	// Measured is told how long calls wait and what batches are.
	Measured Measured
	// Changed is called with the items whose stock a commit has changed, also one
	// of another process on PostgreSQL; without any when it is not known which.
	// Now and then it is not called when it should be, as after an outage. It must not wait.
	Changed func(items ...int64)
	// Listening is called when changes of other processes are not told any more,
	// with why, and with nil when they are again.
	Listening func(err error)
	// at is called on a batch's way, so that a test may end the process there: load, write, commit, answer.
	at func(point string)
}

// Open opens or creates the database.
func Open(ctx context.Context, cfg sqldb.Config, options Options) (*Store, error) {
	schema, err := Schema()
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, cfg, schema.Name, schema.Migrations)
	if err != nil {
		return nil, err
	}
	options.fill()
	s := &Store{db: db, now: options.Now, release: func() {}}
	if db.Postgres() == nil {
		if s.now == nil {
			s.now = time.Now
		}
		s.lane = newLane((&sqlite{db: db, now: s.now, at: options.at, changed: options.Changed}).apply, options.Measured)
		return s, nil
	}
	engine, err := newPostgres(ctx, db, options)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.release = engine.close
	s.lane = newLane(engine.apply, options.Measured)
	return s, nil
}

// fill makes what nobody wants to be told do nothing.
func (o *Options) fill() {
	if o.Changed == nil {
		o.Changed = func(...int64) {}
	}
	if o.Listening == nil {
		o.Listening = func(error) {}
	}
	if o.at == nil {
		o.at = func(string) {}
	}
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Close waits for the commands that are under way and gives the database free.
func (s *Store) Close() error {
	s.lane.close()
	s.release()
	return s.db.Close()
}

// Do implements domain.Store.
func (s *Store) Do(ctx context.Context, commands ...domain.Command) ([]domain.Outcome, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	return s.lane.do(ctx, commands)
}

// Waiting is how many calls wait for the next batch.
func (s *Store) Waiting() int { return len(s.lane.calls) }

// Empty tells whether the store has never held any stock.
func (s *Store) Empty(ctx context.Context) (empty bool, err error) {
	err = sqldb.QueryRow(ctx, s.db.Read(), `SELECT NOT EXISTS (SELECT 1 FROM movements)`).Scan(&empty)
	return empty, explain(err)
}

// clock reads the time that the reservations go by, in milliseconds.
func (s *Store) clock(ctx context.Context) (millis int64, err error) {
	if s.now != nil {
		return s.now().UnixMilli(), nil
	}
	err = sqldb.QueryRow(ctx, s.db.Read(), `SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint`).Scan(&millis)
	return millis, explain(err)
}

// explain gives callers the words for what the database could not do.
func explain(err error) error {
	switch err = sqldb.Explain(err); {
	case err == nil:
		return nil
	case errors.Is(err, sqldb.ErrOutcomeUnknown):
		return fault.New(fault.OutcomeUnknown, "the answer of the database was lost; repeat the call with the same key").Because(err)
	case errors.Is(err, sqldb.ErrUnavailable):
		return fault.New(fault.Unavailable, "the database is not available; try again").Because(err)
	default:
		return err
	}
}
