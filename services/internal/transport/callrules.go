package transport

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bytedance/gopkg/cloud/circuitbreaker"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/circuitbreak"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/kerrors"
	"github.com/cloudwego/kitex/pkg/retry"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/pkg/stats"
	"github.com/cloudwego/kitex/pkg/streaming"

	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// callRules make a client's calls follow the policies of their methods: Kitex
// repeats, here is said what and how often.
type callRules struct {
	methods  map[methodName]*method
	byName   map[string]*method // as StockService/Reserve
	breakers circuitbreaker.Panel
	retries  *retry.Container
	balancer *balancer
	metrics  *callMetrics
}

type methodName struct{ service, method string }

func nameOf(call rpcinfo.RPCInfo) methodName {
	return methodName{call.Invocation().ServiceName(), call.Invocation().MethodName()}
}

// method is what a client has of one method.
type method struct {
	name   string
	rule   atomic.Pointer[rule]
	budget budget
}

// rule is a policy, with what Kitex wants to know of it at each attempt.
type rule struct {
	policy.Method
	timeouts attemptTime
}

// attemptTime is the time of one attempt.
type attemptTime time.Duration

// RPCTimeout implements rpcinfo.Timeouts.
func (t attemptTime) RPCTimeout() time.Duration { return time.Duration(t) }

// ReadWriteTimeout implements rpcinfo.Timeouts.
func (t attemptTime) ReadWriteTimeout() time.Duration { return time.Duration(t) }

// ConnectTimeout implements rpcinfo.Timeouts.
func (t attemptTime) ConnectTimeout() time.Duration { return min(connectTimeout, time.Duration(t)) }

// unwatched is an attempt whose time its connection keeps. Kitex would have a
// goroutine watch it, which costs a tenth of a read, and leave it behind when the
// time is over: it then writes into an answer that the next attempt reads.
type unwatched struct{ attemptTime }

// RPCTimeout implements rpcinfo.Timeouts.
func (unwatched) RPCTimeout() time.Duration { return 0 }

func newCallRules(caller string, policies *policy.Policies, balancer *balancer, tel *telemetry.Telemetry) (*callRules, error) {
	c := &callRules{methods: map[methodName]*method{}, byName: map[string]*method{}, balancer: balancer}
	var err1, err2 error
	c.breakers, err1 = newBreakers(c)
	c.metrics, err2 = newCallMetrics(c, tel)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	for name, p := range policies.Now().Methods { // which methods there are no file changes
		m := &method{name: name}
		m.budget.denied = func() { c.metrics.denied(m.name) }
		service, short, _ := strings.Cut(name, "/")
		c.methods[methodName{service, short}], c.byName[name] = m, m
		if slices.Contains(p.Callers, caller) && p.Attempts > 1 {
			c.metrics.expect(name, p.Hedge > 0)
		}
	}
	c.retries = retry.NewRetryContainer(
		retry.WithContainerCBControl(&circuitbreak.Control{GetKey: func(ctx context.Context, _ any) (string, bool) {
			return c.of(rpcinfo.GetRPCInfo(ctx)).name, true
		}}),
		retry.WithContainerCBPanel(budgets{methods: c}),
		retry.WithCustomizeKeyFunc(func(_ context.Context, call rpcinfo.RPCInfo) string {
			switch m := c.of(call); {
			case m == nil:
				return ""
			case m.rule.Load().Hedge > 0 && c.balancer.troubled(time.Now()):
				return m.name + hedged
			default:
				return m.name
			}
		}),
	)
	policies.OnChange(c.apply)
	return c, nil
}

// options make a client follow the rules.
func (c *callRules) options(tel *telemetry.Telemetry) []client.Option {
	options := []client.Option{
		client.WithTimeoutProvider(c),
		client.WithRetryContainer(c.retries),
		client.WithTracer(c),
		client.WithMiddleware(c.attempt),
	}
	if tel.Contributed == nil { // nobody reads what Kitex would measure for a tracer
		options = append(options, client.WithStatsLevel(stats.LevelDisabled))
	}
	return options
}

// String is what Kitex writes in its list of options.
func (*callRules) String() string { return "the policies" }

// of is nil for a method that has no policy.
func (c *callRules) of(call rpcinfo.RPCInfo) *method { return c.methods[nameOf(call)] }

// apply takes the policies over. A call that is under way keeps what it began with.
func (c *callRules) apply(set *policy.Set) {
	for name, p := range set.Methods {
		m := c.byName[name]
		next := &rule{Method: p, timeouts: attemptTime(cmp.Or(p.Attempt(), callTimeout))}
		before := m.rule.Swap(next)
		if before != nil && before.Attempts == p.Attempts && before.Hedge == p.Hedge {
			continue
		}
		c.retries.DeletePolicy(name) // Kitex changes one that is in use without a lock
		c.retries.DeletePolicy(name + hedged)
		failure := c.failurePolicy(p)
		if p.Attempts > 1 {
			c.retries.NotifyPolicyChange(name, retry.BuildFailurePolicy(failure))
		}
		if p.Hedge > 0 {
			c.retries.NotifyPolicyChange(name+hedged, retry.BuildMixedPolicy(&retry.MixedPolicy{RetryDelayMS: uint32(p.Hedge.Milliseconds()), FailurePolicy: *failure}))
		}
	}
}

// hedged follows the name of a method in Kitex's list of policies. A call that may be hedged
// takes another goroutine, a tenth of what a read costs: so none is while all instances are well.
const hedged = "+hedge"

func (c *callRules) failurePolicy(p policy.Method) *retry.FailurePolicy {
	return &retry.FailurePolicy{StopPolicy: stopPolicy(p.Attempts), ShouldResultRetry: &retry.ShouldResultRetry{
		ErrorRetryWithCtx: c.repeats, RespRetryWithCtx: c.repeatsAnswer, NotRetryForTimeout: true,
	}}
}

// Timeouts implements rpcinfo.TimeoutProvider: each attempt has its share. Kitex
// asks it only if the client is given no timeouts as options.
func (c *callRules) Timeouts(call rpcinfo.RPCInfo) rpcinfo.Timeouts {
	m := c.of(call)
	if m == nil {
		return attemptTime(callTimeout)
	}
	return unwatched{m.rule.Load().timeouts}
}

// call is what the attempts of one call know of each other.
type call struct {
	caller   context.Context //nolint:containedctx // the caller's, whose end Kitex is not to watch
	open     atomic.Int32    // attempts that were sent, and may yet be carried out
	answered atomic.Bool
	cause    atomic.Pointer[string] // why the next attempt is made; nil: the one before has not ended
	end      atomic.Int64           // of the latest attempt's time, in Unix nanoseconds
	hurried  atomic.Bool            // that attempt has less time than its share: the caller has no more
}

type callInContext struct{}

func callOf(ctx context.Context) *call {
	of, _ := ctx.Value(callInContext{}).(*call)
	return of
}

// over tells whether the time of the latest attempt is over.
func (of *call) over(now time.Time) bool {
	end := of.end.Load()
	return end > 0 && now.UnixNano() > end
}

// Start implements stats.Tracer. It is the one place that Kitex has for what belongs to a call and not to an attempt.
func (c *callRules) Start(ctx context.Context) context.Context {
	of := &call{caller: ctx}
	if info := rpcinfo.GetRPCInfo(ctx); c.of(info) != nil && info.Config().InteractionMode() != rpcinfo.Streaming {
		ctx = context.WithoutCancel(ctx)
	}
	return context.WithValue(ctx, callInContext{}, of)
}

// Finish implements stats.Tracer.
func (*callRules) Finish(context.Context) {}

// repeats tells whether an attempt that failed is followed by another. No
// connection is not here: Kitex itself tries six instances, whatever the method.
func (*callRules) repeats(ctx context.Context, err error, _ rpcinfo.RPCInfo) bool {
	if isUnsent(err) || isRefused(err) {
		return false
	}
	cause := causeConnection
	if kerrors.IsTimeoutError(err) {
		cause = causeTimeout
	}
	return callOf(ctx).because(cause)
}

// repeatsAnswer is the same for an attempt that was answered.
func (*callRules) repeatsAnswer(ctx context.Context, _ any, attempt rpcinfo.RPCInfo) bool {
	refused := attempt.Invocation().BizStatusErr()
	return refused != nil && codeOf(refused) == "overloaded" && callOf(ctx).because(causeOverloaded)
}

// because tells whether there is a caller, who may be answered by another attempt.
func (of *call) because(cause string) bool {
	if of == nil || of.caller.Err() != nil {
		return false
	}
	of.cause.Store(&cause)
	return true
}

// attempt sees each attempt of each call.
func (c *callRules) attempt(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		info := rpcinfo.GetRPCInfo(ctx)
		m, of := c.of(info), callOf(ctx)
		if _, streams := resp.(*streaming.Result); streams || m == nil || of == nil {
			return next(ctx, req, resp)
		}
		rule := m.rule.Load()
		hedge := c.begin(m, of, info)
		if rule.Breaker > 0 && !c.breakers.IsAllowed(m.name) {
			return of.ended(rule.Effect, unsent, kerrors.ErrServiceCircuitBreak)
		}
		ctx, end := of.bound(ctx, info, time.Duration(rule.timeouts))
		defer end()
		of.open.Add(1)
		start := time.Now()
		err := next(ctx, req, resp)
		how := judge(ctx, info, err, time.Since(start))
		if how != lost && how != unclear {
			of.open.Add(-1)
		}
		won := how == answered && of.answered.CompareAndSwap(false, true)
		if how == answered || !of.answered.Load() { // what another attempt made good is no failure
			c.count(m, rule, how)
		}
		if hedge {
			c.hedged(m, info, won, start.Add(-rule.Hedge))
		}
		return of.ended(rule.Effect, how, err)
	}
}

// bound gives an attempt its share of the time, or what the caller has left. Over
// TTHeader the reading of the connection keeps it, and the caller's leaving ends nothing.
func (of *call) bound(ctx context.Context, info rpcinfo.RPCInfo, share time.Duration) (context.Context, func()) {
	left := share
	if deadline, ok := of.caller.Deadline(); ok {
		left = max(min(left, time.Until(deadline)), time.Millisecond)
	}
	of.hurried.Store(left < share*9/10)
	of.end.Store(time.Now().Add(left).UnixNano())
	_ = rpcinfo.AsMutableRPCConfig(info.Config()).SetRPCTimeout(left)
	if !overGRPC(info) {
		return ctx, func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	stop := context.AfterFunc(of.caller, cancel)
	return ctx, func() { stop(); cancel() }
}

// begin notes an attempt, and tells whether the one before has not ended.
func (c *callRules) begin(m *method, of *call, info rpcinfo.RPCInfo) (hedge bool) {
	if _, repeated := info.To().Tag(rpcinfo.RetryTag); !repeated {
		m.budget.earn()
		return false
	}
	m.budget.spend()
	if cause := of.cause.Swap(nil); cause != nil {
		c.metrics.repeated(m.name, *cause)
		return false
	}
	c.metrics.repeated(m.name, causeHedge)
	return true
}

// hedged notes how the race of a hedge with an attempt that began at start went.
func (c *callRules) hedged(m *method, info rpcinfo.RPCInfo, won bool, start time.Time) {
	c.metrics.hedged(m.name, won)
	if before, known := info.To().Tag(rpcinfo.RetryPrevInstTag); known && won {
		c.balancer.overtaken(before, start)
	}
}

var errMayBeDone = errors.New("an attempt before this one was sent and not answered")

// ended is what Kitex is told of an attempt. One that was surely not begun says
// nothing of those before it, whose effect the caller must know to be possible.
func (of *call) ended(effect policy.Effect, how verdict, err error) error {
	if effect != policy.Read && (how == unsent || how == overloaded) && of.open.Load() > 0 {
		return kerrors.ErrRPCTimeout.WithCause(errMayBeDone)
	}
	return err
}
