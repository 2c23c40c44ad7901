package transport

import (
	"context"
	"errors"
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
	// maxOpening is how many streams a client opens at the same time.
	maxOpening = 16
)

// balancer is Kitex's weighted one among the instances that are well: those that
// take connections, answer, and do so about as fast as the others. Kitex itself,
// on its second try, may pick the dead one again.
type balancer struct {
	loadbalance.Loadbalancer
	rebalancer loadbalance.Rebalancer
	instances  table[string, condition] // by address
	usual      table[methodName, usual] // by method
	out        atomic.Int64             // how many instances are passed over
	trouble    atomic.Int64             // until when calls are hedged, in Unix nanoseconds
	opening    chan struct{}            // has a place for each stream that is being opened
}

func newBalancer() *balancer {
	inner := loadbalance.NewWeightedBalancer()
	b := &balancer{Loadbalancer: inner, opening: make(chan struct{}, maxOpening)}
	b.rebalancer, _ = inner.(loadbalance.Rebalancer)
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

// Rebalance implements loadbalance.Rebalancer. Who comes back begins anew.
func (b *balancer) Rebalance(change kitex.Change) {
	for _, left := range change.Removed {
		if h := b.instances.drop(left.Address().String()); h != nil && h.until.Swap(0) != 0 {
			b.out.Add(-1)
		}
	}
	b.rebalancer.Rebalance(change)
}

// Delete implements loadbalance.Rebalancer.
func (b *balancer) Delete(change kitex.Change) { b.rebalancer.Delete(change) }

// GetPicker implements loadbalance.Loadbalancer.
func (b *balancer) GetPicker(all kitex.Result) loadbalance.Picker { return &picker{b, all} }

// picker picks for one attempt.
type picker struct {
	balancer *balancer
	all      kitex.Result
}

// Next implements loadbalance.Picker. A repetition goes to another instance than
// the attempt before, if there is one.
func (p *picker) Next(ctx context.Context, req any) kitex.Instance {
	inner := p.balancer.Loadbalancer
	before, repeated := rpcinfo.GetRPCInfo(ctx).To().Tag(rpcinfo.RetryPrevInstTag)
	if !repeated && p.balancer.out.Load() == 0 {
		return inner.GetPicker(p.all).Next(ctx, req)
	}
	var well, poor, refusing []kitex.Instance
	now := time.Now()
	for _, instance := range p.all.Instances {
		address := instance.Address().String()
		h := p.balancer.instances.all()[address]
		switch {
		case h != nil && !repeated && h.try(now):
			return instance
		case address == before:
		case h == nil || !h.passedOver():
			well = append(well, instance)
		case !h.refused.Load():
			poor = append(poor, instance)
		default:
			refusing = append(refusing, instance)
		}
	}
	for _, some := range [][]kitex.Instance{well, poor, refusing} {
		if len(some) > 0 {
			return inner.GetPicker(kitex.Result{CacheKey: p.all.CacheKey, Instances: some}).Next(ctx, req) // made for this call, not cached
		}
	}
	return inner.GetPicker(p.all).Next(ctx, req)
}

// instance is that of a call, or nil if none is picked.
func (b *balancer) instance(call rpcinfo.RPCInfo) *condition {
	address := call.To().Address()
	if address == nil {
		return nil
	}
	return b.instances.get(address.String(), func() *condition { return &condition{service: call.To().ServiceName(), out: &b.out} })
}

func (b *balancer) usualOf(call rpcinfo.RPCInfo) *usual {
	return b.usual.get(nameOf(call), func() *usual { return &usual{} })
}

// observe sees each attempt at one instance.
func (b *balancer) observe(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		start := time.Now()
		if of := callOf(ctx); of != nil && of.over(start) {
			return kerrors.ErrRPCTimeout // Kitex goes from one instance that takes no connection to the next
		}
		err := next(ctx, req, resp)
		call := rpcinfo.GetRPCInfo(ctx)
		h := b.instance(call)
		if h == nil {
			return err
		}
		now := time.Now()
		took := now.Sub(start)
		if errors.Is(err, kerrors.ErrGetConnection) {
			if ctx.Err() == nil || took >= connectTimeout {
				b.trouble.Store(now.Add(troubledFor).UnixNano())
				h.refuses(now)
			}
			return err
		}
		if _, streams := resp.(*streaming.Result); streams {
			if err == nil { // it is connected
				h.good(start)
			}
			return err
		}
		b.learn(h, b.usualOf(call), judge(ctx, call, err, took), start, now)
		return err
	}
}

// troubledFor is how long after a poor attempt the next ones are hedged.
const troubledFor = 10 * time.Second

// troubled tells whether an instance was slow, lost an answer or took no connection lately.
func (b *balancer) troubled(now time.Time) bool { return now.UnixNano() < b.trouble.Load() }

func (b *balancer) learn(h *condition, times *usual, how verdict, start, now time.Time) {
	took := now.Sub(start)
	slow := times.slow(took)
	if how == answered {
		times.add(took)
	}
	switch {
	case slow || how == overloaded || how == lost:
		b.trouble.Store(now.Add(troubledFor).UnixNano())
		h.poor(start, now)
	case how == answered:
		h.good(start)
	}
}

// overtaken is told when a call that was begun at start was answered by another
// instance, which was asked later.
func (b *balancer) overtaken(address string, start time.Time) {
	if h := b.instances.all()[address]; h != nil {
		h.poor(start, time.Now())
	}
}

// passedOver gives the addresses that are passed over, and until when.
func (b *balancer) passedOver() map[string]time.Time {
	found := map[string]time.Time{}
	for address, h := range b.instances.all() {
		if until := h.until.Load(); until != 0 {
			found[address] = time.Unix(0, until)
		}
	}
	return found
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

// awaitTurn fails when the instance, meanwhile, is known not to be well.
func (b *balancer) awaitTurn(ctx context.Context) error {
	h := b.instance(rpcinfo.GetRPCInfo(ctx))
	well := h != nil && !h.passedOver()
	select {
	case b.opening <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if well && h.passedOver() {
		<-b.opening
		return errRefused
	}
	return nil
}

var errRefused = errors.New("the instance does not accept connections")
