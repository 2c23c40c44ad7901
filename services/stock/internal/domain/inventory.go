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
	// Import applies lines in order; a line that is refused changes nothing.
	Import(ctx context.Context, lines []ImportLine, set bool, now time.Time) ([]ImportResult, error)
}

// Inventory is what the stock service does.
type Inventory struct {
	Store Store
	Now   func() time.Time
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
	if limit == 0 {
		limit = DefaultPage
	}
	if limit < 1 || limit > MaxPage {
		return nil, "", fault.Invalid("limit", "must be 1 to %d, not %d", MaxPage, limit)
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

func validItem(id int64) error {
	if id < 1 {
		return fault.Invalid("item_id", "must be a positive integer, not %d", id)
	}
	return nil
}
