package discovery

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"
)

// etcd keeps instances as registry-etcd does: a key PREFIX/SERVICE/HOST:PORT
// with a lease, and JSON as its value.
type etcd struct {
	servers []string
	prefix  string
	user    string
	ttl     time.Duration
	tls     tlsFiles
}

// etcdPrefix is registry-etcd's.
const etcdPrefix = "kitex/registry-etcd"

func openEtcd(place *location, cfg Config) (driver, error) {
	e := &etcd{
		servers: place.servers("2379"), prefix: place.prefix, user: place.user,
		ttl: place.duration("session_timeout", defaultSessionTimeout), tls: place.tls(),
	}
	if e.prefix == "" {
		e.prefix = etcdPrefix
	}
	if e.ttl < time.Second {
		return nil, fmt.Errorf("session_timeout is %s; etcd counts in seconds, so it must be at least 1s", e.ttl)
	}
	if place.contrib() {
		return newContribEtcd(e, cfg)
	}
	return e, nil
}

func (e *etcd) endpoint() string { return e.servers[0] }

// config is that of a client that notices within seconds when a server hangs.
func (e *etcd) config(ctx context.Context, password string) (clientv3.Config, error) {
	cfg := clientv3.Config{
		Endpoints: e.servers, Context: ctx, Logger: zap.NewNop(),
		DialTimeout: operationTimeout, DialKeepAliveTime: 10 * time.Second, DialKeepAliveTimeout: operationTimeout,
	}
	if e.user != "" {
		cfg.Username, cfg.Password = e.user, password
	}
	var err error
	cfg.TLS, err = e.tls.config()
	return cfg, err
}

func (e *etcd) connect(ctx context.Context, password string) (session, error) {
	alive, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the client lives longer than its making
	giveUp := context.AfterFunc(ctx, cancel)
	cfg, err := e.config(alive, password)
	if err != nil {
		cancel()
		return nil, err
	}
	client, err := clientv3.New(cfg)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("connecting to %s: %w", strings.Join(e.servers, ","), err)
	}
	giveUp()
	return &etcdSession{etcd: e, client: client, alive: alive, cancel: cancel, watched: map[string]etcdWatch{}}, nil
}

type etcdSession struct {
	*etcd
	client *clientv3.Client
	alive  context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	lease   *concurrency.Session // nil until something is registered
	watched map[string]etcdWatch
}

type etcdWatch struct {
	revision int64 // of the store when the watch was set
	cancel   context.CancelFunc
}

// etcdData is a key's value.
type etcdData struct {
	Network string            `json:"network"`
	Address string            `json:"address"`
	Weight  int               `json:"weight"`
	Tags    map[string]string `json:"tags"`
}

func (s *etcdSession) lost() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease == nil {
		return nil
	}
	return s.lease.Done()
}

func (s *etcdSession) close(ctx context.Context) {
	s.mu.Lock()
	lease := s.lease
	s.mu.Unlock()
	if lease != nil {
		lease.Orphan()
		_, _ = s.client.Revoke(ctx, lease.Lease())
	}
	s.cancel()
	_ = s.client.Close()
}

// leased grants the lease with the first registration.
func (s *etcdSession) leased(ctx context.Context) (clientv3.LeaseID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease != nil {
		return s.lease.Lease(), nil
	}
	grant, err := s.client.Grant(ctx, int64(s.ttl/time.Second))
	if err != nil {
		return 0, err
	}
	s.lease, err = concurrency.NewSession(s.client, concurrency.WithLease(grant.ID), concurrency.WithContext(s.alive))
	if err != nil {
		return 0, err
	}
	return grant.ID, nil
}

func (s *etcdSession) register(ctx context.Context, name string, instance Instance, changed func()) error {
	value, err := json.Marshal(etcdData{"tcp", instance.Address, instance.Weight, instance.Tags})
	if err != nil {
		return err
	}
	lease, err := s.leased(ctx)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	key := s.prefix + "/" + name + "/" + instance.Address
	resp, err := s.client.Get(ctx, key)
	if err != nil {
		return fmt.Errorf("reading %s: %w", key, err)
	}
	revision := resp.Header.Revision
	if len(resp.Kvs) == 0 || string(resp.Kvs[0].Value) != string(value) || clientv3.LeaseID(resp.Kvs[0].Lease) != lease {
		put, err := s.client.Put(ctx, key, string(value), clientv3.WithLease(lease))
		if err != nil {
			return fmt.Errorf("writing %s: %w", key, err)
		}
		revision = put.Header.Revision
	}
	s.watch(key, revision, changed)
	return nil
}

func (s *etcdSession) list(ctx context.Context, name string, changed func()) ([]Instance, error) {
	prefix := s.prefix + "/" + name + "/"
	resp, err := s.client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", prefix, err)
	}
	s.watch(prefix, resp.Header.Revision, changed, clientv3.WithPrefix())
	var instances []Instance
	for _, kv := range resp.Kvs {
		var data etcdData
		if json.Unmarshal(kv.Value, &data) != nil || checkAddress(data.Address) != nil {
			continue // not an instance's
		}
		instances = append(instances, normal(data.Address, data.Weight, data.Tags))
	}
	return instances, nil
}

// watch has changed called at the first change of key after revision. One watch
// stands at a time; one that was set before the store lost its data is replaced,
// as it waits for a revision that is far away.
func (s *etcdSession) watch(key string, revision int64, changed func(), options ...clientv3.OpOption) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if standing, ok := s.watched[key]; ok {
		if standing.revision <= revision {
			return
		}
		standing.cancel()
	}
	ctx, cancel := context.WithCancel(s.alive)
	s.watched[key] = etcdWatch{revision, cancel}
	go func() {
		defer cancel()
		// Watch itself waits for a server; from that revision on nothing is missed.
		_, open := <-s.client.Watch(ctx, key, append(options, clientv3.WithRev(revision+1))...)
		if ctx.Err() != nil && !open {
			return // replaced, or the session is closed
		}
		s.mu.Lock()
		delete(s.watched, key)
		s.mu.Unlock()
		changed()
	}()
}

func (s *etcdSession) names(ctx context.Context) ([]string, error) {
	resp, err := s.client.Get(ctx, s.prefix+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, fmt.Errorf("reading %s/: %w", s.prefix, err)
	}
	names := map[string]bool{}
	for _, kv := range resp.Kvs {
		name, _, found := strings.Cut(strings.TrimPrefix(string(kv.Key), s.prefix+"/"), "/")
		if found {
			names[name] = true
		}
	}
	return sortedKeys(names), nil
}
