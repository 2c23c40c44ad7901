package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	modernc "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

const (
	statementTimeout = 10 * time.Second
	lockTimeout      = 5 * time.Second
	idleTimeout      = 10 * time.Second // of a transaction whose client says nothing
	// beginTimeout and updateTimeout bound an Update: a server that hangs must not hold it for ever.
	beginTimeout  = 10 * time.Second
	updateTimeout = 30 * time.Second // from its BEGIN on
	// updateAttempts is how often an Update runs that the server undoes because of others.
	updateAttempts = 3
	// lockPoll is the time between two looks for the lock of the migrations. A
	// session that waits for a lock inside the server would hold up the indexes
	// that a migration builds concurrently.
	lockPoll = 100 * time.Millisecond
)

// postgres is a schema of a database.
type postgres struct {
	writers, readers *pgxpool.Pool
	pools            []*sql.DB
	write            *sql.DB // on writers
	begin            string
	texts            sync.Map // of numbered
}

func openPostgres(ctx context.Context, base Config, schema string, migrations fs.FS) (*DB, error) {
	parts, err := base.Store.parse()
	if err != nil {
		return nil, err
	}
	if err := parts.check(); err != nil {
		return nil, err
	}
	p := &postgres{begin: fmt.Sprintf(`BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SELECT pg_advisory_xact_lock(%d)`, lockNumber("writes", schema))}
	observer, err := newObserver(base, schema, semconv.DBSystemNamePostgreSQL, parts.database+"|"+schema)
	if err != nil {
		return nil, err
	}
	read, err := p.connect(ctx, parts, observer, schema, migrations)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s, schema %s: %w", base.Store, schema, Explain(err)), p.close())
	}
	return newDB(p, read, observer.meters)
}

func (p *postgres) connect(ctx context.Context, parts parts, observer observer, schema string, migrations fs.FS) (*Reader, error) {
	cfg, err := parts.pool()
	if err != nil {
		return nil, err
	}
	cfg.ConnConfig.Tracer = observer.onPostgres(writerPool)
	settings := cfg.ConnConfig.RuntimeParams
	settings["application_name"] = "kiteshop " + schema
	settings["search_path"] = pgx.Identifier{schema}.Sanitize()
	if err := migratePostgres(ctx, cfg, schema, migrations); err != nil {
		return nil, err
	}
	settings["statement_timeout"] = milliseconds(statementTimeout)
	settings["lock_timeout"] = milliseconds(lockTimeout)
	settings["idle_in_transaction_session_timeout"] = milliseconds(idleTimeout)
	if p.writers, err = pgxpool.NewWithConfig(ctx, cfg); err != nil {
		return nil, err
	}
	readOnly := cfg.Copy()
	readOnly.ConnConfig.Tracer = observer.onPostgres(readerPool)
	readOnly.ConnConfig.RuntimeParams["default_transaction_read_only"] = "on"
	if p.readers, err = pgxpool.NewWithConfig(ctx, readOnly); err != nil {
		return nil, err
	}
	p.write = stdlib.OpenDBFromPool(p.writers)
	reader := stdlib.OpenDBFromPool(p.readers)
	p.pools = []*sql.DB{p.write, reader}
	onTx := func(tx *sql.Tx) runner { return numbered{tx, &p.texts} }
	return &Reader{pool: reader, onPool: numbered{reader, &p.texts}, onTx: onTx, level: sql.LevelRepeatableRead}, reader.PingContext(ctx)
}

func milliseconds(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }

// lockNumber is that of an advisory lock; the database has one set of numbers for all.
func lockNumber(what, schema string) int64 {
	sum := fnv.New64a()
	fmt.Fprintf(sum, "kiteshop %s %s", what, schema)
	return int64(sum.Sum64())
}

// migratePostgres brings the schema up to date, in one process at a time.
func migratePostgres(ctx context.Context, cfg *pgxpool.Config, schema string, migrations fs.FS) (err error) {
	db := stdlib.OpenDB(*cfg.ConnConfig, stdlib.OptionBeforeConnect(cfg.BeforeConnect))
	defer func() { err = errors.Join(err, db.Close()) }() // frees the lock with the connection
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	if err := lockMigrations(ctx, conn, schema); err != nil {
		return err
	}
	var exists bool
	if err := conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)`, schema).Scan(&exists); err != nil {
		return err
	}
	if !exists { // IF NOT EXISTS would want the right to create it
		if _, err := conn.ExecContext(ctx, `CREATE SCHEMA `+pgx.Identifier{schema}.Sanitize()); err != nil {
			return err
		}
	}
	provider, err := goose.NewProvider(goose.DialectPostgres, db, migrations)
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil || current >= known {
		return err
	}
	_, err = provider.Up(ctx)
	return err
}

// lockMigrations waits for the lock, which ends with the connection.
func lockMigrations(ctx context.Context, conn *sql.Conn, schema string) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		var locked bool
		err := conn.QueryRowContext(ctx, `SELECT pg_try_advisory_lock($1)`, lockNumber("migrations", schema)).Scan(&locked)
		if err != nil || locked {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("another process migrates it: %w", ctx.Err())
		}
	}
}

func (p *postgres) update(ctx context.Context, do func(ctx context.Context, tx *Tx) error) (err error) {
	for range updateAttempts {
		err = p.try(ctx, do)
		refusal, refused := errors.AsType[*pgconn.PgError](err)
		if !refused || (refusal.Code != "40001" && refusal.Code != "40P01") { // a serialization failure, a deadlock
			return Explain(err)
		}
	}
	return fmt.Errorf("%w: tried %d times: %w", ErrUnavailable, updateAttempts, err)
}

// try begins, works and commits, or rolls back, also when do panics. The lock
// makes writers of all processes come one at a time.
func (p *postgres) try(ctx context.Context, do func(ctx context.Context, tx *Tx) error) error {
	beginning, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	conn, err := p.write.Conn(beginning)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // the pool throws away what is broken
	begun, cancel := context.WithTimeout(context.WithoutCancel(ctx), updateTimeout)
	defer cancel()
	committed := false
	defer func() {
		if !committed {
			_, _ = run(begun, conn, `ROLLBACK`) // if it fails, the pool throws the connection away
		}
	}()
	if _, err := run(beginning, conn, p.begin); err != nil {
		return err
	}
	if err := do(begun, &Tx{numbered{conn, &p.texts}}); err != nil {
		return err
	}
	err = commit(begun, conn)
	committed = err == nil
	return err
}

func commit(ctx context.Context, conn *sql.Conn) error {
	tag, err := run(ctx, conn, `COMMIT`)
	refusal, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil && tag.String() == "ROLLBACK":
		return errors.New("a statement outside Try failed before, so all was undone")
	case err == nil, pgconn.SafeToRetry(err), refused && refusal.SeverityUnlocalized == "ERROR": // the last is no broken connection
		return err
	default:
		return fmt.Errorf("%w: %w", ErrOutcomeUnknown, err)
	}
}

// run runs statements without arguments and tells what they were, as COMMIT or,
// of a transaction that had failed, ROLLBACK.
func run(ctx context.Context, conn *sql.Conn, statements string) (tag pgconn.CommandTag, err error) {
	err = conn.Raw(func(raw any) error {
		tag, err = raw.(*stdlib.Conn).Conn().Exec(ctx, statements)
		return err
	})
	return tag, err
}

// connections implements engine.
func (p *postgres) connections() (all []connections) {
	for name, pool := range map[string]*pgxpool.Pool{writerPool: p.writers, readerPool: p.readers} {
		stat := pool.Stat()
		all = append(all, connections{name, int64(stat.IdleConns()), int64(stat.AcquiredConns())})
	}
	return all
}

func (p *postgres) close() error {
	var problems []error
	for _, pool := range p.pools {
		problems = append(problems, pool.Close())
	}
	for _, pool := range []*pgxpool.Pool{p.writers, p.readers} {
		if pool != nil {
			pool.Close()
		}
	}
	return errors.Join(problems...)
}

// Explain adds ErrUnavailable to an error that says that the server cannot be
// reached or takes no statement now, or that the disk is full. What this package returns is explained;
// what comes from sql.Rows or from the pool of Postgres is not.
func Explain(err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrOutcomeUnknown) || !unavailable(err) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, oneLine{err})
}

// oneLine is an error of the driver, which gives each attempt a line of its own.
type oneLine struct{ error }

func (e oneLine) Error() string { return strings.Join(strings.Fields(e.error.Error()), " ") }

func (e oneLine) Unwrap() error { return e.error }

func unavailable(err error) bool {
	if failed, ok := errors.AsType[*modernc.Error](err); ok {
		return failed.Code()&0xff == sqlite3.SQLITE_FULL // the disk; the transaction is undone
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return true
	}
	if refusal, refused := errors.AsType[*pgconn.PgError](err); refused {
		return slices.Contains([]string{
			"08", // the connection
			"53", // too few resources, as connections
			"57", // the server shuts down, or a statement took too long
		}, refusal.Code[:2]) || slices.Contains([]string{
			"25006", // a standby, which only reads
			"55P03", // a lock was not free in time
		}, refusal.Code)
	}
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, pgconn.ErrConnClosed) || errors.Is(err, driver.ErrBadConn)
}
