package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// readers is how many reads may run at the same time beside the one writer.
const readers = 4

// sqlite is one file.
type sqlite struct {
	lock     *flock.Flock
	pools    []*sql.DB
	conn     *sql.Conn // the one that writes
	write    *parsed   // on conn
	observer observer
}

func openSQLite(ctx context.Context, cfg Config, path string, migrations fs.FS) (*DB, error) {
	observer, err := newObserver(cfg, strings.TrimSuffix(filepath.Base(path), ".db"), semconv.DBSystemNameSQLite, filepath.Base(path))
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	s := &sqlite{lock: lock, observer: observer}
	read, err := s.connect(ctx, path, migrations)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), s.close())
	}
	return newDB(s, read, observer.meters)
}

// lockFile makes this process the only one that has path open, and writes its
// number into the lock file so that others can say who it is.
func lockFile(path string) (*flock.Flock, error) {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be made (give another with -data): %w", dir, err)
	}
	lock := flock.New(path + ".lock")
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("the data directory %s cannot be written (give another with -data): %w", dir, err)
	}
	if !locked {
		holder, _ := os.ReadFile(lock.Path())
		return nil, fmt.Errorf("%s is in use by process %s; stop it or give another directory with -data", path, strings.TrimSpace(string(holder)))
	}
	if err := os.WriteFile(lock.Path(), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("the data directory %s cannot be written (give another with -data): %w", dir, err), lock.Close())
	}
	return lock, nil
}

func (s *sqlite) connect(ctx context.Context, path string, migrations fs.FS) (*Reader, error) {
	writer, err := s.open(dsn(path, "_txlock=immediate"), 1)
	if err != nil {
		return nil, err
	}
	if err := migrateSQLite(ctx, writer, migrations); err != nil {
		return nil, err
	}
	if s.conn, err = writer.Conn(ctx); err != nil {
		return nil, err
	}
	s.write = &parsed{on: s.conn, observer: s.observer}
	reader, err := s.open(dsn(path, "_pragma=query_only(1)"), readers)
	if err != nil {
		return nil, err
	}
	onTx := func(tx *sql.Tx) runner { return &parsed{on: tx, observer: s.observer} }
	return &Reader{pool: reader, onPool: &parsed{on: reader, observer: s.observer}, onTx: onTx}, reader.PingContext(ctx)
}

func (s *sqlite) open(source string, connections int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	s.pools = append(s.pools, pool)
	return pool, nil
}

// dsn sets what SQLite keeps per connection: WAL with a sync at every commit.
func dsn(path, more string) string {
	return uri(path, "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&"+more)
}

// uri names a file for the driver.
func uri(path, query string) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query}).String()
}

func migrateSQLite(ctx context.Context, db *sql.DB, migrations fs.FS) error {
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, migrations)
	if err != nil {
		return err
	}
	current, known, err := provider.GetVersions(ctx)
	if err != nil {
		return err
	}
	if current > known {
		return fmt.Errorf("its schema has version %d and this program knows %d at most: run the newer program that made it", current, known)
	}
	_, err = provider.Up(ctx)
	return err
}

// update begins, works and commits, or rolls back, also when do panics.
func (s *sqlite) update(ctx context.Context, do func(ctx context.Context, tx *Tx) error) (err error) {
	ctx = context.WithoutCancel(ctx)
	if err := s.write.Exec(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		if undo := s.write.Exec(ctx, `ROLLBACK`); undo != nil {
			err = errors.Join(err, fmt.Errorf("rollback: %w", undo))
		}
	}()
	if err := do(ctx, &Tx{s.write}); err != nil {
		return err
	}
	if err := s.write.Exec(ctx, `COMMIT`); err != nil {
		return err
	}
	committed = true
	return nil
}

// connections implements engine. The first pool is the writer's.
func (s *sqlite) connections() (all []connections) {
	for i, pool := range s.pools {
		stats := pool.Stats()
		all = append(all, connections{[]string{writerPool, readerPool}[i], int64(stats.Idle), int64(stats.InUse)})
	}
	return all
}

func (s *sqlite) close() error {
	var problems []error
	if s.conn != nil { // else opening failed before
		problems = append(problems, s.write.close(), s.conn.Close())
	}
	for _, pool := range slices.Backward(s.pools) { // the writer last: it tidies up the file, which readers cannot
		problems = append(problems, pool.Close())
	}
	return errors.Join(append(problems, s.lock.Close())...)
}
