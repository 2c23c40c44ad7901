package lifecycle_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

func TestOnlyThePartThatHangsIsAccused(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.StopTimeout = 50 * time.Millisecond
	s := newService(t, cfg)
	for i := range 20 {
		s.Add(lifecycle.Part{Name: fmt.Sprint("innocent ", i)}) // nothing to run, nothing to stop
	}
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	s.Add(lifecycle.Part{Name: "stuck", Serve: func() error {
		<-released
		return nil
	}})
	err := start(t, s)()
	if err == nil || strings.Contains(err.Error(), "innocent") {
		t.Errorf("Run = %v, want stuck alone", err)
	}
}

func TestStoppingEndsWithItsBoundWhenAStopIgnoresItsContext(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.StopTimeout = 50 * time.Millisecond
	released := make(chan struct{})
	s := newService(t, cfg, lifecycle.Part{Name: "stuck", Stop: func(context.Context) error {
		<-released
		return nil
	}})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("Run has not returned 5 s after a bound of 50 ms")
	}
	close(released)
}
