// Command cmd runs the stock service.
package main

import (
	"context"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/stock"
)

func main() {
	lifecycle.Main(func(ctx context.Context, args []string) error {
		cfg := stock.DefaultConfig()
		if err := config.Parse("stock", &cfg, args); err != nil {
			return err
		}
		service, err := stock.New(ctx, cfg)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
