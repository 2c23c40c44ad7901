// Package stock is the door of the stock service, which owns the inventory.
package stock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"

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

	server, err := transport.NewServer(cfg.RPC, tel)
	if err != nil {
		return nil, err
	}
	life.Add(server.Part())
	handler := &rpc.Handler{Inventory: &domain.Inventory{Store: stocks, Now: cfg.Now}}
	if err := stockservice.RegisterService(server, handler); err != nil {
		return nil, err
	}
	life.Add(server.Announcement(registry, "stock"))
	return &Service{Service: life, server: server}, nil
}

// Addr is where the service answers Kitex calls.
func (s *Service) Addr() net.Addr { return s.server.Addr() }

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
