package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits of reservations.
const (
	MaxLines   = 100
	MinTTL     = time.Second
	MaxTTL     = 24 * time.Hour
	DefaultTTL = 15 * time.Minute
)

// State is where a reservation stands.
//
//	HELD ──commit──► COMMITTED ──fulfil──► FULFILLED
//	  ├──release──► RELEASED
//	  └──expire───► EXPIRED
type State string

// The states.
const (
	Held      State = "HELD"
	Committed State = "COMMITTED"
	Fulfilled State = "FULFILLED"
	Released  State = "RELEASED"
	Expired   State = "EXPIRED"
)

// Line is a quantity of an item at a location.
type Line struct {
	ItemID   int64
	Quantity int64
	Location string
}

// Reservation sets units aside: all its lines or none.
type Reservation struct {
	// ID is a UUIDv7.
	ID        string
	State     State
	Lines     []Line
	Reference string
	ExpiresAt time.Time
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Step is what moves a reservation on.
type Step string

// The steps.
const (
	Commit  Step = "commit"
	Fulfil  Step = "fulfil"
	Release Step = "release"
	Extend  Step = "extend"
	Expire  Step = "expire"
)

// State is where the step leads.
func (s Step) State() State {
	switch s {
	case Commit:
		return Committed
	case Fulfil:
		return Fulfilled
	case Release:
		return Released
	case Expire:
		return Expired
	default:
		return Held
	}
}

// Apply takes the step at now and returns whether anything changes. A commit
// is good as long as the reservation is held, also when it should have expired:
// a clock may go wrong, the units may not. A step that was taken already changes nothing.
func (r *Reservation) Apply(c Change, now time.Time) (changes bool, err error) {
	from, to := Held, c.Step.State()
	if c.Step == Fulfil {
		from = Committed
	}
	switch {
	case r.State == to && c.Step != Extend:
		return false, nil
	case c.Step == Expire && (r.State != Held || r.ExpiresAt.After(c.Cutoff)):
		return false, nil
	case r.State != from:
		return false, fault.New(fault.WrongState, "the reservation is %s; to %s it, it must be %s", r.State, c.Step, from).With("state", r.State)
	case c.Step == Extend:
		r.ExpiresAt = now.Add(c.TTL)
	}
	r.State, r.UpdatedAt = to, now
	return true, nil
}

// Hold gives the balance after quantity units were set aside, or ok false when
// too few are available for the rules.
func (b Balance) Hold(quantity int64, rules Rules) (after Balance, ok bool) {
	after = b
	after.Available -= quantity
	after.Held += quantity
	after.Version++
	if after.Available < rules.Floor() {
		return b, false
	}
	return after, true
}

// Step gives the balance after a reservation of quantity units took a step.
func (b Balance) Step(step Step, quantity int64) Balance {
	switch step {
	case Commit:
		b.Held -= quantity
		b.Committed += quantity
	case Release, Expire:
		b.Held -= quantity
		b.Available += quantity
	case Fulfil:
		b.Committed -= quantity
		b.OnHand -= quantity
	case Extend:
		return b
	}
	b.Version++
	return b
}

// Shortage is a line that cannot be reserved.
type Shortage struct {
	ItemID    int64  `json:"item_id"`
	Location  string `json:"location"`
	Asked     int64  `json:"asked"`
	Available int64  `json:"available"`
}

// SoldOut is the fault for lines that cannot be reserved.
func SoldOut(shortages []Shortage) error {
	var lines []string
	for _, s := range shortages {
		lines = append(lines, fmt.Sprintf("of item %d at %s %d are asked for and %d available", s.ItemID, s.Location, s.Asked, s.Available))
	}
	return fault.New(fault.SoldOut, "%s", strings.Join(lines, "; ")).With("lines", shortages)
}

// Filter selects reservations; zero fields select all.
type Filter struct {
	State     State
	ItemID    int64
	Reference string
}

// Validate returns an InvalidArgument fault.
func (f Filter) Validate() error {
	switch {
	case f.State != "" && !slices.Contains([]State{Held, Committed, Fulfilled, Released, Expired}, f.State):
		return fault.Invalid("state", "must be HELD, COMMITTED, FULFILLED, RELEASED or EXPIRED")
	case f.ItemID < 0:
		return fault.Invalid("item_id", "must be a positive integer")
	case !isText(f.Reference):
		return fault.Invalid("reference", textRule)
	}
	return nil
}
