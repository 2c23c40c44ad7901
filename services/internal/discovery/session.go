package discovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// driver knows one kind of registry. It tries once; trying again is the
// registry's work.
type driver interface {
	// connect logs in and opens a session. It returns when ctx ends.
	connect(ctx context.Context, password string) (session, error)
	// endpoint is the address of a server, or "" when there is none.
	endpoint() string
}

// session is a connection to a registry. Its methods return when ctx ends, may
// be called at the same time, and call changed at most once, when what they have
// answered may be true no longer. They may also never call it: the registry
// looks again now and then.
type session interface {
	// register makes instance, and nothing else, stand at its address under
	// name. Nothing is done if it stands there by this session's doing.
	register(ctx context.Context, name string, instance Instance, changed func()) error
	// list gives the instances registered as name, without what is malformed.
	list(ctx context.Context, name string, changed func()) ([]Instance, error)
	// names lists the services that are registered.
	names(ctx context.Context) ([]string, error)
	// lost is closed when the session, and what it has registered, is gone for good.
	lost() <-chan struct{}
	// close takes back what the session has registered.
	close(ctx context.Context)
}

const (
	// connectTimeout bounds one attempt to open a session.
	connectTimeout = 10 * time.Second
	// operationTimeout bounds one question to a registry.
	operationTimeout = 3 * time.Second
	// closeTimeout bounds unregistering: a registry that hangs must not keep a service from stopping.
	closeTimeout = 2 * time.Second

	firstRetry = 100 * time.Millisecond
	lastRetry  = 5 * time.Second
)

var (
	errSessionLost = errors.New("the session was lost")
	errOutdated    = errors.New("the password or the address has changed")
	errSlow        = fmt.Errorf("no answer within %s", operationTimeout)
)

// newRetry makes growing, scattered delays.
func newRetry() *backoff.ExponentialBackOff {
	retry := backoff.NewExponentialBackOff()
	retry.InitialInterval, retry.MaxInterval = firstRetry, lastRetry
	retry.Reset()
	return retry
}

// sleep returns whether ctx still lives after d.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// neverLost is for sessions that hold no connection.
type neverLost struct{}

func (neverLost) lost() <-chan struct{} { return nil }
func (neverLost) close(context.Context) {}
