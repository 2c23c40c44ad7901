package http

import (
	"context"
	"sync"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/network"
	hertznetpoll "github.com/cloudwego/hertz/pkg/network/netpoll"
	"github.com/cloudwego/netpoll"
)

const (
	// flushTime is how long a connection counts as busy after its handler has
	// ended, so that the answer leaves before the connection is closed.
	flushTime = 50 * time.Millisecond
	// closeInterval is how often connections are looked at during a shutdown.
	closeInterval = 10 * time.Millisecond
)

// Connections knows which connections wait for a request. On shutdown Hertz
// waits for each of them until its idle timeout; CloseIdle makes that short.
type Connections struct {
	mu    sync.Mutex
	known map[*connection]struct{}
}

type connection struct {
	network.Conn
	busy  bool
	since time.Time // of being busy or not
}

type connectionKey struct{}

// NewConnections makes a Connections that knows none.
func NewConnections() *Connections {
	return &Connections{known: map[*connection]struct{}{}}
}

// OnConnect makes a connection known until it is closed.
func (cs *Connections) OnConnect(ctx context.Context, conn network.Conn) context.Context {
	wrapped, ok := conn.(*hertznetpoll.Conn)
	if !ok {
		return ctx
	}
	raw, ok := wrapped.Conn.(netpoll.Connection)
	if !ok {
		return ctx
	}
	c := &connection{Conn: conn, since: time.Now()}
	cs.mu.Lock()
	cs.known[c] = struct{}{}
	cs.mu.Unlock()
	_ = raw.AddCloseCallback(func(netpoll.Connection) error { // it never fails
		cs.mu.Lock()
		defer cs.mu.Unlock()
		delete(cs.known, c)
		return nil
	})
	return context.WithValue(ctx, connectionKey{}, c)
}

// mark notes that the connection of ctx has a request to answer, or has none.
func (cs *Connections) mark(ctx context.Context, busy bool) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		c.busy, c.since = busy, time.Now()
	}
}

// handler marks connections as busy while a request is handled.
func (cs *Connections) handler(ctx context.Context, c *app.RequestContext) {
	cs.mark(ctx, true)
	defer cs.mark(ctx, false)
	c.Next(ctx)
}

// CloseIdle closes connections as they become idle, until ctx ends.
func (cs *Connections) CloseIdle(ctx context.Context) {
	tick := time.NewTicker(closeInterval)
	defer tick.Stop()
	for {
		for _, c := range cs.idle() {
			_ = c.Close()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (cs *Connections) idle() []*connection {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	var idle []*connection
	for c := range cs.known {
		if !c.busy && time.Since(c.since) > flushTime {
			idle = append(idle, c)
		}
	}
	return idle
}
