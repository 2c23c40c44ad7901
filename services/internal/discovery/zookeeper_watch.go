package discovery

import (
	"context"
	"errors"

	"github.com/go-zookeeper/zk"
)

type zookeeperNode struct {
	data []byte
	stat *zk.Stat
}

// get reads a node and has changed called when it changes; one watch stands at a time.
func (s *zookeeperSession) get(ctx context.Context, node string, changed func()) (zookeeperNode, error) {
	if !s.needsWatch(node) {
		return within(ctx, func() (zookeeperNode, error) {
			data, stat, err := s.ready().Get(node)
			return zookeeperNode{data, stat}, err
		})
	}
	return within(ctx, func() (zookeeperNode, error) {
		data, stat, events, err := s.ready().GetW(node)
		s.watch(node, events, err, changed)
		return zookeeperNode{data, stat}, err
	})
}

// children reads the names of the nodes below node, and has changed called when
// they change or when node comes to be.
func (s *zookeeperSession) children(ctx context.Context, node string, changed func()) ([]string, error) {
	if !s.needsWatch(node) {
		names, err := within(ctx, func() ([]string, error) {
			names, _, err := s.ready().Children(node)
			return names, err
		})
		if errors.Is(err, zk.ErrNoNode) {
			return nil, nil
		}
		return names, err
	}
	return within(ctx, func() ([]string, error) {
		names, _, events, err := s.ready().ChildrenW(node)
		if errors.Is(err, zk.ErrNoNode) {
			var exists bool
			exists, _, events, err = s.ready().ExistsW(node)
			if exists { // it came to be in between: look again
				defer changed()
			}
		}
		s.watch(node, events, err, changed)
		return names, err
	})
}

// needsWatch claims the right to set a watch on node, if none stands.
func (s *zookeeperSession) needsWatch(node string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watched[node] {
		return false
	}
	s.watched[node] = true
	return true
}

// watch waits for the event of a watch that was set, unless setting it failed.
func (s *zookeeperSession) watch(node string, events <-chan zk.Event, err error, changed func()) {
	fired := func() {
		s.mu.Lock()
		delete(s.watched, node)
		s.mu.Unlock()
	}
	if err != nil {
		fired()
		return
	}
	go func() {
		<-events // comes at the latest when the session ends
		fired()
		changed()
	}()
}
