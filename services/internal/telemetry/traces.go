package telemetry

import (
	"context"
	"fmt"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	// maxLinks is how many requests a span can name that was made for all of them,
	// as one commit for a batch of commands.
	maxLinks = 512
	// maxAttribute bounds what a caller can put into a span, as a path, in bytes.
	maxAttribute = 2048
)

// Propagator carries a trace from process to process: W3C's traceparent and
// tracestate, and baggage of at most 64 members and 8192 bytes.
func Propagator() propagation.TextMapPropagator {
	return propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{})
}

// newTracer makes a tracer that sends its spans. Without a receiver, and with
// nobody who looks at /debug/tracez, it only passes on the trace that a request belongs to.
func (t *Telemetry) newTracer(cfg Config, about *resource.Resource) (trace.Tracer, error) {
	url, err := endpoint(cfg.Environment, "traces", overHTTP)
	if err != nil {
		return nil, err
	}
	shown := &tracez{}
	t.Tracez = shown
	options := tracerOptions(t.sampler, about, shown)
	if url == "" {
		return watched{by: shown, with: sdktrace.NewTracerProvider(options...).Tracer(scope)}, nil
	}
	exporter, err := otlptracehttp.New(context.Background(), otlptracehttp.WithEndpointURL(url))
	if err != nil {
		return nil, fmt.Errorf("traces exporter: %w", err)
	}
	out, err := newOutlet("traces", t.Log, t.Meter)
	if err != nil {
		return nil, err
	}
	batches := sdktrace.NewBatchSpanProcessor(spanExporter{exporter, out},
		sdktrace.WithMaxQueueSize(maxWaiting), sdktrace.WithBatchTimeout(sendEvery))
	provider := sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(spanQueue{batches, out}))...)
	t.stops = append(t.stops, provider.Shutdown)
	return provider.Tracer(scope), nil
}

func tracerOptions(by sdktrace.Sampler, about *resource.Resource, shown *tracez) []sdktrace.TracerProviderOption {
	limits := sdktrace.NewSpanLimits()
	limits.LinkCountLimit, limits.AttributeValueLengthLimit = maxLinks, maxAttribute
	return []sdktrace.TracerProviderOption{
		sdktrace.WithResource(about),
		sdktrace.WithRawSpanLimits(limits),
		sdktrace.WithSampler(sdktrace.ParentBased(by)),
		sdktrace.WithSpanProcessor(shown),
	}
}

// spanQueue lets a span into the queue if there is room.
type spanQueue struct {
	sdktrace.SpanProcessor
	out *outlet
}

// OnEnd implements sdktrace.SpanProcessor.
func (q spanQueue) OnEnd(span sdktrace.ReadOnlySpan) {
	if q.out.enter() {
		q.SpanProcessor.OnEnd(span)
	}
}

// spanExporter sends what was in the queue.
type spanExporter struct {
	sdktrace.SpanExporter
	out *outlet
}

// ExportSpans implements sdktrace.SpanExporter. An error would be logged once more, and repeated by nobody.
func (e spanExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	e.out.leave(ctx, len(spans), e.SpanExporter.ExportSpans(ctx, spans))
	return nil
}
