// Package lifecycle starts the parts of a service in order, tells whether it
// is ready, and stops the parts in reverse, each within a bound.
package lifecycle

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync/atomic"
	"time"
)

// Part is one thing that a service is made of: a store, a server, a registration.
type Part struct {
	// Name stands in the log and in the answer of /readyz.
	Name string
	// Serve works until Stop is called; if it returns earlier, the whole
	// service stops. nil: there is nothing to run.
	Serve func() error
	// Stop ends Serve and lets go of what the part holds, also when Serve was
	// never called. It may wait for work in flight until ctx ends. nil: nothing to do.
	Stop func(ctx context.Context) error
	// Ready says what is missing, or nil. nil: always ready.
	Ready func(ctx context.Context) error
}

// Config holds what every service needs beside its own work.
type Config struct {
	// Admin is the address of /livez, /readyz and /metrics.
	Admin string
	// Debug is the address of /debug/, which lists what is there. It must be a loopback address.
	Debug string
	// StopTimeout bounds how long the service may take to stop, from the signal to the exit.
	StopTimeout time.Duration
}

// Flags declares -admin, -debug and -stop-timeout.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Admin, "admin", c.Admin, "`address` of /livez, /readyz and /metrics")
	fs.StringVar(&c.Debug, "debug", c.Debug, "loopback `address` of /debug/")
	fs.DurationVar(&c.StopTimeout, "stop-timeout", c.StopTimeout, "longest `time` that stopping may take")
}

// stopGrace is what a part has to stop when nothing is left of the service's time.
const stopGrace = 100 * time.Millisecond

var errEnded = errors.New("it gave no error")

// Service is a list of parts with an admin and a debug port.
//
//	New ─► Add … ─► Run ── ctx ends, or a part fails ──► parts stop, last first ─► Run returns
//	  └─────► Close: everything is let go of without having run
type Service struct {
	log        *slog.Logger
	timeout    time.Duration
	parts      []Part
	stopping   atomic.Bool
	admin      net.Listener
	debug      net.Listener
	debugMux   *http.ServeMux
	debugPages []debugPage
}

// New opens the admin and the debug port. metrics answers /metrics.
func New(log *slog.Logger, cfg Config, metrics http.Handler) (*Service, error) {
	s := &Service{log: log, timeout: cfg.StopTimeout}
	if err := s.openPorts(cfg, metrics); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Add puts a part behind those added before.
func (s *Service) Add(part Part) {
	s.parts = append(s.parts, part)
}

// AdminAddr is where /livez, /readyz and /metrics answer.
func (s *Service) AdminAddr() net.Addr { return s.admin.Addr() }

// DebugAddr is where /debug/ answers.
func (s *Service) DebugAddr() net.Addr { return s.debug.Addr() }

// Ready lists what is missing, by the name of the part, and is empty when nothing is.
func (s *Service) Ready(ctx context.Context) map[string]string {
	missing := map[string]string{}
	if s.stopping.Load() {
		missing["service"] = "it is stopping"
	}
	for _, part := range s.parts {
		if part.Ready == nil {
			continue
		}
		if err := part.Ready(ctx); err != nil {
			missing[part.Name] = err.Error()
		}
	}
	return missing
}

// Run starts the parts and works until ctx ends or a part fails. It returns
// nil after an orderly stop.
func (s *Service) Run(ctx context.Context) error {
	adoptFrameworks(ctx, s.log)
	ended := make([]chan error, len(s.parts))
	failed := make(chan error, len(s.parts))
	for i, part := range s.parts {
		ended[i] = make(chan error, 1)
		go func() {
			var err error
			if part.Serve != nil {
				err = part.Serve()
				if !s.stopping.Load() {
					failed <- fmt.Errorf("%s ended before it was stopped: %w", part.Name, cmp.Or(err, errEnded))
					err = nil
				}
			}
			ended[i] <- err
		}()
	}

	var err error
	select {
	case <-ctx.Done():
	case err = <-failed:
		s.log.ErrorContext(ctx, "a part failed", "error", err)
	}

	stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.timeout)
	defer cancel()
	return errors.Join(err, s.stop(stopCtx, ended))
}

// Close lets go of everything, for a service that was built and not run.
func (s *Service) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	return s.stop(ctx, nil)
}

// stop ends the parts, the last one first, and waits for each one's Serve in ended.
func (s *Service) stop(ctx context.Context, ended []chan error) error {
	s.stopping.Store(true)
	var problems []error
	for i, part := range slices.Backward(s.parts) {
		done := make(chan error, 1)
		go func() {
			var err error
			if part.Stop != nil {
				err = part.Stop(ctx)
			}
			if ended != nil {
				err = errors.Join(err, <-ended[i])
			}
			done <- err
		}()
		if err := s.await(ctx, done); err != nil {
			problems = append(problems, fmt.Errorf("stopping %s: %w", part.Name, err))
		}
		s.log.DebugContext(ctx, "stopped", "part", part.Name)
	}
	return errors.Join(problems...)
}

// await waits for a part to stop until ctx ends, and a moment more: the part
// before it may have used up the time.
func (s *Service) await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	select {
	case err := <-done:
		return err
	case <-time.After(stopGrace):
		return fmt.Errorf("it still runs after %s", s.timeout)
	}
}
