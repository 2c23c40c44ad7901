package store

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// cachedItems is how many items are kept in memory, at about a kilobyte each.
const cachedItems = 10_000

// cache keeps items by id. An entry is never older than maxAge, counted from
// before it was read, and never older than the last change made through forget.
type cache struct {
	maxAge  time.Duration
	now     func() time.Time
	entries *otter.Cache[int64, entry]

	hits, misses atomic.Int64
}

// entry is an item as it was read at asOf. Without loaded it only says that
// nothing below its version may be kept: a read that began before the change
// may still be under way.
type entry struct {
	item   *domain.Item
	asOf   time.Time
	loaded bool
}

func newCache(maxAge time.Duration, now func() time.Time) (*cache, error) {
	entries, err := otter.New(&otter.Options[int64, entry]{
		MaximumSize:      cachedItems,
		ExpiryCalculator: otter.ExpiryWriting[int64, entry](max(maxAge, time.Second)),
	})
	if err != nil {
		return nil, err
	}
	return &cache{maxAge: maxAge, now: now, entries: entries}, nil
}

// get returns the item from memory, or from load, which it then keeps.
func (c *cache) get(ctx context.Context, id int64, load func(context.Context, int64) (*domain.Item, error)) (*domain.Item, error) {
	start := c.now()
	if e, ok := c.entries.GetIfPresent(id); ok && e.loaded && start.Sub(e.asOf) < c.maxAge {
		c.hits.Add(1)
		return e.item, nil
	}
	c.misses.Add(1)
	item, err := load(ctx, id)
	if err != nil {
		return nil, err
	}
	c.keep(id, entry{item: item, asOf: start, loaded: true})
	return item, nil
}

// forget drops what is older than version; a deletion names a version that no item reaches.
func (c *cache) forget(id, version int64) {
	c.keep(id, entry{item: &domain.Item{Version: version}})
}

func (c *cache) keep(id int64, fresh entry) {
	c.entries.Compute(id, func(old entry, found bool) (entry, otter.ComputeOp) {
		if found && old.item.Version > fresh.item.Version {
			return old, otter.CancelOp
		}
		return fresh, otter.WriteOp
	})
}
