package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"

	"github.com/gofrs/flock"
	"github.com/pressly/goose/v3"
)

// Schema is what Copy and Move must know of the database of one service.
type Schema struct {
	// Name is that of the service, as for Open.
	Name string
	// Migrations are those that Open is given.
	Migrations fs.FS
	// Tables are all that have rows of their own, with the same columns on both
	// engines. Each stands after those that it refers to.
	Tables []string
	// Instead are expressions of SQLite, by table.column, where PostgreSQL does not take what the column has.
	Instead map[string]string
	// Finish makes, on PostgreSQL, what is made of the rows of Tables. ids are
	// the highest that SQLite has given, by table.
	Finish func(ctx context.Context, tx *Tx, ids map[string]int64) error
	// Drift selects the numbers that do not add up, on both engines. Empty: there are none that could.
	Drift string
}

// fileIn is the SQLite file in a directory that has it.
func (s Schema) fileIn(dir string) (string, error) {
	path := filepath.Join(dir, s.Name+".db")
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("there is no %s: name a directory that has the data of a shop", path)
	}
	return path, err
}

// known is the newest version that the migrations for an engine make.
func (s Schema) known(engine string) (newest int64, err error) {
	files, err := fs.Glob(s.Migrations, engine+"/*.sql")
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		version, err := goose.NumericComponent(path.Base(file))
		if err != nil {
			return 0, err
		}
		newest = max(newest, version)
	}
	return newest, nil
}

// currentVersion selects what goose has done.
const currentVersion = `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`

// file is the SQLite file of a service, which is only read.
type file struct {
	schema         Schema
	path           string
	version, known int64
	pool           *sql.DB
	conn           *sql.Conn
	lock           *flock.Flock // nil: others may have it open
}

// openFile opens a file that may be in use. What is read on its connection is of one moment.
func openFile(ctx context.Context, dir string, schema Schema) (_ *file, err error) {
	f := &file{schema: schema}
	if f.path, err = schema.fileIn(dir); err != nil {
		return nil, err
	}
	if f.known, err = schema.known("sqlite"); err != nil {
		return nil, err
	}
	if f.pool, err = sql.Open("sqlite", uri(f.path, "mode=ro&_pragma=busy_timeout(5000)")); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("database %s: %w", f.path, err), f.close())
		}
	}()
	if f.conn, err = f.pool.Conn(ctx); err != nil {
		return nil, err
	}
	if _, err := f.conn.ExecContext(ctx, `BEGIN`); err != nil {
		return nil, err
	}
	if err := f.conn.QueryRowContext(ctx, currentVersion).Scan(&f.version); err != nil {
		return nil, fmt.Errorf("it is none of the shop: %w", err)
	}
	if f.version > f.known {
		return nil, fmt.Errorf("its schema has version %d and this program knows %d at most: run the newer program that made it", f.version, f.known)
	}
	return f, nil
}

func (f *file) close() error {
	var problems []error
	if f.conn != nil {
		problems = append(problems, f.conn.Close())
	}
	problems = append(problems, f.pool.Close())
	if f.lock != nil {
		problems = append(problems, f.lock.Close())
	}
	return errors.Join(problems...)
}
