package discovery

import (
	"context"
	"log/slog"
	"sync"
	"time"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
)

// Registry knows which addresses serve a name. Open and NewMemory make it.
type Registry struct {
	url      string
	driver   driver
	password func() (string, error)
	config   Config
	timing   timing
	log      *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	watching shared

	mu            sync.Mutex
	announcements []*Announcement
	lists         map[string]*list
}

func newRegistry(url string, driver driver, password func() (string, error), cfg Config, timing timing, log *slog.Logger) *Registry {
	r := &Registry{
		url: url, driver: driver, password: password, config: cfg, timing: timing,
		log: log.With("registry", url), lists: map[string]*list{},
	}
	r.ctx, r.cancel = context.WithCancel(context.Background()) // lives as long as the process, not as a request
	r.watching.registry = r
	return r
}

// Resolver finds the addresses for Kitex's clients.
func (r *Registry) Resolver() kitex.Resolver {
	if own, ok := r.driver.(interface{ resolver() kitex.Resolver }); ok {
		return own.resolver()
	}
	return resolver{r}
}

// Watch begins to follow names before the first call needs them.
func (r *Registry) Watch(names ...string) {
	for _, name := range names {
		r.list(name)
	}
}

// Close stops watching and withdraws what is still announced.
func (r *Registry) Close() {
	r.cancel()
	r.work.Wait()
}

// Report is what a process knows of its registry.
type Report struct {
	Registry      string               `json:"registry"`
	Registrations []RegistrationReport `json:"registrations"`
	Lists         []ListReport         `json:"lists"`
}

// Report tells what is registered and what is known now.
func (r *Registry) Report() Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := Report{Registry: r.url, Registrations: []RegistrationReport{}, Lists: []ListReport{}}
	for _, announcement := range r.announcements {
		report.Registrations = append(report.Registrations, announcement.report())
	}
	for _, name := range sortedKeys(r.lists) {
		report.Lists = append(report.Lists, r.lists[name].report())
	}
	return report
}

// connect opens a session with the password of now.
func (r *Registry) connect(ctx context.Context) (*authenticated, error) {
	password, err := r.password()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	session, err := r.driver.connect(ctx, password)
	if err != nil {
		return nil, err
	}
	return &authenticated{session, password, make(chan struct{})}, nil
}

// authenticated is a session and the password that it was opened with.
type authenticated struct {
	session
	password string
	ended    chan struct{} // closed with the session
}

// outdated tells whether the session was opened with another password than today's.
func (r *Registry) outdated(s *authenticated) bool {
	password, err := r.password()
	return err == nil && password != s.password
}

// end closes a session within a bound.
func (r *Registry) end(s *authenticated) {
	if s == nil {
		return
	}
	close(s.ended)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), closeTimeout)
	defer cancel()
	s.close(ctx)
}

// shared is the session of all that watch. It opens with the first.
type shared struct {
	registry *Registry
	turn     sync.Mutex // held while connecting; the others wait for the result
	session  *authenticated
}

func (s *shared) get(ctx context.Context) (*authenticated, error) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if s.session != nil {
		return s.session, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	session, err := s.registry.connect(ctx)
	s.session = session
	return session, err
}

// drop closes a session that failed, once.
func (s *shared) drop(failed *authenticated) {
	s.turn.Lock()
	defer s.turn.Unlock()
	if failed != nil && s.session == failed {
		s.session = nil
		s.registry.end(failed)
	}
}

// contact is the time of the last answer, and what has gone wrong since.
type contact struct {
	at      time.Time
	problem error
}

// note keeps a problem and tells whether it is another than before, which is
// when it is worth a line in the log.
func (c *contact) note(problem error) (fresh bool) {
	fresh = c.problem == nil || c.problem.Error() != problem.Error()
	c.problem = problem
	return fresh
}

// signal wakes whoever waits on it, once however often it is sent.
type signal chan struct{}

func (s signal) send() {
	select {
	case s <- struct{}{}:
	default: // one is on its way already
	}
}
