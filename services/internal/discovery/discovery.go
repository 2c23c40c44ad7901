// Package discovery tells services where the others are. One URL chooses how.
package discovery

import (
	"context"
	"flag"
	"fmt"
	"net"
	"strings"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
)

// Registry knows which addresses serve a name.
type Registry interface {
	// Announce makes addr findable as name until withdraw is called.
	Announce(ctx context.Context, name string, addr net.Addr) (withdraw func(ctx context.Context) error, err error)
	// Resolver finds the addresses for Kitex's clients.
	Resolver() kitex.Resolver
}

// Config chooses the registry.
type Config struct {
	// URL as Open takes it. Ignored when Registry is set.
	URL string
	// Registry is one that is open already.
	Registry Registry
}

// Flags declares -registry.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.URL, "registry", c.URL, "`URL` of the registry: static://name=host:port,name=host:port,…")
}

// Open gives the registry that is configured.
func Open(cfg Config) (Registry, error) {
	if cfg.Registry != nil {
		return cfg.Registry, nil
	}
	scheme, rest, found := strings.Cut(cfg.URL, "://")
	if !found || scheme != "static" {
		return nil, fmt.Errorf("registry %q: it must be static://name=host:port,…", cfg.URL)
	}
	return newStatic(rest)
}

// resolver makes a Kitex resolver of a look-up by name. Kitex shares what it
// has resolved between all clients in the process whose resolvers have the same
// id, so two registries must not have the same.
func resolver(id string, lookup func(name string) ([]string, error)) kitex.Resolver {
	return &kitex.SynthesizedResolver{
		NameFunc:   func() string { return id },
		TargetFunc: func(_ context.Context, target rpcinfo.EndpointInfo) string { return target.ServiceName() },
		ResolveFunc: func(_ context.Context, name string) (kitex.Result, error) {
			addresses, err := lookup(name)
			if err != nil {
				return kitex.Result{}, err
			}
			result := kitex.Result{Cacheable: true, CacheKey: name}
			for _, address := range addresses {
				result.Instances = append(result.Instances, kitex.NewInstance("tcp", address, kitex.DefaultWeight, nil))
			}
			return result, nil
		},
	}
}
