package activity

import (
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Config is all that the activity service can be told. DefaultConfig fills it.
type Config struct {
	// RPC is the address for Kitex calls.
	RPC string
	// HalfLife is the time after which a view or a sale counts half.
	HalfLife time.Duration
	// SaleWeight is how many views a unit sold counts as.
	SaleWeight float64
	// Capacity is how many items are remembered for views, for sales and for
	// both, at about 100 bytes each. A score is too high by at most the sum of
	// all scores divided by it.
	Capacity int
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
		RPC:        "127.0.0.1:8894",
		HalfLife:   time.Hour,
		SaleWeight: 5,
		Capacity:   10_000,
		Now:        time.Now,
		Identity:   identity.Config{Required: true},
		Discovery:  discovery.Config{URL: "static://activity=127.0.0.1:8894", Version: lifecycle.Version()},
		Lifecycle:  lifecycle.Config{Admin: "127.0.0.1:9894", Debug: "127.0.0.1:9895", StopTimeout: 15 * time.Second},
		Telemetry:  telemetry.DefaultConfig(os.Stderr, os.Environ(), lifecycle.Version()),
	}
}

// Flags declares the settings that can be given from outside.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.RPC, "rpc", c.RPC, "`address` for Kitex calls")
	fs.DurationVar(&c.HalfLife, "half-life", c.HalfLife, "`time` after which a view or a sale counts half, 1s to 8760h")
	fs.Float64Var(&c.SaleWeight, "sale-weight", c.SaleWeight, "how many views a unit sold counts as, 0 to 1000000")
	fs.IntVar(&c.Capacity, "capacity", c.Capacity, "how many `items` are remembered of each kind, 1 to 1000000")
	c.Policies.Flags(fs)
	c.Identity.Flags(fs)
	c.Discovery.Flags(fs)
	c.Lifecycle.Flags(fs)
	c.Telemetry.Flags(fs)
}

const (
	minHalfLife   = time.Second
	maxHalfLife   = 365 * 24 * time.Hour // 256 of them must fit into a time.Duration, which ends after 292 years
	maxSaleWeight = 1_000_000
	maxCapacity   = 1_000_000
)

func (c *Config) check() error {
	switch {
	case c.HalfLife < minHalfLife || c.HalfLife > maxHalfLife:
		return fmt.Errorf("half-life is %s; it must be 1s to 8760h", c.HalfLife)
	case !(c.SaleWeight >= 0 && c.SaleWeight <= maxSaleWeight): // also NaN
		return fmt.Errorf("sale-weight is %g; it must be 0 to %d", c.SaleWeight, maxSaleWeight)
	case c.Capacity < 1 || c.Capacity > maxCapacity:
		return fmt.Errorf("capacity is %d; it must be 1 to %d", c.Capacity, maxCapacity)
	}
	return nil
}
