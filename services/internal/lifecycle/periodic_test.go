package lifecycle_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

func TestAPeriodicPartWorksAtOnceAndThenEverySoOftenAlsoAfterAFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var at []time.Duration
		begin := time.Now()
		part := lifecycle.Periodic("upkeep", time.Hour, slog.New(slog.NewTextHandler(&log, nil)), func(context.Context) error {
			at = append(at, time.Since(begin))
			if len(at) == 2 {
				return errBroken
			}
			return nil
		})
		ended := make(chan error)
		go func() { ended <- part.Serve() }()
		time.Sleep(3*time.Hour - 1) // by the test's own clock
		stopPart(t, part, ended)
		if want := []time.Duration{0, time.Hour, 2 * time.Hour}; !slices.Equal(at, want) {
			t.Errorf("it worked after %v, want %v", at, want)
		}
		if want := `msg="upkeep failed; it is tried again" error="the disk is full" in=1h0m0s`; strings.Count(log.String(), "\n") != 1 || !strings.Contains(log.String(), want) {
			t.Errorf("the log is %q, want one line with %s", log.String(), want)
		}
	})
}

func TestAPeriodicPartThatIsStoppedEndsItsWorkAndCallsItNoFailure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		part := lifecycle.Periodic("upkeep", time.Hour, slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		ended := make(chan error)
		go func() { ended <- part.Serve() }()
		synctest.Wait() // it works
		stopPart(t, part, ended)
		if log.Len() > 0 {
			t.Errorf("the log is %q", log.String())
		}
	})
}

func stopPart(t *testing.T, part lifecycle.Part, ended <-chan error) {
	t.Helper()
	if err := part.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
