package domain

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Adjustment asks for a change of on_hand.
type Adjustment struct {
	ItemID    int64
	Delta     int64
	Reason    Reason
	Reference string
	// Location may be empty for the item's default.
	Location string
	Actor    string
	Key      string
}

// Validate implements Command.
func (a Adjustment) Validate() error {
	p := problems{}
	p.item(a.ItemID)
	if a.Delta == 0 || a.Delta > MaxQuantity || a.Delta < -MaxQuantity {
		p.add("delta", "must be 1 to %d, or -1 to -%d", MaxQuantity, MaxQuantity)
	}
	switch {
	case !slices.Contains([]Reason{Received, Returned, Damaged, Counted, Sold}, a.Reason):
		p.add("reason", "must be received, returned, damaged, counted or sold")
	case a.Delta < 0 && (a.Reason == Received || a.Reason == Returned):
		p.add("delta", "must be positive when units are %s", a.Reason)
	case a.Delta > 0 && (a.Reason == Damaged || a.Reason == Sold):
		p.add("delta", "must be negative when units are %s", a.Reason)
	}
	p.text("reference", a.Reference)
	p.text("location", a.Location)
	p.text("actor", a.Actor)
	p.key(a.Key)
	return p.fault()
}

// Concern implements Command.
func (a Adjustment) Concern() Concern {
	return Concern{Items: []int64{a.ItemID}, Receives: true, Key: CommandKey{"adjust", a.Key}}
}

// Fingerprint implements Command.
func (a Adjustment) Fingerprint() string {
	return fmt.Sprintf("%d %+d %s %q %q", a.ItemID, a.Delta, a.Reason, a.Reference, a.Location)
}

func (a Adjustment) do(b *Books) (Answer, error) {
	movement, err := b.move(Movement{
		ItemID: a.ItemID, Location: a.Location, Delta: a.Delta, Reason: a.Reason, Reference: a.Reference, Actor: a.Actor,
	})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Movement: movement, Stock: b.snapshot(a.ItemID)}, nil
}

// SetStock makes on_hand a number, if nobody has changed the stock meanwhile.
type SetStock struct {
	ItemID int64
	OnHand int64
	// Version is that of the location as the caller knows it; 0: there never was any stock.
	Version   int64
	Reference string
	// Location may be empty for the item's default.
	Location string
	Actor    string
	Key      string
}

// Validate implements Command.
func (s SetStock) Validate() error {
	p := problems{}
	p.item(s.ItemID)
	if s.OnHand < 0 || s.OnHand > MaxQuantity {
		p.add("on_hand", "must be 0 to %d", MaxQuantity)
	}
	if s.Version < 0 {
		p.add("version", "must be that of the location, or 0 where there never was any stock")
	}
	p.text("reference", s.Reference)
	p.text("location", s.Location)
	p.text("actor", s.Actor)
	p.key(s.Key)
	return p.fault()
}

// Concern implements Command.
func (s SetStock) Concern() Concern {
	return Concern{Items: []int64{s.ItemID}, Receives: true, Key: CommandKey{"set", s.Key}}
}

// Fingerprint implements Command.
func (s SetStock) Fingerprint() string {
	return fmt.Sprintf("%d %d %d %q %q", s.ItemID, s.OnHand, s.Version, s.Reference, s.Location)
}

func (s SetStock) do(b *Books) (Answer, error) {
	stock := b.stock(s.ItemID)
	location := s.Location
	if location == "" {
		location = stock.DefaultLocation
	}
	var before Balance
	if at := stock.At(location); at != nil {
		before = at.Balance
	}
	if before.Version != s.Version {
		return Answer{}, fault.New(fault.VersionMismatch, "the stock of item %d at %s has version %d, not %d: read it again",
			s.ItemID, location, before.Version, s.Version)
	}
	if before.OnHand == s.OnHand {
		return Answer{Stock: b.snapshot(s.ItemID)}, nil
	}
	movement, err := b.move(Movement{
		ItemID: s.ItemID, Location: location, Delta: s.OnHand - before.OnHand, Reason: Counted, Reference: s.Reference, Actor: s.Actor,
	})
	if err != nil {
		return Answer{}, err
	}
	return Answer{Movement: movement, Stock: b.snapshot(s.ItemID)}, nil
}

// Configure sets rules of an item; what is nil stays.
type Configure struct {
	ItemID          int64
	Policy          *Policy
	DefaultLocation *string
	// BackorderLimit and LowStock are removed by a negative number.
	BackorderLimit *int64
	LowStock       *int64
	Key            string
}

// Validate implements Command.
func (c Configure) Validate() error {
	p := problems{}
	p.item(c.ItemID)
	if c.Policy != nil && *c.Policy != Deny && *c.Policy != Backorder {
		p.add("policy", "must be deny or backorder")
	}
	for field, limit := range map[string]*int64{"backorder_limit": c.BackorderLimit, "low_stock_threshold": c.LowStock} {
		if limit != nil && *limit > MaxQuantity {
			p.add(field, "must be 0 to %d, or null", MaxQuantity)
		}
	}
	if c.DefaultLocation != nil {
		if *c.DefaultLocation == "" {
			p.add("default_location", "must not be empty")
		}
		p.text("default_location", *c.DefaultLocation)
	}
	p.key(c.Key)
	return p.fault()
}

// Concern implements Command.
func (c Configure) Concern() Concern {
	return Concern{Items: []int64{c.ItemID}, Receives: true, Key: CommandKey{"configure", c.Key}}
}

// Fingerprint implements Command.
func (c Configure) Fingerprint() string {
	show := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	fingerprint := fmt.Sprintf("%d %s %s", c.ItemID, show(c.BackorderLimit), show(c.LowStock))
	if c.Policy != nil {
		fingerprint += " policy " + string(*c.Policy)
	}
	if c.DefaultLocation != nil {
		fingerprint += " default " + *c.DefaultLocation
	}
	return fingerprint
}

func (c Configure) do(b *Books) (Answer, error) {
	rules := b.stock(c.ItemID).Rules
	if c.Policy != nil {
		rules.Policy = *c.Policy
	}
	if c.DefaultLocation != nil {
		rules.DefaultLocation = *c.DefaultLocation
	}
	if c.BackorderLimit != nil {
		rules.BackorderLimit = unlessNegative(c.BackorderLimit)
	}
	if c.LowStock != nil {
		rules.LowStock = unlessNegative(c.LowStock)
	}
	if err := b.setRules(c.ItemID, rules); err != nil {
		return Answer{}, err
	}
	b.open(c.ItemID, "") // so that it can be sold there
	return Answer{Stock: b.snapshot(c.ItemID)}, nil
}

func unlessNegative(n *int64) *int64 {
	if *n < 0 {
		return nil
	}
	return n
}

// setRules returns Conflict, and changes nothing, when a location has less
// available than the rules allow.
func (b *Books) setRules(itemID int64, rules Rules) error {
	stock := b.stock(itemID)
	for _, at := range stock.Locations {
		if at.Available < rules.Floor() {
			return fault.New(fault.Conflict, "%d available at %s, and the policy %s allows no less than %d", at.Available, at.Name, rules.Policy, rules.Floor())
		}
	}
	if rules.Floor() != stock.Floor() {
		for i := range stock.Locations {
			at := &stock.Locations[i]
			balance := at.Balance
			balance.Version++
			b.set(itemID, at, balance)
		}
	}
	stock.Rules = rules
	b.Stocks[itemID] = stock
	b.Rules[itemID] = true
	return nil
}

// ImportLine is the first stock of an item as a product file has it. The same
// again changes nothing.
type ImportLine struct {
	ItemID int64
	// Key is import/<handle>/<option values>.
	Key      string
	Quantity int64
	Policy   Policy
	// Set makes on_hand what the line says, also when the key came before.
	Set bool
}

// ImportResult is what became of a line.
type ImportResult struct {
	Changed bool
	// Earlier is the quantity of an import before, when it was another and still holds.
	Earlier *int64
	// Problem says why the line was refused; nil when it was not.
	Problem *fault.Error
}

// Validate implements Command.
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

// Concern implements Command.
func (l ImportLine) Concern() Concern {
	return Concern{Items: []int64{l.ItemID}, Receives: true, ImportKey: l.Key}
}

// Fingerprint implements Command. A line of a product file is not told by a command's key.
func (l ImportLine) Fingerprint() string { return "" }

func (l ImportLine) do(b *Books) (Answer, error) {
	known, before := b.Imported[l.Key]
	first := !before || known.ItemID != l.ItemID // a new item may have the variant of one that was deleted
	result := ImportResult{}
	rules := b.stock(l.ItemID).Rules
	policyChanges := rules.Policy != l.Policy
	rules.Policy = l.Policy

	stock := b.stock(l.ItemID)
	var onHand int64
	if at := stock.At(MainLocation); at != nil {
		onHand = at.OnHand
	}
	movement := Movement{
		ItemID: l.ItemID, Location: MainLocation, Reason: Received, Delta: l.Quantity, Reference: "import", Actor: "import",
	}
	switch {
	case first:
	case l.Set:
		movement.Reason, movement.Delta = Counted, l.Quantity-onHand
	case known.Quantity != l.Quantity:
		result.Earlier, movement.Delta = &known.Quantity, 0
	default:
		movement.Delta = 0
	}
	if err := b.checkImport(movement, stock, rules); err != nil {
		return Answer{}, err
	}
	if policyChanges {
		if err := b.setRules(l.ItemID, rules); err != nil {
			return Answer{}, err
		}
		result.Changed = true
	}
	b.open(l.ItemID, MainLocation)
	if movement.Delta != 0 {
		if _, err := b.move(movement); err != nil {
			return Answer{}, err
		}
		result.Changed = true
	}
	if first || l.Set {
		b.Imported[l.Key] = Imported{l.ItemID, l.Quantity}
		b.Imports = append(b.Imports, l.Key)
	}
	return Answer{Import: &result}, nil
}

// checkImport tries the movement of a line under its rules, before anything is changed.
func (b *Books) checkImport(m Movement, stock *Stock, rules Rules) error {
	var before Balance
	if at := stock.At(m.Location); at != nil {
		before = at.Balance
	}
	if m.Delta == 0 {
		return nil
	}
	_, err := before.Move(m.Delta, rules)
	return err
}

// problems collects what is wrong with a command, by field.
type problems map[string]string

func (p problems) add(field, format string, args ...any) {
	if _, ok := p[field]; !ok {
		p[field] = fmt.Sprintf(format, args...)
	}
}

func (p problems) item(id int64) {
	if id < 1 {
		p.add("item_id", "must be a positive integer")
	}
}

func (p problems) text(field, text string) {
	if !isText(text) {
		p.add(field, textRule)
	}
}

func (p problems) key(key string) {
	if len(key) > MaxText || !isPrintable(key) {
		p.add("idempotency_key", "must be 1 to %d printable ASCII characters", MaxText)
	}
}

func (p problems) fault() error {
	if len(p) == 0 {
		return nil
	}
	wrong := make([]fault.Field, 0, len(p))
	for _, field := range slices.Sorted(maps.Keys(p)) {
		wrong = append(wrong, fault.Field{Field: field, Reason: p[field]})
	}
	return fault.InvalidFields(wrong...)
}

func noReservation(id string) error {
	return fault.New(fault.NotFound, "there is no reservation %q", id)
}

// isID tells whether text has the form of a UUID in lower case.
func isID(text string) bool {
	const form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(text) != len(form) {
		return false
	}
	for i := range form {
		if form[i] == '-' && text[i] != '-' || form[i] == 'x' && !strings.ContainsRune("0123456789abcdef", rune(text[i])) {
			return false
		}
	}
	return true
}

const (
	textRule = "must be valid UTF-8 of at most 255 characters"
	ttlRule  = "must be 1 to 86400"
)

func isText(text string) bool {
	return utf8.ValidString(text) && utf8.RuneCountInString(text) <= MaxText && !strings.Contains(text, "\x00")
}

// isPrintable tells whether text is of printable ASCII characters alone.
func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' })
}

func validTTL(ttl time.Duration) bool { return ttl >= MinTTL && ttl <= MaxTTL }
