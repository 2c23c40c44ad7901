package discovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
)

// list is the last good list of the instances of one service.
type list struct {
	registry *Registry
	name     string
	wake     signal
	outcome  chan struct{} // closed with the first answer or the first failure

	mu         sync.Mutex
	instances  []Instance
	emptySince time.Time // since when the registry answers an empty list that is not believed
	last       contact
}

// list starts to watch name when it is asked for the first time.
func (r *Registry) list(name string) *list {
	r.mu.Lock()
	defer r.mu.Unlock()
	l := r.lists[name]
	if l == nil {
		l = &list{registry: r, name: name, wake: make(signal, 1), outcome: make(chan struct{})}
		r.lists[name] = l
		if _, own := r.driver.(interface{ resolver() kitex.Resolver }); !own && r.ctx.Err() == nil {
			r.work.Go(func() { l.run(r.ctx) })
		}
	}
	return l
}

// run follows the list through sessions that come and go.
func (l *list) run(ctx context.Context) {
	retry := newRetry()
	for {
		session, err := l.registry.watching.get(ctx)
		if err == nil {
			err = l.follow(ctx, session, retry.Reset)
		}
		l.registry.watching.drop(session)
		if ctx.Err() != nil {
			return
		}
		l.note(err)
		if !sleep(ctx, retry.NextBackOff()) {
			return
		}
	}
}

// follow reads the list whenever it may have changed, until the session fails.
func (l *list) follow(ctx context.Context, s *authenticated, answered func()) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.lost():
			return errSessionLost
		case <-s.ended:
			return errSessionLost
		case <-l.wake:
		case <-timer.C:
			if l.registry.outdated(s) {
				return errOutdated
			}
		}
		asking, cancel := context.WithTimeoutCause(ctx, operationTimeout, errSlow)
		instances, err := s.list(asking, l.name, l.wake.send)
		cancel()
		if err != nil {
			return err
		}
		l.update(instances, time.Now())
		answered()
		timer.Reset(l.registry.timing.refresh)
	}
}

// update takes an answer of the registry. An empty one, after one that was not,
// is more often a registry that lost its data than a service that lost all its
// instances: for the grace period the old one stays.
func (l *list) update(instances []Instance, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.tried()
	l.last = contact{at: now}
	if grace := l.registry.timing.emptyGrace; len(instances) == 0 && len(l.instances) > 0 && grace > 0 {
		if l.emptySince.IsZero() {
			l.emptySince = now
			l.registry.log.Warn("the registry has no instance any more; the last ones are kept for now",
				"service", l.name, "instances", len(l.instances), "for", grace.String())
		}
		if now.Sub(l.emptySince) < grace {
			return
		}
	}
	l.instances, l.emptySince = instances, time.Time{}
}

// tried lets those go on who wait for the outcome of the first attempt.
func (l *list) tried() {
	select {
	case <-l.outcome:
	default:
		close(l.outcome)
	}
}

func (l *list) note(err error) {
	l.mu.Lock()
	fresh := l.last.note(err)
	l.tried()
	l.mu.Unlock()
	if fresh {
		l.registry.log.Warn("watching: the last list is kept, and it will be tried again", "service", l.name, "error", err)
	}
}

// get gives the last list. It waits for the first attempt to read one.
func (l *list) get(ctx context.Context) ([]Instance, error) {
	select {
	case <-l.outcome:
	case <-ctx.Done():
	case <-l.registry.ctx.Done():
	case <-time.After(operationTimeout):
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.instances) > 0 {
		return l.instances, nil
	}
	if l.last.at.IsZero() {
		problem := l.last.problem
		if problem == nil {
			problem = errNoAnswer
		}
		return nil, fmt.Errorf("%s has not told yet where %q is: %w", l.registry.url, l.name, problem)
	}
	return nil, fmt.Errorf("no instance of %q is registered", l.name)
}

// ListReport is what is known of one service.
type ListReport struct {
	Name      string     `json:"name"`
	Instances []Instance `json:"instances"`
	// LastContact is when the registry last told; zero: never.
	LastContact time.Time `json:"last_contact,omitzero"`
	// EmptySince is since when the registry tells of no instance, which is not believed yet.
	EmptySince time.Time `json:"empty_since,omitzero"`
	Problem    string    `json:"problem,omitempty"`
}

func (l *list) report() ListReport {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ListReport{
		Name: l.name, Instances: slices.Clone(l.instances),
		LastContact: l.last.at, EmptySince: l.emptySince, Problem: text(l.last.problem),
	}
}

// resolver is the registry as Kitex sees it.
type resolver struct{ registry *Registry }

// Target implements kitex.Resolver.
func (resolver) Target(_ context.Context, target rpcinfo.EndpointInfo) string {
	return target.ServiceName()
}

// Resolve implements kitex.Resolver.
func (r resolver) Resolve(ctx context.Context, name string) (kitex.Result, error) {
	instances, err := r.registry.list(name).get(ctx)
	if err != nil {
		return kitex.Result{}, err
	}
	result := kitex.Result{Cacheable: true, CacheKey: name}
	for _, instance := range instances {
		result.Instances = append(result.Instances, kitex.NewInstance("tcp", instance.Address, instance.Weight, instance.Tags))
	}
	return result, nil
}

// Diff implements kitex.Resolver.
func (resolver) Diff(key string, before, after kitex.Result) (kitex.Change, bool) {
	return kitex.DefaultDiff(key, before, after)
}

// Name implements kitex.Resolver.
func (r resolver) Name() string { return r.registry.url }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
