package transport

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// handedOver is the listener of a server that is given its connections.
type handedOver struct {
	net.Listener // nil: what is not defined here is never called
	conns        chan net.Conn
	once         sync.Once
	closed       chan struct{}
}

// give tells whether the connection was taken.
func (l *handedOver) give(conn net.Conn) bool {
	select {
	case l.conns <- conn:
		return true
	case <-l.closed:
		return false
	}
}

// Accept implements net.Listener.
func (l *handedOver) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *handedOver) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *handedOver) Addr() net.Addr { return &net.TCPAddr{} }

// givenConn tells when it is closed, and has what grpc-go expects of a
// connection and netpoll's (v0.7.3) lack: a deadline that may be set while
// another goroutine writes, and, in the memory model, that what was done before a
// Write has happened for who Reads the answer.
type givenConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
	mu     sync.Mutex
	late   *time.Timer
	writes atomic.Int64
}

// Write implements net.Conn.
func (c *givenConn) Write(sent []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(sent)
}

// Read implements net.Conn.
func (c *givenConn) Read(received []byte) (int, error) {
	n, err := c.Conn.Read(received)
	c.writes.Load()
	return n, err
}

// Close closes the connection. It may be called more than once.
func (c *givenConn) Close() (err error) {
	c.once.Do(func() {
		err = c.Conn.Close()
		close(c.closed)
	})
	return err
}

// SetDeadline closes the connection at a time; the zero time takes that back.
func (c *givenConn) SetDeadline(at time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil {
		c.late.Stop()
	}
	if !at.IsZero() {
		c.late = time.AfterFunc(time.Until(at), func() { _ = c.Close() })
	}
	return nil
}
