package transport

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// badShare is the weight of the latest attempt in what is known of an instance,
	// and badMost from where on it is passed over: after three bad attempts in a row.
	badShare = 0.25
	badMost  = 0.5
	// avoidFor is how long an instance is passed over until one call tries it.
	// Each try that goes wrong doubles it, up to avoidMost.
	avoidFor  = time.Second
	avoidMost = 8 * time.Second
	// slowLeast and slowFactor say what is slow: at least this, and more than
	// this many times what the method usually takes.
	slowLeast  = 100 * time.Millisecond
	slowFactor = 10
)

// condition is what a client knows of one instance. Nobody waits for another here:
// an attempt that is forgotten in a crowd changes nothing.
type condition struct {
	service string
	bad     atomic.Uint64 // the recent part of bad attempts, 0 to 1, as math.Float64bits
	until   atomic.Int64  // when the next call may try it, in Unix nanoseconds; 0: it is not passed over
	since   atomic.Int64  // when it was passed over; what began before tells nothing
	pause   atomic.Int64  // nanoseconds until the try after the next
	refused atomic.Bool   // the latest attempt got no connection
	out     *atomic.Int64 // how many instances of the client are passed over
}

func (h *condition) passedOver() bool { return h.until.Load() != 0 }

// try tells one caller that it may call an instance that is passed over.
func (h *condition) try(now time.Time) bool {
	until := h.until.Load()
	return until != 0 && now.UnixNano() >= until && h.until.CompareAndSwap(until, now.UnixNano()+h.pause.Load())
}

// good is an answer, in the usual time, to an attempt that began at start.
func (h *condition) good(start time.Time) {
	h.connected()
	if h.passedOver() {
		if start.UnixNano() >= h.since.Load() && h.until.Swap(0) != 0 {
			h.bad.Store(0)
			h.out.Add(-1)
		}
		return
	}
	if part := math.Float64frombits(h.bad.Load()); part > 0 {
		h.bad.Store(math.Float64bits(max(part*(1-badShare)-1e-6, 0)))
	}
}

// poor is an attempt that began at start and was not answered, or slowly.
func (h *condition) poor(start, now time.Time) {
	h.connected()
	if h.passedOver() {
		if start.UnixNano() >= h.since.Load() {
			h.pass(now, min(2*time.Duration(h.pause.Load()), avoidMost))
		}
		return
	}
	part := math.Float64frombits(h.bad.Load())*(1-badShare) + badShare
	h.bad.Store(math.Float64bits(part))
	if part >= badMost {
		h.pass(now, avoidFor)
	}
}

// refuses is an instance that does not take connections.
func (h *condition) refuses(now time.Time) {
	h.refused.Store(true)
	h.pass(now, avoidFor)
}

func (h *condition) connected() {
	if h.refused.Load() { // a look is cheaper than a write that all callers share
		h.refused.Store(false)
	}
}

func (h *condition) pass(now time.Time, pause time.Duration) {
	h.pause.Store(int64(pause))
	h.since.Store(now.UnixNano())
	if h.until.Swap(now.Add(pause).UnixNano()) == 0 {
		h.out.Add(1)
	}
}

// usual is about the time that the fastest fifth of a method's answers take, in
// nanoseconds. It falls quickly and rises slowly, so it is right also when most
// instances are slow.
type usual struct{ ns atomic.Int64 }

func (u *usual) add(took time.Duration) {
	known := u.ns.Load()
	switch {
	case known == 0:
		u.ns.Store(int64(took))
	case int64(took) < known:
		u.ns.Store(max(int64(took), known-known/5))
	default:
		u.ns.Store(min(int64(took), known+known/20+1))
	}
}

func (u *usual) slow(took time.Duration) bool {
	known := u.ns.Load()
	return known > 0 && took >= slowLeast && took > slowFactor*time.Duration(known)
}

// table is read by all calls and seldom grows: readers take no lock.
type table[K comparable, V any] struct {
	mu   sync.Mutex
	rows atomic.Pointer[map[K]*V]
}

// get makes what is missing.
func (t *table[K, V]) get(key K, missing func() *V) *V {
	if rows := t.rows.Load(); rows != nil {
		if row, ok := (*rows)[key]; ok {
			return row
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := t.copy()
	row, ok := rows[key]
	if !ok {
		row = missing()
		rows[key] = row
		t.rows.Store(&rows)
	}
	return row
}

// drop gives what was there, or nil.
func (t *table[K, V]) drop(key K) *V {
	t.mu.Lock()
	defer t.mu.Unlock()
	rows := t.copy()
	row := rows[key]
	delete(rows, key)
	t.rows.Store(&rows)
	return row
}

func (t *table[K, V]) copy() map[K]*V {
	rows := map[K]*V{}
	for key, row := range t.all() {
		rows[key] = row
	}
	return rows
}

// all is not to be changed.
func (t *table[K, V]) all() map[K]*V {
	if rows := t.rows.Load(); rows != nil {
		return *rows
	}
	return nil
}
