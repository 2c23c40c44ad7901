// Command cmd runs the activity service.
package main

import (
	"context"

	"github.com/kiteshop/kiteshop/services/activity"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

func main() {
	lifecycle.Main(func(ctx context.Context, args []string) error {
		cfg := activity.DefaultConfig()
		if err := config.Parse("activity", &cfg, args); err != nil {
			return err
		}
		service, err := activity.New(ctx, cfg)
		if err != nil {
			return err
		}
		return service.Run(ctx)
	})
}
