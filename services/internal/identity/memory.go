package identity

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxRemembered bounds a memory. What does not fit is made or verified again.
const maxRemembered = 1024

// memory remembers values until they end. A look at it takes no lock and makes
// nothing; what is put in copies it, which happens a few times a minute.
type memory[V any] struct {
	mu  sync.Mutex
	all atomic.Pointer[map[string]remembered[V]]
}

type remembered[V any] struct {
	value V
	until time.Time
}

func (m *memory[V]) get(key string, now time.Time) (value V, known bool) {
	all := m.all.Load()
	if all == nil {
		return value, false
	}
	r, known := (*all)[key]
	if !known || !now.Before(r.until) {
		return value, false
	}
	return r.value, true
}

func (m *memory[V]) put(key string, value V, now, until time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	next := map[string]remembered[V]{}
	if all := m.all.Load(); all != nil {
		for key, r := range *all {
			if now.Before(r.until) {
				next[key] = r
			}
		}
	}
	if len(next) < maxRemembered {
		next[key] = remembered[V]{value, until}
	}
	m.all.Store(&next)
}
