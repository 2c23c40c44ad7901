package discovery

import (
	"context"
	"slices"
	"sync"
)

// memory is the registry of one process.
type memory struct {
	mu       sync.Mutex
	services map[string][]registered
	watchers map[string][]func()
}

type registered struct {
	Instance
	by session
}

func newMemory() *memory {
	return &memory{services: map[string][]registered{}, watchers: map[string][]func(){}}
}

func (m *memory) connect(context.Context, string) (session, error) {
	return &memorySession{memory: m}, nil
}

func (m *memory) endpoint() string { return "" }

// change edits the instances of name and tells who watches it.
func (m *memory) change(name string, edit func([]registered) []registered) {
	m.mu.Lock()
	m.services[name] = edit(m.services[name])
	watchers := m.watchers[name]
	delete(m.watchers, name)
	m.mu.Unlock()
	for _, changed := range watchers {
		changed()
	}
}

type memorySession struct {
	neverLost
	memory *memory
}

func (s *memorySession) register(_ context.Context, name string, instance Instance, _ func()) error {
	s.memory.mu.Lock()
	standing := slices.ContainsFunc(s.memory.services[name], func(r registered) bool {
		return r.Address == instance.Address && r.by == s
	})
	s.memory.mu.Unlock()
	if !standing {
		s.memory.change(name, func(before []registered) []registered {
			return append(slices.Clone(before), registered{instance, s})
		})
	}
	return nil
}

func (s *memorySession) list(_ context.Context, name string, changed func()) ([]Instance, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	s.memory.watchers[name] = append(s.memory.watchers[name], changed)
	var instances []Instance
	for _, r := range s.memory.services[name] {
		instances = append(instances, r.Instance)
	}
	return instances, nil
}

func (s *memorySession) names(context.Context) ([]string, error) {
	s.memory.mu.Lock()
	defer s.memory.mu.Unlock()
	return sortedKeys(s.memory.services), nil
}

func (s *memorySession) close(context.Context) {
	names, _ := s.names(context.Background())
	for _, name := range names {
		s.memory.change(name, func(before []registered) []registered {
			return slices.DeleteFunc(slices.Clone(before), func(r registered) bool { return r.by == s })
		})
	}
}
