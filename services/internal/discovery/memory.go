package discovery

import (
	"context"
	"fmt"
	"net"
	"slices"
	"sync"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
	"github.com/google/uuid"
)

// Memory is a registry for services that share a process.
type Memory struct {
	id        string
	mu        sync.Mutex
	addresses map[string][]string
}

// NewMemory makes an empty registry.
func NewMemory() *Memory {
	return &Memory{id: uuid.NewString(), addresses: map[string][]string{}}
}

// Announce implements Registry.
func (m *Memory) Announce(_ context.Context, name string, addr net.Addr) (func(context.Context) error, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addresses[name] = append(m.addresses[name], addr.String())
	return func(context.Context) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.addresses[name] = slices.DeleteFunc(m.addresses[name], func(known string) bool { return known == addr.String() })
		return nil
	}, nil
}

// Resolver implements Registry.
func (m *Memory) Resolver() kitex.Resolver {
	return resolver("memory://"+m.id, func(name string) ([]string, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if len(m.addresses[name]) == 0 {
			return nil, fmt.Errorf("no instance of %q is registered", name)
		}
		return slices.Clone(m.addresses[name]), nil
	})
}
