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
	pools []*sql.DB
	read  *Reader
	write chan *Tx // holds the one writer there is
	queue queue    // of works that wait for it
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
	writer, err := db.open(dsn(path, "_txlock=immediate"), 1)
	if err != nil {
		return err
	}
	if err := migrate(ctx, writer, migrations); err != nil {
		return err
	}
	conn, err := writer.Conn(ctx)
	if err != nil {
		return err
	}
	db.write = make(chan *Tx, 1)
	db.write <- &Tx{conn: conn, statements: map[string]*sql.Stmt{}}
	reader, err := db.open(dsn(path, "_pragma=query_only(1)"), readers)
	if err != nil {
		return err
	}
	db.read = &Reader{pool: reader}
	return db.Ping(ctx)
}

func (db *DB) open(source string, connections int) (*sql.DB, error) {
	pool, err := sql.Open("sqlite", source)
	if err != nil {
		return nil, err
	}
	pool.SetMaxOpenConns(connections)
	pool.SetMaxIdleConns(connections)
	db.pools = append(db.pools, pool)
	return pool, nil
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

// Read gives what cannot write.
func (db *DB) Read() *Reader { return db.read }

// Ping tells whether the file answers.
func (db *DB) Ping(ctx context.Context) error { return db.read.pool.PingContext(ctx) }

// Close waits for the write that is under way and gives the file free.
func (db *DB) Close() error {
	var problems []error
	if db.write != nil { // else opening failed before there was a writer
		if tx, open := <-db.write; open {
			close(db.write)
			problems = append(problems, tx.conn.Close())
		}
	}
	for _, pool := range db.pools {
		problems = append(problems, pool.Close())
	}
	return errors.Join(append(problems, db.lock.Close())...)
}
