// Package sqldb opens a SQLite file for one process alone, brings its schema
// up to date, and runs transactions on it.
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
	"strconv"
	"strings"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver "sqlite"
)

// readers is how many reads may run at the same time beside the one writer.
const readers = 4

// DB is one SQLite file. A commit is on the disk when Update returns.
type DB struct {
	write *sql.DB
	read  *sql.DB
	lock  *flock.Flock
}

// Open opens or creates the file at path and applies the migrations that it
// lacks. It fails when another process has the file open, when the directory
// cannot be written, and when the file's schema is newer than the migrations.
func Open(ctx context.Context, path string, migrations fs.FS) (*DB, error) {
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	db := &DB{lock: lock}
	if err := db.connect(ctx, path, migrations); err != nil {
		return nil, errors.Join(fmt.Errorf("database %s: %w", path, err), db.Close())
	}
	return db, nil
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

func (db *DB) connect(ctx context.Context, path string, migrations fs.FS) error {
	var err error
	if db.write, err = sql.Open("sqlite", dsn(path, "_txlock=immediate")); err != nil {
		return err
	}
	db.write.SetMaxOpenConns(1)
	if err := migrate(ctx, db.write, migrations); err != nil {
		return err
	}
	if db.read, err = sql.Open("sqlite", dsn(path, "_pragma=query_only(1)")); err != nil {
		return err
	}
	db.read.SetMaxOpenConns(readers)
	db.read.SetMaxIdleConns(readers)
	return db.Ping(ctx)
}

// dsn sets what SQLite keeps per connection: WAL with a sync at every commit.
func dsn(path, more string) string {
	file := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}
	file.RawQuery = "_pragma=busy_timeout(5000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&" + more
	return file.String()
}

func migrate(ctx context.Context, db *sql.DB, migrations fs.FS) error {
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

// Read gives connections that cannot write.
func (db *DB) Read() *sql.DB { return db.read }

// Update runs work in the one write transaction there is at a time. When it
// returns nil the change survives a crash; otherwise nothing was changed.
func (db *DB) Update(ctx context.Context, work func(tx *sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := work(tx); err != nil {
		return errors.Join(err, ignoreDone(tx.Rollback()))
	}
	return tx.Commit()
}

// Try runs work inside a transaction so that its error undoes what it wrote and
// nothing else.
func Try(ctx context.Context, tx *sql.Tx, work func() error) error {
	if _, err := tx.ExecContext(ctx, `SAVEPOINT try`); err != nil {
		return err
	}
	err := work()
	if err != nil {
		_, undoErr := tx.ExecContext(ctx, `ROLLBACK TO try`)
		err = errors.Join(err, undoErr)
	}
	_, releaseErr := tx.ExecContext(ctx, `RELEASE try`)
	return errors.Join(err, releaseErr)
}

// ignoreDone drops the error of a rollback that a cancelled context has already done.
func ignoreDone(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// Ping tells whether the file answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.PingContext(ctx) }

// Close waits for what is under way and gives the file free.
func (db *DB) Close() error {
	var problems []error
	for _, pool := range []*sql.DB{db.read, db.write} {
		if pool != nil {
			problems = append(problems, pool.Close())
		}
	}
	return errors.Join(append(problems, db.lock.Close())...)
}
