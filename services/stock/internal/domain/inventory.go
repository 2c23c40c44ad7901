package domain

import (
	"context"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Store keeps the stock and its ledger. What it returns is on the disk.
type Store interface {
	// Stock returns one for each id, in order.
	Stock(ctx context.Context, ids []int64) ([]Stock, error)
	// Movements returns the ledger of an item, newest first, and the cursor of the next page.
	Movements(ctx context.Context, itemID int64, limit int, cursor string) ([]Movement, string, error)
	// Adjust applies an adjustment and writes it to the ledger. With a key that
	// came before it returns what it returned then, or KeyReused when the rest differs.
	Adjust(ctx context.Context, a Adjustment, now time.Time) (Movement, error)
	// Reserve sets units aside, or returns SoldOut. With a key that came before
	// it returns what it returned then, or KeyReused when the rest differs.
	Reserve(ctx context.Context, r Reserve, now time.Time) (Reservation, error)
	// Change takes a step of a reservation, or returns WrongState; keys are as with Reserve.
	Change(ctx context.Context, c Change, now time.Time) (Reservation, error)
	// Expire expires at most limit reservations whose time was over at now, and says how many.
	Expire(ctx context.Context, limit int, now time.Time) (expired int, err error)
	// Reservation returns one, or NotFound.
	Reservation(ctx context.Context, id string) (Reservation, error)
	// Reservations returns those that the filter selects, newest first, and the cursor of the next page.
	Reservations(ctx context.Context, f Filter, limit int, cursor string) ([]Reservation, string, error)
	// Import applies lines in order; a line that is refused changes nothing.
	Import(ctx context.Context, lines []ImportLine, set bool, now time.Time) ([]ImportResult, error)
}

// Inventory is what the stock service does.
type Inventory struct {
	Store Store
	Now   func() time.Time
	// NewID makes ids of reservations: UUIDv7, so that the newest sort last.
	NewID func() string
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
func (i *Inventory) Adjust(ctx context.Context, a Adjustment) (Movement, Stock, error) {
	if a.Location == "" {
		a.Location = MainLocation
	}
	if err := a.Validate(); err != nil {
		return Movement{}, Stock{}, err
	}
	movement, err := i.Store.Adjust(ctx, a, i.Now())
	if err != nil {
		return Movement{}, Stock{}, err
	}
	stock, err := i.Store.Stock(ctx, []int64{a.ItemID})
	if err != nil {
		return Movement{}, Stock{}, err
	}
	return movement, stock[0], nil
}

// Import takes the first stock of items from a product file. The same lines
// again change nothing. With set, on_hand becomes what the lines say.
func (i *Inventory) Import(ctx context.Context, lines []ImportLine, set bool) ([]ImportResult, error) {
	if len(lines) > MaxImportLines {
		return nil, fault.Invalid("lines", "must be at most %d, not %d", MaxImportLines, len(lines))
	}
	for _, line := range lines {
		if err := line.Validate(); err != nil {
			return nil, err
		}
	}
	return i.Store.Import(ctx, lines, set, i.Now())
}

// Reserve sets units aside for a while: all lines or none. A location left out is MainLocation.
func (i *Inventory) Reserve(ctx context.Context, r Reserve) (Reservation, error) {
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	for n := range r.Lines {
		if r.Lines[n].Location == "" {
			r.Lines[n].Location = MainLocation
		}
	}
	if err := r.Validate(); err != nil {
		return Reservation{}, err
	}
	r.ID = i.NewID()
	return i.Store.Reserve(ctx, r, i.Now())
}

// Change takes a step of a reservation. Extend without a TTL is by DefaultTTL.
func (i *Inventory) Change(ctx context.Context, c Change) (Reservation, error) {
	if c.Step == Extend && c.TTL == 0 {
		c.TTL = DefaultTTL
	}
	if err := c.Validate(); err != nil {
		return Reservation{}, err
	}
	return i.Store.Change(ctx, c, i.Now())
}

// Reservation returns one, or NotFound.
func (i *Inventory) Reservation(ctx context.Context, id string) (Reservation, error) {
	return i.Store.Reservation(ctx, id)
}

// Reservations returns a page of those that the filter selects. A limit of 0 is DefaultPage.
func (i *Inventory) Reservations(ctx context.Context, f Filter, limit int, cursor string) ([]Reservation, string, error) {
	if err := f.Validate(); err != nil {
		return nil, "", err
	}
	limit, err := pageSize(limit)
	if err != nil {
		return nil, "", err
	}
	return i.Store.Reservations(ctx, f, limit, cursor)
}

// expireBatch is how many reservations expire in one transaction, in which
// other callers wait.
const expireBatch = 256

// Expire gives back the units of reservations whose time is over.
func (i *Inventory) Expire(ctx context.Context) error {
	for {
		expired, err := i.Store.Expire(ctx, expireBatch, i.Now())
		if err != nil || expired < expireBatch {
			return err
		}
	}
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
