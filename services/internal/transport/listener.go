package transport

import (
	"errors"
	"net"
	"sync"
	"syscall"

	"github.com/cloudwego/netpoll"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

// Listen opens a TCP port for Kitex or Hertz. The error names what the port is for.
func Listen(purpose, address string) (net.Listener, error) {
	tcp, err := lifecycle.Listen(purpose, address)
	if err != nil {
		return nil, err
	}
	converted, err := netpoll.ConvertListener(tcp)
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	return &listener{Listener: converted, tcp: tcp, served: make(chan struct{})}, nil
}

// listener is netpoll's listener with another Close. Netpoll's own (v0.7.3)
// closes the number of its descriptor at every call, of which Kitex makes two,
// and each time once more through the file that owns it. In between, the number
// may have become that of a database file, which then is closed under SQLite.
// Here the file is left to the garbage collector, which closes it once.
type listener struct {
	netpoll.Listener
	tcp    net.Listener
	once   sync.Once
	err    error
	taken  sync.Once
	served chan struct{} // closed when netpoll begins to accept
}

// Fd is what netpoll asks for when it begins to accept.
func (l *listener) Fd() int {
	l.taken.Do(func() { close(l.served) })
	return l.Listener.Fd()
}

// Close stops listening. It may be called more than once.
func (l *listener) Close() error {
	l.once.Do(func() {
		l.err = errors.Join(l.tcp.Close(), syscall.Shutdown(l.Listener.Fd(), syscall.SHUT_RDWR))
	})
	return l.err
}
