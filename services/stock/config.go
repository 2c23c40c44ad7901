package stock

import (
	"flag"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Config is all that the stock service can be told. DefaultConfig fills it.
type Config struct {
	// RPC is the address for Kitex calls.
	RPC string
	// Store is where the stock is: stock.db, or the schema stock of a PostgreSQL database.
	Store sqldb.Config
	// Demo puts 100 units of the tutorial's item 1024 into an empty store.
	Demo bool
	// ExpireEvery is how often reservations whose time is over are given back.
	ExpireEvery time.Duration
	// ReconcileEvery is how often the balances are compared with what they are
	// made of, and items that are low on stock counted, for the metrics.
	ReconcileEvery time.Duration
	// Retention is how long reservations that ended and keys of commands are
	// remembered. At least 24 h.
	Retention time.Duration
	// Record tells activity what is sold.
	Record bool
	// Now is the clock. Nil: that of PostgreSQL, which all replicas share, or
	// of the machine with SQLite.
	Now func() time.Time
	// NewID makes ids of reservations: UUIDv7, so that the newest sort last.
	NewID func() string

	Policies  policy.Config
	Identity  identity.Config
	Discovery discovery.Config
	Lifecycle lifecycle.Config
	Telemetry telemetry.Config
}

// DefaultConfig is what the service runs with when it is told nothing.
func DefaultConfig() Config {
	return Config{
		RPC:            "127.0.0.1:8890",
		ExpireEvery:    time.Second,
		ReconcileEvery: 15 * time.Minute,
		Retention:      7 * 24 * time.Hour,
		Record:         true,
		NewID:          func() string { return uuid.Must(uuid.NewV7()).String() },
		Store:          sqldb.Config{Wait: time.Minute},
		Identity:       identity.Config{Required: true},
		Discovery:      discovery.Config{URL: "static://stock=127.0.0.1:8890,activity=127.0.0.1:8894", Version: lifecycle.Version()},
		Lifecycle:      lifecycle.Config{Admin: "127.0.0.1:9892", Debug: "127.0.0.1:9893", StopTimeout: 15 * time.Second},
		Telemetry:      telemetry.DefaultConfig(os.Stderr, os.Environ(), lifecycle.Version()),
	}
}

// Flags declares the settings that can be given from outside.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.RPC, "rpc", c.RPC, "`address` for Kitex calls")
	c.Store.Flags(fs)
	fs.BoolVar(&c.Demo, "demo", c.Demo, "put 100 units of the tutorial's item 1024 into an empty store")
	fs.DurationVar(&c.ExpireEvery, "expire-every", c.ExpireEvery, "`time` between two looks for reservations whose time is over")
	fs.DurationVar(&c.ReconcileEvery, "reconcile-every", c.ReconcileEvery, "`time` between two comparisons of the balances with the ledger and the reservations")
	fs.DurationVar(&c.Retention, "retention", c.Retention, "how long reservations that ended and idempotency keys are remembered, at least 24h")
	fs.BoolVar(&c.Record, "record", c.Record, "tell activity what is sold")
	c.Policies.Flags(fs)
	c.Identity.Flags(fs)
	c.Discovery.Flags(fs)
	c.Lifecycle.Flags(fs)
	c.Telemetry.Flags(fs)
}
