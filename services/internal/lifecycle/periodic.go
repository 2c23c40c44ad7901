package lifecycle

import (
	"context"
	"log/slog"
	"time"
)

// Background is a part that runs until it is stopped, when its ctx ends.
func Background(name string, run func(ctx context.Context)) Part {
	ctx, stop := context.WithCancel(context.Background()) // lives as long as the service, not as a request
	return Part{
		Name: name,
		Serve: func() error {
			run(ctx)
			return nil
		},
		Stop: func(context.Context) error {
			stop()
			return nil
		},
	}
}

// Periodic is a part that calls do at once and then every so often, also when
// it failed. The ctx of do ends when the part is stopped.
func Periodic(name string, every time.Duration, log *slog.Logger, do func(ctx context.Context) error) Part {
	return Background(name, func(ctx context.Context) {
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			if err := do(ctx); err != nil && ctx.Err() == nil {
				log.ErrorContext(ctx, name+" failed; it is tried again", "error", err, "in", every.String())
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
}
