package lifecycle_test

import (
	"context"
	"errors"
	"flag"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

var errBroken = errors.New("the disk is full")

func config() lifecycle.Config {
	return lifecycle.Config{Admin: "127.0.0.1:0", Debug: "127.0.0.1:0", StopTimeout: 10 * time.Second}
}

func newService(t *testing.T, cfg lifecycle.Config, parts ...lifecycle.Part) *lifecycle.Service {
	t.Helper()
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "items 7\n") })
	s, err := lifecycle.New(slog.New(slog.DiscardHandler), cfg, metrics)
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range parts {
		s.Add(part)
	}
	return s
}

// start runs s until stop is called, which gives Run's error.
func start(t *testing.T, s *lifecycle.Service) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// journal records what happens in which order.
type journal struct {
	mu     sync.Mutex
	events []string
}

func (j *journal) add(event string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.events = append(j.events, event)
}

func (j *journal) want(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.events, want) {
		t.Errorf("events = %v, want %v", j.events, want)
	}
}

// part serves until it is stopped, and records both.
func (j *journal) part(name string) lifecycle.Part {
	stopped := make(chan struct{})
	return lifecycle.Part{
		Name: name,
		Serve: func() error {
			<-stopped
			j.add(name + " ended")
			return nil
		},
		Stop: func(context.Context) error {
			j.add("stop " + name)
			close(stopped)
			return nil
		},
	}
}

func TestPartsStopInReverseAndEachWaitsForTheOneBehindIt(t *testing.T) {
	t.Parallel()
	var j journal
	store := lifecycle.Part{Name: "store", Stop: func(context.Context) error {
		j.add("stop store")
		return nil
	}}
	stop := start(t, newService(t, config(), store, j.part("server"), j.part("registration")))
	if err := stop(); err != nil {
		t.Errorf("Run: %v", err)
	}
	j.want(t, "stop registration", "registration ended", "stop server", "server ended", "stop store")
}

func TestRunWithAContextThatHasEndedStopsInOrder(t *testing.T) {
	t.Parallel()
	var j journal
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := newService(t, config(), j.part("store"), j.part("server")).Run(ctx); err != nil {
		t.Errorf("Run: %v", err)
	}
	j.want(t, "stop server", "server ended", "stop store", "store ended")
}

func TestAPartThatEndsEarlyStopsTheServiceAndIsNamed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"with an error", errBroken, "server ended before it was stopped: the disk is full"},
		{"without one", nil, "server ended before it was stopped: it gave no error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var j journal
			server := lifecycle.Part{Name: "server", Serve: func() error { return c.err }, Stop: func(context.Context) error {
				j.add("stop server")
				return nil
			}}
			err := newService(t, config(), j.part("store"), server, j.part("registration")).Run(t.Context())
			if err == nil || err.Error() != c.want || c.err != nil && !errors.Is(err, c.err) {
				t.Errorf("Run = %v, want %s", err, c.want)
			}
			j.want(t, "stop registration", "registration ended", "stop server", "stop store", "store ended")
		})
	}
}

func TestAPartThatCannotStopIsNamedAndTheOthersStopAllTheSame(t *testing.T) {
	t.Parallel()
	var j journal
	broken := func(name string) lifecycle.Part {
		return lifecycle.Part{Name: name, Stop: func(context.Context) error { return errBroken }}
	}
	stop := start(t, newService(t, config(), broken("cache"), j.part("store"), broken("queue")))
	err := stop()
	if want := "stopping queue: the disk is full\nstopping cache: the disk is full"; err == nil || err.Error() != want {
		t.Errorf("Run = %v, want %s", err, want)
	}
	j.want(t, "stop store", "store ended")
}

func TestStoppingEndsWithItsBoundWhenAPartHangs(t *testing.T) {
	t.Parallel()
	cfg := config()
	cfg.StopTimeout = 50 * time.Millisecond
	for _, c := range []struct{ name, want string }{
		{"in Serve", "stopping stuck: it still runs after 50ms"},
		{"in Stop, until its context ends", "stopping stuck: context deadline exceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			released := make(chan struct{})
			t.Cleanup(func() { close(released) })
			stuck := lifecycle.Part{Name: "stuck"}
			if c.name == "in Serve" {
				stuck.Serve = func() error {
					<-released
					return nil
				}
			} else {
				stuck.Stop = func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				}
			}
			var j journal
			err := start(t, newService(t, cfg, j.part("store"), stuck, j.part("server")))()
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("Run = %v, want %s", err, c.want)
			}
			j.mu.Lock()
			defer j.mu.Unlock()
			if !slices.Contains(j.events, "stop store") {
				t.Errorf("events = %v: the store behind it was not stopped", j.events)
			}
		})
	}
}

func TestCloseWithoutRunStopsEveryPartAndReleasesThePorts(t *testing.T) {
	t.Parallel()
	var j journal
	s := newService(t, config(), j.part("store"), lifecycle.Part{Name: "plain"}, j.part("server"))
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	j.want(t, "stop server", "stop store")
	for _, addr := range []net.Addr{s.AdminAddr(), s.DebugAddr()} {
		wantFree(t, addr)
	}
}

func TestRunReleasesThePorts(t *testing.T) {
	t.Parallel()
	s := newService(t, config())
	if err := start(t, s)(); err != nil {
		t.Errorf("Run: %v", err)
	}
	for _, addr := range []net.Addr{s.AdminAddr(), s.DebugAddr()} {
		wantFree(t, addr)
	}
}

func wantFree(t *testing.T, addr net.Addr) {
	t.Helper()
	ln, err := net.Listen("tcp", addr.String())
	if err != nil {
		t.Errorf("the port is not released: %v", err)
		return
	}
	_ = ln.Close()
}

func TestFlagsSetTheAddressesAndTheBound(t *testing.T) {
	t.Parallel()
	cfg := config()
	fs := flag.NewFlagSet("item", flag.ContinueOnError)
	cfg.Flags(fs)
	if err := fs.Parse([]string{"-admin", "127.0.0.1:1", "-debug", "127.0.0.1:2", "-stop-timeout", "3s"}); err != nil {
		t.Fatal(err)
	}
	if want := (lifecycle.Config{Admin: "127.0.0.1:1", Debug: "127.0.0.1:2", StopTimeout: 3 * time.Second}); cfg != want {
		t.Errorf("config = %+v, want %+v", cfg, want)
	}
}
