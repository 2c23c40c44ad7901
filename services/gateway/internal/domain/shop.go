// Package domain holds what the gateway knows of items and stock, and what it
// does with both of them together.
package domain

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// Item is one sellable unit, in the shape of the HTTP contract.
type Item struct {
	ID          int64     `json:"id"`
	SKU         string    `json:"sku"`
	Title       string    `json:"title"`
	Description string    `json:"description"`
	Handle      string    `json:"handle"`
	Options     Options   `json:"options"`
	Vendor      string    `json:"vendor"`
	Type        string    `json:"type"`
	Tags        []string  `json:"tags"`
	Price       *Money    `json:"price"`
	Images      []string  `json:"images"`
	Status      string    `json:"status"`
	Stock       *int64    `json:"stock"` // nil: stock did not answer
	Version     int64     `json:"version"`
	CreatedAt   time.Time `json:"created_at"`
	UpdatedAt   time.Time `json:"updated_at"`
	Seen
}

// Seen marks what is shown as it was, because there is no way to know how it is.
type Seen struct {
	Stale bool          `json:"stale,omitzero"`
	Age   time.Duration `json:"-"`
}

// Money is an amount in the minor unit of an ISO 4217 currency.
type Money struct {
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

// Option is one choice, as Size: S.
type Option struct{ Name, Value string }

// Options are written as a JSON object in their own order.
type Options []Option

// MarshalJSON implements json.Marshaler.
func (o Options) MarshalJSON() ([]byte, error) {
	var object bytes.Buffer
	object.WriteByte('{')
	for i, option := range o {
		if i > 0 {
			object.WriteByte(',')
		}
		name, err := json.Marshal(option.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(option.Value)
		if err != nil {
			return nil, err
		}
		object.Write(name)
		object.WriteByte(':')
		object.Write(value)
	}
	object.WriteByte('}')
	return object.Bytes(), nil
}

// Change sets the fields of an item that it has; nil leaves one as it is.
type Change struct {
	SKU         *string
	Title       *string
	Description *string
	Handle      *string
	Options     *Options
	Vendor      *string
	Type        *string
	Tags        *[]string
	Price       **Money
	Images      *[]string
	Status      *string
}

// ItemPage is a part of a list of items.
type ItemPage struct {
	Items []Item `json:"items"`
	Next  string `json:"next_cursor,omitzero"`
	// Capped: more items match than are ranked.
	Capped bool `json:"capped,omitzero"`
}

// Items is the catalogue. Errors are faults.
type Items interface {
	Get(ctx context.Context, id int64) (Item, error)
	// Batch returns 1 to 100 items in any order, without those that do not exist.
	Batch(ctx context.Context, ids []int64) ([]Item, error)
	List(ctx context.Context, limit int, cursor string) (ItemPage, error)
	Search(ctx context.Context, query string, limit int, cursor string) (ItemPage, error)
	// Create, Update and Delete with a key that came before answer as they did then.
	Create(ctx context.Context, key string, fields Change) (Item, error)
	// Update and Delete return version_mismatch when expected is neither 0 nor the current version.
	Update(ctx context.Context, key string, id, expected int64, change Change) (Item, error)
	Delete(ctx context.Context, key string, id, expected int64) error
	ItemImporter
}

// Balance is what there is of an item.
type Balance struct {
	OnHand    int64 `json:"on_hand"`
	Available int64 `json:"available"`
	Held      int64 `json:"held"`
	Committed int64 `json:"committed"`
	Version   int64 `json:"version"`
}

// Stock is the balance of an item, in sum and by location.
type Stock struct {
	ItemID int64 `json:"item_id"`
	Balance
	Policy            string     `json:"policy"`
	BackorderLimit    *int64     `json:"backorder_limit"` // nil: none
	DefaultLocation   string     `json:"default_location"`
	LowStockThreshold *int64     `json:"low_stock_threshold"` // nil: none
	Locations         []Location `json:"locations"`
}

// StockPage is a part of the stock of all items.
type StockPage struct {
	Items []Stock `json:"items"`
	Next  string  `json:"next_cursor,omitzero"`
}

// Location is the balance at one place.
type Location struct {
	Location string `json:"location"`
	Balance
}

// Movement is one line of the ledger.
type Movement struct {
	ID        int64     `json:"id"`
	ItemID    int64     `json:"item_id"`
	Delta     int64     `json:"delta"`
	Reason    string    `json:"reason"`
	Reference string    `json:"reference"`
	Location  string    `json:"location"`
	Actor     string    `json:"actor,omitzero"`
	CreatedAt time.Time `json:"created_at"`
}

// MovementPage is a part of an item's ledger.
type MovementPage struct {
	Items []Movement `json:"items"`
	Next  string     `json:"next_cursor,omitzero"`
}

// Adjustment asks for a movement.
type Adjustment struct {
	ItemID    int64
	Delta     int64
	Reason    string
	Reference string
	Location  string
	Actor     string
	Key       string
}

// Count asks to make on_hand a number.
type Count struct {
	ItemID int64
	OnHand int64
	// Version is that of the location as the caller knows it; 0: there never was any stock.
	Version   int64
	Reference string
	Location  string
	Actor     string
	Key       string
}

// Rules asks to set how an item is sold; nil leaves one as it is, and a
// pointer to nil removes a limit.
type Rules struct {
	ItemID            int64
	Policy            *string
	BackorderLimit    **int64
	DefaultLocation   *string
	LowStockThreshold **int64
	Key               string
}

// Stocks is the inventory. Errors are faults.
type Stocks interface {
	Get(ctx context.Context, itemID int64) (Stock, error)
	// List returns the stock of all items, or of those that have less available than their threshold.
	List(ctx context.Context, belowThreshold bool, limit int, cursor string) (StockPage, error)
	Movements(ctx context.Context, itemID int64, limit int, cursor string) (MovementPage, error)
	Adjust(ctx context.Context, a Adjustment) (Movement, Stock, error)
	// Set returns version_mismatch when somebody changed the stock meanwhile.
	Set(ctx context.Context, count Count) (Stock, error)
	Configure(ctx context.Context, rules Rules) (Stock, error)
	StockImporter
	Reservations
}

// Shop is what the gateway offers.
type Shop struct {
	Items    Items
	Stocks   Stocks
	Activity Activity
	Watches  *Watches
	// Currency is the ISO 4217 code of the prices in product files.
	Currency string
}

// Stock returns the stock of an item, or not_found when the item does not
// exist: stock itself does not know which items do.
func (s *Shop) Stock(ctx context.Context, itemID int64) (Stock, error) {
	if _, err := s.Items.Get(ctx, itemID); err != nil {
		return Stock{}, err
	}
	return s.Stocks.Get(ctx, itemID)
}

// Movements returns a page of the ledger of an item, or not_found.
func (s *Shop) Movements(ctx context.Context, itemID int64, limit int, cursor string) (MovementPage, error) {
	if _, err := s.Items.Get(ctx, itemID); err != nil {
		return MovementPage{}, err
	}
	return s.Stocks.Movements(ctx, itemID, limit, cursor)
}

// Adjust changes what is on hand of an item, or returns not_found.
func (s *Shop) Adjust(ctx context.Context, a Adjustment) (Movement, Stock, error) {
	if _, err := s.Items.Get(ctx, a.ItemID); err != nil {
		return Movement{}, Stock{}, err
	}
	return s.Stocks.Adjust(ctx, a)
}

// SetStock makes what is on hand of an item a number, or returns not_found.
func (s *Shop) SetStock(ctx context.Context, count Count) (Stock, error) {
	if _, err := s.Items.Get(ctx, count.ItemID); err != nil {
		return Stock{}, err
	}
	return s.Stocks.Set(ctx, count)
}

// Configure sets how an item is sold, or returns not_found.
func (s *Shop) Configure(ctx context.Context, rules Rules) (Stock, error) {
	if _, err := s.Items.Get(ctx, rules.ItemID); err != nil {
		return Stock{}, err
	}
	return s.Stocks.Configure(ctx, rules)
}
