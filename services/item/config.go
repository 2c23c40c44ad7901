package item

import (
	"flag"
	"os"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

const (
	// forgetEvery is how often keys older than the retention are looked for.
	forgetEvery = time.Hour
	// minRetention is promised to callers: so long is a key remembered.
	minRetention = 24 * time.Hour
)

// Config is all that the item service can be told. DefaultConfig fills it.
type Config struct {
	// RPC is the address for Kitex calls.
	RPC string
	// Store is where the items are: item.db, or the schema item of a PostgreSQL database.
	Store sqldb.Config
	// Demo puts the item 1024 of the tutorial into an empty store.
	Demo bool
	// StockBudget is the longest wait for stock's answer; after it, items are
	// answered with their stock unknown.
	StockBudget time.Duration
	// ItemMaxAge and StockMaxAge bound how old an answer from memory may be.
	// At most 1 s is promised; 0 keeps nothing.
	ItemMaxAge  time.Duration
	StockMaxAge time.Duration
	// Retention is how long idempotency keys are remembered. At least 24 h.
	Retention time.Duration
	// Now is the clock.
	Now func() time.Time

	Policies  policy.Config
	Identity  identity.Config
	Discovery discovery.Config
	Lifecycle lifecycle.Config
	Telemetry telemetry.Config
}

// DefaultConfig is what the service runs with when it is told nothing.
func DefaultConfig() Config {
	return Config{
		RPC:         "127.0.0.1:8888",
		StockBudget: 250 * time.Millisecond,
		ItemMaxAge:  time.Second,
		StockMaxAge: 200 * time.Millisecond,
		Retention:   7 * 24 * time.Hour,
		Now:         time.Now,
		Store:       sqldb.Config{Wait: time.Minute},
		Identity:    identity.Config{Required: true},
		Discovery:   discovery.Config{URL: "static://stock=127.0.0.1:8890", Version: lifecycle.Version()},
		Lifecycle:   lifecycle.Config{Admin: "127.0.0.1:9888", Debug: "127.0.0.1:9891", StopTimeout: 15 * time.Second},
		Telemetry:   telemetry.DefaultConfig(os.Stderr, os.Environ(), lifecycle.Version()),
	}
}

// Flags declares the settings that can be given from outside.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.RPC, "rpc", c.RPC, "`address` for Kitex calls")
	c.Store.Flags(fs)
	fs.BoolVar(&c.Demo, "demo", c.Demo, "put the tutorial's item 1024 into an empty store")
	fs.DurationVar(&c.StockBudget, "stock-budget", c.StockBudget, "longest `time` to wait for stock's answer")
	fs.DurationVar(&c.ItemMaxAge, "item-max-age", c.ItemMaxAge, "oldest `age` of an item answered from memory")
	fs.DurationVar(&c.StockMaxAge, "stock-max-age", c.StockMaxAge, "oldest `age` of a stock level answered from memory")
	fs.DurationVar(&c.Retention, "retention", c.Retention, "how long idempotency keys are remembered, at least 24h")
	c.Policies.Flags(fs)
	c.Identity.Flags(fs)
	c.Discovery.Flags(fs)
	c.Lifecycle.Flags(fs)
	c.Telemetry.Flags(fs)
}
