package sqldb

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// startSpan begins a span below that of ctx, if that is recorded, with its tracer.
func startSpan(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, trace.SpanFromContext(context.Background())
	}
	return parent.TracerProvider().Tracer("github.com/kiteshop/kiteshop/services/internal/sqldb").Start(ctx, name, options...)
}

// observer measures statements, and makes a span for each that is recorded.
type observer struct {
	of     string // the service
	about  []attribute.KeyValue
	meters *meters
}

func newObserver(cfg Config, of string, system attribute.KeyValue, namespace string) (observer, error) {
	about := []attribute.KeyValue{system, semconv.DBNamespace(namespace)}
	meters, err := newMeters(cfg.Meter, about)
	return observer{of, about, meters}, err
}

// statement is one that is under way.
type statement struct {
	span      trace.Span
	start     time.Time
	operation string
}

// start begins a statement, in which ? or $1 stand for the values: what users
// have given is not in the span.
func (o observer) start(ctx context.Context, text string) (context.Context, statement) {
	s := statement{start: time.Now(), operation: operation(text)}
	if !trace.SpanFromContext(ctx).IsRecording() {
		s.span = trace.SpanFromContext(context.Background())
		return ctx, s
	}
	ctx, s.span = startSpan(ctx, s.operation+" "+o.of, trace.WithSpanKind(trace.SpanKindClient))
	s.span.SetAttributes(o.about...)
	s.span.SetAttributes(semconv.DBOperationName(s.operation), semconv.DBQueryText(text))
	return ctx, s
}

// end notes how a statement went. ctx is that of its start.
func (o observer) end(ctx context.Context, s statement, err error) {
	failure := failureOf(err)
	if failure != "" && s.span.IsRecording() {
		if refusal, refused := errors.AsType[*pgconn.PgError](err); refused {
			s.span.SetAttributes(semconv.DBResponseStatusCode(refusal.Code))
		}
		s.span.SetAttributes(semconv.ErrorTypeKey.String(failure))
		s.span.SetStatus(codes.Error, err.Error())
	}
	o.meters.ran(ctx, s.start, s.operation, failure)
	s.span.End()
}

// failureOf is the kind of an error, of which there are few, or "".
func failureOf(err error) string {
	if err == nil {
		return ""
	}
	if refusal, refused := errors.AsType[*pgconn.PgError](err); refused {
		return refusal.Code
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case unavailable(err):
		return "unavailable"
	default:
		return fmt.Sprintf("%T", err)
	}
}

// operation is a statement's first word, or _OTHER for what begins with none.
func operation(text string) string {
	text = strings.TrimSpace(text)
	end := strings.IndexFunc(text, func(r rune) bool { return r < 'A' || r > 'z' })
	switch end {
	case -1:
		return strings.ToUpper(text)
	case 0:
		return "_OTHER"
	default:
		return strings.ToUpper(text[:end])
	}
}

// postgresObserver is told by the driver what it does on a pool.
type postgresObserver struct {
	observer
	pool attribute.KeyValue
	set  []metric.RecordOption // of pool alone
}

func (o observer) onPostgres(pool string) *postgresObserver {
	name := semconv.DBClientConnectionPoolName(pool)
	return &postgresObserver{o, name, []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(name))}}
}

var (
	_ pgx.QueryTracer       = (*postgresObserver)(nil)
	_ pgx.BatchTracer       = (*postgresObserver)(nil)
	_ pgxpool.AcquireTracer = (*postgresObserver)(nil)
)

type (
	statementContextKey struct{}
	acquireContextKey   struct{}
)

// TraceQueryStart implements pgx.QueryTracer.
func (o *postgresObserver) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx, s := o.start(ctx, data.SQL)
	return context.WithValue(ctx, statementContextKey{}, s)
}

// TraceQueryEnd implements pgx.QueryTracer.
func (o *postgresObserver) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	if s, ok := ctx.Value(statementContextKey{}).(statement); ok {
		o.end(ctx, s, data.Err)
	}
}

// TraceBatchStart implements pgx.BatchTracer.
func (o *postgresObserver) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	s := statement{start: time.Now(), operation: "BATCH"}
	ctx, s.span = startSpan(ctx, "BATCH "+o.of, trace.WithSpanKind(trace.SpanKindClient))
	if s.span.IsRecording() {
		s.span.SetAttributes(o.about...)
		s.span.SetAttributes(semconv.DBOperationName("BATCH"), semconv.DBOperationBatchSize(data.Batch.Len()))
	}
	return context.WithValue(ctx, statementContextKey{}, s)
}

// TraceBatchQuery implements pgx.BatchTracer.
func (*postgresObserver) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (o *postgresObserver) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	if s, ok := ctx.Value(statementContextKey{}).(statement); ok {
		o.end(ctx, s, data.Err)
	}
}

// TraceAcquireStart implements pgxpool.AcquireTracer.
func (o *postgresObserver) TraceAcquireStart(ctx context.Context, _ *pgxpool.Pool, _ pgxpool.TraceAcquireStartData) context.Context {
	return context.WithValue(ctx, acquireContextKey{}, time.Now())
}

// TraceAcquireEnd implements pgxpool.AcquireTracer.
func (o *postgresObserver) TraceAcquireEnd(ctx context.Context, _ *pgxpool.Pool, data pgxpool.TraceAcquireEndData) {
	start, ok := ctx.Value(acquireContextKey{}).(time.Time)
	if !ok {
		return
	}
	set := o.set
	if failure := failureOf(data.Err); failure != "" {
		set = []metric.RecordOption{metric.WithAttributes(o.pool, semconv.ErrorTypeKey.String(failure))}
	}
	o.meters.acquired.Record(ctx, time.Since(start).Seconds(), set...)
}
