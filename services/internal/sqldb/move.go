package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// moveLockTimeout bounds the wait for the tables: services may be reading them.
const moveLockTimeout = 10 * time.Second

// Moved is a table that Move has filled.
type Moved struct {
	Schema, Table string
	Rows          int64
	Checksum      string // of all values, on both sides
}

// Move copies what is in the SQLite files of the schemas in cfg.Data to the
// PostgreSQL database cfg.Store, which has nothing in these schemas yet, and
// compares every value before it commits: all or nothing. It keeps other
// processes from the files until it is done, and does not change them.
func Move(ctx context.Context, cfg Config, schemas ...Schema) (moved []Moved, err error) {
	var files []*file
	defer func() {
		for _, f := range slices.Backward(files) {
			err = errors.Join(err, f.close())
		}
	}()
	for _, schema := range schemas {
		f, err := openAlone(ctx, cmp.Or(cfg.Data, defaultData), schema)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	target, err := openTarget(ctx, cfg, schemas)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, target.close()) }()
	if _, err := run(ctx, target.conn, `BEGIN`); err != nil {
		return nil, Explain(err)
	}
	for _, f := range files {
		tables, err := target.fill(ctx, f)
		if err != nil {
			return nil, fmt.Errorf("database %s, schema %s: %w", cfg.Store, f.schema.Name, Explain(err))
		}
		moved = append(moved, tables...)
	}
	return moved, Explain(commit(ctx, target.conn))
}

// openAlone opens a file of this program's schema that nobody else has open.
func openAlone(ctx context.Context, dir string, schema Schema) (*file, error) {
	path, err := schema.fileIn(dir)
	if err != nil {
		return nil, err
	}
	lock, err := lockFile(path)
	if err != nil {
		return nil, err
	}
	f, err := openFile(ctx, dir, schema)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	f.lock = lock
	if f.version != f.known {
		return nil, errors.Join(fmt.Errorf("database %s: its schema has version %d and this program's is %d: run the shop of this program on it once, which brings it up to date",
			path, f.version, f.known), f.close())
	}
	return f, nil
}

// target is a connection to PostgreSQL that may take its time.
type target struct {
	pool *sql.DB
	conn *sql.Conn
}

func openTarget(ctx context.Context, cfg Config, schemas []Schema) (_ *target, err error) {
	parts, err := cfg.Store.parse()
	if err != nil {
		return nil, err
	}
	if err := parts.check(); err != nil {
		return nil, err
	}
	pool, err := parts.pool()
	if err != nil {
		return nil, err
	}
	settings := pool.ConnConfig.RuntimeParams
	settings["application_name"] = "kiteshop move"
	settings["statement_timeout"], settings["idle_in_transaction_session_timeout"] = "0", "0"
	settings["lock_timeout"] = milliseconds(moveLockTimeout)
	t := &target{pool: stdlib.OpenDB(*pool.ConnConfig, stdlib.OptionBeforeConnect(pool.BeforeConnect))}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("database %s: %w", cfg.Store, Explain(err)), t.close())
		}
	}()
	if t.conn, err = t.pool.Conn(ctx); err != nil {
		return nil, err
	}
	for _, schema := range schemas {
		if err := t.prepare(ctx, cfg, schema); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// prepare makes a schema where there is none, and refuses one of another version.
func (t *target) prepare(ctx context.Context, cfg Config, schema Schema) error {
	known, err := schema.known("postgres")
	if err != nil {
		return err
	}
	var made bool
	if err := t.conn.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, pgx.Identifier{schema.Name, "goose_db_version"}.Sanitize()).Scan(&made); err != nil {
		return err
	}
	if !made {
		db, err := Open(ctx, Config{Store: cfg.Store}, schema.Name, schema.Migrations)
		if err != nil {
			return err
		}
		return db.Close()
	}
	if err := t.search(ctx, `SET`, schema.Name); err != nil {
		return err
	}
	var version int64
	if err := t.conn.QueryRowContext(ctx, currentVersion).Scan(&version); err != nil {
		return err
	}
	if version != known {
		return fmt.Errorf("the schema %s has version %d and this program's is %d: give a new database", schema.Name, version, known)
	}
	return nil
}

// search makes names mean what is in the schema.
func (t *target) search(ctx context.Context, set, schema string) error {
	_, err := run(ctx, t.conn, set+` search_path TO `+pgx.Identifier{schema}.Sanitize())
	return err
}

func (t *target) close() error {
	var problems []error
	if t.conn != nil {
		problems = append(problems, t.conn.Close())
	}
	return errors.Join(append(problems, t.pool.Close())...)
}

// fill copies a file into its schema and compares the two.
func (t *target) fill(ctx context.Context, f *file) (moved []Moved, err error) {
	if err := t.search(ctx, `SET LOCAL`, f.schema.Name); err != nil {
		return nil, err
	}
	for _, table := range f.schema.Tables {
		if err := t.wantEmpty(ctx, pgx.Identifier{f.schema.Name, table}); err != nil {
			return nil, err
		}
	}
	for _, table := range f.schema.Tables {
		one, err := t.copyTable(ctx, f, table)
		if err != nil {
			return nil, fmt.Errorf("table %s: %w", table, err)
		}
		moved = append(moved, one)
	}
	if err := t.finish(ctx, f); err != nil {
		return nil, err
	}
	return moved, nil
}

// wantEmpty also keeps others from writing to the table until the end.
func (t *target) wantEmpty(ctx context.Context, table pgx.Identifier) error {
	name := table.Sanitize()
	if _, err := run(ctx, t.conn, `LOCK TABLE `+name+` IN EXCLUSIVE MODE`); err != nil {
		return err
	}
	var used bool
	if err := t.conn.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM `+name+`)`).Scan(&used); err != nil {
		return err
	}
	if used {
		return fmt.Errorf("the table %s has rows, and nothing is mixed: give a database that no shop has used", table[1])
	}
	return nil
}

// copyTable streams the rows of a table and reads them back.
func (t *target) copyTable(ctx context.Context, f *file, table string) (Moved, error) {
	columns, err := f.columns(ctx, table)
	if err != nil {
		return Moved{}, err
	}
	expressions := make([]string, len(columns))
	for i, column := range columns {
		expressions[i] = cmp.Or(f.schema.Instead[table+"."+column], column)
	}
	found, err := f.conn.QueryContext(ctx, `SELECT `+strings.Join(expressions, ", ")+` FROM `+table) //nolint:gosec // the names are the program's
	if err != nil {
		return Moved{}, err
	}
	// The schema is named: the driver keeps statements by their text, and services have tables of the same name.
	into := pgx.Identifier{f.schema.Name, table}
	sent := &sent{rows: found, values: make([]any, len(columns))}
	err = t.conn.Raw(func(raw any) error {
		_, err := raw.(*stdlib.Conn).Conn().CopyFrom(ctx, into, columns, sent)
		return err
	})
	if err := errors.Join(err, found.Close()); err != nil {
		return Moved{}, err
	}
	stored, err := t.read(ctx, into, columns)
	if err != nil {
		return Moved{}, err
	}
	if sent.sum.String() != stored.String() || sent.sum.rows != stored.rows {
		return Moved{}, fmt.Errorf("what is stored is not what was sent: %d rows with the checksum %s, of %d with %s",
			stored.rows, stored, sent.sum.rows, &sent.sum)
	}
	return Moved{Schema: f.schema.Name, Table: table, Rows: stored.rows, Checksum: stored.String()}, nil
}

// sent are the rows of a table of SQLite on their way.
type sent struct {
	rows   *sql.Rows
	values []any
	sum    checksum
}

// Next, Values and Err implement pgx.CopyFromSource.
func (s *sent) Next() bool { return s.rows.Next() }

// Values reads a row and counts it.
func (s *sent) Values() ([]any, error) {
	into := make([]any, len(s.values))
	for i := range into {
		into[i] = &s.values[i]
	}
	if err := s.rows.Scan(into...); err != nil {
		return nil, err
	}
	return s.values, s.sum.add(s.values)
}

// Err tells why Next has ended.
func (s *sent) Err() error { return s.rows.Err() }

// read gives the checksum of what a table has.
func (t *target) read(ctx context.Context, table pgx.Identifier, columns []string) (*checksum, error) {
	sum := &checksum{}
	err := t.conn.Raw(func(raw any) error {
		rows, err := raw.(*stdlib.Conn).Conn().Query(ctx, `SELECT `+strings.Join(columns, ", ")+` FROM `+table.Sanitize())
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				return err
			}
			if err := sum.add(values); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	return sum, err
}

// finish makes what is made of the rows, and looks whether they add up.
func (t *target) finish(ctx context.Context, f *file) error {
	ids, err := f.ids(ctx)
	if err != nil {
		return err
	}
	if err := f.schema.Finish(ctx, &Tx{numbered{t.conn, &sync.Map{}}}, ids); err != nil {
		return err
	}
	if f.schema.Drift != "" {
		var drifts int64
		if err := t.conn.QueryRowContext(ctx, f.schema.countDrifts()).Scan(&drifts); err != nil {
			return err
		}
		if drifts > 0 {
			return fmt.Errorf("%d numbers do not add up, in %s as here, and nothing was moved: reconcile tells which they are", drifts, f.path)
		}
	}
	for _, table := range f.schema.Tables { // else the first queries are planned for empty tables
		if _, err := run(ctx, t.conn, `ANALYZE `+pgx.Identifier{table}.Sanitize()); err != nil {
			return err
		}
	}
	return nil
}

// columns are those of a table.
func (f *file) columns(ctx context.Context, table string) (names []string, err error) {
	rows, err := f.conn.QueryContext(ctx, `SELECT name FROM pragma_table_info(?)`, table)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, rows.Err()
}

// ids are the highest that were given, by table.
func (f *file) ids(ctx context.Context) (ids map[string]int64, err error) {
	rows, err := f.conn.QueryContext(ctx, `SELECT name, seq FROM sqlite_sequence`)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	ids = map[string]int64{}
	for rows.Next() {
		var (
			table string
			id    int64
		)
		if err := rows.Scan(&table, &id); err != nil {
			return nil, err
		}
		ids[table] = id
	}
	return ids, rows.Err()
}
