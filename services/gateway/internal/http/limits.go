package http

import (
	"context"
	"math"
	"net/netip"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/maypok86/otter/v2"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/time/rate"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// maxCallers is how many callers are remembered, at about 300 bytes each, for
	// reads and for writes. One that is forgotten begins anew.
	maxCallers = 20_000
	// callerBits of an IPv6 address say whose it is: who has one has all below it.
	callerBits = 64
)

// Why a request is refused.
const (
	refusedConcurrent = "concurrent" // too many are worked on
	refusedReads      = "reads"      // the caller asks too often
	refusedWrites     = "writes"
)

// limits refuses requests before their bodies are read.
type limits struct {
	rules         *policy.Policies
	open          atomic.Int64 // requests that are worked on
	reads, writes *callers
	refused       metric.Int64Counter
	labels        *telemetry.Labels[string] // by reason
}

func newLimits(rules *policy.Policies, tel *telemetry.Telemetry) (*limits, error) {
	l := &limits{rules: rules, labels: telemetry.NewLabels(func(reason string) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("reason", reason)}
	})}
	var err error
	if l.reads, err = newCallers(); err != nil {
		return nil, err
	}
	if l.writes, err = newCallers(); err != nil {
		return nil, err
	}
	l.refused, err = tel.Meter.Int64Counter("gateway.refused", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that were refused because there are too many, or because their caller asks too often."))
	for _, reason := range []string{refusedConcurrent, refusedReads, refusedWrites} {
		l.count(context.Background(), 0, reason)
	}
	return l, err
}

func (l *limits) count(ctx context.Context, requests int64, reason string) {
	l.refused.Add(ctx, requests, l.labels.Get(reason).Add...)
}

// handler lets a request in, or answers it. The description is for everybody,
// and how many may watch domain.Watches says.
func (l *limits) handler(ctx context.Context, c *app.RequestContext) {
	path := c.FullPath()
	if path == docsPath || path == openAPIPath {
		return
	}
	edge := &l.rules.Now().Edge
	if !l.mayAsk(ctx, c, edge) || path == watchPath {
		return
	}
	defer l.open.Add(-1)
	if l.open.Add(1) > int64(edge.Concurrent) {
		l.refuse(ctx, c, refusedConcurrent, fault.New(fault.Overloaded, "%d requests are worked on, and there may be no more; try again later", edge.Concurrent))
		return
	}
	c.Next(ctx)
}

// mayAsk tells whether the caller has not asked too often, and answers if it has.
func (l *limits) mayAsk(ctx context.Context, c *app.RequestContext, edge *policy.Edge) bool {
	known, allowed, reason := l.writes, edge.Writes, refusedWrites
	if c.IsGet() || c.IsHead() {
		known, allowed, reason = l.reads, edge.Reads, refusedReads
	}
	if allowed.PerSecond == 0 {
		return true
	}
	wait := known.ask(caller(c), allowed, time.Now())
	if wait <= 0 {
		return true
	}
	seconds := strconv.Itoa(max(1, int(math.Ceil(wait.Round(time.Millisecond).Seconds()))))
	c.Header(headerRetryAfter, seconds)
	l.refuse(ctx, c, reason, fault.New(fault.RateLimited,
		"%v %s a second are allowed to each caller, and %d at once; try again in %s s", allowed.PerSecond, reason, allowed.Burst, seconds))
	return false
}

func (l *limits) refuse(ctx context.Context, c *app.RequestContext, reason string, why *fault.Error) {
	l.count(ctx, 1, reason)
	writeProblem(ctx, c, why)
	c.Abort()
}

// caller is who asks: by its key or token, else by the address that the connection comes from.
func caller(c *app.RequestContext) string {
	if known, ok := callerOf(c); ok {
		return known.ID
	}
	return sourceOf(c.RemoteAddr().String())
}

// sourceOf is what one caller has: an IPv4 address, or a network of IPv6.
func sourceOf(address string) string {
	from, err := netip.ParseAddrPort(address)
	if err != nil {
		return address
	}
	ip := from.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, err := ip.Prefix(callerBits)
	if err != nil {
		return ip.String()
	}
	return prefix.String()
}

// callers knows how often each of the latest callers has asked.
type callers struct {
	known *otter.Cache[string, *rate.Limiter]
}

func newCallers() (*callers, error) {
	known, err := otter.New(&otter.Options[string, *rate.Limiter]{MaximumSize: maxCallers})
	return &callers{known}, err
}

// ask takes one request off what the caller is allowed, or tells how long it has to wait until it may ask.
func (cs *callers) ask(who string, allowed policy.Rate, now time.Time) (wait time.Duration) {
	limiter, found := cs.known.GetIfPresent(who)
	if !found {
		limiter, _ = cs.known.SetIfAbsent(who, rate.NewLimiter(rate.Limit(allowed.PerSecond), allowed.Burst))
	}
	if limiter.Limit() != rate.Limit(allowed.PerSecond) || limiter.Burst() != allowed.Burst { // the policies have changed
		limiter.SetLimitAt(now, rate.Limit(allowed.PerSecond))
		limiter.SetBurstAt(now, allowed.Burst)
	}
	asked := limiter.ReserveN(now, 1)
	if wait = asked.DelayFrom(now); wait > 0 {
		asked.CancelAt(now)
	}
	return wait
}
