// Package stock is the door of the stock service, which owns the inventory.
package stock

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
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
	if err := cfg.check(); err != nil {
		return nil, err
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
	if err := rules.Identify("stock", cfg.Identity, tel); err != nil {
		return nil, err
	}

	watches := domain.NewWatches()
	measured, err1 := measureBatches(tel)
	synced, err2 := syncs(tel.Meter)
	if err := errors.Join(err1, err2, measureWatches(tel.Meter, watches)); err != nil {
		return nil, err
	}
	stocks, err := store.Open(ctx, cfg.Store, store.Options{
		Now: cfg.Now, Measured: measured, Changed: watches.Changed, Listening: listening(ctx, tel.Log),
	})
	if err != nil {
		return nil, err
	}
	life.Add(lifecycle.Part{Name: "store", Ready: stocks.Ping, Stop: func(context.Context) error { return stocks.Close() }})

	sales, err1 := newSales(cfg, registry, rules, tel, life)
	tally, err2 := newTally(tel.Meter)
	if err := errors.Join(err1, err2, measureQueue(tel.Meter, stocks.Waiting)); err != nil {
		return nil, err
	}
	inventory := &domain.Inventory{Store: stocks, NewID: cfg.NewID, Sales: sales, Tally: tally}
	if err := seed(ctx, cfg.Demo, stocks, inventory); err != nil {
		return nil, fmt.Errorf("demo stock: %w", err)
	}
	life.Add(watching(watches, inventory))
	if err := addUpkeep(life, cfg, inventory, tel); err != nil {
		return nil, err
	}

	server, err := transport.NewServer(cfg.RPC, rules, tel)
	if err != nil {
		return nil, err
	}
	life.Add(server.Part())
	if err := stockservice.RegisterService(server, &rpc.Handler{Inventory: inventory, Watches: watches, Synced: synced}); err != nil {
		return nil, err
	}
	server.Describe(idl.Descriptors(), life.Ready)
	life.Add(server.Announcement(registry, "stock"))
	return &Service{Service: life, server: server}, nil
}

// Schema is the service's database, for those who copy all of it.
func Schema() (sqldb.Schema, error) { return store.Schema() }

// Addr is where the service answers Kitex calls.
func (s *Service) Addr() net.Addr { return s.server.Addr() }

// seed receives, for a demo, 100 units of the tutorial's item if nothing was ever received.
// The key makes that happen once, also when several replicas start.
func seed(ctx context.Context, demo bool, stocks *store.Store, inventory *domain.Inventory) error {
	if !demo {
		return nil
	}
	empty, err := stocks.Empty(ctx)
	if err != nil || !empty {
		return err
	}
	_, err = inventory.Adjust(ctx, domain.Adjustment{
		ItemID: 1024, Delta: 100, Reason: domain.Received, Reference: "demo", Actor: "demo", Location: domain.MainLocation, Key: "demo",
	})
	return err
}
