package upstream

import (
	"time"

	"github.com/maypok86/otter/v2"

	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/internal/fault"
)

const (
	// keptBytes bounds, about, what one Last keeps in memory.
	keptBytes = 32 << 20
	// keptAgain is how old an answer is before a newer one replaces it: the Age that is told is that of what is shown.
	keptAgain = time.Second
)

// Last keeps the last answers to a question, for when there are no new ones.
// nil keeps none.
type Last[K comparable, V any] struct {
	answers *otter.Cache[K, seen[V]]
	maxAge  func() time.Duration
	told    func()
}

type seen[V any] struct {
	value V
	at    time.Time
}

// NewLast makes a Last that gives no answer older than maxAge; told is called
// for each that is given. size is about the bytes of an answer.
func NewLast[K comparable, V any](maxAge func() time.Duration, size func(V) int, told func()) (*Last[K, V], error) {
	answers, err := otter.New(&otter.Options[K, seen[V]]{
		MaximumWeight: keptBytes,
		Weigher:       func(_ K, s seen[V]) uint32 { return uint32(min(size(s.value), keptBytes)) },
	})
	return &Last[K, V]{answers: answers, maxAge: maxAge, told: told}, err
}

// keep takes a new answer.
func (l *Last[K, V]) keep(key K, value V) {
	if l == nil || l.maxAge() == 0 {
		return
	}
	now := time.Now()
	if before, known := l.answers.GetIfPresent(key); !known || now.Sub(before.at) >= keptAgain {
		l.answers.Set(key, seen[V]{value, now})
	}
}

// forget drops what is no more, or has changed.
func (l *Last[K, V]) forget(key K) {
	if l != nil {
		l.answers.Invalidate(key)
	}
}

// instead gives the last answer, if err says that there is no new one for now.
func (l *Last[K, V]) instead(key K, err error) (V, domain.Seen, bool) {
	var none V
	if l == nil || fault.CodeOf(err) != fault.Unavailable {
		return none, domain.Seen{}, false
	}
	last, known := l.answers.GetIfPresent(key)
	age := time.Since(last.at)
	if !known || age > l.maxAge() {
		return none, domain.Seen{}, false
	}
	l.told()
	return last.value, domain.Seen{Stale: true, Age: age}, true
}
