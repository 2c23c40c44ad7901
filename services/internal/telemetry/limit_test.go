package telemetry_test

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

// locked is a log that lines are written to from several sides.
type locked struct {
	mu sync.Mutex
	bytes.Buffer
}

// Write implements io.Writer.
func (l *locked) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Buffer.Write(line)
}

// said are the lines as "LEVEL message lines like", without those that were not left out.
func said(t *testing.T, log *bytes.Buffer) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, line := range parse(t, log) {
		text := fmt.Sprint(line["level"], " ", line["msg"])
		if line["like"] != nil {
			text += fmt.Sprint(" ", line["lines"], " ", line["like"])
		}
		counts[text]++
	}
	return counts
}

func TestAFloodOfLinesIsBoundedAndCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log locked
		tel := newTelemetry(t, telemetry.Config{Format: "json", Output: &log, LogLimit: 10})
		flood := func() {
			for i := range 1000 {
				tel.Log.ErrorContext(t.Context(), "the disk is full", "n", i)
				tel.Log.With("part", "store").WarnContext(t.Context(), "slow")
			}
			tel.Log.InfoContext(t.Context(), "slow") // of another level
			tel.Log.InfoContext(t.Context(), "once")
		}
		flood()
		time.Sleep(1100 * time.Millisecond)
		synctest.Wait()
		flood()
		if err := tel.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		want := map[string]int{
			"ERROR the disk is full": 20, "ERROR lines were left out 990 the disk is full": 2,
			"WARN slow": 20, "WARN lines were left out 990 slow": 2, "INFO slow": 2, "INFO once": 2,
		}
		if got := said(t, &log.Buffer); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("the log has %v, want %v", got, want)
		}
		for level, want := range map[string]string{"ERROR": "1980", "WARN": "1980", "INFO": "0", "DEBUG": "0"} {
			if got := value(t, tel.Metrics, `telemetry_suppressed_total\{[^}]*level="`+level+`"[^}]*\}`); got != want {
				t.Errorf("%s lines of level %s are counted as left out, want %s", got, level, want)
			}
		}
	})
}

func TestWhatIsSentIsLimitedAsWhatIsPrinted(t *testing.T) {
	t.Parallel()
	collector := telemetrytest.Start(t)
	tel := newTelemetry(t, telemetry.Config{Output: io.Discard, Format: "text", LogLimit: 3, Environment: collector.Environment()})
	now := time.Now()
	for range 100 { // in one second, however long it takes
		record := slog.NewRecord(now, slog.LevelError, "the disk is full", 0)
		if err := tel.Log.Handler().Handle(t.Context(), record); err != nil {
			t.Error(err)
		}
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	var texts []string
	for _, line := range collector.Lines() {
		texts = append(texts, line.Text)
	}
	slices.Sort(texts)
	if want := []string{"lines were left out", "the disk is full", "the disk is full", "the disk is full"}; !slices.Equal(texts, want) {
		t.Errorf("the lines are %q, want %q", texts, want)
	}
}

func TestManyKindsOfLinesTakeBoundedMemoryAndShareALimit(t *testing.T) {
	t.Parallel()
	var log locked
	tel := newTelemetry(t, telemetry.Config{Format: "json", Output: &log, LogLimit: 1})
	now := time.Now()
	for i := range 5000 {
		_ = tel.Log.Handler().Handle(t.Context(), slog.NewRecord(now, slog.LevelInfo, fmt.Sprint("line ", i), 0))
	}
	if err := tel.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if lines := len(parse(t, &log.Buffer)); lines != 1000+1+1 { // those known, one of the others, and that more were left out
		t.Errorf("%d lines, want 1002", lines)
	}
}

func TestALimitBelowZeroIsRefused(t *testing.T) {
	t.Parallel()
	_, err := telemetry.New("item", telemetry.Config{LogLimit: -1})
	if want := "log-limit is -1; it must be 0, which is none, or more"; err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}

// BenchmarkLimit is what the limit costs a line that is written, and one that is left out.
func BenchmarkLimit(b *testing.B) {
	for name, limit := range map[string]int{"no limit": 0, "written": 1 << 40, "left out": 1} {
		b.Run(name, func(b *testing.B) {
			tel, err := telemetry.New("item", telemetry.Config{Format: "json", Output: io.Discard, LogLimit: limit})
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				tel.Log.ErrorContext(b.Context(), "the disk is full", "n", 7)
			}
		})
	}
}
