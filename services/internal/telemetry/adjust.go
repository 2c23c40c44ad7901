package telemetry

import (
	"context"
	"log/slog"
	"sync/atomic"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// started is what a service was started with, and has again when nothing else is wanted.
type started struct {
	level slog.Level
	ratio float64
}

// Adjust changes the least level that is logged, and the part of the traces that
// is recorded, while the service runs. nil is what it was started with.
func (t *Telemetry) Adjust(ctx context.Context, level *slog.Level, ratio *float64) {
	wanted := t.started
	if level != nil {
		wanted.level = *level
	}
	if ratio != nil {
		wanted.ratio = *ratio
	}
	if before := t.level.Level(); before != wanted.level {
		t.level.Set(min(before, wanted.level)) // the more talkative of both tells
		t.Log.InfoContext(ctx, "the log's level is changed", "from", before, "to", wanted.level)
		t.level.Set(wanted.level)
	}
	switch before := t.sampler.ratio(); {
	case before == wanted.ratio:
	case t.Contributed != nil:
		t.Log.WarnContext(ctx, "the sample ratio stays as it is: contributed telemetry cannot change it while it runs", "is", before, "wanted", wanted.ratio)
	default:
		t.sampler.set(wanted.ratio)
		t.Log.InfoContext(ctx, "the sample ratio is changed", "from", before, "to", wanted.ratio)
	}
}

// variableSampler decides for whole traces, where they begin.
type variableSampler struct{ now atomic.Pointer[ratioSampler] }

type ratioSampler struct {
	ratio float64
	by    sdktrace.Sampler
}

func newVariableSampler(ratio float64) *variableSampler {
	s := &variableSampler{}
	s.set(ratio)
	return s
}

func (s *variableSampler) ratio() float64 { return s.now.Load().ratio }

func (s *variableSampler) set(ratio float64) {
	s.now.Store(&ratioSampler{ratio, sdktrace.TraceIDRatioBased(ratio)})
}

// ShouldSample implements sdktrace.Sampler.
func (s *variableSampler) ShouldSample(p sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return s.now.Load().by.ShouldSample(p)
}

// Description implements sdktrace.Sampler.
func (*variableSampler) Description() string { return "TraceIDRatioBased, as the policies say" }
