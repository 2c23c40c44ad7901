package telemetry

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/contrib/zpages"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/embedded"
	"go.opentelemetry.io/otel/trace/noop"
)

// watchFor is how long /debug/tracez keeps spans after the last look at it.
const watchFor = 15 * time.Minute

// tracez shows the spans of this process that are open, and samples of those
// that have ended. It keeps none until somebody looks, and drops them all when
// nobody has looked for a while. Of a span's name it keeps ten for each range of
// durations and ten that failed; the names are those of routes, methods and statements.
type tracez struct {
	kept atomic.Pointer[zpages.SpanProcessor] // nil: nobody looks

	mu  sync.Mutex
	end *time.Timer
}

// ServeHTTP begins to keep spans, or shows those that are kept.
func (z *tracez) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if kept := z.look(); kept != nil {
		zpages.NewTracezHandler(kept).ServeHTTP(w, r)
		return
	}
	fmt.Fprintf(w, "From now on spans are kept, until nobody has looked here for %s. Make some requests and load this page again.\n", watchFor)
}

// look gives what has been kept, or nil if it is kept from now on.
func (z *tracez) look() *zpages.SpanProcessor {
	z.mu.Lock()
	defer z.mu.Unlock()
	if kept := z.kept.Load(); kept != nil {
		z.end.Reset(watchFor)
		return kept
	}
	z.kept.Store(zpages.NewSpanProcessor())
	z.end = time.AfterFunc(watchFor, func() { z.kept.Store(nil) })
	return nil
}

// OnStart implements sdktrace.SpanProcessor.
func (z *tracez) OnStart(ctx context.Context, span sdktrace.ReadWriteSpan) {
	if kept := z.kept.Load(); kept != nil {
		kept.OnStart(ctx, span)
	}
}

// OnEnd implements sdktrace.SpanProcessor.
func (z *tracez) OnEnd(span sdktrace.ReadOnlySpan) {
	if kept := z.kept.Load(); kept != nil {
		kept.OnEnd(span)
	}
}

// ForceFlush implements sdktrace.SpanProcessor.
func (*tracez) ForceFlush(context.Context) error { return nil }

// Shutdown implements sdktrace.SpanProcessor.
func (*tracez) Shutdown(context.Context) error { return nil }

// watched begins traces only while somebody looks at them.
type watched struct {
	embedded.Tracer
	by   *tracez
	with trace.Tracer
}

// Start implements trace.Tracer.
func (t watched) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	if t.by.kept.Load() == nil {
		return noop.Tracer{}.Start(ctx, name, options...)
	}
	return t.with.Start(ctx, name, options...)
}
