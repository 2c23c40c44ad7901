package transport

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/serviceinfo"
	"github.com/cloudwego/kitex/pkg/streaming"
	"github.com/cloudwego/kitex/server"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"golang.org/x/sync/semaphore"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// admission lets into each method as many calls as its policy says, lets as many
// wait, in the order of their coming, and refuses the rest.
type admission struct {
	gates   map[served]*gate        // of all methods that have a policy; nobody changes it
	known   atomic.Pointer[[]*gate] // of those that are served; nil: none is yet
	refused metric.Int64Counter
	labels  *telemetry.Labels[refusal]
}

// served is a method as a call names it.
type served struct{ service, method string }

// refusal is what is known of a call that was not worked on.
type refusal struct {
	served
	reason string
}

// Why a call is not worked on.
const (
	refusedFull    = "full"    // as many wait as may
	refusedLate    = "late"    // it has waited as long as it may
	refusedStreams = "streams" // as many streams are open as may be
)

func (r refusal) attributes() []attribute.KeyValue {
	return []attribute.KeyValue{semconv.RPCMethod(r.service + "/" + r.method), attribute.String("reason", r.reason)}
}

// newAdmission follows rules. Without them all calls are let in.
func newAdmission(rules *Governance, tel *telemetry.Telemetry) (*admission, error) {
	refused, err := tel.Meter.Int64Counter("rpc.server.refused", metric.WithUnit("{call}"),
		metric.WithDescription("Calls and streams that were refused because there are too many, by reason."))
	a := &admission{gates: map[served]*gate{}, refused: refused, labels: telemetry.NewLabels(refusal.attributes)}
	if err != nil || rules == nil {
		return a, err
	}
	for name, method := range rules.Policies.Now().Methods {
		if method.Effect != policy.Stream { // streams.go bounds those
			service, short, _ := strings.Cut(name, "/")
			of := served{service, short}
			a.gates[of] = &gate{
				label:   metric.WithAttributeSet(attribute.NewSet(semconv.RPCMethod(name))),
				refused: map[string][]metric.AddOption{refusedFull: a.labels.Get(refusal{of, refusedFull}).Add, refusedLate: a.labels.Get(refusal{of, refusedLate}).Add},
			}
		}
	}
	rules.Policies.OnChange(func(set *policy.Set) {
		for of, g := range a.gates {
			g.apply(set.Methods[of.service+"/"+of.method])
		}
	})
	return a, a.measure(tel.Meter)
}

// measure reports the calls of the methods that are served, at each collection.
func (a *admission) measure(meter metric.Meter) error {
	working, err1 := meter.Int64ObservableGauge("rpc.server.calls.working", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that are worked on."))
	waiting, err2 := meter.Int64ObservableGauge("rpc.server.calls.waiting", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that wait until they are worked on."))
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		if known := a.known.Load(); known != nil {
			for _, g := range *known {
				to.ObserveInt64(working, g.working.Load(), g.label)
				to.ObserveInt64(waiting, g.waiting.Load(), g.label)
			}
		}
		return nil
	}, working, waiting)
	return err
}

// begin knows the methods that are registered on the server, and makes the
// counters of all refusals that there may be, at 0.
func (a *admission) begin(on server.Server) {
	var known []*gate
	for service, info := range on.GetServiceInfos() {
		for method, about := range info.Methods {
			of, reasons := served{service, method}, []string{refusedFull, refusedLate}
			if mode := about.StreamingMode(); mode != serviceinfo.StreamingNone && mode != serviceinfo.StreamingUnary {
				reasons = []string{refusedStreams}
			} else if g := a.gates[of]; g != nil {
				known = append(known, g)
			} else {
				continue
			}
			for _, reason := range reasons {
				a.refused.Add(context.Background(), 0, a.labels.Get(refusal{of, reason}).Add...)
			}
		}
	}
	a.known.Store(&known)
}

// refuseStream counts a stream that streams.go refuses.
func (a *admission) refuseStream(ctx context.Context, of served) {
	a.refused.Add(ctx, 1, a.labels.Get(refusal{of, refusedStreams}).Add...)
}

// middleware refuses a call before its handler has begun. Streams pass.
func (a *admission) middleware(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		if _, streams := req.(*streaming.Args); streams {
			return next(ctx, req, resp)
		}
		call := rpcinfo.GetRPCInfo(ctx).Invocation()
		of := served{call.ServiceName(), call.MethodName()}
		g := a.gates[of]
		if g == nil {
			return next(ctx, req, resp)
		}
		in := g.room.Load()
		if reason, err := g.enter(ctx, in); err != nil {
			a.refused.Add(ctx, 1, g.refused[reason]...)
			return err
		}
		defer g.leave(in)
		return next(ctx, req, resp)
	}
}

// gate lets in the calls of one method.
type gate struct {
	room             atomic.Pointer[room]
	working, waiting atomic.Int64
	label            metric.MeasurementOption
	refused          map[string][]metric.AddOption // by reason
}

// room is the place that a method's policy gives to its calls. Each leaves the
// one that it has entered: after a change of the policy those of before come on top.
type room struct {
	concurrent, waiting int
	patience            time.Duration // how long a call waits
	free                *semaphore.Weighted
	full, late          *fault.Error // nobody changes them
}

// apply makes a new room, if it is another.
func (g *gate) apply(m policy.Method) {
	now, patience := g.room.Load(), m.Attempt()/patienceShare
	if now != nil && now.concurrent == m.Concurrent && now.waiting == m.Waiting && now.patience == patience {
		return
	}
	g.room.Store(&room{
		concurrent: m.Concurrent, waiting: m.Waiting, patience: patience, free: semaphore.NewWeighted(int64(m.Concurrent)),
		full: fault.New(fault.Overloaded, "%d calls are worked on and %d wait, and there may be no more; try again later", m.Concurrent, m.Waiting),
		late: fault.New(fault.Overloaded, "%d calls are worked on, and none of them ended in time; try again later", m.Concurrent),
	})
}

// patienceShare is the part of an attempt's time that a call waits at most: the
// rest is for the work and for the refusal to arrive.
const patienceShare = 4

// enter takes a place in the room, or tells why there is none.
func (g *gate) enter(ctx context.Context, in *room) (reason string, err error) {
	if !in.free.TryAcquire(1) {
		if reason, err = g.wait(ctx, in); err != nil {
			return reason, err
		}
	}
	g.working.Add(1)
	return "", nil
}

func (g *gate) wait(ctx context.Context, in *room) (reason string, err error) {
	defer g.waiting.Add(-1)
	if g.waiting.Add(1) > int64(in.waiting) {
		return refusedFull, in.full
	}
	ctx, cancel := context.WithTimeout(ctx, in.patience)
	defer cancel()
	if in.free.Acquire(ctx, 1) != nil {
		return refusedLate, in.late
	}
	return "", nil
}

func (g *gate) leave(in *room) {
	g.working.Add(-1)
	in.free.Release(1)
}
