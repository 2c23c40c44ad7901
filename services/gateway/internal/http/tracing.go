package http

import (
	"context"
	"strconv"
	"strings"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// spans gives each request a span below the caller's, and tells the caller which in traceresponse.
func spans(tel *telemetry.Telemetry, scheme string) app.HandlerFunc {
	if tel.Contributed != nil {
		return tel.Contributed.HTTPSpans(nameSpan)
	}
	propagator := telemetry.Propagator()
	return func(ctx context.Context, c *app.RequestContext) {
		ctx = propagator.Extract(ctx, requestHeaders{&c.Request.Header})
		name := strings.TrimSpace(method(c) + " " + c.FullPath())
		ctx, span := tel.Tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer))
		defer span.End()
		nameSpan(ctx, c)
		c.Next(ctx)
		if span.IsRecording() {
			describe(span, c, scheme)
		}
	}
}

// nameSpan tells the caller which span the request has, if it has one here.
func nameSpan(ctx context.Context, c *app.RequestContext) {
	if about := trace.SpanContextFromContext(ctx); about.IsValid() && !about.IsRemote() {
		c.Header("traceresponse", "00-"+about.TraceID().String()+"-"+about.SpanID().String()+"-"+about.TraceFlags().String())
	}
}

func describe(span trace.Span, c *app.RequestContext, scheme string) {
	span.SetAttributes(
		semconv.HTTPRequestMethodKey.String(method(c)),
		semconv.URLScheme(scheme),
		semconv.URLPath(string(c.Path())),
		semconv.HTTPResponseStatusCode(c.Response.StatusCode()),
		semconv.UserAgentOriginal(string(c.UserAgent())))
	if route := c.FullPath(); route != "" {
		span.SetAttributes(semconv.HTTPRoute(route))
	}
	if own := string(c.Method()); own != method(c) {
		span.SetAttributes(semconv.HTTPRequestMethodOriginal(own))
	}
	if status := c.Response.StatusCode(); status >= consts.StatusInternalServerError {
		span.SetAttributes(semconv.ErrorTypeKey.String(strconv.Itoa(status)))
		span.SetStatus(codes.Error, "")
	}
}

// traceID is that of the request, or "".
func traceID(ctx context.Context) string {
	if span := trace.SpanContextFromContext(ctx); span.HasTraceID() {
		return span.TraceID().String()
	}
	return ""
}

// requestHeaders is what a propagator reads.
type requestHeaders struct{ of *protocol.RequestHeader }

// Get implements propagation.TextMapCarrier. What came in pieces is one list.
func (h requestHeaders) Get(key string) string {
	return strings.Join(h.of.GetAll(key), ",")
}

// Set implements propagation.TextMapCarrier.
func (requestHeaders) Set(string, string) {}

// Keys implements propagation.TextMapCarrier.
func (requestHeaders) Keys() []string { return nil }
