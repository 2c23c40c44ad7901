// Package domain holds what stock is and the rules for changing it.
package domain

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits.
const (
	// MaxQuantity is the most units that one line may move, so that sums of lines cannot overflow.
	MaxQuantity = 1_000_000_000
	// MaxOnHand is the most units that an item may have at a location, and the most it may owe.
	MaxOnHand = 1_000_000_000_000
	// MaxText is the longest reference, location or key, in characters.
	MaxText        = 255
	MaxPage        = 100
	DefaultPage    = 20
	MaxBatch       = 100
	MaxImportLines = 1_000
)

// MainLocation is where stock is unless another location is named.
const MainLocation = "main"

// Policy says what happens when more is asked for than is available.
type Policy string

// The policies.
const (
	// Deny refuses: available never falls below 0.
	Deny Policy = "deny"
	// Backorder sells all the same, without limit.
	Backorder Policy = "backorder"
)

// Floor is the least that available may be; ok is false when there is none.
func (p Policy) Floor() (floor int64, ok bool) {
	return 0, p != Backorder
}

// Reason says why on_hand changed.
type Reason string

// The reasons. Received and returned add units, damaged and sold take them,
// counted does either.
const (
	Received Reason = "received"
	Returned Reason = "returned"
	Damaged  Reason = "damaged"
	Counted  Reason = "counted"
	Sold     Reason = "sold"
)

// Balance keeps OnHand = Available + Held + Committed.
type Balance struct {
	OnHand    int64
	Available int64
	Held      int64
	Committed int64
	// Version counts the changes from 1.
	Version int64
}

// Plus is the sum of two balances; its version counts the changes of both.
func (b Balance) Plus(other Balance) Balance {
	return Balance{
		OnHand:    b.OnHand + other.OnHand,
		Available: b.Available + other.Available,
		Held:      b.Held + other.Held,
		Committed: b.Committed + other.Committed,
		Version:   b.Version + other.Version,
	}
}

// Move gives the balance after delta units came or, if negative, went, or
// Conflict when it would have less available than the policy allows or more
// than MaxOnHand units on hand.
func (b Balance) Move(delta int64, policy Policy) (Balance, error) {
	after := b
	after.OnHand += delta
	after.Available += delta
	after.Version++
	if floor, ok := policy.Floor(); ok && after.Available < floor {
		return b, fault.New(fault.Conflict, "%d available, a change of %d would leave %d, and the policy %s allows no less than %d",
			b.Available, delta, after.Available, policy, floor)
	}
	if after.OnHand > MaxOnHand || after.OnHand < -MaxOnHand {
		return b, fault.New(fault.Conflict, "%d on hand, a change of %d would go beyond the limit of %d", b.OnHand, delta, int64(MaxOnHand))
	}
	return after, nil
}

// Location is the stock at one place.
type Location struct {
	Name string
	Balance
}

// Stock is what there is of an item. An item that was never received has none.
type Stock struct {
	ItemID    int64
	Policy    Policy
	Locations []Location
}

// Total is the sum over the locations.
func (s Stock) Total() Balance {
	var total Balance
	for _, location := range s.Locations {
		total = total.Plus(location.Balance)
	}
	return total
}

// Adjustment asks for a change of on_hand.
type Adjustment struct {
	ItemID    int64
	Delta     int64
	Reason    Reason
	Reference string
	Location  string
	// Key names the command: the same key again has no second effect. "" protects nothing.
	Key string
}

// Validate returns an InvalidArgument fault that lists everything that is wrong.
func (a Adjustment) Validate() error {
	var wrong []fault.Field
	add := func(field, reason string) { wrong = append(wrong, fault.Field{Field: field, Reason: reason}) }
	if a.ItemID < 1 {
		add("item_id", "must be a positive integer")
	}
	if a.Delta == 0 || a.Delta > MaxQuantity || a.Delta < -MaxQuantity {
		add("delta", "must be 1 to 1000000000, or -1 to -1000000000")
	}
	switch {
	case !slices.Contains([]Reason{Received, Returned, Damaged, Counted, Sold}, a.Reason):
		add("reason", "must be received, returned, damaged, counted or sold")
	case a.Delta < 0 && (a.Reason == Received || a.Reason == Returned):
		add("delta", "must be positive when units are "+string(a.Reason))
	case a.Delta > 0 && (a.Reason == Damaged || a.Reason == Sold):
		add("delta", "must be negative when units are "+string(a.Reason))
	}
	for field, text := range map[string]string{"reference": a.Reference, "location": a.Location, "idempotency_key": a.Key} {
		if !utf8.ValidString(text) || utf8.RuneCountInString(text) > MaxText {
			add(field, "must be valid UTF-8 of at most 255 characters")
		}
	}
	if len(wrong) > 0 {
		slices.SortFunc(wrong, func(a, b fault.Field) int { return strings.Compare(a.Field, b.Field) })
		return fault.InvalidFields(wrong...)
	}
	return nil
}

// Movement is one line of the ledger.
type Movement struct {
	ID        int64
	ItemID    int64
	Location  string
	Delta     int64
	Reason    Reason
	Reference string
	CreatedAt time.Time
}

// ImportLine is the first stock of an item as a product file has it.
type ImportLine struct {
	ItemID int64
	// Key is import/<handle>/<option values>.
	Key      string
	Quantity int64
	Policy   Policy
}

// Validate returns an InvalidArgument fault.
func (l ImportLine) Validate() error {
	switch {
	case l.ItemID < 1:
		return fault.Invalid("item_id", "must be a positive integer")
	case l.Key == "" || !utf8.ValidString(l.Key):
		return fault.Invalid("key", "must be import/<handle>/<option values>")
	case l.Quantity < 0 || l.Quantity > MaxQuantity:
		return fault.Invalid("quantity", "must be 0 to %d, not %d", MaxQuantity, l.Quantity)
	case l.Policy != Deny && l.Policy != Backorder:
		return fault.Invalid("policy", "must be deny or backorder")
	}
	return nil
}

// ImportResult is what became of a line.
type ImportResult struct {
	Changed bool
	// Earlier is the quantity of an import before, when it was another and still holds.
	Earlier *int64
	// Problem says why the line was refused; nil when it was not.
	Problem *fault.Error
}
