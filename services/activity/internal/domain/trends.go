// Package domain counts what is looked at and bought now.
package domain

import (
	"math"
	"sync"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// Limits.
const (
	// MaxQuantity is the most units that one record may have.
	MaxQuantity = 1_000_000_000
	// MaxRecords is the most records that one call may have.
	MaxRecords = 1_000
	// MaxLimit and DefaultLimit are of the items in a list.
	MaxLimit     = 100
	DefaultLimit = 10
	// maxHalfLives is after how many the landmark moves. Until then a weight
	// has grown to 2^256 times what it was, and a float64 ends at 2^1023.
	maxHalfLives = 256
)

// Kind says what is counted.
type Kind string

// The kinds.
const (
	Viewed Kind = "viewed"
	Bought Kind = "bought"
	Both   Kind = "both"
)

// Record says that an item was looked at, or units of it sold.
type Record struct {
	ItemID   int64
	Quantity int64
	// At is when; zero, or in the future: now.
	At time.Time
}

func (r Record) valid() bool {
	return r.ItemID >= 1 && r.Quantity >= 1 && r.Quantity <= MaxQuantity
}

// Trend is how much an item is in demand now.
type Trend struct {
	ItemID int64
	// Score is the decayed count of the kind asked for. It is too high by at most Error.
	Score, Error float64
	// Views, and units sold, decayed, too; 0 for an item that is not remembered for it.
	Views, Sales float64
}

// Options are the settings of Trends.
type Options struct {
	// Capacity is how many items are remembered of each kind. A score is too
	// high by at most the sum of all scores divided by it.
	Capacity int
	// HalfLife is the time after which a record counts half.
	HalfLife time.Duration
	// SaleWeight is how many views a unit sold counts as where both are asked for.
	SaleWeight float64
	// Now is the clock. When it is set back, nothing decays in that moment.
	Now func() time.Time
}

// Trends are decayed counts. What is added is made larger as time goes by,
// instead of making smaller what is there: forward decay, Cormode,
// Shkapenyuk, Srivastava and Xu (2009).
type Trends struct {
	options Options

	mu                 sync.Mutex
	views, sales, both *counts
	// A record of the landmark weighs 1, one half-life later 2.
	landmark time.Time
	last     time.Time // what the clock said last
}

// NewTrends makes Trends that have seen nothing.
func NewTrends(options Options) *Trends {
	now := options.Now()
	return &Trends{
		options: options, landmark: now, last: now,
		views: newCounts(options.Capacity), sales: newCounts(options.Capacity), both: newCounts(options.Capacity),
	}
}

// View counts that items were looked at. Records that are not valid, and those
// beyond MaxRecords, are dropped; it returns how many.
func (t *Trends) View(records []Record) (dropped int) {
	return t.record(t.views, 1, records)
}

// Sell counts that units of items were sold, and drops as View does.
func (t *Trends) Sell(records []Record) (dropped int) {
	return t.record(t.sales, t.options.SaleWeight, records)
}

func (t *Trends) record(of *counts, inBoth float64, records []Record) (dropped int) {
	dropped = max(0, len(records)-MaxRecords)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tick()
	for _, r := range records[:len(records)-dropped] {
		if !r.valid() {
			dropped++
			continue
		}
		weight := float64(r.Quantity) * t.growth(r.At)
		if weight == 0 {
			continue // so old that nothing is left of it
		}
		of.add(r.ItemID, weight)
		t.both.add(r.ItemID, weight*inBoth)
	}
	return dropped
}

// Top lists the items with the highest scores of a kind. A limit of 0 is DefaultLimit.
func (t *Trends) Top(kind Kind, limit int) ([]Trend, error) {
	if limit == 0 {
		limit = DefaultLimit
	}
	if limit < 1 || limit > MaxLimit {
		return nil, fault.Invalid("limit", "must be 1 to %d, not %d", MaxLimit, limit)
	}
	of := map[Kind]*counts{Viewed: t.views, Bought: t.sales, Both: t.both}[kind]
	if of == nil {
		return nil, fault.Invalid("kind", "must be %s, %s or %s, not %q", Viewed, Bought, Both, kind)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tick()
	growth := t.growth(t.last)
	heaviest := of.heaviest(limit)
	trends := make([]Trend, len(heaviest))
	for i, one := range heaviest {
		trends[i] = Trend{
			ItemID: one.item, Score: one.weight / growth, Error: one.excess / growth,
			Views: t.views.weight(one.item) / growth, Sales: t.sales.weight(one.item) / growth,
		}
	}
	return trends, nil
}

// tick reads the clock. If it was set back the landmark goes back with it, and
// if the landmark is long ago it moves on, and what was recorded is made smaller.
func (t *Trends) tick() {
	now := t.options.Now()
	if now.Before(t.last) {
		t.landmark = t.landmark.Add(now.Sub(t.last))
	}
	t.last = now
	if halfLives := now.Sub(t.landmark) / t.options.HalfLife; halfLives >= maxHalfLives {
		for _, each := range []*counts{t.views, t.sales, t.both} {
			each.halve(int(halfLives))
		}
		t.landmark = t.landmark.Add(halfLives * t.options.HalfLife)
	}
}

// growth is what one view at that time weighs.
func (t *Trends) growth(at time.Time) float64 {
	if at.IsZero() || at.After(t.last) {
		at = t.last
	}
	return math.Exp2(float64(at.Sub(t.landmark)) / float64(t.options.HalfLife))
}
