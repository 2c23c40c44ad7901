package discovery

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	contrib "github.com/kitex-contrib/registry-nacos/v2/nacos"
	"github.com/nacos-group/nacos-sdk-go/v2/clients"
	"github.com/nacos-group/nacos-sdk-go/v2/clients/naming_client"
	"github.com/nacos-group/nacos-sdk-go/v2/common/constant"
	"github.com/nacos-group/nacos-sdk-go/v2/model"
	"github.com/nacos-group/nacos-sdk-go/v2/vo"
)

// nacos keeps instances as registry-nacos does: ephemeral ones in the cluster DEFAULT.
type nacos struct {
	servers []string
	user    string
	group   string
	config  constant.ClientConfig
}

const nacosCluster = "DEFAULT"

// openNacos takes what the URL leaves out from the variables serverAddr,
// serverPort and namespace, as registry-nacos does.
func openNacos(place *location, cfg Config) (driver, error) {
	if place.hosts == "" {
		place.hosts = net.JoinHostPort(contrib.NacosAddr(), strconv.FormatInt(contrib.NacosPort(), 10))
	}
	if place.prefix != "" {
		return nil, fmt.Errorf("it has the path /%s; Nacos has namespaces and groups instead: ?namespace=…&group=…", place.prefix)
	}
	scratch := filepath.Join(os.TempDir(), "kiteshop-nacos")
	n := &nacos{
		servers: place.servers("8848"),
		user:    place.user,
		group:   place.text("group", constant.DEFAULT_GROUP),
		config: constant.ClientConfig{
			NamespaceId:         place.text("namespace", contrib.NacosNameSpaceId()),
			TimeoutMs:           uint64(place.duration("timeout", operationTimeout).Milliseconds()),
			LogDir:              place.text("log_dir", filepath.Join(scratch, "log")),
			CacheDir:            place.text("cache_dir", filepath.Join(scratch, "cache")),
			NotLoadCacheAtStart: place.truth("not_load_cache_at_start", true),
			// Which empty answers are believed is decided in one place, for all kinds of registries.
			UpdateCacheWhenEmpty: true,
			LogLevel:             "error",
		},
	}
	if n.config.NamespaceId == "public" {
		n.config.NamespaceId = "" // how the default one is called and how it is asked for
	}
	if place.contrib() {
		return newContribNacos(n, cfg)
	}
	return n, nil
}

func (n *nacos) endpoint() string { return n.servers[0] }

func (n *nacos) client(password string) (naming_client.INamingClient, error) {
	config := n.config
	config.Username, config.Password = n.user, password
	var servers []constant.ServerConfig
	for _, server := range n.servers {
		host, text, err := net.SplitHostPort(server)
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, err
		}
		servers = append(servers, *constant.NewServerConfig(host, port))
	}
	return clients.NewNamingClient(vo.NacosClientParam{ClientConfig: &config, ServerConfigs: servers})
}

func (n *nacos) connect(ctx context.Context, password string) (session, error) {
	client, err := within(ctx, func() (naming_client.INamingClient, error) { return n.client(password) })
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", strings.Join(n.servers, ","), err)
	}
	s := &nacosSession{nacos: n, client: client, watched: map[string]*nacosWatch{}}
	if err := s.ping(ctx); err != nil {
		s.close(ctx)
		return nil, err
	}
	return s, nil
}

// nacosSession is a client of the SDK, which connects again and registers again
// by itself.
type nacosSession struct {
	*nacos
	client naming_client.INamingClient

	mu         sync.Mutex
	registered []vo.DeregisterInstanceParam
	watched    map[string]*nacosWatch
}

// nacosWatch is a subscription. It lasts as long as the session; the one who
// is told changes.
type nacosWatch struct {
	changed func()
}

func (s *nacosSession) lost() <-chan struct{} { return nil }

// ping asks the server something: what the SDK answers otherwise, it remembers.
func (s *nacosSession) ping(ctx context.Context) error {
	_, err := within(ctx, func() (model.ServiceList, error) {
		return s.client.GetAllServicesInfo(vo.GetAllServiceInfoParam{GroupName: s.group, PageNo: 1, PageSize: 1})
	})
	if err != nil {
		return fmt.Errorf("asking %s: %w", strings.Join(s.servers, ","), err)
	}
	return nil
}

func (s *nacosSession) close(ctx context.Context) {
	s.mu.Lock()
	registered := s.registered
	s.mu.Unlock()
	_, _ = within(ctx, func() (struct{}, error) {
		for _, param := range registered {
			_, _ = s.client.DeregisterInstance(param)
		}
		s.client.CloseClient()
		return struct{}{}, nil
	})
}

func (s *nacosSession) register(ctx context.Context, name string, instance Instance, changed func()) error {
	standing, err := s.list(ctx, name, changed)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(standing, func(i Instance) bool {
		return i.Address == instance.Address && i.Weight == instance.Weight && maps.Equal(i.Tags, instance.Tags)
	}) && s.has(name) {
		return nil
	}
	host, text, err := net.SplitHostPort(instance.Address)
	if err != nil {
		return err
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return err
	}
	accepted, err := within(ctx, func() (bool, error) {
		return s.client.RegisterInstance(vo.RegisterInstanceParam{
			Ip: host, Port: port, ServiceName: name, GroupName: s.group, ClusterName: nacosCluster,
			Weight: float64(instance.Weight), Metadata: instance.Tags, Enable: true, Healthy: true, Ephemeral: true,
		})
	})
	if err == nil && !accepted { // the SDK keeps the reason to itself
		err = fmt.Errorf("refused; is the password of user %q right?", s.user)
	}
	if err != nil {
		return fmt.Errorf("registering %s at %s: %w", name, instance.Address, err)
	}
	if !s.has(name) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.registered = append(s.registered, vo.DeregisterInstanceParam{
			Ip: host, Port: port, ServiceName: name, GroupName: s.group, Cluster: nacosCluster, Ephemeral: true,
		})
	}
	return nil
}

func (s *nacosSession) has(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.registered, func(p vo.DeregisterInstanceParam) bool { return p.ServiceName == name })
}

func (s *nacosSession) list(ctx context.Context, name string, changed func()) ([]Instance, error) {
	if err := s.ping(ctx); err != nil {
		return nil, err
	}
	if err := s.subscribe(ctx, name, changed); err != nil {
		return nil, err
	}
	hosts, err := within(ctx, func() ([]model.Instance, error) {
		return s.client.SelectAllInstances(vo.SelectAllInstancesParam{ServiceName: name, GroupName: s.group, Clusters: []string{nacosCluster}})
	})
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	var instances []Instance
	for _, host := range hosts {
		address := net.JoinHostPort(host.Ip, strconv.FormatUint(host.Port, 10))
		if !host.Enable || !host.Healthy || checkAddress(address) != nil {
			continue
		}
		// A weight below 1 counts as 1: Kitex's are integers.
		instances = append(instances, normal(address, max(int(host.Weight), 1), host.Metadata))
	}
	slices.SortFunc(instances, func(a, b Instance) int { return strings.Compare(a.Address, b.Address) })
	return instances, nil
}

// subscribe has changed called at the next push about name.
func (s *nacosSession) subscribe(ctx context.Context, name string, changed func()) error {
	s.mu.Lock()
	watch, subscribed := s.watched[name]
	if subscribed {
		watch.changed = changed
		s.mu.Unlock()
		return nil
	}
	watch = &nacosWatch{changed}
	s.watched[name] = watch
	s.mu.Unlock()
	_, err := within(ctx, func() (struct{}, error) {
		return struct{}{}, s.client.Subscribe(&vo.SubscribeParam{
			ServiceName: name, GroupName: s.group, Clusters: []string{nacosCluster},
			SubscribeCallback: func([]model.Instance, error) {
				s.mu.Lock()
				changed := watch.changed
				watch.changed = nil
				s.mu.Unlock()
				if changed != nil {
					changed()
				}
			},
		})
	})
	if err != nil {
		s.mu.Lock()
		delete(s.watched, name)
		s.mu.Unlock()
		return fmt.Errorf("subscribing to %s: %w", name, err)
	}
	return nil
}

func (s *nacosSession) names(ctx context.Context) ([]string, error) {
	const pageSize = 100
	var names []string
	for page := uint32(1); ; page++ {
		list, err := within(ctx, func() (model.ServiceList, error) {
			return s.client.GetAllServicesInfo(vo.GetAllServiceInfoParam{GroupName: s.group, PageNo: page, PageSize: pageSize})
		})
		if err != nil {
			return nil, fmt.Errorf("listing: %w", err)
		}
		names = append(names, list.Doms...)
		if len(list.Doms) < pageSize {
			slices.Sort(names)
			return names, nil
		}
	}
}
