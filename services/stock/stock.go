// Package stock is the door of the stock service, which owns the inventory.
package stock

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
	"github.com/kiteshop/kiteshop/services/stock/internal/domain"
	"github.com/kiteshop/kiteshop/services/stock/internal/rpc"
	"github.com/kiteshop/kiteshop/services/stock/internal/store"
)

// Service is the stock service with its ports open. Run makes it answer.
type Service struct {
	*lifecycle.Service
	server *transport.Server
}

// New opens the store and the ports, and fails when it cannot have one of them.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	tel, err := telemetry.New("stock", cfg.Telemetry)
	if err != nil {
		return nil, err
	}
	tel.Log.InfoContext(ctx, "starting", config.Effective(&cfg))
	if cfg.ExpireEvery <= 0 {
		return nil, fmt.Errorf("expire-every is %s; it must be more than 0", cfg.ExpireEvery)
	}
	life, err := lifecycle.New(tel.Log, cfg.Lifecycle, tel.Metrics)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, life.Close())
		}
	}()
	registry, err := transport.OpenRegistry(cfg.Discovery, tel, life)
	if err != nil {
		return nil, err
	}

	stocks, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	life.Add(lifecycle.Part{Name: "store", Ready: stocks.Ping, Stop: func(context.Context) error { return stocks.Close() }})

	inventory := &domain.Inventory{Store: stocks, Now: cfg.Now, NewID: cfg.NewID}
	life.Add(expiry(inventory, cfg.ExpireEvery, tel.Log))

	server, err := transport.NewServer(cfg.RPC, tel)
	if err != nil {
		return nil, err
	}
	life.Add(server.Part())
	if err := stockservice.RegisterService(server, &rpc.Handler{Inventory: inventory}); err != nil {
		return nil, err
	}
	life.Add(server.Announcement(registry, "stock"))
	return &Service{Service: life, server: server}, nil
}

// Addr is where the service answers Kitex calls.
func (s *Service) Addr() net.Addr { return s.server.Addr() }

// expiry is the part that gives back what nobody bought in time.
func expiry(inventory *domain.Inventory, every time.Duration, log *slog.Logger) lifecycle.Part {
	ctx, stop := context.WithCancel(context.Background()) // lives as long as the service, not as a request
	return lifecycle.Part{
		Name: "expiry",
		Serve: func() error {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return nil
				case <-tick.C:
				}
				if err := inventory.Expire(ctx); err != nil && ctx.Err() == nil {
					log.ErrorContext(ctx, "expiring reservations failed; it is tried again", "error", err)
				}
			}
		},
		Stop: func(context.Context) error {
			stop()
			return nil
		},
	}
}

func openStore(ctx context.Context, cfg Config) (*store.Store, error) {
	stocks, err := store.Open(ctx, filepath.Join(cfg.Data, "stock.db"))
	if err != nil || !cfg.Demo {
		return stocks, err
	}
	if err := seed(ctx, stocks, cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("demo stock: %w", err), stocks.Close())
	}
	return stocks, nil
}

// seed receives 100 units of the tutorial's item if nothing was ever received.
func seed(ctx context.Context, stocks *store.Store, cfg Config) error {
	empty, err := stocks.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	_, err = stocks.Adjust(ctx, domain.Adjustment{
		ItemID: 1024, Delta: 100, Reason: domain.Received, Reference: "demo", Location: domain.MainLocation,
	}, cfg.Now())
	return err
}
