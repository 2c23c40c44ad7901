package http

import (
	"context"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestAConnectionInUseIsNotClosedBetweenTwoRequests: who has just been answered may be asking again.
func TestAConnectionInUseIsNotClosedBetweenTwoRequests(t *testing.T) {
	t.Parallel()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	server, client := ends[0], ends[1]
	t.Cleanup(func() { syscall.Close(server) })
	t.Cleanup(func() { syscall.Close(client) })
	ask := func() {
		if _, err := syscall.Write(client, []byte("GET / HTTP/1.1\r\n")); err != nil {
			t.Error(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		connections, c := NewConnections(time.Second), &connection{since: time.Now(), socket: kernelSocket{fd: server}}
		connections.known[c] = struct{}{}
		ctx := context.WithValue(t.Context(), connectionKey{}, c)
		for _, step := range []struct {
			what   string
			do     func()
			closed int
		}{
			{"just opened", func() {}, 0},
			{"a request is handled", func() { connections.mark(ctx, true) }, 0},
			{"it is handled for long", func() { time.Sleep(time.Minute) }, 0},
			{"it is answered", func() { connections.mark(ctx, false) }, 0},
			{"999 ms later", func() { time.Sleep(999 * time.Millisecond) }, 0},
			{"1001 ms later", func() { time.Sleep(2 * time.Millisecond) }, 1},
			{"another has come, and nobody has looked yet", ask, 0},
		} {
			step.do()
			if got := len(connections.idle()); got != step.closed {
				t.Errorf("%s: %d connections would be closed, want %d", step.what, got, step.closed)
			}
		}
	})
}

// kernelSocket knows of a socket what the kernel does.
type kernelSocket struct {
	socket
	fd int
}

func (k kernelSocket) arrived() bool { return queued(k.fd) }
