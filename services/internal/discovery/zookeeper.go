package discovery

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-zookeeper/zk"
)

// zookeeper keeps instances as registry-zookeeper does: an ephemeral node
// PREFIX/SERVICE/HOST:PORT with weight and tags in JSON.
//
// With a user, whoever comes may register, and each one's node is its own: the
// parents let everybody read and create, and the nodes belong to their creator.
// To ZooKeeper a user with another password is another user, so a session logs
// in with all passwords that this process has known, and what it creates belongs
// to the newest.
type zookeeper struct {
	servers []string
	prefix  string
	user    string
	timeout time.Duration

	mu        sync.Mutex
	passwords []string // the newest last
}

// maxPasswords bounds how many rotations a process remembers.
const maxPasswords = 3

func openZookeeper(place *location, cfg Config) (driver, error) {
	timeout := place.duration("session_timeout", defaultSessionTimeout)
	z := &zookeeper{servers: place.servers("2181"), user: place.user, timeout: timeout}
	if place.prefix != "" {
		z.prefix = "/" + place.prefix
	}
	if place.contrib() {
		return newContribZookeeper(z, cfg)
	}
	return z, nil
}

func (z *zookeeper) endpoint() string { return z.servers[0] }

// identities are the user's logins, the newest last.
func (z *zookeeper) identities(password string) []string {
	if z.user == "" {
		return nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.passwords = append(slices.DeleteFunc(z.passwords, func(known string) bool { return known == password }), password)
	z.passwords = z.passwords[max(0, len(z.passwords)-maxPasswords):]
	var identities []string
	for _, password := range z.passwords {
		identities = append(identities, z.user+":"+password)
	}
	return identities
}

func (z *zookeeper) connect(ctx context.Context, password string) (session, error) {
	s := &zookeeperSession{zookeeper: z, password: password, over: make(chan struct{}), watched: map[string]bool{}, settled: make(chan struct{})}
	conn, events, err := zk.Connect(z.servers, z.timeout, zk.WithLogger(quietZookeeper{}), zk.WithDialer(s.dial))
	if err != nil {
		return nil, err
	}
	s.conn = conn
	established := make(chan struct{})
	go s.watchState(events, established)
	select {
	case <-established:
	case <-ctx.Done():
		s.close(ctx)
		return nil, fmt.Errorf("no session with %s: %w", strings.Join(z.servers, ","), context.Cause(ctx))
	}
	for _, identity := range z.identities(password) {
		if _, err := within(ctx, func() (struct{}, error) { return struct{}{}, conn.AddAuth("digest", []byte(identity)) }); err != nil {
			s.close(ctx)
			return nil, fmt.Errorf("logging in as %s: %w", z.user, err)
		}
	}
	return s, nil
}

// zookeeperSession is one ZooKeeper session. The library reconnects within it.
type zookeeperSession struct {
	*zookeeper
	conn     *zk.Conn
	password string
	over     chan struct{}

	mu      sync.Mutex
	tcp     net.Conn
	watched map[string]bool // what a watch is set on
	settled chan struct{}   // closed while requests may be made
}

// settlePause is how long requests wait after a reconnect: the library (v1.0.4)
// sets its watches again then, and races with answers that come before it has.
const settlePause = 100 * time.Millisecond

// ready is the connection, when requests may be made. It waits at most as long as the session lasts.
func (s *zookeeperSession) ready() *zk.Conn {
	s.mu.Lock()
	settled := s.settled
	s.mu.Unlock()
	select {
	case <-settled:
	case <-s.over:
	}
	return s.conn
}

// unsettle has requests wait until the channel is closed that it gives.
func (s *zookeeperSession) unsettle() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settled = make(chan struct{})
	return s.settled
}

// dial remembers the connection, so that closing it ends the library's wait for
// a server that hangs.
func (s *zookeeperSession) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	conn, err := net.DialTimeout(network, address, timeout)
	if err == nil {
		s.mu.Lock()
		s.tcp = conn
		s.mu.Unlock()
	}
	return conn, err
}

// watchState ends the session when the server has expired it, and when it was
// not to be had for so long that it is expired or refused: a server that lost
// its data refuses a client that has seen more than it has itself.
func (s *zookeeperSession) watchState(events <-chan zk.Event, established chan<- struct{}) {
	defer close(s.over)
	var expired, settled <-chan time.Time
	waiting := s.settled
	for {
		select {
		case <-expired:
			return
		case <-settled:
			close(waiting)
			waiting, settled = nil, nil
		case event, open := <-events:
			switch {
			case !open || event.State == zk.StateExpired:
				return
			case event.State == zk.StateHasSession && established != nil:
				close(established)
				close(waiting)
				established, waiting = nil, nil
			case event.State == zk.StateHasSession:
				expired, settled = nil, time.After(settlePause)
			case event.State == zk.StateDisconnected && established == nil:
				if expired == nil {
					expired = time.After(s.timeout)
				}
				if settled = nil; waiting == nil {
					waiting = s.unsettle()
				}
			}
		}
	}
}

func (s *zookeeperSession) lost() <-chan struct{} { return s.over }

func (s *zookeeperSession) close(ctx context.Context) {
	_, _ = within(ctx, func() (struct{}, error) { s.conn.Close(); return struct{}{}, nil })
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tcp != nil {
		_ = s.tcp.Close()
	}
}

// zookeeperData is what a node holds.
type zookeeperData struct {
	Weight int
	Tags   map[string]string
}

func (s *zookeeperSession) register(ctx context.Context, name string, instance Instance, changed func()) error {
	data, err := json.Marshal(zookeeperData{instance.Weight, instance.Tags})
	if err != nil {
		return err
	}
	node := s.prefix + "/" + name + "/" + instance.Address
	for ctx.Err() == nil {
		switch found, err := s.get(ctx, node, changed); {
		case errors.Is(err, zk.ErrNoNode):
			err = s.create(ctx, node, data)
			if err != nil && !errors.Is(err, zk.ErrNodeExists) {
				return s.explain("creating "+node, err)
			}
		case err != nil:
			return s.explain("reading "+node, err)
		case found.stat.EphemeralOwner != s.conn.SessionID():
			if err := s.takeOver(ctx, node, found.stat, data); err != nil {
				return s.explain("taking over "+node+" from an earlier session", err)
			}
		case !bytes.Equal(found.data, data):
			if _, err := within(ctx, func() (*zk.Stat, error) { return s.ready().Set(node, data, -1) }); err != nil {
				return s.explain("writing "+node, err)
			}
		default:
			return nil
		}
	}
	return ctx.Err()
}

// takeOver replaces another session's node in one step, so that no caller sees it missing.
func (s *zookeeperSession) takeOver(ctx context.Context, node string, stat *zk.Stat, data []byte) error {
	_, err := within(ctx, func() ([]zk.MultiResponse, error) {
		return s.ready().Multi(
			&zk.DeleteRequest{Path: node, Version: stat.Version},
			&zk.CreateRequest{Path: node, Data: data, Acl: s.ownACL(), Flags: zk.FlagEphemeral})
	})
	if errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrBadVersion) {
		return nil // it has changed meanwhile: look again
	}
	return err
}

// create makes the node, and its parents if they are missing.
func (s *zookeeperSession) create(ctx context.Context, node string, data []byte) error {
	make := func(node string, data []byte, flags int32, acl []zk.ACL) error {
		_, err := within(ctx, func() (string, error) { return s.ready().Create(node, data, flags, acl) })
		return err
	}
	err := make(node, data, zk.FlagEphemeral, s.ownACL())
	if !errors.Is(err, zk.ErrNoNode) {
		return err
	}
	for _, parent := range parents(node) {
		if err := make(parent, nil, 0, s.parentACL()); err != nil && !errors.Is(err, zk.ErrNodeExists) {
			return err
		}
	}
	return make(node, data, zk.FlagEphemeral, s.ownACL())
}

// parents are the nodes above node, the highest first.
func parents(node string) []string {
	var above []string
	for node = path.Dir(node); node != "/"; node = path.Dir(node) {
		above = append(above, node)
	}
	slices.Reverse(above)
	return above
}

func (s *zookeeperSession) ownACL() []zk.ACL {
	if s.user == "" {
		return zk.WorldACL(zk.PermAll)
	}
	return append(zk.DigestACL(zk.PermAll, s.user, s.password), zk.WorldACL(zk.PermRead)...)
}

func (s *zookeeperSession) parentACL() []zk.ACL {
	if s.user == "" {
		return zk.WorldACL(zk.PermAll)
	}
	return append(zk.DigestACL(zk.PermAll, s.user, s.password), zk.WorldACL(zk.PermRead|zk.PermCreate)...)
}

func (s *zookeeperSession) explain(what string, err error) error {
	if errors.Is(err, zk.ErrNoAuth) {
		who := "nobody (the URL names no user)"
		if s.user != "" {
			who = fmt.Sprintf("user %q with the password given", s.user)
		}
		return fmt.Errorf("%s: ZooKeeper does not allow it to %s", what, who)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func (s *zookeeperSession) list(ctx context.Context, name string, changed func()) ([]Instance, error) {
	parent := s.prefix + "/" + name
	nodes, err := s.children(ctx, parent, changed)
	if err != nil {
		return nil, s.explain("reading "+parent, err)
	}
	slices.Sort(nodes)
	var instances []Instance
	for _, address := range nodes {
		if checkAddress(address) != nil {
			continue // not an instance's
		}
		content, err := within(ctx, func() ([]byte, error) {
			content, _, err := s.ready().Get(parent + "/" + address)
			return content, err
		})
		if errors.Is(err, zk.ErrNoNode) || errors.Is(err, zk.ErrNoAuth) {
			continue // gone, or not meant for us
		}
		if err != nil {
			return nil, s.explain("reading "+parent+"/"+address, err)
		}
		var data zookeeperData
		if json.Unmarshal(content, &data) != nil {
			continue // not an instance's
		}
		instances = append(instances, normal(address, data.Weight, data.Tags))
	}
	return instances, nil
}

// normal gives an instance without a weight the usual one.
func normal(address string, weight int, tags map[string]string) Instance {
	if weight <= 0 {
		weight = defaultWeight
	}
	return Instance{Address: address, Weight: weight, Tags: tags}
}

func (s *zookeeperSession) names(ctx context.Context) ([]string, error) {
	root := s.prefix
	if root == "" {
		root = "/"
	}
	names, err := within(ctx, func() ([]string, error) {
		names, _, err := s.ready().Children(root)
		return names, err
	})
	if err != nil {
		return nil, s.explain("reading "+root, err)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return s.prefix == "" && name == "zookeeper" }) // ZooKeeper's own
	slices.Sort(names)
	return names, nil
}

// within runs a call that knows no context, and leaves it behind when ctx ends.
func within[T any](ctx context.Context, call func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := call()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
}

// quietZookeeper drops what the library logs of every attempt: what matters is
// logged by the registry, once.
type quietZookeeper struct{}

// Printf implements zk.Logger.
func (quietZookeeper) Printf(string, ...any) {}
