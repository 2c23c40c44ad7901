package stock

import (
	"context"
	"log/slog"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
)

// watching is the part that tells watchers what has changed.
func watching(watches *domain.Watches, inventory *domain.Inventory) lifecycle.Part {
	return lifecycle.Background("watches", func(ctx context.Context) { watches.Run(ctx, inventory.Store.Stock) })
}

// listening tells the log whether changes of other processes are heard at once.
func listening(ctx context.Context, log *slog.Logger) func(err error) {
	return func(err error) {
		if err != nil {
			log.WarnContext(ctx, "changes by other processes are not told any more; what is watched is looked at every second", "error", err)
			return
		}
		log.InfoContext(ctx, "changes by other processes are told again")
	}
}
