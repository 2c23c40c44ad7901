package domain

import (
	"context"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Store keeps the stock and its ledger. What it returns is on the disk.
type Store interface {
	// Do runs commands in order, each with an outcome of its own: one that is
	// refused changes nothing. With an error none was run, unless the error is OutcomeUnknown.
	Do(ctx context.Context, commands ...Command) ([]Outcome, error)
	// Expiring gives commands that expire at most limit reservations whose time is over.
	Expiring(ctx context.Context, limit int) ([]Change, error)
	// Stock returns one for each id, in order.
	Stock(ctx context.Context, ids []int64) ([]Stock, error)
	// Stocks returns those of all items, or of those low on stock, by id, and the cursor of the next page.
	Stocks(ctx context.Context, lowOnly bool, limit int, cursor string) ([]Stock, string, error)
	// Movements returns the ledger of an item, newest first, and the cursor of the next page.
	Movements(ctx context.Context, itemID int64, limit int, cursor string) ([]Movement, string, error)
	// Reservation returns one, or NotFound.
	Reservation(ctx context.Context, id string) (Reservation, error)
	// Reservations returns those that the filter selects, newest first, and the cursor of the next page.
	Reservations(ctx context.Context, f Filter, limit int, cursor string) ([]Reservation, string, error)
	// Reconcile counts again what the balances must be.
	Reconcile(ctx context.Context) (Reconciliation, error)
	// Purge forgets at most limit reservations and commands that ended before
	// retention ago, and says how many.
	Purge(ctx context.Context, retention time.Duration, limit int) (purged int, err error)
}

// Reconciliation compares the balances with what they are made of, all as of one moment.
type Reconciliation struct {
	// Balances is how many were compared; Low how many items are low on stock.
	Balances, Low int64
	Drifts        []Drift
}

// Drift is a number that is not what the ledger and the reservations add up to.
type Drift struct {
	ItemID   int64
	Location string
	// Field is on_hand, held, committed or fulfilled.
	Field    string
	Recorded int64
	Counted  int64
}

// Inventory is what the stock service does.
type Inventory struct {
	Store Store
	// NewID makes ids of reservations and keys: UUIDv7, so that the newest sort last.
	NewID func() string
	// Sales is told what is sold, once; nil: nobody is.
	Sales Sales
	// Tally counts what becomes of reservations; nil: nobody does.
	Tally Tally
}

// Sales hears what is sold. It must not wait, and may lose what it hears.
type Sales interface{ Sold(itemID, quantity int64) }

// Tally counts reservations. It must not wait.
type Tally interface {
	// Asked is told the answer to one who asked for a reservation; replayed: it
	// is that of an earlier time.
	Asked(ctx context.Context, err error, replayed bool)
	// Stepped is told a step that a reservation took, once.
	Stepped(ctx context.Context, step Step, after Reservation)
}

// Get returns the stock of items, in the order of ids.
func (i *Inventory) Get(ctx context.Context, ids []int64) ([]Stock, error) {
	if len(ids) < 1 || len(ids) > MaxBatch {
		return nil, fault.Invalid("item_ids", "must be 1 to %d ids, not %d", MaxBatch, len(ids))
	}
	for _, id := range ids {
		if err := validItem(id); err != nil {
			return nil, err
		}
	}
	return i.Store.Stock(ctx, ids)
}

// List returns a page of the stock of all items, or of those that are low on
// stock. A limit of 0 is DefaultPage.
func (i *Inventory) List(ctx context.Context, lowOnly bool, limit int, cursor string) ([]Stock, string, error) {
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	return i.Store.Stocks(ctx, lowOnly, limit, cursor)
}

// Movements returns a page of an item's ledger. A limit of 0 is DefaultPage.
func (i *Inventory) Movements(ctx context.Context, itemID int64, limit int, cursor string) ([]Movement, string, error) {
	if err := validItem(itemID); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	return i.Store.Movements(ctx, itemID, limit, cursor)
}

// Adjust changes on_hand and returns the movement and the stock after it.
func (i *Inventory) Adjust(ctx context.Context, a Adjustment) (Answer, error) {
	a.Key = i.key(a.Key)
	return i.do(ctx, a)
}

// Set makes on_hand a number, or returns VersionMismatch when somebody changed
// the stock meanwhile. The movement is nil when on_hand is that number already.
func (i *Inventory) Set(ctx context.Context, s SetStock) (Answer, error) {
	s.Key = i.key(s.Key)
	return i.do(ctx, s)
}

// Sync makes on_hand what was counted, and tells what became of each count. The
// same batch again changes nothing and gives the same results.
func (i *Inventory) Sync(ctx context.Context, s Sync) ([]CountResult, error) {
	answer, err := i.do(ctx, s)
	return answer.Counts, err
}

// Configure sets the rules of an item.
func (i *Inventory) Configure(ctx context.Context, c Configure) (Answer, error) {
	c.Key = i.key(c.Key)
	return i.do(ctx, c)
}

// Import takes the first stock of items from a product file. The same lines
// again change nothing.
func (i *Inventory) Import(ctx context.Context, lines []ImportLine) ([]ImportResult, error) {
	if len(lines) > MaxImportLines {
		return nil, fault.Invalid("lines", "must be at most %d, not %d", MaxImportLines, len(lines))
	}
	commands := make([]Command, len(lines))
	for n, line := range lines {
		if err := line.Validate(); err != nil {
			return nil, err
		}
		commands[n] = line
	}
	outcomes, err := i.Store.Do(ctx, commands...)
	if err != nil {
		return nil, err
	}
	results := make([]ImportResult, len(lines))
	for n, outcome := range outcomes {
		switch {
		case outcome.Err == nil:
			results[n] = *outcome.Answer.Import
		case fault.CodeOf(outcome.Err) == fault.Internal:
			return nil, outcome.Err
		default:
			results[n].Problem = fault.From(outcome.Err)
		}
	}
	return results, nil
}

// Reserve sets units aside for a while: all lines or none.
func (i *Inventory) Reserve(ctx context.Context, r Reserve) (Reservation, error) {
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	r.ID, r.Key = i.NewID(), i.key(r.Key)
	made, err := reservation(i.do(ctx, r))
	if i.Tally != nil {
		i.Tally.Asked(ctx, err, made.ID != r.ID)
	}
	return made, err
}

// Change takes a step of a reservation. Extend without a TTL is by DefaultTTL.
func (i *Inventory) Change(ctx context.Context, c Change) (Reservation, error) {
	if c.Step == Extend && c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if c.ID != "" && !isID(c.ID) {
		return Reservation{}, noReservation(c.ID)
	}
	c.Key = i.key(c.Key)
	answer, err := i.do(ctx, c)
	if i.Sales != nil && c.Step == Commit && answer.Stepped {
		for _, line := range answer.Reservation.Lines {
			i.Sales.Sold(line.ItemID, line.Quantity)
		}
	}
	i.stepped(ctx, c.Step, answer)
	return reservation(answer, err)
}

func (i *Inventory) stepped(ctx context.Context, step Step, answer Answer) {
	if i.Tally != nil && answer.Stepped {
		i.Tally.Stepped(ctx, step, *answer.Reservation)
	}
}

// Reservation returns one, or NotFound.
func (i *Inventory) Reservation(ctx context.Context, id string) (Reservation, error) {
	if !isID(id) {
		return Reservation{}, noReservation(id)
	}
	return i.Store.Reservation(ctx, id)
}

// Reservations returns a page of those that the filter selects. A limit of 0 is DefaultPage.
func (i *Inventory) Reservations(ctx context.Context, f Filter, limit int, cursor string) ([]Reservation, string, error) {
	if err := f.Validate(); err != nil {
		return nil, "", err
	}
	if cursor != "" && !isID(cursor) {
		return nil, "", fault.Invalid("cursor", "must be the next_cursor of the page before")
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	return i.Store.Reservations(ctx, f, limit, cursor)
}

// Reconcile counts again what the balances must be.
func (i *Inventory) Reconcile(ctx context.Context) (Reconciliation, error) {
	return i.Store.Reconcile(ctx)
}

// chunk is how much of the service's own work is done at a time, while callers wait.
const chunk = 256

// Expire gives back the units of reservations whose time is over.
func (i *Inventory) Expire(ctx context.Context) error {
	for {
		due, err := i.Store.Expiring(ctx, chunk)
		if err != nil || len(due) == 0 {
			return err
		}
		commands := make([]Command, len(due))
		for n, change := range due {
			commands[n] = change
		}
		outcomes, err := i.Store.Do(ctx, commands...)
		for _, outcome := range outcomes {
			i.stepped(ctx, Expire, outcome.Answer)
		}
		if err != nil || len(due) < chunk {
			return err
		}
	}
}

// Purge forgets reservations and commands that ended retention ago.
func (i *Inventory) Purge(ctx context.Context, retention time.Duration) error {
	for {
		if purged, err := i.Store.Purge(ctx, retention, chunk); err != nil || purged == 0 {
			return err
		}
	}
}

// key makes one for a command that has none, so that the store can try it again.
func (i *Inventory) key(given string) string {
	if given != "" {
		return given
	}
	return i.NewID()
}

func (i *Inventory) do(ctx context.Context, c Command) (Answer, error) {
	if err := c.Validate(); err != nil {
		return Answer{}, err
	}
	outcomes, err := i.Store.Do(ctx, c)
	if err != nil {
		return Answer{}, err
	}
	return outcomes[0].Answer, outcomes[0].Err
}

func reservation(a Answer, err error) (Reservation, error) {
	if err != nil {
		return Reservation{}, err
	}
	return *a.Reservation, nil
}

func pageSize(limit int) (int, error) {
	if limit == 0 {
		return DefaultPage, nil
	}
	if limit < 1 || limit > MaxPage {
		return 0, fault.Invalid("limit", "must be 1 to %d, not %d", MaxPage, limit)
	}
	return limit, nil
}

func validItem(id int64) error {
	if id < 1 {
		return fault.Invalid("item_id", "must be a positive integer, not %d", id)
	}
	return nil
}
