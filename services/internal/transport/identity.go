package transport

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/remote"
	kitexmetadata "github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/metadata"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/transport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"google.golang.org/grpc/metadata"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// authorization is what a token is called, in gRPC's metadata and in Kitex's.
const authorization = "authorization"

// Identify lets the service called name say who it is when it calls, and ask
// who calls it, as long as it runs. Without keys in cfg it does neither.
func (g *Governance) Identify(name string, cfg identity.Config, tel *telemetry.Telemetry) error {
	id, err := identity.Open(name, cfg, time.Now)
	if err != nil || id == nil {
		return err
	}
	g.identity, g.required = id, cfg.Required
	tel.Diagnosis.Add("identity", func() any { return id.Report() })
	g.Files.Follow("identity", id.Reload)
	return measureCertificates(id, tel)
}

// identified is who the service is; nil if nobody is asked.
func (g *Governance) identified() *identity.Identity {
	if g == nil {
		return nil
	}
	return g.identity
}

// Identified makes each call of a client carry a token of id's. A nil id gives none.
func Identified(id *identity.Identity) client.Option { return client.WithMetaHandler(tokens{id}) }

// tokens puts them into what is sent: into the TTHeader as Kitex's metainfo
// does, into gRPC's metadata when a call or a stream begins.
type tokens struct{ of *identity.Identity }

// WriteMeta implements remote.MetaHandler.
func (t tokens) WriteMeta(ctx context.Context, msg remote.Message) (context.Context, error) {
	if t.of == nil || msg.RPCInfo().Config().TransportProtocol()&transport.TTHeader == 0 {
		return ctx, nil
	}
	bearer, err := t.of.Bearer(msg.RPCInfo().To().ServiceName())
	if err != nil {
		return ctx, err
	}
	if sent := msg.TransInfo().TransStrInfo(); sent != nil {
		sent[metainfo.PrefixTransient+authorization] = bearer
	} else {
		msg.TransInfo().PutTransStrInfo(map[string]string{metainfo.PrefixTransient + authorization: bearer})
	}
	return ctx, nil
}

// OnConnectStream implements remote.StreamingMetaHandler. Kitex also asks before a call over TTHeader.
func (t tokens) OnConnectStream(ctx context.Context) (context.Context, error) {
	call := rpcinfo.GetRPCInfo(ctx)
	if t.of == nil || !overGRPC(call) {
		return ctx, nil
	}
	bearer, err := t.of.Bearer(call.To().ServiceName())
	if err != nil {
		return ctx, err
	}
	return kitexmetadata.AppendToOutgoingContext(ctx, authorization, bearer), nil
}

// ReadMeta implements remote.MetaHandler.
func (tokens) ReadMeta(ctx context.Context, _ remote.Message) (context.Context, error) {
	return ctx, nil
}

// OnReadStream implements remote.StreamingMetaHandler.
func (tokens) OnReadStream(ctx context.Context) (context.Context, error) { return ctx, nil }

// guard lets those call a method who may: everybody, or the services that its policy lists.
type guard struct {
	identity *identity.Identity
	allowed  map[string]map[string][]string // callers by service and method; they never change
	required bool
	denied   metric.Int64Counter
	unknown  metric.Int64Counter
	labels   *telemetry.Labels[denial]
	log      *slog.Logger
}

// Why a call is denied, beside the reasons of package identity.
const (
	missing    identity.Reason = "missing"     // there is no token
	several    identity.Reason = "several"     // there are more than one
	protocol   identity.Reason = "protocol"    // which cannot carry one
	notAllowed identity.Reason = "not_allowed" // the token is good, and its service is not listed
)

func reasons() []identity.Reason {
	return []identity.Reason{
		missing, several, protocol, notAllowed,
		identity.Malformed, identity.UnknownKey, identity.Forged, identity.Audience, identity.Expired, identity.Future, identity.Certificate,
	}
}

type denial struct {
	method string
	reason identity.Reason
}

// newGuard gives the middleware of a server. Where nobody has an identity it lets everybody in.
func newGuard(rules *Governance, tel *telemetry.Telemetry) (endpoint.Middleware, error) {
	denied, err1 := tel.Meter.Int64Counter("rpc.server.denied", metric.WithUnit("{call}"),
		metric.WithDescription("Calls that were refused because of who called, or because that is not known."))
	unknown, err2 := tel.Meter.Int64Counter("rpc.server.unidentified", metric.WithUnit("{call}"),
		metric.WithDescription("Calls without a token that passed, because none is required."))
	if err := errors.Join(err1, err2); err != nil || rules.identified() == nil {
		return func(next endpoint.Endpoint) endpoint.Endpoint { return next }, err
	}
	g := &guard{
		identity: rules.identity, required: rules.required, allowed: callersOf(rules.Policies.Now()), denied: denied, unknown: unknown, log: tel.Log,
		labels: telemetry.NewLabels(func(d denial) []attribute.KeyValue {
			return []attribute.KeyValue{semconv.RPCMethod(d.method), attribute.String("reason", string(d.reason))}
		}),
	}
	for _, reason := range reasons() { // an alert needs a number from which it rises
		denied.Add(context.Background(), 0, g.labels.Get(denial{"_OTHER", reason}).Add...)
	}
	for _, reason := range []identity.Reason{missing, protocol} {
		unknown.Add(context.Background(), 0, g.labels.Get(denial{"_OTHER", reason}).Add...)
	}
	return g.admit, nil
}

// callersOf gives the callers by service and method.
func callersOf(set *policy.Set) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for name, method := range set.Methods {
		service, in, _ := strings.Cut(name, "/")
		if all[service] == nil {
			all[service] = map[string][]string{}
		}
		all[service][in] = method.Callers
	}
	return all
}

func (g *guard) admit(next endpoint.Endpoint) endpoint.Endpoint {
	return func(ctx context.Context, req, resp any) error {
		call := rpcinfo.GetRPCInfo(ctx)
		callers := g.allowed[call.Invocation().ServiceName()][call.Invocation().MethodName()]
		if slices.Contains(callers, "*") {
			return next(ctx, req, resp)
		}
		bearer, reason, problem := sentToken(ctx, call)
		if !g.required && (reason == missing || reason == protocol) {
			g.unknown.Add(ctx, 1, g.labels.Get(denial{spanName(call), reason}).Add...)
			return next(ctx, req, resp)
		}
		if reason != "" {
			return g.deny(ctx, call, reason, fault.New(fault.Unauthenticated, "%s %s", spanName(call), problem))
		}
		caller, err := g.identity.Verify(bearer)
		if err != nil {
			refused, _ := errors.AsType[*identity.Refusal](err)
			return g.deny(ctx, call, refused.Reason, fault.New(fault.Unauthenticated, "%s needs the token of a service: %s", spanName(call), refused))
		}
		if !slices.Contains(callers, caller) {
			return g.deny(ctx, call, notAllowed, fault.New(fault.PermissionDenied, "%s may not call %s; %s may", caller, spanName(call), cmp.Or(strings.Join(callers, ", "), "nobody")))
		}
		return next(ctx, req, resp)
	}
}

// sentToken is what came with a call as its token, or why there is none.
func sentToken(ctx context.Context, call rpcinfo.RPCInfo) (bearer string, reason identity.Reason, problem string) {
	const needed = "needs the token of a service, and the call has none"
	if overGRPC(call) {
		switch sent := metadata.ValueFromIncomingContext(ctx, authorization); len(sent) {
		case 0:
			return "", missing, needed
		case 1:
			return sent[0], "", ""
		default:
			return "", several, "needs the token of a service, and the call has several; one is allowed"
		}
	}
	if call.Config().TransportProtocol()&transport.TTHeader == 0 {
		return "", protocol, "needs the token of a service, which framed and buffered Thrift cannot carry; call over TTHeader"
	}
	if bearer, sent := metainfo.GetValue(ctx, authorization); sent {
		return bearer, "", ""
	}
	return "", missing, needed
}

// deny counts and logs a call that is refused. The name of the caller is what it
// says it is, not verified.
func (g *guard) deny(ctx context.Context, call rpcinfo.RPCInfo, reason identity.Reason, because *fault.Error) error {
	g.denied.Add(ctx, 1, g.labels.Get(denial{spanName(call), reason}).Add...)
	address := ""
	if from := call.From().Address(); from != nil {
		address = from.String()
	}
	g.log.WarnContext(ctx, "call denied", "method", spanName(call), "reason", reason, "caller", clip(call.From().ServiceName()), "address", address, "error", because)
	return because
}

// measureCertificates reports at each collection how long those of trusted services still hold.
func measureCertificates(id *identity.Identity, tel *telemetry.Telemetry) error {
	left, err := tel.Meter.Float64ObservableGauge("identity.certificate.left", metric.WithUnit("s"),
		metric.WithDescription("Time until the last certificate of a trusted service ends."))
	if err != nil {
		return err
	}
	_, err = tel.Meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		ends := map[string]time.Time{}
		for _, t := range id.Report().Trusted {
			if t.Until.After(ends[t.Service]) {
				ends[t.Service] = t.Until
			}
		}
		for service, end := range ends {
			to.ObserveFloat64(left, time.Until(end).Seconds(), metric.WithAttributes(attribute.String("service", service)))
		}
		return nil
	}, left)
	return err
}
