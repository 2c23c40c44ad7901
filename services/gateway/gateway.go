// Package gateway is the door of the gateway, which speaks HTTP to the outside
// and Kitex to the services.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/bojanz/currency"
	"github.com/cloudwego/hertz/pkg/app/server"
	hertzconfig "github.com/cloudwego/hertz/pkg/common/config"
	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/gateway/internal/domain"
	"github.com/kiteshop/kiteshop/services/gateway/internal/http"
	"github.com/kiteshop/kiteshop/services/gateway/internal/upstream"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// stopWait is how long a stop waits for connections to end.
const stopWait = 10 * time.Second

// Service is the gateway with its ports open. Run makes it answer.
type Service struct {
	*lifecycle.Service
	ln     net.Listener
	scheme string
}

// New opens the ports, and fails when it cannot have one of them.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	tel, err := telemetry.New("gateway", cfg.Telemetry)
	if err != nil {
		return nil, err
	}
	tel.Log.InfoContext(ctx, "starting", config.Effective(&cfg))
	if !currency.IsValid(cfg.Currency) {
		return nil, fmt.Errorf("currency is %q; it must be an ISO 4217 code such as EUR", cfg.Currency)
	}
	if cfg.KeepaliveQuiet < 0 || cfg.KeepaliveQuiet > stopWait {
		return nil, fmt.Errorf("keepalive-quiet is %s; it must be from 0s to %s", cfg.KeepaliveQuiet, stopWait)
	}
	if err := cfg.Access.check(); err != nil {
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
	registry, err := transport.OpenRegistry(cfg.Discovery, tel, life)
	if err != nil {
		return nil, err
	}
	rules, err := transport.Govern(cfg.Policies, idl.Policies(), tel, life)
	if err != nil {
		return nil, err
	}
	if err := rules.Identify("gateway", cfg.Identity, tel); err != nil {
		return nil, err
	}
	shop, err := newShop(cfg, registry, rules, tel)
	if err != nil {
		return nil, err
	}
	if err := measureWatches(shop.Watches, tel); err != nil {
		return nil, err
	}
	if shop.Activity, err = newActivity(cfg, registry, rules, tel, life); err != nil {
		return nil, err
	}
	needed := []string{"item", "stock"} // without activity only the trends are missing
	registry.Watch(append(needed, "activity")...)
	for _, name := range needed {
		life.Add(lifecycle.Part{Name: name, Ready: func(ctx context.Context) error {
			_, err := registry.Resolver().Resolve(ctx, name)
			return err
		}})
	}
	access, err := openAccess(cfg, rules.Files, tel, life)
	if err != nil {
		return nil, err
	}
	ln, err := newHTTP(cfg, shop, access, rules, tel, life)
	if err != nil {
		return nil, err
	}
	return &Service{life, ln, access.Scheme()}, nil
}

// newHTTP opens the port, and adds the part that answers on it.
func newHTTP(cfg Config, shop *domain.Shop, access http.Access, rules *transport.Governance, tel *telemetry.Telemetry, life *lifecycle.Service) (net.Listener, error) {
	connections := http.NewConnections(cfg.KeepaliveQuiet)
	ln, secured, err := listen(cfg, rules.Files, connections, tel)
	if err != nil {
		return nil, err
	}
	hertz := server.New(append(append(secured, traced(tel)...),
		server.WithListener(ln),
		server.WithStreamBody(true),
		server.WithHandleMethodNotAllowed(true),
		server.WithRedirectTrailingSlash(false),
		server.WithMaxHeaderBytes(http.MaxHeaderBytes),
		server.WithReadTimeout(30*time.Second),
		server.WithIdleTimeout(2*time.Minute),
		server.WithOnConnect(connections.OnConnect),
		server.WithSenseClientDisconnection(true),
		server.WithExitWaitTime(stopWait),
		server.WithDisablePrintRoute(true),
	)...)
	life.Add(httpPart(hertz, ln, connections))
	return ln, http.Register(hertz.Engine, connections, shop, access, rules.Policies, tel, cfg.NewID)
}

// URL is what callers put before a path.
func (s *Service) URL() string { return s.scheme + "://" + s.ln.Addr().String() }

// Addr is where the gateway answers HTTP requests.
func (s *Service) Addr() net.Addr { return s.ln.Addr() }

// traced is what contributed spans need of the server; our own need nothing.
func traced(tel *telemetry.Telemetry) []hertzconfig.Option {
	if tel.Contributed == nil {
		return nil
	}
	return []hertzconfig.Option{tel.Contributed.HTTP()}
}

func newShop(cfg Config, registry *discovery.Registry, rules *transport.Governance, tel *telemetry.Telemetry) (*domain.Shop, error) {
	options, err := transport.ClientOptions("gateway", registry, rules, tel)
	if err != nil {
		return nil, err
	}
	items, err := itemservice.NewClient("item", options...)
	if err != nil {
		return nil, fmt.Errorf("item client: %w", err)
	}
	stocks, err := stockservice.NewClient("stock", options...)
	if err != nil {
		return nil, fmt.Errorf("stock client: %w", err)
	}
	last, err := lastItems(rules, tel)
	if err != nil {
		return nil, err
	}
	reached := upstream.Stocks{Client: stocks}
	return &domain.Shop{Items: upstream.Items{Client: items, Last: last}, Stocks: reached, Watches: domain.NewWatches(reached), Currency: cfg.Currency}, nil
}

func httpPart(hertz *server.Hertz, ln net.Listener, connections *http.Connections) lifecycle.Part {
	return lifecycle.Part{
		Name: "http server",
		Serve: func() error {
			go connections.Watch()
			return hertz.Run()
		},
		Stop: func(ctx context.Context) error {
			defer ln.Close() // a server that never ran does not know its listener
			if !hertz.IsRunning() {
				return nil
			}
			closing, closed := context.WithCancel(ctx)
			defer closed()
			go connections.Drain(closing)
			return hertz.Shutdown(ctx)
		},
	}
}

// newUUID makes a UUIDv7: sorted by time, 74 random bits.
func newUUID() string { return uuid.Must(uuid.NewV7()).String() }
