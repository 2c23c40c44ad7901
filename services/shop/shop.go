// Package shop runs all services in one process, on the embedded store, with
// real calls between them on loopback.
package shop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"time"

	"github.com/kiteshop/kiteshop/services/activity"
	"github.com/kiteshop/kiteshop/services/gateway"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item"
	"github.com/kiteshop/kiteshop/services/stock"
)

// readyInterval is how often a service that starts is asked whether it is ready.
const readyInterval = 5 * time.Millisecond

// Shop is all services with their ports open. Run makes them answer.
type Shop struct {
	item     *item.Service
	stock    *stock.Service
	activity *activity.Service
	gateway  *gateway.Service
	store    sqldb.Config
}

// New opens the stores and the ports, and fails when it cannot have one of
// them. What is set for one service and concerns all, as the store of the
// item service and the log of the gateway, holds for all.
func New(ctx context.Context, cfg Config) (_ *Shop, err error) {
	if advertise := cfg.Gateway.Discovery.Advertise; advertise != "" {
		if _, port, err := net.SplitHostPort(advertise); err == nil {
			return nil, fmt.Errorf("advertise is %q; each service of the shop has a port of its own, so it must be a host, without :%s", advertise, port)
		}
	}
	if cfg.Gateway.Telemetry.Instrumentation == "contrib" {
		return nil, errors.New("telemetry is contrib, whose tracer is the process's: start each service alone, as go run ./services/item/cmd")
	}
	cfg.share()
	s := &Shop{store: cfg.Stock.Store}
	var opened []io.Closer
	defer func() {
		for _, service := range opened {
			if err != nil {
				err = errors.Join(err, service.Close())
			}
		}
	}()
	if s.stock, err = stock.New(ctx, cfg.Stock); err != nil {
		return nil, err
	}
	opened = append(opened, s.stock)
	if s.item, err = item.New(ctx, cfg.Item); err != nil {
		return nil, err
	}
	opened = append(opened, s.item)
	if s.activity, err = activity.New(ctx, cfg.Activity); err != nil {
		return nil, err
	}
	opened = append(opened, s.activity)
	if s.gateway, err = gateway.New(ctx, cfg.Gateway); err != nil {
		return nil, err
	}
	return s, nil
}

// Addr is where the gateway answers HTTP requests.
func (s *Shop) Addr() net.Addr { return s.gateway.Addr() }

// ItemAddr is where the item service answers Kitex calls.
func (s *Shop) ItemAddr() net.Addr { return s.item.Addr() }

// StockAddr is where the stock service answers Kitex calls.
func (s *Shop) StockAddr() net.Addr { return s.stock.Addr() }

// ActivityAddr is where the activity service answers Kitex calls.
func (s *Shop) ActivityAddr() net.Addr { return s.activity.Addr() }

// Run starts the services in the order in which they need each other, calls
// ready when all are, and works until ctx ends or one of them fails; then it
// stops them, the last one first.
func (s *Shop) Run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	services := []*lifecycle.Service{s.stock.Service, s.item.Service, s.activity.Service, s.gateway.Service}
	stops := make([]func() error, len(services))
	for i, service := range services {
		serviceCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
		ended := make(chan error, 1)
		go func() {
			ended <- service.Run(serviceCtx)
			cancel()
		}()
		stops[i] = func() error {
			stop()
			return <-ended
		}
	}
	if s.awaitReady(ctx, services) {
		ready()
	}
	<-ctx.Done()
	var problems []error
	for _, stop := range slices.Backward(stops) {
		problems = append(problems, stop())
	}
	return errors.Join(problems...)
}

// awaitReady returns whether all services are ready before ctx ends.
func (s *Shop) awaitReady(ctx context.Context, services []*lifecycle.Service) bool {
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for slices.ContainsFunc(services, func(service *lifecycle.Service) bool { return len(service.Ready(ctx)) > 0 }) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Banner tells where the shop listens and what to try next.
func (s *Shop) Banner() string {
	return fmt.Sprintf(`
Kiteshop is open.

  gateway   %s      admin %s
  item      %s (Kitex)      admin %s
  stock     %s (Kitex)      admin %s
  activity  %s (Kitex)      admin %s
  data      %s

Try, in another terminal:

  curl '%[1]s/api/item?id=1024'
  curl '%[1]s/api/v1/items?limit=5'
  go run . import FILE.csv
  go run . client

Ctrl-C stops it.
`, s.gateway.URL(), s.gateway.AdminAddr(), s.item.Addr(), s.item.AdminAddr(), s.stock.Addr(), s.stock.AdminAddr(),
		s.activity.Addr(), s.activity.AdminAddr(), s.store)
}
