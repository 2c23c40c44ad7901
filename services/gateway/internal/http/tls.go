package http

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"syscall"
	"time"
)

// greetingTimeout bounds the TLS handshake and the first request after it. Hertz
// bounds only those that follow, on Go's network.
const greetingTimeout = 30 * time.Second

// ListenTLS makes the connections of ln speak TLS.
func ListenTLS(ln net.Listener, cfg *tls.Config) net.Listener { return tlsListener{ln, cfg} }

type tlsListener struct {
	net.Listener
	cfg *tls.Config
}

// Accept implements net.Listener. The handshake comes with the first read.
func (l tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return nil, errors.Join(errors.New("the connection is not TCP"), conn.Close())
	}
	return &tlsConn{Conn: tls.Server(tcp, l.cfg), tcp: tcp, readTimeout: greetingTimeout}, nil
}

// tlsConn is a connection as Hertz wants it: Hertz (v0.10.5) takes a deadline for
// the timeout of each read or write, which netpoll's is, and knows the socket.
type tlsConn struct {
	*tls.Conn
	tcp                       *net.TCPConn
	readTimeout, writeTimeout time.Duration // 0: none

	broken  bool // a write failed: there can be no farewell, for which Close would wait 5 s
	closing sync.Once
	closed  func() // may be nil
	err     error
}

// SetReadDeadline bounds each read to come.
func (c *tlsConn) SetReadDeadline(at time.Time) error {
	c.readTimeout = timeout(at)
	return nil
}

// SetWriteDeadline bounds each write to come.
func (c *tlsConn) SetWriteDeadline(at time.Time) error {
	c.writeTimeout = timeout(at)
	return nil
}

func timeout(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(time.Until(at), time.Nanosecond)
}

func deadline(timeout time.Duration) time.Time {
	if timeout == 0 {
		return time.Time{}
	}
	return time.Now().Add(timeout)
}

// Read implements net.Conn.
func (c *tlsConn) Read(into []byte) (int, error) {
	if err := c.Conn.SetReadDeadline(deadline(c.readTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(into)
	if plain, is := errors.AsType[tls.RecordHeaderError](err); is && plain.Conn != nil && looksLikeHTTP(plain.RecordHeader) {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\r\nThis port speaks https.\n") // it is closed anyway
	}
	return n, err
}

func looksLikeHTTP(beginning [5]byte) bool {
	for _, method := range []string{"GET /", "HEAD ", "POST ", "PUT /", "PATCH", "DELET", "OPTIO"} {
		if strings.EqualFold(string(beginning[:]), method) {
			return true
		}
	}
	return false
}

// Write implements net.Conn.
func (c *tlsConn) Write(text []byte) (int, error) {
	if err := c.Conn.SetWriteDeadline(deadline(c.writeTimeout)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(text)
	c.broken = c.broken || err != nil
	return n, err
}

// Close implements net.Conn.
func (c *tlsConn) Close() error {
	c.closing.Do(func() {
		if c.broken {
			c.err = c.tcp.Close()
		} else {
			c.err = c.Conn.Close()
		}
		if c.closed != nil {
			c.closed()
		}
	})
	return c.err
}

// SyscallConn lets Hertz notice that the other side has gone.
func (c *tlsConn) SyscallConn() (syscall.RawConn, error) { return c.tcp.SyscallConn() }

func (c *tlsConn) onClose(closed func()) { c.closed = closed }

// hangUp lets the read that waits for a request fail; then Hertz closes the
// connection. Closed by anybody else, it would not be told of in time.
func (c *tlsConn) hangUp() { _ = c.Conn.SetReadDeadline(time.Unix(0, 1)) } // it is closed if it cannot

func (c *tlsConn) setUnsent(bytes int) error { return c.tcp.SetWriteBuffer(bytes) }

// unread is 0: what is not asked for waits with the sender.
func (c *tlsConn) unread() int { return 0 }

func (c *tlsConn) arrived() (has bool) {
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { has = queued(int(fd)) })
	}
	return err == nil && has
}

// acceptedKey is of the tlsConn of a connection, in its context.
type acceptedKey struct{}

// OnAccept makes a connection of ListenTLS known to OnConnect.
func (*Connections) OnAccept(conn net.Conn) context.Context {
	return context.WithValue(context.Background(), acceptedKey{}, conn) // lives as long as the connection
}
