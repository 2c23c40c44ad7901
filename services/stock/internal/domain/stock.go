// Package domain holds what stock is and the rules for changing it.
package domain

import (
	"time"

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

// MainLocation is where stock is unless a location is named or the item has a default.
const MainLocation = "main"

// Policy says what happens when more is asked for than is available.
type Policy string

// The policies.
const (
	// Deny refuses: available never falls below 0.
	Deny Policy = "deny"
	// Backorder sells all the same, to the limit if there is one.
	Backorder Policy = "backorder"
)

// Rules say how an item is sold.
type Rules struct {
	Policy Policy
	// BackorderLimit is the most units that may be owed under Backorder at each
	// location; nil: there is no limit.
	BackorderLimit *int64
	// DefaultLocation is that of lines and movements that name none.
	DefaultLocation string
	// LowStock is the level below which the item is low on stock, over all locations; nil: none.
	LowStock *int64
}

// DefaultRules are those of an item for which nobody has set any.
func DefaultRules() Rules { return Rules{Policy: Deny, DefaultLocation: MainLocation} }

// Floor is the least that available may be.
func (r Rules) Floor() int64 {
	switch {
	case r.Policy != Backorder:
		return 0
	case r.BackorderLimit != nil:
		return -*r.BackorderLimit
	default:
		return -MaxOnHand
	}
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
// Conflict when it would have less available than the rules allow or more
// than MaxOnHand units on hand.
func (b Balance) Move(delta int64, rules Rules) (Balance, error) {
	after := b
	after.OnHand += delta
	after.Available += delta
	after.Version++
	if delta < 0 && after.Available < rules.Floor() {
		return b, fault.New(fault.Conflict, "%d available, a change of %d would leave %d, and the policy %s allows no less than %d",
			b.Available, delta, after.Available, rules.Policy, rules.Floor())
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
	ItemID int64
	Rules
	Locations []Location
}

// At returns the stock at a location, or nil if there never was any.
func (s *Stock) At(location string) *Location {
	for i := range s.Locations {
		if s.Locations[i].Name == location {
			return &s.Locations[i]
		}
	}
	return nil
}

// Total is the sum over the locations.
func (s Stock) Total() Balance {
	var total Balance
	for _, location := range s.Locations {
		total = total.Plus(location.Balance)
	}
	return total
}

// Movement is one line of the ledger.
type Movement struct {
	ID        int64
	ItemID    int64
	Location  string
	Delta     int64
	Reason    Reason
	Reference string
	// Actor is who caused it, as the caller said.
	Actor     string
	CreatedAt time.Time
}
