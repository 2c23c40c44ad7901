package transport

import (
	"context"
	"strings"

	"github.com/bytedance/gopkg/cloud/metainfo"
	"github.com/cloudwego/kitex/pkg/endpoint"
	"github.com/cloudwego/kitex/pkg/remote/trans/nphttp2/metadata"
	"github.com/cloudwego/kitex/pkg/rpcinfo"
	"github.com/cloudwego/kitex/transport"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// serverSpans gives each call a span below the caller's.
func serverSpans(tel *telemetry.Telemetry) endpoint.Middleware {
	propagator := telemetry.Propagator()
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, req, resp any) error {
			call := rpcinfo.GetRPCInfo(ctx)
			ctx, span := tel.Tracer.Start(propagator.Extract(ctx, received(ctx, call)), spanName(call), trace.WithSpanKind(trace.SpanKindServer))
			defer span.End()
			if span.IsRecording() {
				span.SetAttributes(system(overGRPC(call)), semconv.RPCMethod(spanName(call)))
			}
			return next(ctx, req, resp)
		}
	}
}

// endSpan notes on the span of ctx how its call went; f is nil if it went well.
func endSpan(ctx context.Context, f *fault.Error) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	if f == nil {
		span.SetAttributes(semconv.RPCResponseStatusCode("ok"))
		return
	}
	span.SetAttributes(semconv.RPCResponseStatusCode(string(f.Code)))
	if isFailure(f.Code) {
		span.SetAttributes(semconv.ErrorTypeKey.String(string(f.Code)))
		span.SetStatus(codes.Error, f.Message)
	}
}

// isFailure tells whether somebody must look at it: a refusal by the rules of the trade is none.
func isFailure(code fault.Code) bool {
	switch code {
	case fault.Internal, fault.Unavailable, fault.OutcomeUnknown, fault.Overloaded:
		return true
	default:
		return false
	}
}

// clientSpans gives each attempt of a call a span below that of ctx, if that is
// recorded, and tells the server which it is.
func clientSpans() endpoint.Middleware {
	propagator := telemetry.Propagator()
	return func(next endpoint.Endpoint) endpoint.Endpoint {
		return func(ctx context.Context, req, resp any) error {
			parent, call := trace.SpanFromContext(ctx), rpcinfo.GetRPCInfo(ctx)
			to := outgoing{ctx: ctx, grpc: overGRPC(call)}
			if !parent.IsRecording() {
				propagator.Inject(ctx, &to)
				return next(to.ctx, req, resp)
			}
			name := spanName(call)
			ctx, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
			defer span.End()
			span.SetAttributes(system(overGRPC(call)), semconv.RPCMethod(name), semconv.ServerAddress(call.To().ServiceName()))
			to.ctx = ctx
			propagator.Inject(ctx, &to)
			err := next(to.ctx, req, resp)
			endSpan(ctx, outcome(call, err))
			return err
		}
	}
}

const tracerName = "github.com/kiteshop/kiteshop/services/internal/transport"

// outcome is what the caller of a call will be told, or nil.
func outcome(call rpcinfo.RPCInfo, err error) *fault.Error {
	if refused := call.Invocation().BizStatusErr(); err == nil && refused != nil {
		err = refused
	}
	if err == nil {
		return nil
	}
	return fault.From(decodeFault(call.To().ServiceName(), err, fault.Unavailable))
}

// spanName is the method as ItemService/GetItem.
func spanName(call rpcinfo.RPCInfo) string {
	return call.Invocation().ServiceName() + "/" + call.Invocation().MethodName()
}

func system(grpc bool) attribute.KeyValue {
	if grpc {
		return semconv.RPCSystemNameGRPC
	}
	return semconv.RPCSystemNameKey.String("kitex")
}

func overGRPC(call rpcinfo.RPCInfo) bool {
	return call.Config().TransportProtocol()&transport.GRPC != 0
}

// received is what the caller sent along: the metadata of gRPC, or Kitex's in the TTHeader.
func received(ctx context.Context, call rpcinfo.RPCInfo) propagation.TextMapCarrier {
	if sent, ok := metadata.FromIncomingContext(ctx); ok && overGRPC(call) {
		return grpcHeaders(sent)
	}
	return kitexHeaders{ctx}
}

type grpcHeaders metadata.MD

// Get implements propagation.TextMapCarrier. What came in pieces is one list.
func (h grpcHeaders) Get(key string) string { return strings.Join(metadata.MD(h).Get(key), ",") }

// Set implements propagation.TextMapCarrier.
func (grpcHeaders) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (grpcHeaders) Keys() []string { return nil }

type kitexHeaders struct {
	ctx context.Context //nolint:containedctx // it holds the headers
}

// Get implements propagation.TextMapCarrier.
func (h kitexHeaders) Get(key string) string {
	value, _ := metainfo.GetValue(h.ctx, key)
	return value
}

// Set implements propagation.TextMapCarrier.
func (kitexHeaders) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (kitexHeaders) Keys() []string { return nil }

// outgoing makes a context from which Kitex sends along what is set.
type outgoing struct {
	ctx  context.Context //nolint:containedctx // it is what is made
	grpc bool
}

// Get implements propagation.TextMapCarrier.
func (*outgoing) Get(string) string { return "" }

// Set implements propagation.TextMapCarrier.
func (o *outgoing) Set(key, value string) {
	if o.grpc {
		o.ctx = metadata.AppendToOutgoingContext(o.ctx, key, value)
	} else {
		o.ctx = metainfo.WithValue(o.ctx, key, value)
	}
}

// Keys implements propagation.TextMapCarrier.
func (*outgoing) Keys() []string { return nil }
