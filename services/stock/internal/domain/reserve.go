package domain

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Reserve asks for a reservation.
type Reserve struct {
	// ID is that of the reservation that is to be made.
	ID string
	// Lines may leave out the location for the item's default.
	Lines     []Line
	TTL       time.Duration
	Reference string
	Key       string
}

// Validate implements Command.
func (r Reserve) Validate() error {
	p := problems{}
	if len(r.Lines) < 1 || len(r.Lines) > MaxLines {
		p.add("lines", "must be 1 to %d lines, not %d", MaxLines, len(r.Lines))
	}
	seen := map[Place]int{}
	for i, line := range r.Lines[:min(len(r.Lines), MaxLines)] {
		field := func(name string) string { return fmt.Sprintf("lines[%d].%s", i, name) }
		if line.ItemID < 1 {
			p.add(field("item_id"), "must be a positive integer")
		}
		if line.Quantity < 1 || line.Quantity > MaxQuantity {
			p.add(field("quantity"), "must be 1 to %d", MaxQuantity)
		}
		if !isText(line.Location) {
			p.add(field("location"), textRule)
		}
		place := Place{line.ItemID, line.Location}
		if first, twice := seen[place]; twice {
			p.add(field("item_id"), "is the same as in lines[%d]; add their quantities", first)
		} else {
			seen[place] = i
		}
	}
	if !validTTL(r.TTL) {
		p.add("ttl_seconds", ttlRule)
	}
	p.text("reference", r.Reference)
	p.key(r.Key)
	return p.fault()
}

// Concern implements Command.
func (r Reserve) Concern() Concern {
	items := make([]int64, len(r.Lines))
	for i, line := range r.Lines {
		items[i] = line.ItemID
	}
	return Concern{Items: items, Key: CommandKey{OpReserve, r.Key}}
}

// Fingerprint implements Command.
func (r Reserve) Fingerprint() string {
	text := strconv.AppendInt(nil, r.TTL.Milliseconds(), 10)
	text = strconv.AppendQuote(append(text, ' '), r.Reference)
	for _, line := range r.Lines {
		text = strconv.AppendInt(append(text, ' '), line.ItemID, 10)
		text = strconv.AppendInt(append(text, '*'), line.Quantity, 10)
		text = strconv.AppendQuote(append(text, '@'), line.Location)
	}
	return string(text)
}

func (r Reserve) do(b *Books) (Answer, error) {
	lines, after, short := make([]Line, len(r.Lines)), make([]Balance, len(r.Lines)), []Shortage(nil)
	for i, line := range r.Lines {
		stock := b.stock(line.ItemID)
		if line.Location == "" {
			line.Location = stock.DefaultLocation
		}
		if first := slices.IndexFunc(lines[:i], func(l Line) bool { return l.ItemID == line.ItemID && l.Location == line.Location }); first >= 0 {
			return Answer{}, fault.Invalid(fmt.Sprintf("lines[%d].location", i), "is %s, the item's default, as in lines[%d]; add their quantities", line.Location, first)
		}
		lines[i] = line
		var available int64
		ok := false
		if at := stock.At(line.Location); at != nil { // where there never was any stock, none can be owed
			available = at.Available
			after[i], ok = at.Hold(line.Quantity, stock.Rules)
		}
		if !ok {
			short = append(short, Shortage{ItemID: line.ItemID, Location: line.Location, Asked: line.Quantity, Available: available})
		}
	}
	if len(short) > 0 {
		return Answer{}, SoldOut(short)
	}
	for i, line := range lines {
		b.set(line.ItemID, b.Stocks[line.ItemID].At(line.Location), after[i])
	}
	made := &Reservation{
		ID: r.ID, State: Held, Lines: lines, Reference: r.Reference, ExpiresAt: b.Now.Add(r.TTL), CreatedAt: b.Now, UpdatedAt: b.Now,
	}
	b.Reservations[r.ID] = made
	b.Made = append(b.Made, Made{Reservation: made, Key: r.Key, TTL: r.TTL})
	answer := *made
	return Answer{Reservation: &answer}, nil
}

// Change asks for a step of a reservation.
type Change struct {
	ID   string
	Step Step
	// TTL counts from now; Extend only.
	TTL time.Duration
	// Cutoff guards Expire: what was extended beyond it in the meantime stays.
	Cutoff time.Time
	Actor  string
	Key    string
}

// Validate implements Command.
func (c Change) Validate() error {
	p := problems{}
	if c.ID == "" {
		p.add("id", "must be the id of a reservation")
	}
	if c.Step == Extend && !validTTL(c.TTL) {
		p.add("ttl_seconds", ttlRule)
	}
	p.text("actor", c.Actor)
	p.key(c.Key)
	return p.fault()
}

// Concern implements Command.
func (c Change) Concern() Concern {
	return Concern{Reservation: c.ID, Fulfils: c.Step == Fulfil, Key: CommandKey{string(c.Step), c.Key}}
}

// Fingerprint implements Command.
func (c Change) Fingerprint() string { return c.ID + " " + c.TTL.String() }

func (c Change) do(b *Books) (Answer, error) {
	r := b.Reservations[c.ID]
	if r == nil {
		return Answer{}, noReservation(c.ID)
	}
	changes, err := r.Apply(c, b.Now)
	if err != nil {
		return Answer{}, err
	}
	if changes {
		b.Stepped[r.ID] = r
		if c.Step != Extend {
			b.step(c, r)
		}
	}
	answer := *r
	return Answer{Reservation: &answer, Stepped: changes}, nil
}

// step moves the units of a reservation, and writes those that leave the house to the ledger.
func (b *Books) step(c Change, r *Reservation) {
	for _, line := range r.Lines {
		at := b.Stocks[line.ItemID].At(line.Location)
		b.set(line.ItemID, at, at.Step(c.Step, line.Quantity))
		if c.Step == Fulfil {
			sold := b.record(Movement{
				ItemID: line.ItemID, Location: line.Location, Delta: -line.Quantity, Reason: Sold, Reference: r.ID, Actor: c.Actor,
			})
			b.Fulfilled[sold] = r.ID
		}
	}
}
