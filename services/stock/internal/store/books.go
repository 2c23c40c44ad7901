package store

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// needs are what commands concern together, each once and in order.
type needs struct {
	items        []int64
	newItems     []int64 // may come into being
	reservations []string
	reserveKeys  []string
	commands     []string
	imports      []string
	fulfilled    []string // ids of reservations whose lines become movements
	movements    int      // besides those, at the most
}

func needsOf(commands []domain.Command) needs {
	items, newItems := map[int64]bool{}, map[int64]bool{}
	reservations, fulfilled, reserveKeys := map[string]bool{}, map[string]bool{}, map[string]bool{}
	done, imports := map[string]bool{}, map[string]bool{}
	n := needs{}
	for _, command := range commands {
		c := command.Concern()
		for _, id := range c.Items {
			items[id] = true
			if c.Receives {
				newItems[id] = true
			}
		}
		if c.Receives {
			n.movements += len(c.Items)
		}
		add(reservations, c.Reservation)
		if c.Fulfils {
			add(fulfilled, c.Reservation)
		}
		add(imports, c.ImportKey)
		switch {
		case c.Key.Key == "":
		case c.Key.Operation == domain.OpReserve:
			reserveKeys[c.Key.Key] = true
		default:
			done[rowKey(c.Key)] = true
		}
	}
	n.items, n.newItems = slices.Sorted(maps.Keys(items)), slices.Sorted(maps.Keys(newItems))
	n.reservations, n.reserveKeys = slices.Sorted(maps.Keys(reservations)), slices.Sorted(maps.Keys(reserveKeys))
	n.fulfilled = slices.Sorted(maps.Keys(fulfilled))
	n.commands, n.imports = slices.Sorted(maps.Keys(done)), slices.Sorted(maps.Keys(imports))
	return n
}

func add(set map[string]bool, member string) {
	if member != "" {
		set[member] = true
	}
}

// rowKey is a command's key in the table commands. No operation has a space in its name.
func rowKey(key domain.CommandKey) string { return key.Operation + " " + key.Key }

// run runs commands on books in order.
func run(books *domain.Books, commands []domain.Command) []domain.Outcome {
	outcomes := make([]domain.Outcome, len(commands))
	for i, command := range commands {
		outcomes[i].Answer, outcomes[i].Err = books.Do(command)
	}
	return outcomes
}

// rows are those of database/sql and of pgx.
type rows interface {
	Next() bool
	Scan(dest ...any) error
	Err() error
}

// The columns that the functions below read, for both engines.
const (
	itemColumns        = `item_id, policy, backorder_limit, default_location, low_stock`
	stockColumns       = `item_id, location, on_hand, available, held, committed, version`
	reservationColumns = `id, state, lines, reference, expires_at, created_at, updated_at`
	accountColumns     = itemColumns + `, location, on_hand, available, held, committed, version`
	movementColumns    = `id, item_id, location, delta, reason, reference, actor, created_at`
)

// scanItem reads itemColumns, and then more.
func scanItem(r rows, more ...any) (*domain.Stock, error) {
	s := &domain.Stock{}
	return s, r.Scan(append([]any{&s.ItemID, &s.Policy, &s.BackorderLimit, &s.DefaultLocation, &s.LowStock}, more...)...)
}

func scanBalance(r rows) (itemID int64, at domain.Location, err error) {
	err = r.Scan(&itemID, &at.Name, &at.OnHand, &at.Available, &at.Held, &at.Committed, &at.Version)
	return itemID, at, err
}

// scanReservation reads reservationColumns, and then more.
func scanReservation(r rows, more ...any) (*domain.Reservation, error) {
	var (
		lines                     string
		expires, created, updated int64
	)
	made := &domain.Reservation{}
	if err := r.Scan(append([]any{&made.ID, &made.State, &lines, &made.Reference, &expires, &created, &updated}, more...)...); err != nil {
		return nil, err
	}
	made.ExpiresAt, made.CreatedAt, made.UpdatedAt = inTime(expires), inTime(created), inTime(updated)
	if err := json.Unmarshal([]byte(lines), &made.Lines); err != nil {
		return nil, fmt.Errorf("the lines of reservation %s: %w", made.ID, err)
	}
	return made, nil
}

func scanMovement(r rows) (domain.Movement, error) {
	var (
		m       domain.Movement
		created int64
	)
	err := r.Scan(&m.ID, &m.ItemID, &m.Location, &m.Delta, &m.Reason, &m.Reference, &m.Actor, &created)
	m.CreatedAt = inTime(created)
	return m, err
}

func inTime(millis int64) time.Time { return time.UnixMilli(millis).UTC() }

// each calls read for every row.
func each(r rows, read func() error) error {
	for r.Next() {
		if err := read(); err != nil {
			return err
		}
	}
	return r.Err()
}

// loader fills books with rows, in this order: items, balances, reservations
// (with the command that made them), commands, imports.
type loader struct {
	books *domain.Books
	made  map[string]made // by id
}

// made is a reservation and the command that made it.
type made struct {
	domain.Made
	fingerprint string
}

func newLoader() *loader {
	return &loader{domain.NewBooks(), map[string]made{}}
}

// items reads itemColumns and the time.
func (l *loader) items(r rows) error {
	return each(r, func() error {
		var now int64
		stock, err := scanItem(r, &now)
		l.books.Stocks[stock.ItemID] = stock
		l.books.Now = inTime(now)
		return err
	})
}

// accounts reads accountColumns and the time, by item.
func (l *loader) accounts(r rows) error {
	return each(r, func() error {
		var (
			at  domain.Location
			now int64
		)
		stock, err := scanItem(r, &at.Name, &at.OnHand, &at.Available, &at.Held, &at.Committed, &at.Version, &now)
		if known := l.books.Stocks[stock.ItemID]; known != nil {
			stock = known
		}
		if at.Name != "" { // else the item has no stock yet
			stock.Locations = append(stock.Locations, at)
		}
		l.books.Stocks[stock.ItemID] = stock
		l.books.Now = inTime(now)
		return err
	})
}

func (l *loader) balances(r rows) error {
	return each(r, func() error {
		itemID, at, err := scanBalance(r)
		if stock := l.books.Stocks[itemID]; stock != nil {
			stock.Locations = append(stock.Locations, at)
		}
		return err
	})
}

// reservations reads reservationColumns, key, fingerprint, ttl.
func (l *loader) reservations(r rows) error {
	return each(r, func() error {
		var (
			m   made
			key *string
			ttl int64
			err error
		)
		m.Reservation, err = scanReservation(r, &key, &m.fingerprint, &ttl)
		if err != nil {
			return err
		}
		if key != nil {
			m.Key = *key
		}
		m.TTL = time.Duration(ttl) * time.Millisecond
		if _, again := l.made[m.ID]; again { // found by its id and by its key
			return nil
		}
		l.made[m.ID] = m
		l.books.Reservations[m.ID] = m.Reservation
		return nil
	})
}

// commands reads command, fingerprint, answer.
func (l *loader) commands(r rows) error {
	return each(r, func() error {
		var (
			command, answer string
			done            domain.Done
		)
		if err := r.Scan(&command, &done.Fingerprint, &answer); err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(answer), &done.Answer); err != nil {
			return fmt.Errorf("the answer of %q: %w", command, err)
		}
		operation, key, _ := strings.Cut(command, " ")
		l.books.Done[domain.CommandKey{Operation: operation, Key: key}] = done
		return nil
	})
}

// imports reads key, item_id, quantity.
func (l *loader) imports(r rows) error {
	return each(r, func() error {
		var (
			key string
			was domain.Imported
		)
		err := r.Scan(&key, &was.ItemID, &was.Quantity)
		l.books.Imported[key] = was
		return err
	})
}

// done gives the books, when all rows are there.
func (l *loader) done() *domain.Books {
	for _, m := range l.made {
		locked := func(line domain.Line) bool { return l.books.Stocks[line.ItemID] != nil }
		if slices.ContainsFunc(m.Lines, func(line domain.Line) bool { return !locked(line) }) {
			delete(l.books.Reservations, m.ID) // it came after the locks: for this batch it does not exist
		}
		if m.Key == "" {
			continue
		}
		as := *m.Reservation // as it was made, whatever has become of it
		as.State, as.UpdatedAt, as.ExpiresAt = domain.Held, as.CreatedAt, as.CreatedAt.Add(m.TTL)
		l.books.Done[domain.CommandKey{Operation: domain.OpReserve, Key: m.Key}] = domain.Done{Fingerprint: m.fingerprint, Answer: domain.Answer{Reservation: &as}}
	}
	return l.books
}

// linesText is how lines are kept.
func linesText(lines []domain.Line) string {
	text, _ := json.Marshal(lines) // numbers and texts: it cannot fail
	return string(text)
}

// itemsOf are the items of lines, each once and in order.
func itemsOf(lines []domain.Line) (items []int64) {
	for _, line := range lines {
		items = append(items, line.ItemID)
	}
	slices.Sort(items)
	return slices.Compact(items)
}

// fingerprint is that of the command that made a new reservation.
func fingerprint(books *domain.Books, m domain.Made) string {
	return books.Done[domain.CommandKey{Operation: domain.OpReserve, Key: m.Key}].Fingerprint
}

// answers are the commands that books remember, as they are kept.
func answers(books *domain.Books) (texts []string, err error) {
	for _, key := range books.Remember {
		text, problem := json.Marshal(books.Done[key].Answer)
		err = errors.Join(err, problem)
		texts = append(texts, string(text))
	}
	return texts, err
}

// balancesOf gives the balances that changed, those that are new apart, in order.
func balancesOf(books *domain.Books) (created, changed []domain.Place) {
	for place, isNew := range books.Balances {
		if isNew {
			created = append(created, place)
		} else {
			changed = append(changed, place)
		}
	}
	slices.SortFunc(created, comparePlaces)
	slices.SortFunc(changed, comparePlaces)
	return created, changed
}

// changedItems are those whose balances changed, some of them twice.
func changedItems(books *domain.Books) []int64 {
	items := make([]int64, 0, len(books.Balances))
	for place := range books.Balances {
		items = append(items, place.ItemID)
	}
	return items
}

func comparePlaces(a, b domain.Place) int {
	return cmp.Or(cmp.Compare(a.ItemID, b.ItemID), cmp.Compare(a.Location, b.Location))
}
