// Package store keeps the items in a database.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// Store implements domain.Store. Get is answered from memory for at most the
// cache's bound after a read; a change made here is seen at once.
type Store struct {
	db      *sqldb.DB
	dialect dialect
	cache   *cache
}

var _ domain.Store = (*Store)(nil)

// Open opens or creates the database. maxAge bounds how old an answer of Get
// may be, read by the clock now.
func Open(ctx context.Context, cfg sqldb.Config, maxAge time.Duration, now func() time.Time) (*Store, error) {
	schema, err := Schema()
	if err != nil {
		return nil, err
	}
	cache, err := newCache(maxAge, now)
	if err != nil {
		return nil, err
	}
	db, err := sqldb.Open(ctx, cfg, schema.Name, schema.Migrations)
	if err != nil {
		return nil, err
	}
	return &Store{db: db, dialect: dialectOf(db), cache: cache}, nil
}

// Ping tells whether the store answers.
func (s *Store) Ping(ctx context.Context) error { return s.db.Ping(ctx) }

// Lookups counts the items that Get looked for: those that were in memory and those that were not.
func (s *Store) Lookups() (hits, misses int64) { return s.cache.hits.Load(), s.cache.misses.Load() }

// Close gives the database free.
func (s *Store) Close() error { return s.db.Close() }

// update runs a write transaction.
func (s *Store) update(ctx context.Context, do func(ctx context.Context, tx *sqldb.Tx) error) error {
	return translate(s.db.Update(ctx, do))
}

// translate makes an error of the database's server one for the caller.
func translate(err error) error {
	err = sqldb.Explain(err)
	switch {
	case fault.CodeOf(err) != fault.Internal:
		return err
	case errors.Is(err, sqldb.ErrOutcomeUnknown):
		return fault.New(fault.OutcomeUnknown, "the connection to the database broke while the change was stored: repeat it, with the same key if it has one").Because(err)
	case errors.Is(err, sqldb.ErrUnavailable):
		return fault.New(fault.Unavailable, "the database of the items is not available: try again").Because(err)
	}
	return err
}
