// Package activity is the door of the activity service, which knows what is
// looked at and bought now.
package activity

import (
	"context"
	"errors"
	"net"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/idl"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/activity/internal/domain"
	"github.com/kiteshop/kiteshop/services/activity/internal/rpc"
	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// Service is the activity service with its ports open. Run makes it answer.
type Service struct {
	*lifecycle.Service
	server *transport.Server
}

// New opens the ports, and fails when it cannot have one of them.
func New(ctx context.Context, cfg Config) (_ *Service, err error) {
	tel, err := telemetry.New("activity", cfg.Telemetry)
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
	registry, err := transport.OpenRegistry(cfg.Discovery, tel, life)
	if err != nil {
		return nil, err
	}
	rules, err := transport.Govern(cfg.Policies, idl.Policies(), tel, life)
	if err != nil {
		return nil, err
	}
	if err := rules.Identify("activity", cfg.Identity, tel); err != nil {
		return nil, err
	}
	recorded, err := recordings(tel.Meter)
	if err != nil {
		return nil, err
	}
	trends := domain.NewTrends(domain.Options{Capacity: cfg.Capacity, HalfLife: cfg.HalfLife, SaleWeight: cfg.SaleWeight, Now: cfg.Now})
	server, err := transport.NewServer(cfg.RPC, rules, tel)
	if err != nil {
		return nil, err
	}
	life.Add(server.Part())
	if err := activityservice.RegisterService(server, &rpc.Handler{Trends: trends, Recorded: recorded}); err != nil {
		return nil, err
	}
	server.Describe(nil, life.Ready)
	life.Add(server.Announcement(registry, "activity"))
	return &Service{Service: life, server: server}, nil
}

// Addr is where the service answers Kitex calls.
func (s *Service) Addr() net.Addr { return s.server.Addr() }

// recordings counts the records that came, and those of them that were dropped.
func recordings(meter metric.Meter) (func(ctx context.Context, kind domain.Kind, records, dropped int), error) {
	came, err1 := meter.Int64Counter("activity.records", metric.WithUnit("{record}"), metric.WithDescription("Views and sales that were recorded or dropped."))
	lost, err2 := meter.Int64Counter("activity.records.dropped", metric.WithUnit("{record}"), metric.WithDescription("Views and sales whose item or quantity was out of its bounds, or beyond 1,000 of a call."))
	labels := telemetry.NewLabels(func(kind domain.Kind) []attribute.KeyValue {
		return []attribute.KeyValue{attribute.String("kind", string(kind))}
	})
	recorded := func(ctx context.Context, kind domain.Kind, records, dropped int) {
		label := labels.Get(kind).Add
		came.Add(ctx, int64(records), label...)
		lost.Add(ctx, int64(dropped), label...)
	}
	for _, kind := range []domain.Kind{domain.Viewed, domain.Bought} {
		recorded(context.Background(), kind, 0, 0)
	}
	return recorded, errors.Join(err1, err2)
}
