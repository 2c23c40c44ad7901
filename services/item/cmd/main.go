// Command cmd runs the item service.
package main

import (
	"context"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/item"
)

func main() {
	lifecycle.Main(func(ctx context.Context, args []string) error {
		cfg := item.DefaultConfig()
		if err := config.Parse("item", &cfg, args); err != nil {
			return err
		}
		service, err := item.New(ctx, cfg)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
