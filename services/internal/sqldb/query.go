package sqldb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// Querier runs queries: a Reader, a View or a Tx. Each ? in a query stands for
// an argument, on PostgreSQL too; a query has no other question marks.
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
		return Explain(err)
	}
	return sql.ErrNoRows
}

// Reader runs queries, several at a time.
type Reader struct {
	pool   *sql.DB
	onPool runner
	onTx   func(*sql.Tx) runner
	level  sql.IsolationLevel // at which all queries of a transaction see the same
}

// Query implements Querier.
func (r *Reader) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return r.onPool.Query(ctx, query, args...)
}

// View runs queries that all see the database as it is at the first of them.
func (r *Reader) View(ctx context.Context, work func(view Querier) error) error {
	tx, err := r.pool.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: r.level})
	if err != nil {
		return Explain(err)
	}
	defer func() { _ = tx.Rollback() }() // it has changed nothing
	return Explain(work(r.onTx(tx)))
}

// Tx is a write transaction. On PostgreSQL a statement that fails spoils all of
// it, unless it is inside Try.
type Tx struct{ runner }

// Try runs work so that its error undoes what it wrote and nothing else.
func (tx *Tx) Try(ctx context.Context, work func() error) error {
	if err := tx.Exec(ctx, `SAVEPOINT try`); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	err := work()
	if err != nil {
		if undo := tx.Exec(ctx, `ROLLBACK TO try`); undo != nil {
			return errors.Join(err, fmt.Errorf("savepoint: %w", undo))
		}
	}
	if release := tx.Exec(ctx, `RELEASE try`); release != nil {
		return errors.Join(err, fmt.Errorf("savepoint: %w", release))
	}
	return err
}

// runner runs statements.
type runner interface {
	Querier
	// Exec runs a statement that returns no rows.
	Exec(ctx context.Context, query string, args ...any) error
}

// parsed parses each statement once and keeps it: parsing costs SQLite as much
// as running.
type parsed struct {
	on interface {
		PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
	}
	statements sync.Map // *sql.Stmt by its text
	observer   observer
}

// Query implements Querier. Its span ends with the first row.
func (p *parsed) Query(ctx context.Context, query string, args ...any) (_ *sql.Rows, err error) {
	ctx, started := p.observer.start(ctx, query)
	defer func() { p.observer.end(ctx, started, err) }()
	statement, err := p.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return statement.QueryContext(ctx, args...)
}

func (p *parsed) Exec(ctx context.Context, query string, args ...any) (err error) {
	ctx, started := p.observer.start(ctx, query)
	defer func() { p.observer.end(ctx, started, err) }()
	statement, err := p.prepare(ctx, query)
	if err != nil {
		return err
	}
	_, err = statement.ExecContext(ctx, args...)
	return err
}

func (p *parsed) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	if statement, ok := p.statements.Load(query); ok {
		return statement.(*sql.Stmt), nil
	}
	statement, err := p.on.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	kept, _ := p.statements.LoadOrStore(query, statement)
	return kept.(*sql.Stmt), nil
}

// close is for what is parsed on a connection: a file stays open as long as it has statements.
func (p *parsed) close() error {
	var problems []error
	p.statements.Range(func(_, statement any) bool {
		problems = append(problems, statement.(*sql.Stmt).Close())
		return true
	})
	return errors.Join(problems...)
}

// numbered runs statements on PostgreSQL, which wants $1 for the first ? and so
// on. The driver keeps what is parsed.
type numbered struct {
	on interface {
		QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
		ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	}
	texts *sync.Map // the text with numbers by that with ?
}

func (n numbered) Query(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := n.on.QueryContext(ctx, n.number(query), args...)
	return rows, Explain(err)
}

func (n numbered) Exec(ctx context.Context, query string, args ...any) error {
	_, err := n.on.ExecContext(ctx, n.number(query), args...)
	return Explain(err)
}

func (n numbered) number(query string) string {
	if text, ok := n.texts.Load(query); ok {
		return text.(string)
	}
	parts := strings.Split(query, "?")
	text := parts[0]
	for i, part := range parts[1:] {
		text += "$" + strconv.Itoa(i+1) + part
	}
	n.texts.Store(query, text)
	return text
}
