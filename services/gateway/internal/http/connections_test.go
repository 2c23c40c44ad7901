package http

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

// TestAConnectionInUseIsNotClosedBetweenTwoRequests: who has just been answered may be asking again.
func TestAConnectionInUseIsNotClosedBetweenTwoRequests(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		connections, c := NewConnections(), &connection{since: time.Now()}
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
		} {
			step.do()
			if got := len(connections.idle()); got != step.closed {
				t.Errorf("%s: %d connections would be closed, want %d", step.what, got, step.closed)
			}
		}
	})
}
