package http

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/protocol/consts"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	headerRequestID = "X-Request-Id"
	maxRequestID    = 128
)

// answered is what a request is measured by, beside its time.
type answered struct {
	method, route string
	status        int
}

func (a answered) attributes(scheme string) []attribute.KeyValue {
	attrs := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(a.method), semconv.HTTPResponseStatusCode(a.status), semconv.URLScheme(scheme),
	}
	if a.route != "" {
		attrs = append(attrs, semconv.HTTPRoute(a.route))
	}
	if a.status >= consts.StatusInternalServerError {
		attrs = append(attrs, semconv.ErrorTypeKey.String(strconv.Itoa(a.status)))
	}
	return attrs
}

// counted counts the requests that are being answered.
func counted(tel *telemetry.Telemetry, scheme string) (app.HandlerFunc, error) {
	active, err := tel.Meter.Int64UpDownCounter("http.server.active_requests", metric.WithUnit("{request}"),
		metric.WithDescription("Requests that are being answered, streams too."))
	labels := telemetry.NewLabels(func(method string) []attribute.KeyValue {
		return []attribute.KeyValue{semconv.HTTPRequestMethodKey.String(method), semconv.URLScheme(scheme)}
	})
	return func(ctx context.Context, c *app.RequestContext) {
		label := labels.Get(method(c)).Add
		active.Add(ctx, 1, label...)
		defer active.Add(ctx, -1, label...)
		c.Next(ctx)
	}, err
}

// observer gives each request an id, measures it, and writes one line about it to the log.
func observer(tel *telemetry.Telemetry, scheme string, newID func() string) (app.HandlerFunc, error) {
	duration, err := tel.Durations("http.server.request.duration", "Time from the request's arrival to the answer.")
	if err != nil {
		return nil, err
	}
	labels := telemetry.NewLabels(func(a answered) []attribute.KeyValue { return a.attributes(scheme) })
	return func(ctx context.Context, c *app.RequestContext) {
		start := time.Now()
		id := string(c.GetHeader(headerRequestID))
		if !isToken(id, maxRequestID) {
			id = newID()
		}
		ctx = telemetry.WithRequestID(ctx, id)
		c.Header(headerRequestID, id)

		c.Next(ctx)

		took, status := time.Since(start), c.Response.StatusCode()
		if c.Response.GetHijackWriter() == nil { // a stream lasts as long as its reader likes
			duration.Record(ctx, took.Seconds(), labels.Get(answered{method(c), c.FullPath(), status}).Record...)
		}
		level := slog.LevelInfo
		if status >= consts.StatusInternalServerError {
			level = slog.LevelError
		}
		attrs := []slog.Attr{
			slog.String("method", string(c.Method())), slog.String("path", string(c.Path())),
			slog.Int("status", status), slog.Duration("took", took),
		}
		if caller, known := callerOf(c); known {
			attrs = append(attrs, slog.String("caller", caller.ID))
		}
		if err := causes(c); err != nil {
			attrs = append(attrs, slog.Any("error", err))
		}
		tel.Log.LogAttrs(ctx, level, "request", attrs...)
	}, nil
}

// method is the request's method, or _OTHER for what is no method, so that it can be a label.
func method(c *app.RequestContext) string {
	switch m := string(c.Method()); m {
	case consts.MethodGet, consts.MethodHead, consts.MethodPost, consts.MethodPut, consts.MethodPatch, consts.MethodDelete, consts.MethodOptions:
		return m
	default:
		return "_OTHER"
	}
}

// isToken tells whether text is 1 to limit printable ASCII characters.
func isToken(text string, limit int) bool {
	if text == "" || len(text) > limit {
		return false
	}
	for _, b := range []byte(text) {
		if b < 0x20 || b > 0x7e {
			return false
		}
	}
	return true
}

// recoverer answers a panic as an internal error.
func recoverer(tel *telemetry.Telemetry) app.HandlerFunc {
	return func(ctx context.Context, c *app.RequestContext) {
		defer func() {
			if cause := recover(); cause != nil {
				tel.Log.ErrorContext(ctx, "panic", "cause", cause, "stack", string(debug.Stack()))
				writeProblem(ctx, c, fmt.Errorf("panic: %v", cause))
			}
		}()
		c.Next(ctx)
	}
}
