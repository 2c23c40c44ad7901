// Command cmd runs the gateway.
package main

import (
	"context"

	"github.com/kiteshop/kiteshop/services/gateway"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

func main() {
	lifecycle.Main(func(ctx context.Context, args []string) error {
		cfg := gateway.DefaultConfig()
		if err := config.Parse("gateway", &cfg, args); err != nil {
			return err
		}
		service, err := gateway.New(ctx, cfg)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
