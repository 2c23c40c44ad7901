// Package item is the door of the item service, which owns the catalogue.
package item

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
	"github.com/kiteshop/kiteshop/services/item/internal/rpc"
	"github.com/kiteshop/kiteshop/services/item/internal/store"
	"github.com/kiteshop/kiteshop/services/item/internal/upstream"
)

// Service is the item service with its ports open. Run makes it answer.
type Service struct {
	*lifecycle.Service
	server *transport.Server
}

// New opens the store and the ports, and fails when it cannot have one of them.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	tel, err := telemetry.New("item", cfg.Telemetry)
	if err != nil {
		return nil, err
	}
	tel.Log.InfoContext(ctx, "starting", config.Effective(&cfg))
	if cfg.Retention < minRetention {
		return nil, fmt.Errorf("retention is %s; it must be at least %s", cfg.Retention, minRetention)
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
	life.Add(lifecycle.Part{Name: "telemetry", Stop: tel.Stop})
	transport.Diagnose(life, tel, &cfg)
	cfg.Store.Meter = tel.Meter
	cfg.Store.Waiting = func(err error) { tel.Log.WarnContext(ctx, "waiting for the database", "error", err) }
	registry, err := transport.OpenRegistry(cfg.Discovery, tel, life)
	if err != nil {
		return nil, err
	}
	rules, err := transport.Govern(cfg.Policies, idl.Policies(), tel, life)
	if err != nil {
		return nil, err
	}
	if err := rules.Identify("item", cfg.Identity, tel); err != nil {
		return nil, err
	}

	items, err := openStore(ctx, cfg)
	if err != nil {
		return nil, err
	}
	life.Add(lifecycle.Part{Name: "store", Ready: items.Ping, Stop: func(context.Context) error { return items.Close() }})

	registry.Watch("stock")
	options, err := transport.ClientOptions("item", registry, rules, tel)
	if err != nil {
		return nil, err
	}
	client, err := stockservice.NewClient("stock", options...)
	if err != nil {
		return nil, fmt.Errorf("stock client: %w", err)
	}
	stock, err := upstream.NewStock(client, cfg.StockBudget, cfg.StockMaxAge, tel.Log)
	if err != nil {
		return nil, err
	}

	if err := measureCaches(tel.Meter, items, stock); err != nil {
		return nil, err
	}
	catalogue := &domain.Catalogue{Store: items, Stock: stock, Now: cfg.Now}
	life.Add(lifecycle.Periodic("retention", forgetEvery, tel.Log, func(ctx context.Context) error { return catalogue.Forget(ctx, cfg.Retention) }))

	server, err := transport.NewServer(cfg.RPC, rules, tel)
	if err != nil {
		return nil, err
	}
	life.Add(server.Part())
	if err := itemservice.RegisterService(server, &rpc.Handler{Catalogue: catalogue}); err != nil {
		return nil, err
	}
	server.Describe(idl.Descriptors(), life.Ready)
	life.Add(server.Announcement(registry, "item", "example.shop.item")) // the second is the tutorial's name
	return &Service{Service: life, server: server}, nil
}

// Schema is the service's database, for those who copy all of it.
func Schema() (sqldb.Schema, error) { return store.Schema() }

// Addr is where the service answers Kitex calls.
func (s *Service) Addr() net.Addr { return s.server.Addr() }

func openStore(ctx context.Context, cfg Config) (*store.Store, error) {
	items, err := store.Open(ctx, cfg.Store, cfg.ItemMaxAge, cfg.Now)
	if err != nil || !cfg.Demo {
		return items, err
	}
	if err := items.Seed(ctx, demo(cfg.Now())); err != nil {
		return nil, errors.Join(fmt.Errorf("demo item: %w", err), items.Close())
	}
	return items, nil
}

// demo is the item that the tutorial's client asks for.
func demo(now time.Time) domain.Item {
	fields := domain.Fields{
		SKU: "kitex", Title: "Kitex", Description: "Kitex is an excellent framework!", Handle: "kitex", Status: domain.Active,
	}
	return domain.Item{ID: 1024, Fields: fields, Version: 1, CreatedAt: now, UpdatedAt: now}
}
