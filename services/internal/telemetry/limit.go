package telemetry

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	// limitPeriod is the time in which as many lines may be alike as -log-limit says.
	limitPeriod = time.Second
	// maxKinds is how many kinds of lines are counted apart, at about 200 bytes
	// each. Those beyond are counted together.
	maxKinds = 1000
)

// limiter leaves out lines that are too many of a kind, and tells how many.
type limiter struct {
	limit      int
	suppressed metric.Int64Counter
	labels     *Labels[slog.Level]

	mu    sync.Mutex
	kinds map[kind]*kindCount
}

// kind is what lines have in common that are alike: an error differs, what failed does not.
type kind struct {
	level   slog.Level
	message string
}

type kindCount struct {
	until   time.Time // the period ends
	lines   int       // in this period
	leftOut int       // not yet told
	to      slog.Handler
}

func newLimiter(limit int, meter metric.Meter) (*limiter, error) {
	suppressed, err := meter.Int64Counter("telemetry.suppressed", metric.WithUnit("{line}"),
		metric.WithDescription("Lines of the log that were left out because the same came too often."))
	l := &limiter{limit: limit, suppressed: suppressed, kinds: map[kind]*kindCount{}, labels: NewLabels(func(level slog.Level) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("level", level.String())}
	})}
	for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		suppressed.Add(context.Background(), 0, l.labels.Get(level).Add...)
	}
	return l, err
}

// take tells whether a line may be written. The first that may not is told of at the end of its period.
func (l *limiter) take(to slog.Handler, record slog.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := kind{record.Level, record.Message}
	count := l.kinds[of]
	if count == nil && len(l.kinds) >= maxKinds {
		of.message = "other"
		count = l.kinds[of]
	}
	if count == nil {
		count = &kindCount{}
		l.kinds[of] = count
	}
	if !record.Time.Before(count.until) {
		count.until, count.lines = record.Time.Add(limitPeriod), 0
	}
	count.lines++
	if count.lines <= l.limit {
		return true
	}
	l.suppressed.Add(context.Background(), 1, l.labels.Get(record.Level).Add...)
	if count.leftOut++; count.leftOut == 1 {
		count.to = to
		time.AfterFunc(count.until.Sub(record.Time), func() { l.tell(of, count) })
	}
	return false
}

// tell writes how many lines of a kind were left out, if any.
func (l *limiter) tell(of kind, count *kindCount) {
	l.mu.Lock()
	to, leftOut := count.to, count.leftOut
	count.to, count.leftOut = nil, 0
	l.mu.Unlock()
	if leftOut == 0 {
		return
	}
	record := slog.NewRecord(time.Now(), of.level, "lines were left out", 0)
	record.AddAttrs(slog.String("like", of.message), slog.Int("lines", leftOut))
	_ = to.Handle(context.Background(), record) // as slog does
}

// flush tells what has not been told yet.
func (l *limiter) flush() {
	l.mu.Lock()
	waiting := map[kind]*kindCount{}
	for of, count := range l.kinds {
		if count.leftOut > 0 {
			waiting[of] = count
		}
	}
	l.mu.Unlock()
	for of, count := range waiting {
		l.tell(of, count)
	}
}

// limited is a handler below a limiter.
type limited struct {
	slog.Handler
	limiter *limiter
}

// Handle implements slog.Handler.
func (h limited) Handle(ctx context.Context, record slog.Record) error {
	if !h.limiter.take(h.Handler, record) {
		return nil
	}
	return h.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (h limited) WithAttrs(attrs []slog.Attr) slog.Handler {
	return limited{h.Handler.WithAttrs(attrs), h.limiter}
}

// WithGroup implements slog.Handler.
func (h limited) WithGroup(name string) slog.Handler {
	return limited{h.Handler.WithGroup(name), h.limiter}
}
