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
	List(ctx context.Context, limit int, cursor string) (ItemPage, error)
	Search(ctx context.Context, query string, limit int, cursor string) (ItemPage, error)
	Create(ctx context.Context, fields Change) (Item, error)
	// Update and Delete return version_mismatch when expected is neither 0 nor the current version.
	Update(ctx context.Context, id, expected int64, change Change) (Item, error)
	Delete(ctx context.Context, id, expected int64) error
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
	Policy    string     `json:"policy"`
	Locations []Location `json:"locations"`
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
	Key       string
}

// Stocks is the inventory. Errors are faults.
type Stocks interface {
	Get(ctx context.Context, itemID int64) (Stock, error)
	Movements(ctx context.Context, itemID int64, limit int, cursor string) (MovementPage, error)
	Adjust(ctx context.Context, a Adjustment) (Movement, Stock, error)
	StockImporter
	Reservations
}

// Shop is what the gateway offers.
type Shop struct {
	Items  Items
	Stocks Stocks
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
