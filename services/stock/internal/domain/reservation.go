package domain

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

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

// Reserve asks for a reservation.
type Reserve struct {
	// ID is that of the reservation that is to be made.
	ID        string
	Lines     []Line
	TTL       time.Duration
	Reference string
	// Key names the command: the same key again has no second effect.
	Key string
}

// Validate returns an InvalidArgument fault that lists everything that is wrong.
func (r Reserve) Validate() error {
	var wrong []fault.Field
	add := func(field, reason string) { wrong = append(wrong, fault.Field{Field: field, Reason: reason}) }
	if len(r.Lines) < 1 || len(r.Lines) > MaxLines {
		add("lines", fmt.Sprintf("must be 1 to %d lines, not %d", MaxLines, len(r.Lines)))
	}
	seen := map[Line]int{}
	for i, line := range r.Lines[:min(len(r.Lines), MaxLines)] {
		field := func(name string) string { return fmt.Sprintf("lines[%d].%s", i, name) }
		if line.ItemID < 1 {
			add(field("item_id"), "must be a positive integer")
		}
		if line.Quantity < 1 || line.Quantity > MaxQuantity {
			add(field("quantity"), fmt.Sprintf("must be 1 to %d", MaxQuantity))
		}
		if !isText(line.Location) {
			add(field("location"), textRule)
		}
		place := Line{ItemID: line.ItemID, Location: line.Location}
		if first, twice := seen[place]; twice {
			add(field("item_id"), fmt.Sprintf("is the same as in lines[%d]; add their quantities", first))
		} else {
			seen[place] = i
		}
	}
	if !validTTL(r.TTL) {
		add("ttl_seconds", ttlRule)
	}
	if !isText(r.Reference) {
		add("reference", textRule)
	}
	if !isText(r.Key) {
		add("idempotency_key", textRule)
	}
	if len(wrong) > 0 {
		return fault.InvalidFields(wrong...)
	}
	return nil
}

const (
	textRule = "must be valid UTF-8 of at most 255 characters"
	ttlRule  = "must be 1 to 86400"
)

func isText(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= MaxText
}

func validTTL(ttl time.Duration) bool { return ttl >= MinTTL && ttl <= MaxTTL }

// Fingerprint is what a command with the same key must have in common.
func (r Reserve) Fingerprint() string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s %q", r.TTL, r.Reference)
	for _, line := range r.Lines {
		fmt.Fprintf(&text, " %d×%d@%q", line.ItemID, line.Quantity, line.Location)
	}
	return text.String()
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

// Change asks for a step of a reservation.
type Change struct {
	ID   string
	Step Step
	// TTL counts from now; Extend only.
	TTL time.Duration
	// Cutoff guards Expire: what was extended beyond it in the meantime stays.
	Cutoff time.Time
	Key    string
}

// Validate returns an InvalidArgument fault.
func (c Change) Validate() error {
	switch {
	case c.ID == "" || !isText(c.ID):
		return fault.Invalid("id", "must be the id of a reservation")
	case c.Step == Extend && !validTTL(c.TTL):
		return fault.Invalid("ttl_seconds", ttlRule)
	case !isText(c.Key):
		return fault.Invalid("idempotency_key", textRule)
	}
	return nil
}

// Fingerprint is what a command with the same key must have in common.
func (c Change) Fingerprint() string { return fmt.Sprintf("%s %s", c.ID, c.TTL) }

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

// Hold gives the balance after quantity units were set aside. short is what is
// available when that is too little for the policy.
func (b Balance) Hold(quantity int64, policy Policy) (after Balance, short bool) {
	after = b
	after.Available -= quantity
	after.Held += quantity
	after.Version++
	if floor, ok := policy.Floor(); ok && after.Available < floor {
		return b, true
	}
	return after, false
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
