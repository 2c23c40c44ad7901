// Package sqldb opens the database of a service, a SQLite file for one process
// alone or a schema of a PostgreSQL database for several, brings it up to date,
// and runs transactions on it.
package sqldb

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/metric"
)

// defaultData is the directory of a service that is told nothing.
const defaultData = "data"

// waitInterval is the time between two tries to reach PostgreSQL at the start.
const waitInterval = time.Second

var (
	// ErrUnavailable: the server cannot be reached or takes no statement now; nothing was done.
	ErrUnavailable = errors.New("the database is not available")
	// ErrOutcomeUnknown: the connection broke while the change was committed.
	ErrOutcomeUnknown = errors.New("whether the change was stored is unknown")

	errClosed = errors.New("the database is closed")
)

// Config says where a service keeps its data.
type Config struct {
	// Data is the directory of the SQLite file, used when Store is empty. It is
	// made if it does not exist. Empty: "data".
	Data string
	// Store is a PostgreSQL database, in which each service has a schema of its
	// own. Empty: SQLite.
	Store Location
	// Wait is how long Open waits for PostgreSQL to answer, as where both are
	// installed at the same time. 0: not at all.
	Wait time.Duration
	// Waiting is called each time that PostgreSQL did not answer. nil: it is not told.
	Waiting func(err error)
	// Meter measures statements and waits. nil: nothing does.
	Meter metric.Meter
}

// String is the directory, or the URL without its password.
func (c Config) String() string {
	if c.Store != "" {
		return c.Store.String()
	}
	directory := cmp.Or(c.Data, defaultData)
	if absolute, err := filepath.Abs(directory); err == nil {
		return absolute
	}
	return directory
}

// Flags declares -data, -store and -store-wait.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Data, "data", cmp.Or(c.Data, defaultData), "`directory` of the SQLite database")
	fs.Var(&c.Store, "store", "`URL` of a PostgreSQL database instead: "+form)
	fs.DurationVar(&c.Wait, "store-wait", c.Wait, "how long to wait at the start for the PostgreSQL database to answer")
}

// DB is the database of one service. What Update has committed survives a crash.
type DB struct {
	engine engine
	read   *Reader
	turn   chan struct{} // holds one token, which the Update that is under way has; closed by Close
	meters *meters
	stop   func() error // counting connections
}

// engine is what differs between SQLite and PostgreSQL, beside how statements run.
type engine interface {
	update(ctx context.Context, do func(ctx context.Context, tx *Tx) error) error
	connections() []connections
	close() error
}

// Open opens or creates the database of the service called name and applies the
// migrations that it lacks, from the directory sqlite or postgres of
// migrations. On SQLite it fails when another process has the file open and
// when the schema is newer than the migrations. On PostgreSQL a newer schema is
// worked with: while a new version is rolled out, the old one goes on.
func Open(ctx context.Context, cfg Config, name string, migrations fs.FS) (*DB, error) {
	if cfg.Store == "" {
		files, err := migrationsOf(migrations, "sqlite")
		if err != nil {
			return nil, err
		}
		return openSQLite(ctx, cfg, filepath.Join(cmp.Or(cfg.Data, defaultData), name+".db"), files)
	}
	if cfg.Data != "" && cfg.Data != defaultData {
		return nil, fmt.Errorf("-data is %q and -store is given too: choose the SQLite file or the PostgreSQL database", cfg.Data)
	}
	files, err := migrationsOf(migrations, "postgres")
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(cfg.Wait); ; {
		db, err := openPostgres(ctx, cfg, name, files)
		if !errors.Is(err, ErrUnavailable) || time.Now().Add(waitInterval).After(deadline) {
			return db, err
		}
		if cfg.Waiting != nil {
			cfg.Waiting(err)
		}
		select {
		case <-time.After(waitInterval):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

func migrationsOf(migrations fs.FS, engine string) (fs.FS, error) {
	if _, err := fs.Stat(migrations, engine); err != nil {
		return nil, fmt.Errorf("the service has no migrations for %s: %w", engine, err)
	}
	return fs.Sub(migrations, engine)
}

func newDB(engine engine, read *Reader, meters *meters) (*DB, error) {
	stop, err := meters.count(engine.connections)
	if err != nil {
		return nil, errors.Join(err, engine.close())
	}
	db := &DB{engine: engine, read: read, turn: make(chan struct{}, 1), meters: meters, stop: stop}
	db.turn <- struct{}{}
	return db, nil
}

// Read gives what cannot write.
func (db *DB) Read() *Reader { return db.read }

// Postgres is the pool of connections that may write, or nil on SQLite.
func (db *DB) Postgres() *pgxpool.Pool {
	if p, ok := db.engine.(*postgres); ok {
		return p.writers
	}
	return nil
}

// Ping tells whether the database answers.
func (db *DB) Ping(ctx context.Context) error { return Explain(db.read.pool.PingContext(ctx)) }

// Update runs a write transaction, one at a time. When it returns nil the
// change survives a crash; otherwise nothing was changed, but after
// ErrOutcomeUnknown it may have been. ctx bounds the wait for the turn; what has
// begun is not interrupted. do may run a second time: it must not do anything
// but read and write in tx and set variables.
func (db *DB) Update(ctx context.Context, do func(ctx context.Context, tx *Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, span := startSpan(ctx, "transaction")
	defer span.End()
	start := time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case _, open := <-db.turn:
		if !open {
			return errClosed
		}
	}
	db.meters.turns.Record(ctx, time.Since(start).Seconds())
	span.AddEvent("its turn")
	defer func() { db.turn <- struct{}{} }()
	return db.engine.update(ctx, do)
}

// Close waits for the write that is under way and gives the database free.
func (db *DB) Close() error {
	if _, open := <-db.turn; !open {
		return nil
	}
	close(db.turn)
	return errors.Join(db.stop(), db.engine.close())
}
