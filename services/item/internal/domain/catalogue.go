package domain

import (
	"context"
	"time"
	"unicode/utf8"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits of one call.
const (
	MaxPage       = 100
	DefaultPage   = 20
	MaxBatch      = 100
	MaxImportRows = 1_000
	MaxQuery      = 200
	// MaxRanked is how many matches of a search are ranked, the newest first.
	MaxRanked = 10_000
)

// Store keeps the items. Errors are faults where the caller can do something about them.
type Store interface {
	// Get returns NotFound for an id that does not exist. Nobody may change the
	// item: others are given the same one.
	Get(ctx context.Context, id int64) (*Item, error)
	// BatchGet leaves out ids that do not exist.
	BatchGet(ctx context.Context, ids []int64) ([]Item, error)
	List(ctx context.Context, limit int, cursor string) (Page, error)
	Search(ctx context.Context, query string, limit int, cursor string) (Page, error)
	Changer
}

// Changer is the part of the store that writes. What it returns is on the disk.
type Changer interface {
	// Create makes an item and gives it an id, and a SKU if it has none.
	// It returns Conflict when the SKU or the variant exists.
	// As Update and Delete, it answers a command that came before as it did then,
	// and returns KeyReused when the command's fingerprint is another.
	Create(ctx context.Context, c Command, fields Fields) (Stocked, error)
	// Update stores change(current) and returns VersionMismatch when expected
	// is neither 0 nor the current version.
	Update(ctx context.Context, c Command, id, expected int64, change func(Fields) (Fields, error)) (Stocked, error)
	Delete(ctx context.Context, c Command, id, expected int64) error
	// Forget forgets at most limit commands that came before a time, and says how many.
	Forget(ctx context.Context, before time.Time, limit int) (forgotten int, err error)
	// Import applies rows in order; a row that is refused changes nothing and
	// does not hinder the others.
	Import(ctx context.Context, rows []ImportRow, now time.Time) ([]ImportResult, error)
}

// Page is a part of a list. Next is empty at the end.
type Page struct {
	Items []Item
	Next  string
	// Capped: more items match than are ranked.
	Capped bool
}

// Stock tells what is available.
type Stock interface {
	// Available is not known when there is no answer in time.
	Available(ctx context.Context, id int64) Available
	// BatchAvailable lacks the ids for which there is no answer in time.
	BatchAvailable(ctx context.Context, ids []int64) map[int64]int64
}

// Catalogue is what the item service does.
type Catalogue struct {
	Store Store
	Stock Stock
	Now   func() time.Time
}

// Get returns one item with its stock, or NotFound.
func (c *Catalogue) Get(ctx context.Context, id int64) (Stocked, error) {
	if err := validID("id", id); err != nil {
		return Stocked{}, err
	}
	item, err := c.Store.Get(ctx, id)
	if err != nil {
		return Stocked{}, err
	}
	return Stocked{Item: item, Stock: c.Stock.Available(ctx, id)}, nil
}

// BatchGet returns the items that exist, in the order of ids.
func (c *Catalogue) BatchGet(ctx context.Context, ids []int64) ([]Stocked, error) {
	if len(ids) < 1 || len(ids) > MaxBatch {
		return nil, fault.Invalid("ids", "must be 1 to %d ids, not %d", MaxBatch, len(ids))
	}
	for _, id := range ids {
		if err := validID("ids", id); err != nil {
			return nil, err
		}
	}
	items, err := c.Store.BatchGet(ctx, ids)
	if err != nil {
		return nil, err
	}
	return c.stocked(ctx, items...), nil
}

// StockedPage is a page with stock.
type StockedPage struct {
	Items  []Stocked
	Next   string
	Capped bool
}

// List returns items by id. A limit of 0 is DefaultPage.
func (c *Catalogue) List(ctx context.Context, limit int, cursor string) (StockedPage, error) {
	limit, err := pageLimit(limit)
	if err != nil {
		return StockedPage{}, err
	}
	page, err := c.Store.List(ctx, limit, cursor)
	return c.stockedPage(ctx, page, err)
}

// Search returns items in which every word of query begins a word: those that
// have the words themselves in the title first, then those whose title has
// words that begin so, then vendor, type and tags, then the description;
// newest first among equals.
func (c *Catalogue) Search(ctx context.Context, query string, limit int, cursor string) (StockedPage, error) {
	limit, err := pageLimit(limit)
	if err != nil {
		return StockedPage{}, err
	}
	if !utf8.ValidString(query) {
		return StockedPage{}, fault.Invalid("q", "must be valid UTF-8")
	}
	if n := utf8.RuneCountInString(query); n > MaxQuery {
		return StockedPage{}, fault.Invalid("q", "must have at most %d characters, not %d", MaxQuery, n)
	}
	page, err := c.Store.Search(ctx, query, limit, cursor)
	return c.stockedPage(ctx, page, err)
}

// Create makes an item. Without a status it is active. The same key again has
// no second effect and the same answer; so it is with Update and Delete.
func (c *Catalogue) Create(ctx context.Context, key string, patch Patch) (Stocked, error) {
	command, err := c.command("create", key, patch)
	if err != nil {
		return Stocked{}, err
	}
	fields := patch.Apply(Fields{Status: Active})
	if err := fields.Validate(); err != nil {
		return Stocked{}, err
	}
	command.Stock = Available{Known: true} // a new id was never received
	return c.Store.Create(ctx, command, fields)
}

// Update changes an item. expected is the version that the caller has seen; 0 takes any.
func (c *Catalogue) Update(ctx context.Context, key string, id, expected int64, patch Patch) (Stocked, error) {
	if err := validTarget(id, expected); err != nil {
		return Stocked{}, err
	}
	command, err := c.command("update", key, id, expected, patch)
	if err != nil {
		return Stocked{}, err
	}
	command.Stock = c.Stock.Available(ctx, id) // before the change: the answer is stored with it
	return c.Store.Update(ctx, command, id, expected, func(current Fields) (Fields, error) {
		changed := patch.Apply(current)
		return changed, changed.Validate()
	})
}

// Delete removes an item. expected is as in Update.
func (c *Catalogue) Delete(ctx context.Context, key string, id, expected int64) error {
	if err := validTarget(id, expected); err != nil {
		return err
	}
	command, err := c.command("delete", key, id, expected)
	if err != nil {
		return err
	}
	return c.Store.Delete(ctx, command, id, expected)
}

// stocked adds what is available; it never fails.
func (c *Catalogue) stocked(ctx context.Context, items ...Item) []Stocked {
	ids := make([]int64, len(items))
	for i, item := range items {
		ids[i] = item.ID
	}
	available := c.Stock.BatchAvailable(ctx, ids)
	stocked := make([]Stocked, len(items))
	for i := range items {
		units, known := available[items[i].ID]
		stocked[i] = Stocked{Item: &items[i], Stock: Available{Units: units, Known: known}}
	}
	return stocked
}

func (c *Catalogue) stockedPage(ctx context.Context, page Page, err error) (StockedPage, error) {
	if err != nil {
		return StockedPage{}, err
	}
	return StockedPage{Items: c.stocked(ctx, page.Items...), Next: page.Next, Capped: page.Capped}, nil
}

func pageLimit(limit int) (int, error) {
	if limit == 0 {
		return DefaultPage, nil
	}
	if limit < 1 || limit > MaxPage {
		return 0, fault.Invalid("limit", "must be 1 to %d, not %d", MaxPage, limit)
	}
	return limit, nil
}

func validID(field string, id int64) error {
	if id < 1 {
		return fault.Invalid(field, "must be a positive integer, not %d", id)
	}
	return nil
}

func validTarget(id, expected int64) error {
	if err := validID("id", id); err != nil {
		return err
	}
	if expected < 0 {
		return fault.Invalid("expected_version", "must be 0 or a version, not %d", expected)
	}
	return nil
}
