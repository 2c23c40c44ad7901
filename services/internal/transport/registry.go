package transport

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// OpenRegistry gives a service its registry, which closes when the service
// stops, measured in the metrics and shown at /debug/discovery.
func OpenRegistry(cfg discovery.Config, tel *telemetry.Telemetry, life *lifecycle.Service) (*discovery.Registry, error) {
	registry, err := discovery.Open(cfg, tel.Log)
	if err != nil {
		return nil, err
	}
	if cfg.Registry == nil {
		life.Add(lifecycle.Part{Name: "registry", Stop: func(context.Context) error {
			registry.Close()
			return nil
		}})
	}
	life.HandleDebug("discovery", "who is registered, and who is known", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(registry.Report())
	})
	return registry, measure(registry, tel.Meter)
}

// measure reports what the registry knows at each collection.
func measure(registry *discovery.Registry, meter metric.Meter) error {
	gauge := func(name, unit, description string) (metric.Float64ObservableGauge, error) {
		return meter.Float64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(description))
	}
	registered, err1 := gauge("discovery.registered", "{registration}", "1 while this process is registered under the names, else 0.")
	confirmed, err2 := gauge("discovery.registration.age", "s", "Time since the registry last confirmed the registration.")
	instances, err3 := gauge("discovery.instances", "{instance}", "Instances known of a service.")
	age, err4 := gauge("discovery.list.age", "s", "Time since the registry last told the instances of a service.")
	doubted, err5 := gauge("discovery.list.doubted", "{list}", "1 while the registry tells of no instance and the last ones are kept, else 0.")
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, to metric.Observer) error {
		report := registry.Report()
		for _, r := range report.Registrations {
			label := metric.WithAttributes(attribute.String("names", r.Name))
			to.ObserveFloat64(registered, one(r.Registered), label)
			if !r.LastContact.IsZero() {
				to.ObserveFloat64(confirmed, time.Since(r.LastContact).Seconds(), label)
			}
		}
		for _, l := range report.Lists {
			label := metric.WithAttributes(attribute.String("name", l.Name))
			to.ObserveFloat64(instances, float64(len(l.Instances)), label)
			to.ObserveFloat64(doubted, one(!l.EmptySince.IsZero()), label)
			if !l.LastContact.IsZero() {
				to.ObserveFloat64(age, time.Since(l.LastContact).Seconds(), label)
			}
		}
		return nil
	}, registered, confirmed, instances, age, doubted)
	return err
}

func one(truth bool) float64 {
	if truth {
		return 1
	}
	return 0
}

// Announcement is the part that makes the server findable under names. It is
// ready when it has been registered once: whoever knows a server can call it,
// also while the registry is away.
func (s *Server) Announcement(registry *discovery.Registry, names ...string) lifecycle.Part {
	var announced atomic.Pointer[discovery.Announcement]
	leave := make(chan context.Context, 1)
	return lifecycle.Part{
		Name: "registration",
		Serve: func() error {
			a := registry.Announce(s.Addr(), names...)
			announced.Store(a)
			a.Withdraw(<-leave)
			return nil
		},
		Stop: func(ctx context.Context) error {
			leave <- ctx
			return nil
		},
		Ready: func(context.Context) error {
			if a := announced.Load(); a != nil {
				return a.Registered()
			}
			return errors.New("it is not registered yet")
		},
	}
}
