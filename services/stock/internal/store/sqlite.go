package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// maxParameters is how many values one query is given. SQLite takes 32,766.
const maxParameters = 1024

// errNothing undoes a transaction that has nothing to write.
var errNothing = errors.New("nothing to write")

// sqlite runs batches on a SQLite file, whose one writer it is.
type sqlite struct {
	db  *sqldb.DB
	now func() time.Time
	at  func(point string)
	// changed is told the items whose stock has changed, after the commit.
	changed func(items ...int64)
}

func (s *sqlite) apply(ctx context.Context, commands []domain.Command) (outcomes []domain.Outcome, err error) {
	var items []int64
	err = s.db.Update(ctx, func(ctx context.Context, tx *sqldb.Tx) error {
		s.at("load")
		books, err := loadSQLite(ctx, tx, needsOf(commands), s.now())
		if err != nil {
			return err
		}
		outcomes = run(books, commands)
		if !books.Changed() {
			return errNothing
		}
		items = changedItems(books)
		s.at("write")
		defer s.at("commit")
		return writeSQLite(ctx, tx, books)
	})
	if err == nil && len(items) > 0 {
		s.changed(items...)
	}
	s.at("answer")
	if errors.Is(err, errNothing) {
		err = nil
	}
	return outcomes, explain(err)
}

// loadSQLite reads what commands need. The transaction is the only one that writes.
func loadSQLite(ctx context.Context, tx *sqldb.Tx, n needs, now time.Time) (*domain.Books, error) {
	l := newLoader()
	const made = `SELECT ` + reservationColumns + `, key, fingerprint, ttl FROM reservations WHERE `
	err := errors.Join(
		fetch(ctx, tx, l.reservations, made+`id `, n.reservations, ``),
		fetch(ctx, tx, l.reservations, made+`key `, n.reserveKeys, ``),
	)
	if err != nil {
		return nil, err
	}
	items := n.items
	for _, m := range l.made {
		for _, line := range m.Lines {
			items = append(items, line.ItemID)
		}
	}
	err = errors.Join(
		fetch(ctx, tx, l.accounts, `SELECT `+itemColumns+`, coalesce(location, ''), coalesce(on_hand, 0), coalesce(available, 0), coalesce(held, 0),
			coalesce(committed, 0), coalesce(version, 0), 0
			FROM items LEFT JOIN stock USING (item_id) WHERE item_id `, items, ` ORDER BY item_id, location`),
		fetch(ctx, tx, l.commands, `SELECT command, fingerprint, answer FROM commands WHERE command `, n.commands, ``),
		fetch(ctx, tx, l.imports, `SELECT key, item_id, quantity FROM imports WHERE key `, n.imports, ``),
	)
	if err != nil {
		return nil, err
	}
	l.books.Now = now.UTC().Truncate(time.Millisecond)
	books := l.done()
	movements := n.movements
	for _, id := range n.fulfilled {
		if m, ok := l.made[id]; ok {
			movements += len(m.Lines)
		}
	}
	if movements > 0 {
		var last int64
		err := sqldb.QueryRow(ctx, tx, `SELECT seq FROM sqlite_sequence WHERE name = 'movements'`).Scan(&last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return nil, err
		}
		for i := range movements {
			books.MovementIDs = append(books.MovementIDs, last+1+int64(i))
		}
	}
	return books, nil
}

// fetch runs a query whose rows are those of the values, if there are any.
func fetch[T any](ctx context.Context, tx *sqldb.Tx, fill func(rows) error, query string, values []T, order string) error {
	for some := range slices.Chunk(values, maxParameters) {
		in, args := list(some)
		found, err := tx.Query(ctx, query+in+order, args...)
		if err != nil {
			return err
		}
		if err := errors.Join(fill(found), found.Close()); err != nil {
			return err
		}
	}
	return nil
}

func writeSQLite(ctx context.Context, tx *sqldb.Tx, books *domain.Books) error {
	items := &insert{into: `items (` + itemColumns + `)`, columns: 5, otherwise: ` ON CONFLICT DO UPDATE SET policy = excluded.policy,
		backorder_limit = excluded.backorder_limit, default_location = excluded.default_location, low_stock = excluded.low_stock`}
	for _, id := range slices.Sorted(maps.Keys(books.Rules)) {
		r := books.Stocks[id].Rules
		items.add(id, r.Policy, r.BackorderLimit, r.DefaultLocation, r.LowStock)
	}
	// floor must be known before available falls to it, so all of a balance is written at once.
	stock := &insert{into: `stock (` + stockColumns + `, floor)`, columns: 8, otherwise: ` ON CONFLICT DO UPDATE SET on_hand = excluded.on_hand,
		available = excluded.available, held = excluded.held, committed = excluded.committed, version = excluded.version, floor = excluded.floor`}
	created, changed := balancesOf(books)
	for _, place := range append(created, changed...) {
		of := books.Stocks[place.ItemID]
		at := of.At(place.Location)
		stock.add(place.ItemID, place.Location, at.OnHand, at.Available, at.Held, at.Committed, at.Version, of.Floor())
	}
	reservations := &insert{into: `reservations (` + reservationColumns + `, key, fingerprint, ttl)`, columns: 10}
	byItem := &insert{into: `reservation_items (item_id, reservation_id)`, columns: 2}
	for _, m := range books.Made {
		reservations.add(m.ID, m.State, linesText(m.Lines), m.Reference, m.ExpiresAt.UnixMilli(), m.CreatedAt.UnixMilli(), m.UpdatedAt.UnixMilli(),
			m.Key, fingerprint(books, m), m.TTL.Milliseconds())
		for _, id := range itemsOf(m.Lines) {
			byItem.add(id, m.ID)
		}
	}
	movements := &insert{into: `movements (` + movementColumns + `, reservation_id)`, columns: 9}
	for _, m := range books.Movements {
		var reservation any
		if of, ok := books.Fulfilled[m]; ok {
			reservation = of
		}
		movements.add(m.ID, m.ItemID, m.Location, m.Delta, m.Reason, m.Reference, m.Actor, m.CreatedAt.UnixMilli(), reservation)
	}
	texts, err := answers(books)
	if err != nil {
		return err
	}
	commands := &insert{into: `commands (command, fingerprint, answer, created_at)`, columns: 4}
	for i, key := range books.Remember {
		commands.add(rowKey(key), books.Done[key].Fingerprint, texts[i], books.Now.UnixMilli())
	}
	imports := &insert{into: `imports (key, item_id, quantity)`, columns: 3, otherwise: ` ON CONFLICT DO UPDATE SET item_id = excluded.item_id, quantity = excluded.quantity`}
	for _, key := range books.Imports {
		imports.add(key, books.Imported[key].ItemID, books.Imported[key].Quantity)
	}
	for _, table := range []*insert{items, stock, reservations, byItem, movements, commands, imports} {
		if err := table.write(ctx, tx); err != nil {
			return fmt.Errorf("%s: %w", table.into, err)
		}
	}
	for _, r := range books.Stepped {
		if err := tx.Exec(ctx, `UPDATE reservations SET state = ?, expires_at = ?, updated_at = ? WHERE id = ?`,
			r.State, r.ExpiresAt.UnixMilli(), r.UpdatedAt.UnixMilli(), r.ID); err != nil {
			return err
		}
	}
	return nil
}

// insert collects rows of a table.
type insert struct {
	into      string
	columns   int
	otherwise string // what is done with a row that exists; nothing: it is an error
	args      []any
}

func (i *insert) add(values ...any) { i.args = append(i.args, values...) }

// write inserts the rows, 64 at a time and then fewer by halves, so that there
// are few statements to keep parsed. OR ROLLBACK spares SQLite the journal with
// which it could undo the statement alone.
func (i *insert) write(ctx context.Context, tx *sqldb.Tx) error {
	row := "(" + strings.Repeat("?, ", i.columns-1) + "?)"
	for size := 64; len(i.args) > 0; {
		if size*i.columns > len(i.args) {
			size /= 2
			continue
		}
		statement := `INSERT OR ROLLBACK INTO ` + i.into + ` VALUES ` + strings.Repeat(row+", ", size-1) + row + i.otherwise
		if err := tx.Exec(ctx, statement, i.args[:size*i.columns]...); err != nil {
			return err
		}
		i.args = i.args[size*i.columns:]
	}
	return nil
}
