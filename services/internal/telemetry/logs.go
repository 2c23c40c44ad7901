package telemetry

import (
	"context"
	"fmt"
	"log/slog"

	"go.opentelemetry.io/contrib/bridges/otelslog"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	"go.opentelemetry.io/otel/trace"
)

// maxLogAttribute bounds what an attribute of a record that is sent may have, as a stack, in bytes.
const maxLogAttribute = 16 << 10

// newLogSender makes a handler that sends the log, or nil without a receiver.
func (t *Telemetry) newLogSender(cfg Config, about *resource.Resource) (slog.Handler, error) {
	url, err := endpoint(cfg.Environment, "logs", overHTTP)
	if err != nil || url == "" {
		return nil, err
	}
	exporter, err := otlploghttp.New(context.Background(), otlploghttp.WithEndpointURL(url))
	if err != nil {
		return nil, fmt.Errorf("logs exporter: %w", err)
	}
	out, err := newOutlet("logs", t.Log, t.Meter)
	if err != nil {
		return nil, err
	}
	batches := sdklog.NewBatchProcessor(logExporter{exporter, out}, sdklog.WithMaxQueueSize(maxWaiting), sdklog.WithExportInterval(sendEvery))
	provider := sdklog.NewLoggerProvider(
		sdklog.WithResource(about),
		sdklog.WithAttributeValueLengthLimit(maxLogAttribute),
		sdklog.WithProcessor(logQueue{batches, out}))
	t.stops = append(t.stops, provider.Shutdown)
	return otelslog.NewHandler(scope, otelslog.WithLoggerProvider(provider)), nil
}

// logQueue lets a record into the queue if there is room.
type logQueue struct {
	sdklog.Processor
	out *outlet
}

// OnEmit implements sdklog.Processor.
func (q logQueue) OnEmit(ctx context.Context, record *sdklog.Record) error {
	if !q.out.enter() {
		return nil
	}
	return q.Processor.OnEmit(ctx, record)
}

// logExporter sends what was in the queue.
type logExporter struct {
	sdklog.Exporter
	out *outlet
}

// Export implements sdklog.Exporter. An error would be printed once more, and repeated by nobody.
func (e logExporter) Export(ctx context.Context, records []sdklog.Record) error {
	e.out.leave(ctx, len(records), e.Exporter.Export(ctx, records))
	return nil
}

// identified adds the ids of the request, the trace and the span to every record from level on.
type identified struct {
	slog.Handler
	level slog.Leveler
}

// Enabled implements slog.Handler.
func (h identified) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= h.level.Level() && h.Handler.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h identified) Handle(ctx context.Context, record slog.Record) error {
	if id := RequestID(ctx); id != "" {
		record.AddAttrs(slog.String("request_id", id))
	}
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		record.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h identified) WithAttrs(attrs []slog.Attr) slog.Handler {
	return identified{h.Handler.WithAttrs(attrs), h.level}
}

// WithGroup implements slog.Handler.
func (h identified) WithGroup(name string) slog.Handler {
	return identified{h.Handler.WithGroup(name), h.level}
}
