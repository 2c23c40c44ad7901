package sqldb

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
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

// spans makes a span for each statement.
type spans struct {
	of    string // the service
	about []attribute.KeyValue
}

func newSpans(of string, system attribute.KeyValue, namespace string) spans {
	return spans{of, []attribute.KeyValue{system, semconv.DBNamespace(namespace)}}
}

// start begins the span of a statement, in which ? or $1 stand for the values:
// what users have given is not in it.
func (s spans) start(ctx context.Context, statement string) (context.Context, trace.Span) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return startSpan(ctx, "")
	}
	operation := operation(statement)
	ctx, span := startSpan(ctx, operation+" "+s.of, trace.WithSpanKind(trace.SpanKindClient))
	span.SetAttributes(s.about...)
	span.SetAttributes(semconv.DBOperationName(operation), semconv.DBQueryText(statement))
	return ctx, span
}

// operation is a statement's first word.
func operation(statement string) string {
	statement = strings.TrimSpace(statement)
	if end := strings.IndexAny(statement, " \n\t;"); end > 0 {
		return statement[:end]
	}
	return statement
}

func end(span trace.Span, err error) {
	if err != nil && span.IsRecording() {
		kind := fmt.Sprintf("%T", err)
		if refusal, refused := errors.AsType[*pgconn.PgError](err); refused {
			kind = refusal.Code
			span.SetAttributes(semconv.DBResponseStatusCode(refusal.Code))
		}
		span.SetAttributes(semconv.ErrorTypeKey.String(kind))
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// postgresSpans is told by the driver what it does.
type postgresSpans struct{ spans }

var (
	_ pgx.QueryTracer = postgresSpans{}
	_ pgx.BatchTracer = postgresSpans{}
)

// TraceQueryStart implements pgx.QueryTracer.
func (s postgresSpans) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	ctx, _ = s.start(ctx, data.SQL)
	return ctx
}

// TraceQueryEnd implements pgx.QueryTracer. ctx is that of TraceQueryStart: if
// it is not recorded, neither is its span.
func (postgresSpans) TraceQueryEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryEndData) {
	end(trace.SpanFromContext(ctx), data.Err)
}

// TraceBatchStart implements pgx.BatchTracer.
func (s postgresSpans) TraceBatchStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchStartData) context.Context {
	ctx, span := startSpan(ctx, "BATCH "+s.of, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(s.about...)
		span.SetAttributes(semconv.DBOperationName("BATCH"), semconv.DBOperationBatchSize(data.Batch.Len()))
	}
	return ctx
}

// TraceBatchQuery implements pgx.BatchTracer.
func (postgresSpans) TraceBatchQuery(context.Context, *pgx.Conn, pgx.TraceBatchQueryData) {}

// TraceBatchEnd implements pgx.BatchTracer.
func (postgresSpans) TraceBatchEnd(ctx context.Context, _ *pgx.Conn, data pgx.TraceBatchEndData) {
	end(trace.SpanFromContext(ctx), data.Err)
}
