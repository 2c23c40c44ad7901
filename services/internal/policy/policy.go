// Package policy holds the rules by which the services' methods are called and
// served: those that ship, and a file of changes that is read again while the
// service runs.
package policy

import (
	"cmp"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// Effect says what happens when a call comes twice. The rest follows from it.
type Effect string

// The effects.
const (
	// Read changes nothing: it may be repeated, and asked of two instances at once.
	Read Effect = "read"
	// Keyed has a key, or names what it makes: it is done once however often it comes, so it may be repeated.
	Keyed Effect = "keyed"
	// Once is done each time it comes, so it is repeated only if it surely was not begun.
	Once Effect = "once"
	// Stream lasts as long as its caller likes, who opens it again.
	Stream Effect = "stream"
)

// Method is the policy of one method, for those who call it and for the one who serves it.
type Method struct {
	Effect Effect `yaml:"effect"`
	// Budget is the longest time that the caller waits, over all attempts. 0 for streams.
	Budget time.Duration `yaml:"budget"`
	// Attempts is how often a call is tried at most, 1 to 3; each has its share of the budget.
	Attempts int `yaml:"attempts"`
	// Hedge is how long the caller waits until it asks a second instance too, while
	// instances have been slow or lost answers lately. 0: never.
	Hedge time.Duration `yaml:"hedge"`
	// Breaker is the part of failed calls, 0 to 1, from which on the caller does
	// not call for a while. 0: it always calls.
	Breaker float64 `yaml:"breaker"`
	// Stale is the age to which an old answer is given, and marked, where there is no new one. 0: none is.
	Stale time.Duration `yaml:"stale"`
	// Concurrent is how many calls an instance works on at once, and Waiting how
	// many more wait for that; one more is overloaded.
	Concurrent int `yaml:"concurrent"`
	Waiting    int `yaml:"waiting"`
	// Callers are the services that may call it; "*" is everybody, known or not.
	// What a service is, and not the file of changes, decides about them.
	Callers []string `yaml:"callers"`
}

// Attempt is the time that one attempt has.
func (m Method) Attempt() time.Duration { return m.Budget / time.Duration(max(m.Attempts, 1)) }

// Rate is how often one caller may ask the gateway.
type Rate struct {
	// PerSecond is the rate in the long run. 0: there is no limit.
	PerSecond float64 `yaml:"per_second"`
	// Burst is how many requests may come at once.
	Burst int `yaml:"burst"`
}

// Edge is what the gateway takes.
type Edge struct {
	// Reads and Writes are limits of each caller.
	Reads  Rate `yaml:"reads"`
	Writes Rate `yaml:"writes"`
	// Concurrent is how many requests, streams aside, are worked on at once; one more is overloaded.
	Concurrent int `yaml:"concurrent"`
}

// Set is all policies at one time.
type Set struct {
	// Level is the least level that is logged. nil: what the service was started with.
	Level *slog.Level `yaml:"log_level"`
	// SampleRatio is the part of the traces that is recorded, 0 to 1. nil: what the service was started with.
	SampleRatio *float64 `yaml:"sample_ratio"`
	Edge        Edge     `yaml:"edge"`
	// Methods is by name, as StockService/Reserve.
	Methods map[string]Method `yaml:"methods"`
}

const (
	maxAttempts = 3
	maxBudget   = 5 * time.Minute
	maxCalls    = 1_000_000
)

// check gives the first thing that is wrong, by the names' order.
func (s *Set) check() error {
	if r := s.SampleRatio; r != nil && !(*r >= 0 && *r <= 1) { // NaN is neither
		return fmt.Errorf("sample_ratio is %v; it must be from 0 to 1", *r)
	}
	if err := cmp.Or(s.Edge.Reads.check("edge.reads"), s.Edge.Writes.check("edge.writes")); err != nil {
		return err
	}
	if n := s.Edge.Concurrent; n < 1 || n > maxCalls {
		return fmt.Errorf("edge.concurrent is %d; it must be from 1 to %d", n, maxCalls)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Methods)) {
		if err := s.Methods[name].check(); err != nil {
			return fmt.Errorf("methods: %s: %w", name, err)
		}
	}
	return nil
}

func (r Rate) check(name string) error {
	if !(r.PerSecond >= 0) || math.IsInf(r.PerSecond, 0) {
		return fmt.Errorf("%s.per_second is %v; it must be 0, which is no limit, or more", name, r.PerSecond)
	}
	if r.Burst < 0 || r.Burst > maxCalls || r.PerSecond > 0 && r.Burst == 0 {
		return fmt.Errorf("%s.burst is %d; with a limit it must be from 1 to %d", name, r.Burst, maxCalls)
	}
	return nil
}

func (m Method) check() error {
	repeats := m.Effect == Read || m.Effect == Keyed
	switch {
	case !slices.Contains([]Effect{Read, Keyed, Once, Stream}, m.Effect):
		return fmt.Errorf("effect is %q; it must be read, keyed, once or stream", m.Effect)
	case m.Effect == Stream && (m.Budget != 0 || m.Attempts != 0 || m.Concurrent != 0 || m.Waiting != 0 || m.Breaker != 0):
		return fmt.Errorf("a stream has neither budget, attempts, breaker, concurrent nor waiting")
	case m.Effect == Stream:
		return nil
	case m.Budget < time.Millisecond || m.Budget > maxBudget:
		return fmt.Errorf("budget is %s; it must be from 1ms to %s", m.Budget, maxBudget)
	case m.Attempts < 1 || m.Attempts > maxAttempts:
		return fmt.Errorf("attempts is %d; it must be from 1 to %d", m.Attempts, maxAttempts)
	case m.Attempts > 1 && !repeats:
		return fmt.Errorf("attempts is %d; a method whose effect is %s is called once", m.Attempts, m.Effect)
	case m.Hedge < 0 || m.Hedge > 0 && m.Hedge < time.Millisecond || m.Hedge > m.Attempt():
		return fmt.Errorf("hedge is %s; it must be 0, which is never, or from 1ms to the time of an attempt, which is %s", m.Hedge, m.Attempt())
	case m.Hedge > 0 && m.Effect != Read:
		return fmt.Errorf("hedge is %s; only a method whose effect is read is asked of two", m.Hedge)
	case !(m.Breaker >= 0 && m.Breaker <= 1):
		return fmt.Errorf("breaker is %v; it must be from 0, which is none, to 1", m.Breaker)
	case m.Stale < 0 || m.Stale > 0 && m.Effect != Read:
		return fmt.Errorf("stale is %s; it must be 0, and only a read may have more", m.Stale)
	case m.Concurrent < 1 || m.Concurrent > maxCalls:
		return fmt.Errorf("concurrent is %d; it must be from 1 to %d", m.Concurrent, maxCalls)
	case m.Waiting < 0 || m.Waiting > maxCalls:
		return fmt.Errorf("waiting is %d; it must be from 0 to %d", m.Waiting, maxCalls)
	}
	return nil
}

// listed is the names for an error text.
func listed[T any](methods map[string]T) string {
	return strings.Join(slices.Sorted(maps.Keys(methods)), ", ")
}
