package http

import (
	"context"
	"sync"
	"syscall"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/network"
	hertznetpoll "github.com/cloudwego/hertz/pkg/network/netpoll"
	"github.com/cloudwego/netpoll"
)

const (
	// closeInterval is how often connections are looked at during a shutdown.
	closeInterval = 10 * time.Millisecond
	// writeTimeout is how long the reader of a stream may take nothing.
	writeTimeout = 10 * time.Second
	// unsentBytes bounds what waits to be sent on a stream.
	unsentBytes = 16 << 10
	// unreadBytes is how much the reader of a stream may send meanwhile, and
	// unreadInterval how often that is looked at.
	unreadBytes    = 64 << 10
	unreadInterval = 100 * time.Millisecond
)

// Connections knows which connections wait for a request. On shutdown Hertz
// waits for each of them until its idle timeout; Drain makes that short.
type Connections struct {
	quiet    time.Duration
	draining context.Context // ends when Drain begins
	drain    context.CancelFunc

	mu    sync.Mutex
	known map[*connection]struct{}
}

type connection struct {
	network.Conn
	socket
	alive context.Context // of the latest request, ends when the other side closes the connection
	busy  bool
	since time.Time          // of being busy or not
	end   context.CancelFunc // of the stream that is sent on it; nil: there is none
}

// socket is what Hertz does not tell of a connection.
type socket interface {
	// onClose has closed called when the connection is closed.
	onClose(closed func())
	// hangUp ends a connection that waits for a request.
	hangUp()
	// setUnsent bounds how many bytes wait to be sent; Linux doubles it.
	setUnsent(bytes int) error
	// unread is how much came ahead of being asked for, in bytes.
	unread() int
	// arrived tells whether anything has come that is not taken up yet.
	arrived() bool
}

type connectionKey struct{}

// NewConnections makes a Connections that knows none. Drain closes those that have
// been without a request for quiet: whoever used one a moment ago may be sending the
// next request now, whose answer says that the connection ends.
func NewConnections(quiet time.Duration) *Connections {
	draining, drain := context.WithCancel(context.Background()) // lives as long as the server
	return &Connections{quiet: quiet, draining: draining, drain: drain, known: map[*connection]struct{}{}}
}

// OnConnect makes a connection known until it is closed.
func (cs *Connections) OnConnect(ctx context.Context, conn network.Conn) context.Context {
	of := socketOf(ctx, conn)
	if of == nil {
		return ctx
	}
	c := &connection{Conn: conn, socket: of, since: time.Now()}
	cs.mu.Lock()
	cs.known[c] = struct{}{}
	cs.mu.Unlock()
	of.onClose(func() {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		delete(cs.known, c)
	})
	return context.WithValue(ctx, connectionKey{}, c)
}

// socketOf is nil for a connection of neither netpoll nor ListenTLS.
func socketOf(ctx context.Context, conn network.Conn) socket {
	if secured, ok := ctx.Value(acceptedKey{}).(*tlsConn); ok {
		return secured
	}
	wrapped, ok := conn.(*hertznetpoll.Conn)
	if !ok {
		return nil
	}
	raw, ok := wrapped.Conn.(netpoll.Connection)
	if !ok {
		return nil
	}
	return netpollSocket{conn, raw}
}

type netpollSocket struct {
	conn network.Conn
	raw  netpoll.Connection
}

func (s netpollSocket) onClose(closed func()) {
	_ = s.raw.AddCloseCallback(func(netpoll.Connection) error { // it never fails
		closed()
		return nil
	})
}

func (s netpollSocket) hangUp() { _ = s.conn.Close() }

func (s netpollSocket) setUnsent(bytes int) error {
	file, ok := s.raw.(netpoll.Conn)
	if !ok {
		return nil
	}
	return syscall.SetsockoptInt(file.Fd(), syscall.SOL_SOCKET, syscall.SO_SNDBUF, bytes)
}

func (s netpollSocket) unread() int { return s.conn.Len() }

func (s netpollSocket) arrived() bool {
	file, ok := s.raw.(netpoll.Conn)
	return s.unread() > 0 || ok && queued(file.Fd())
}

// queued tells whether the kernel holds what came on the socket fd.
func queued(fd int) bool {
	n, _, err := syscall.Recvfrom(fd, make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	return err == nil && n > 0
}

// mark notes that the connection of ctx has a request to answer, or has none.
func (cs *Connections) mark(ctx context.Context, busy bool) {
	if c, ok := ctx.Value(connectionKey{}).(*connection); ok {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		c.busy, c.since, c.alive = busy, time.Now(), ctx
	}
}

// handler marks connections as busy while a request is handled. A command that
// was begun goes on when its caller has gone: ctx ends with none of them.
func (cs *Connections) handler(ctx context.Context, c *app.RequestContext) {
	cs.mark(ctx, true)
	defer cs.mark(ctx, false)
	c.Next(context.WithoutCancel(ctx))
}

// stream makes the connection of ctx one that sends for long: what it has not
// sent is bounded, and the new ctx ends when the other side has gone or sends
// more, or Drain begins. The connection is closed after it.
func (cs *Connections) stream(ctx context.Context) (streaming context.Context, end func(), err error) {
	streaming, cancel := context.WithCancel(ctx)
	drained := context.AfterFunc(cs.draining, cancel)
	c, ok := ctx.Value(connectionKey{}).(*connection)
	if !ok {
		return streaming, func() { drained(); cancel() }, nil
	}
	gone := context.AfterFunc(c.alive, cancel)
	cs.mu.Lock()
	c.end = cancel
	cs.mu.Unlock()
	return streaming, func() { gone(); drained(); cancel() }, c.bound()
}

// Watch ends streams whose readers send more than unreadBytes, until Drain: netpoll
// (v0.7.3) keeps all that comes.
func (cs *Connections) Watch() {
	tick := time.NewTicker(unreadInterval)
	defer tick.Stop()
	for {
		select {
		case <-cs.draining.Done():
			return
		case <-tick.C:
		}
		cs.mu.Lock()
		for c := range cs.known {
			if c.end != nil && c.unread() > unreadBytes {
				c.end()
			}
		}
		cs.mu.Unlock()
	}
}

// bound makes writing wait at unsentBytes, and fail after writeTimeout. Linux
// itself would keep up to 4 MB for a reader who takes nothing.
func (c *connection) bound() error {
	if err := c.SetWriteTimeout(writeTimeout); err != nil {
		return err
	}
	return c.setUnsent(unsentBytes)
}

// Drain ends streams at once, and closes connections that have become quiet, until
// ctx ends. Those in use Hertz closes with their next answer.
func (cs *Connections) Drain(ctx context.Context) {
	cs.drain()
	tick := time.NewTicker(closeInterval)
	defer tick.Stop()
	for {
		for _, c := range cs.idle() {
			c.hangUp()
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
		if !c.busy && time.Since(c.since) > cs.quiet && !c.arrived() { // a request that has come is answered, however late it is taken up
			idle = append(idle, c)
		}
	}
	return idle
}
