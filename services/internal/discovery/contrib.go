package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
	kitexregistry "github.com/cloudwego/kitex/pkg/registry"
	registryetcd "github.com/kitex-contrib/registry-etcd"
	nacosregistry "github.com/kitex-contrib/registry-nacos/v2/registry"
	nacosresolver "github.com/kitex-contrib/registry-nacos/v2/resolver"
	zookeeperregistry "github.com/kitex-contrib/registry-zookeeper/registry"
	zookeeperresolver "github.com/kitex-contrib/registry-zookeeper/resolver"
)

// contributed is a contributed module in the place of a driver: it registers
// once and is asked for every list, so what it does under faults is its own.
// The README lists it.
type contributed struct {
	driver
	open    func(password string) (kitexregistry.Registry, error)
	resolve kitex.Resolver
}

var errContributed = errors.New("a contributed module cannot tell; leave driver=contrib out")

func newContrib(own driver, cfg Config, register func(password string) (kitexregistry.Registry, error), resolve func(password string) (kitex.Resolver, error)) (driver, error) {
	resolver, err := resolve(string(cfg.Password))
	if err != nil {
		return nil, fmt.Errorf("contributed resolver: %w", err)
	}
	return &contributed{driver: own, open: register, resolve: resolver}, nil
}

func newContribZookeeper(z *zookeeper, cfg Config) (driver, error) {
	if z.prefix != "" {
		return nil, errors.New("registry-zookeeper knows no prefix")
	}
	return newContrib(z, cfg,
		func(password string) (kitexregistry.Registry, error) {
			if z.user == "" {
				return zookeeperregistry.NewZookeeperRegistry(z.servers, z.timeout)
			}
			return zookeeperregistry.NewZookeeperRegistryWithAuth(z.servers, z.timeout, z.user, password)
		},
		func(password string) (kitex.Resolver, error) {
			if z.user == "" {
				return zookeeperresolver.NewZookeeperResolver(z.servers, z.timeout)
			}
			return zookeeperresolver.NewZookeeperResolverWithAuth(z.servers, z.timeout, z.user, password)
		})
}

func newContribEtcd(e *etcd, cfg Config) (driver, error) {
	options := func(password string) []registryetcd.Option {
		options := []registryetcd.Option{registryetcd.WithEtcdServicePrefix(e.prefix)}
		if e.user != "" {
			options = append(options, registryetcd.WithAuthOpt(e.user, password))
		}
		if e.tls.on {
			options = append(options, registryetcd.WithTLSOpt(e.tls.cert, e.tls.key, e.tls.ca))
		}
		return options
	}
	return newContrib(e, cfg,
		func(password string) (kitexregistry.Registry, error) {
			return registryetcd.NewEtcdRegistry(e.servers, options(password)...)
		},
		func(password string) (kitex.Resolver, error) {
			return registryetcd.NewEtcdResolver(e.servers, options(password)...)
		})
}

func newContribNacos(n *nacos, cfg Config) (driver, error) {
	return newContrib(n, cfg,
		func(password string) (kitexregistry.Registry, error) {
			client, err := n.client(password)
			if err != nil {
				return nil, err
			}
			return nacosregistry.NewNacosRegistry(client, nacosregistry.WithGroup(n.group), nacosregistry.WithCluster(nacosCluster)), nil
		},
		func(password string) (kitex.Resolver, error) {
			client, err := n.client(password)
			if err != nil {
				return nil, err
			}
			return nacosresolver.NewNacosResolver(client, nacosresolver.WithGroup(n.group), nacosresolver.WithCluster(nacosCluster)), nil
		})
}

func (c *contributed) resolver() kitex.Resolver { return c.resolve }

func (c *contributed) connect(ctx context.Context, password string) (session, error) {
	registry, err := within(ctx, func() (kitexregistry.Registry, error) { return c.open(password) })
	if err != nil {
		return nil, err
	}
	return &contributedSession{registry: registry}, nil
}

type contributedSession struct {
	registry kitexregistry.Registry

	mu         sync.Mutex
	registered map[string]*kitexregistry.Info
}

func (s *contributedSession) lost() <-chan struct{} { return nil }

// register does it once: what comes after is the module's.
func (s *contributedSession) register(ctx context.Context, name string, instance Instance, _ func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.registered[name] != nil {
		return nil
	}
	addr, err := net.ResolveTCPAddr("tcp", instance.Address)
	if err != nil {
		return err
	}
	info := &kitexregistry.Info{ServiceName: name, Addr: addr, Weight: instance.Weight, Tags: instance.Tags}
	if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, s.registry.Register(info) }); err != nil {
		return err
	}
	if s.registered == nil {
		s.registered = map[string]*kitexregistry.Info{}
	}
	s.registered[name] = info
	return nil
}

func (s *contributedSession) list(context.Context, string, func()) ([]Instance, error) {
	return nil, errContributed
}

func (s *contributedSession) names(context.Context) ([]string, error) { return nil, errContributed }

func (s *contributedSession) close(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range sortedKeys(s.registered) {
		_, _ = within(ctx, func() (struct{}, error) { return struct{}{}, s.registry.Deregister(s.registered[name]) })
	}
}
