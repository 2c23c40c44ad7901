package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// Querier runs queries: a Reader, a View or a Tx. Parsing a statement costs
// SQLite as much as running it, so each is parsed once and kept.
type Querier interface {
	Query(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// QueryRow runs a query for its first row.
func QueryRow(ctx context.Context, q Querier, query string, args ...any) Row {
	rows, err := q.Query(ctx, query, args...)
	return Row{rows, err}
}

// Row is the result of QueryRow. Scan must be called once.
type Row struct {
	rows *sql.Rows
	err  error
}

// Scan reads the row into dest, or returns sql.ErrNoRows.
func (r Row) Scan(dest ...any) (err error) {
	if r.err != nil {
		return r.err
	}
	defer func() { err = errors.Join(err, r.rows.Close()) }()
	if r.rows.Next() {
		return r.rows.Scan(dest...)
	}
	if err := r.rows.Err(); err != nil {
		return err
	}
	return sql.ErrNoRows
}

// Reader runs queries, several at a time.
type Reader struct {
	pool       *sql.DB
	statements sync.Map // *sql.Stmt by its text
}

// Query implements Querier.
func (r *Reader) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := r.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

func (r *Reader) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, ok := r.statements.Load(query); ok {
		return statement.(*sql.Stmt), nil
	}
	statement, err := r.pool.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	kept, _ := r.statements.LoadOrStore(query, statement)
	return kept.(*sql.Stmt), nil
}

// View runs queries that all see the database as it is at the first of them.
func (r *Reader) View(ctx context.Context, work func(view Querier) error) error {
	tx, err := r.pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	return work(view{tx})
}

type view struct{ tx *sql.Tx }

func (v view) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return v.tx.QueryContext(ctx, query, args...)
}

// Tx is a write transaction.
type Tx struct {
	conn       *sql.Conn
	statements map[string]*sql.Stmt
}

// Query implements Querier.
func (tx *Tx) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	statement, err := tx.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

// Exec runs a statement that returns no rows.
func (tx *Tx) Exec(ctx context.Context, query string, args ...any) error {
	statement, err := tx.prepare(ctx, query)
	if err != nil {
		return err
	}
	_, err = statement.ExecContext(ctx, args...)
	return err
}

// Try runs work so that its error undoes what it wrote and nothing else.
func (tx *Tx) Try(ctx context.Context, work func() error) error {
	if err := tx.Exec(ctx, `SAVEPOINT try`); err != nil {
		return fmt.Errorf("%w: %w", errSavepoint, err)
	}
	err := work()
	if err != nil {
		if undo := tx.Exec(ctx, `ROLLBACK TO try`); undo != nil {
			return errors.Join(err, fmt.Errorf("%w: %w", errSavepoint, undo))
		}
	}
	if release := tx.Exec(ctx, `RELEASE try`); release != nil {
		return errors.Join(err, fmt.Errorf("%w: %w", errSavepoint, release))
	}
	return err
}

// errSavepoint tells that the transaction is gone: SQLite undoes all of it by
// itself on some errors, as a full disk.
var errSavepoint = errors.New("savepoint")

func (tx *Tx) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, ok := tx.statements[query]; ok {
		return statement, nil
	}
	statement, err := tx.conn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	tx.statements[query] = statement
	return statement, nil
}

// run begins, works and commits, or rolls back, also when work panics.
func (tx *Tx) run(ctx context.Context, work func(ctx context.Context, tx *Tx) error) (err error) {
	if err := tx.Exec(ctx, `BEGIN IMMEDIATE`); err != nil {
		return err
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		if undo := tx.Exec(ctx, `ROLLBACK`); undo != nil {
			err = errors.Join(err, fmt.Errorf("rollback: %w", undo))
		}
	}()
	if err := work(ctx, tx); err != nil {
		return err
	}
	if err := tx.Exec(ctx, `COMMIT`); err != nil {
		return err
	}
	committed = true
	return nil
}
