package store

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
)

const tracerName = "github.com/kiteshop/kiteshop/services/stock/internal/store"

// callSpan begins the span of a call: the wait for its turn, and the batch that it is in.
func callSpan(ctx context.Context) trace.Span {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return trace.SpanFromContext(context.Background())
	}
	_, span := parent.TracerProvider().Tracer(tracerName).Start(ctx, "commit")
	return span
}

// batchSpan begins the span of a batch below that of its first recorded call.
// It and the other calls name each other as links.
func batchSpan(ctx context.Context, batch []*call) (context.Context, trace.Span) {
	var (
		first    trace.Span
		links    []trace.Link
		commands int
	)
	for _, c := range batch {
		commands += len(c.commands)
		switch {
		case !c.span.IsRecording():
		case first == nil:
			first = c.span
		default:
			links = append(links, trace.Link{SpanContext: c.span.SpanContext()})
		}
	}
	if first == nil {
		return ctx, trace.SpanFromContext(ctx)
	}
	ctx, span := first.TracerProvider().Tracer(tracerName).Start(trace.ContextWithSpan(ctx, first), "batch",
		trace.WithLinks(links...), trace.WithAttributes(attribute.Int("kiteshop.batch.calls", len(batch)), attribute.Int("kiteshop.batch.commands", commands)))
	for _, c := range batch {
		if c.span != first {
			c.span.AddLink(trace.Link{SpanContext: span.SpanContext()})
		}
	}
	return ctx, span
}

func endBatch(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}
