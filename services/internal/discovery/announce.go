package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Announcement keeps an address registered until it is withdrawn.
type Announcement struct {
	registry *Registry
	listener net.Addr
	names    []string
	wake     signal
	cancel   context.CancelFunc
	done     chan struct{}

	mu       sync.Mutex
	address  string
	ever     bool // it has been registered
	standing bool // it is registered, as far as is known
	last     contact
}

var errNoAnswer = errors.New("no answer yet")

// Announce makes what listens at listener findable under names, now and again
// whenever it gets lost, until Withdraw. It does not wait for the registry.
func (r *Registry) Announce(listener net.Addr, names ...string) *Announcement {
	ctx, cancel := context.WithCancel(r.ctx)
	a := &Announcement{
		registry: r, listener: listener, names: names,
		wake: make(signal, 1), cancel: cancel, done: make(chan struct{}),
		last: contact{problem: errNoAnswer},
	}
	r.mu.Lock()
	r.announcements = append(r.announcements, a)
	r.mu.Unlock()
	r.work.Go(func() { a.run(ctx) })
	return a
}

// Registered says why the address has never been registered yet, or nil once
// it was. It stays nil when the registry goes away later: whoever knows the
// address can go on calling it.
func (a *Announcement) Registered() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ever {
		return nil
	}
	return fmt.Errorf("it is not registered at %s yet: %w", a.registry.url, a.last.problem)
}

// Withdraw unregisters, waits until callers can know, and returns earlier when
// ctx ends. A registry that does not answer is given up after 2 s; its entry
// then goes with the session.
func (a *Announcement) Withdraw(ctx context.Context) {
	a.cancel()
	select {
	case <-a.done:
	case <-ctx.Done():
		return
	}
	if a.Registered() == nil {
		sleep(ctx, a.registry.timing.leaveWait)
	}
}

// run registers with a new session whenever the one before is lost or outdated.
// The new one takes over before the old one is closed, so that the address
// never disappears in between.
func (a *Announcement) run(ctx context.Context) {
	defer close(a.done)
	var held *authenticated
	retry := newRetry()
	for {
		next, err := a.registry.connect(ctx)
		if err == nil {
			if err = a.ensure(ctx, next); err != nil {
				a.registry.end(next)
			} else {
				a.registry.end(held)
				held = next
				retry.Reset()
				err = a.hold(ctx, held)
			}
		}
		if ctx.Err() != nil {
			break
		}
		a.note(err)
		if !sleep(ctx, retry.NextBackOff()) {
			break
		}
	}
	a.registry.end(held)
	a.mu.Lock()
	a.standing = false
	a.mu.Unlock()
}

// hold looks after the registration until the session must be replaced, and says why.
func (a *Announcement) hold(ctx context.Context, s *authenticated) error {
	retry := newRetry() // also between repairs: another process may want the same address
	timer := time.NewTimer(a.registry.timing.refresh)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.lost():
			return errSessionLost
		case <-a.wake:
			a.registry.log.WarnContext(ctx, "the registration was changed by another; it is checked", "names", a.names)
			if !sleep(ctx, retry.NextBackOff()) {
				return nil
			}
		case <-timer.C:
			retry.Reset()
		}
		if a.registry.outdated(s) || a.moved(ctx) {
			return errOutdated
		}
		if err := a.ensure(ctx, s); err != nil && ctx.Err() == nil {
			a.note(err)
			timer.Reset(min(retry.NextBackOff(), a.registry.timing.refresh))
			continue
		}
		timer.Reset(a.registry.timing.refresh)
	}
}

// ensure makes the registry hold the address under every name.
func (a *Announcement) ensure(ctx context.Context, s *authenticated) error {
	ctx, cancel := context.WithTimeoutCause(ctx, operationTimeout, errSlow)
	defer cancel()
	address, err := advertised(ctx, a.registry.config.Advertise, a.listener, a.registry.driver.endpoint())
	if err != nil {
		return err
	}
	for _, name := range a.names {
		if err := s.register(ctx, name, a.registry.config.instance(address), a.wake.send); err != nil {
			return err
		}
	}
	a.mu.Lock()
	fresh := !a.standing || a.address != address
	a.address, a.ever, a.standing, a.last = address, true, true, contact{at: time.Now()}
	a.mu.Unlock()
	if fresh {
		a.registry.log.InfoContext(ctx, "registered", "names", a.names, "address", address)
	}
	return nil
}

// moved tells whether the machine's address has changed since it was registered.
func (a *Announcement) moved(ctx context.Context) bool {
	address, err := advertised(ctx, a.registry.config.Advertise, a.listener, a.registry.driver.endpoint())
	a.mu.Lock()
	defer a.mu.Unlock()
	return err == nil && address != a.address
}

func (a *Announcement) note(err error) {
	a.mu.Lock()
	fresh := a.last.note(err)
	a.standing = a.standing && !errors.Is(err, errSessionLost)
	a.mu.Unlock()
	if fresh {
		a.registry.log.Warn("registration: it will be tried again", "names", a.names, "error", err)
	}
}

// RegistrationReport is the state of one announcement.
type RegistrationReport struct {
	Name       string `json:"name"`
	Address    string `json:"address"`
	Registered bool   `json:"registered"`
	// LastContact is when the registry last confirmed it; zero: never.
	LastContact time.Time `json:"last_contact,omitzero"`
	Problem     string    `json:"problem,omitempty"`
}

func (a *Announcement) report() RegistrationReport {
	a.mu.Lock()
	defer a.mu.Unlock()
	return RegistrationReport{
		Name: strings.Join(a.names, " "), Address: a.address, Registered: a.standing,
		LastContact: a.last.at, Problem: text(a.last.problem),
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
