package stock

import (
	"flag"
	"log/slog"
	"os"
	"time"

	"github.com/google/uuid"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Config is all that the stock service can be told. DefaultConfig fills it.
type Config struct {
	// RPC is the address for Kitex calls.
	RPC string
	// Data is the directory of stock.db. It is made if it does not exist.
	Data string
	// Demo puts 100 units of the tutorial's item 1024 into an empty store.
	Demo bool
	// ExpireEvery is how often reservations whose time is over are given back.
	ExpireEvery time.Duration
	// Now is the clock.
	Now func() time.Time
	// NewID makes ids of reservations: UUIDv7, so that the newest sort last.
	NewID func() string

	Discovery discovery.Config
	Lifecycle lifecycle.Config
	Telemetry telemetry.Config
}

// DefaultConfig is what the service runs with when it is told nothing.
func DefaultConfig() Config {
	return Config{
		RPC:         "127.0.0.1:8890",
		Data:        "data",
		ExpireEvery: time.Second,
		Now:         time.Now,
		NewID:       func() string { return uuid.Must(uuid.NewV7()).String() },
		Discovery:   discovery.Config{URL: "static://stock=127.0.0.1:8890", Version: lifecycle.Version()},
		Lifecycle:   lifecycle.Config{Admin: "127.0.0.1:9892", Debug: "127.0.0.1:9893", StopTimeout: 15 * time.Second},
		Telemetry:   telemetry.Config{Level: slog.LevelInfo, Format: "json", Output: os.Stderr},
	}
}

// Flags declares the settings that can be given from outside.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.RPC, "rpc", c.RPC, "`address` for Kitex calls")
	fs.StringVar(&c.Data, "data", c.Data, "`directory` of the database")
	fs.BoolVar(&c.Demo, "demo", c.Demo, "put 100 units of the tutorial's item 1024 into an empty store")
	fs.DurationVar(&c.ExpireEvery, "expire-every", c.ExpireEvery, "`time` between two looks for reservations whose time is over")
	c.Discovery.Flags(fs)
	c.Lifecycle.Flags(fs)
	c.Telemetry.Flags(fs)
}
