package domain

import (
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Command is a change that somebody asks for: Reserve, Change, Adjustment,
// SetStock, Sync, Configure or ImportLine.
type Command interface {
	// Validate returns an InvalidArgument fault that lists everything that is wrong.
	Validate() error
	// Concern tells what the books must show.
	Concern() Concern
	// Fingerprint is what commands of the same key must have in common.
	Fingerprint() string
	// do changes the books, or returns an error and changes nothing.
	do(b *Books) (Answer, error)
}

// Concern is what a command concerns.
type Concern struct {
	// Items are those whose stock is looked at; those of the reservation are besides.
	Items []int64
	// Receives tells that the items may come into being, and that each may have a movement.
	Receives bool
	// Reservation is the id of the one that changes; Fulfils: its lines become movements.
	Reservation string
	Fulfils     bool
	// Key names the command. Its zero value names none.
	Key CommandKey
	// ImportKey is that of a product file's line.
	ImportKey string
}

// CommandKey names a command: the same again has no second effect.
type CommandKey struct {
	Operation string
	Key       string
}

// OpReserve is the operation whose record is the reservation itself.
const OpReserve = "reserve"

// Answer is what a command gives: those of its fields that it concerns.
type Answer struct {
	Reservation *Reservation  `json:",omitempty"`
	Movement    *Movement     `json:",omitempty"`
	Stock       *Stock        `json:",omitempty"`
	Import      *ImportResult `json:",omitempty"`
	Counts      []CountResult `json:",omitempty"`
	// Stepped tells that a reservation took a step by this command, and not by an earlier one.
	Stepped bool `json:"-"`
}

// Outcome is what became of a command: its answer, or why it was refused.
type Outcome struct {
	Answer Answer
	Err    error
}

// Done is a command that came before.
type Done struct {
	Fingerprint string
	Answer      Answer
}

// Imported is a line of a product file that came before.
type Imported struct {
	ItemID   int64
	Quantity int64
}

// Place is where an item may be.
type Place struct {
	ItemID   int64
	Location string
}

// Books are all that a batch of commands concerns. Whoever runs commands on
// them must keep others from changing any of it until the changes are written.
type Books struct {
	Now time.Time
	// Stocks are those of the items; one that was never received is absent.
	Stocks       map[int64]*Stock
	Reservations map[string]*Reservation
	Done         map[CommandKey]Done
	Imported     map[string]Imported
	// MovementIDs are free, ascending, and enough: one for each item of a command
	// that receives, one for each line of a reservation that is fulfilled.
	MovementIDs []int64

	Changes
}

// Changes are what the commands changed.
type Changes struct {
	// Rules are of the items whose rules changed or that are new.
	Rules map[int64]bool
	// Balances are of the places that changed; true: of those that are new.
	Balances map[Place]bool
	// Made are new reservations.
	Made []Made
	// Stepped are reservations that took a step, by their id.
	Stepped map[string]*Reservation
	// Movements are new.
	Movements []*Movement
	// Fulfilled are the ids of reservations that caused movements, by these.
	Fulfilled map[*Movement]string
	// Remember are the keys of commands in Books.Done that are new, but for those that reserve.
	Remember []CommandKey
	// Imports are keys of lines to be remembered.
	Imports []string
}

// Made is a new reservation and the command that made it.
type Made struct {
	*Reservation
	Key string
	TTL time.Duration
}

// NewBooks are empty.
func NewBooks() *Books {
	return &Books{
		Stocks: map[int64]*Stock{}, Reservations: map[string]*Reservation{}, Done: map[CommandKey]Done{}, Imported: map[string]Imported{},
		Changes: Changes{Rules: map[int64]bool{}, Balances: map[Place]bool{}, Stepped: map[string]*Reservation{}, Fulfilled: map[*Movement]string{}},
	}
}

// Changed tells whether there is anything to write.
func (c *Changes) Changed() bool {
	return len(c.Rules)+len(c.Balances)+len(c.Made)+len(c.Stepped)+len(c.Movements)+len(c.Remember)+len(c.Imports) > 0
}

// Do runs a command. With a key that came before it gives the answer of then,
// or KeyReused when the parameters were others.
func (b *Books) Do(c Command) (Answer, error) {
	key := c.Concern().Key
	if key.Key == "" {
		return c.do(b)
	}
	fingerprint := c.Fingerprint()
	if before, ok := b.Done[key]; ok {
		if before.Fingerprint != fingerprint {
			return Answer{}, fault.New(fault.KeyReused, "the idempotency key %q came before with other parameters", key.Key)
		}
		before.Answer.Stepped = false
		return before.Answer, nil
	}
	answer, err := c.do(b)
	if err != nil {
		return Answer{}, err
	}
	b.Done[key] = Done{fingerprint, answer}
	if key.Operation != OpReserve {
		b.Remember = append(b.Remember, key)
	}
	return answer, nil
}

// stock gives that of an item; what was never received has none.
func (b *Books) stock(itemID int64) *Stock {
	if stock := b.Stocks[itemID]; stock != nil {
		return stock
	}
	return &Stock{ItemID: itemID, Rules: DefaultRules()}
}

// open gives the stock of an item at a location, and makes what is missing.
// location may be empty for the item's default.
func (b *Books) open(itemID int64, location string) *Location {
	stock := b.stock(itemID)
	if location == "" {
		location = stock.DefaultLocation
	}
	if b.Stocks[itemID] == nil {
		b.Stocks[itemID] = stock
		b.Rules[itemID] = true
	}
	at := stock.At(location)
	if at == nil {
		stock.Locations = append(stock.Locations, Location{Name: location})
		at = &stock.Locations[len(stock.Locations)-1]
		b.Balances[Place{itemID, location}] = true
	}
	return at
}

// set writes a balance.
func (b *Books) set(itemID int64, at *Location, balance Balance) {
	at.Balance = balance
	if place := (Place{itemID, at.Name}); !b.Balances[place] { // a new one stays new
		b.Balances[place] = false
	}
}

// move changes on_hand and writes a movement, or returns Conflict and changes nothing.
func (b *Books) move(m Movement) (*Movement, error) {
	rules := b.stock(m.ItemID).Rules
	if m.Location == "" {
		m.Location = rules.DefaultLocation
	}
	var before Balance
	if at := b.stock(m.ItemID).At(m.Location); at != nil {
		before = at.Balance
	}
	after, err := before.Move(m.Delta, rules)
	if err != nil {
		return nil, err
	}
	b.set(m.ItemID, b.open(m.ItemID, m.Location), after)
	return b.record(m), nil
}

// record writes a movement to the ledger.
func (b *Books) record(m Movement) *Movement {
	m.ID, b.MovementIDs = b.MovementIDs[0], b.MovementIDs[1:]
	m.CreatedAt = b.Now
	b.Movements = append(b.Movements, &m)
	return &m
}

// snapshot is the stock of an item as an answer keeps it.
func (b *Books) snapshot(itemID int64) *Stock {
	stock := *b.stock(itemID)
	stock.Locations = append([]Location(nil), stock.Locations...)
	return &stock
}
