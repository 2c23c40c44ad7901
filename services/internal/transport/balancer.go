package transport

import (
	"context"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cloudwego/kitex/client"
	kitex "github.com/cloudwego/kitex/pkg/discovery"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/loadbalance"
	"github.com/cloudwego/kitex/pkg/loadbalance/lbcache"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
)

const (
	// refreshInterval is how often a client asks the registry's memory for the list.
	refreshInterval = time.Second
	// avoidFor is how long an instance that could not be connected to is passed over.
	avoidFor = time.Second
	// maxOpening is how many streams a client opens at the same time.
	maxOpening = 16
)

// balancer is Kitex's weighted one among the instances that accept connections.
// Kitex itself, on its second try, may pick the dead one again.
type balancer struct {
	loadbalance.Loadbalancer
	loadbalance.Rebalancer
	refused refusals
	opening chan struct{} // has a place for each stream that is being opened
}

func newBalancer() *balancer {
	inner := loadbalance.NewWeightedBalancer()
	b := &balancer{Loadbalancer: inner, opening: make(chan struct{}, maxOpening)}
	b.Rebalancer, _ = inner.(loadbalance.Rebalancer)
	return b
}

// String is what Kitex writes in its list of options.
func (*balancer) String() string { return "transport.balancer" }

// options make a client use the balancer, and the balancer learn from the client.
func (b *balancer) options() []client.Option {
	return []client.Option{
		client.WithLoadBalancer(b, &lbcache.Options{RefreshInterval: refreshInterval}),
		client.WithInstanceMW(b.observe),
		client.WithInstanceMW(b.openInTurn),
	}
}

// GetPicker implements loadbalance.Loadbalancer.
func (b *balancer) GetPicker(all kitex.Result) loadbalance.Picker {
	if !b.refused.any() {
		return b.Loadbalancer.GetPicker(all)
	}
	accepting := kitex.Result{CacheKey: all.CacheKey} // made for this call, not cached
	for _, instance := range all.Instances {
		if !b.refused.has(instance.Address().String()) {
			accepting.Instances = append(accepting.Instances, instance)
		}
	}
	if len(accepting.Instances) == 0 || len(accepting.Instances) == len(all.Instances) {
		return b.Loadbalancer.GetPicker(all)
	}
	return b.Loadbalancer.GetPicker(accepting)
}

// observe sees each attempt at one instance.
func (b *balancer) observe(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		err := next(ctx, req, resp)
		if errors.Is(err, kerrors.ErrGetConnection) && ctx.Err() == nil {
			if address := rpcinfo.GetRPCInfo(ctx).To().Address(); address != nil {
				b.refused.add(address.String())
			}
		}
		return err
	}
}

// openInTurn keeps a crowd of streams from being opened at once: all that come
// while Kitex (v0.16.3) connects are put on that one connection, whatever the size
// of the pool, and those that are too many for it wait until others end.
func (b *balancer) openInTurn(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		if _, streams := resp.(*streaming.Result); !streams {
			return next(ctx, req, resp)
		}
		select {
		case b.opening <- struct{}{}:
		default:
			if err := b.awaitTurn(ctx); err != nil {
				return kerrors.ErrGetConnection.WithCause(err)
			}
		}
		defer func() { <-b.opening }()
		return next(ctx, req, resp)
	}
}

// awaitTurn fails when the instance, meanwhile, is known not to accept connections.
func (b *balancer) awaitTurn(ctx context.Context) error {
	select {
	case b.opening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if address := rpcinfo.GetRPCInfo(ctx).To().Address(); address != nil && b.refused.has(address.String()) {
		<-b.opening
		return errRefused
	}
	return nil
}

var errRefused = errors.New("the instance does not accept connections")

// refusals remembers addresses for a while.
type refusals struct {
	until atomic.Int64 // when the last one is forgotten, in Unix nanoseconds
	mu    sync.Mutex
	times map[string]time.Time
}

func (r *refusals) any() bool { return time.Now().UnixNano() < r.until.Load() }

func (r *refusals) add(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	for known, until := range r.times {
		if now.After(until) {
			delete(r.times, known)
		}
	}
	if r.times == nil {
		r.times = map[string]time.Time{}
	}
	r.times[address] = now.Add(avoidFor)
	r.until.Store(now.Add(avoidFor).UnixNano())
}

func (r *refusals) has(address string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Before(r.times[address])
}

// now gives the addresses that are passed over, and until when.
func (r *refusals) now() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := map[string]time.Time{}
	maps.Copy(all, r.times)
	maps.DeleteFunc(all, func(_ string, until time.Time) bool { return time.Now().After(until) })
	return all
}
