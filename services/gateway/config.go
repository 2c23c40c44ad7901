package gateway

import (
	"flag"
	"os"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
)

// Config is all that the gateway can be told. DefaultConfig fills it.
type Config struct {
	// HTTP is the address for HTTP requests.
	HTTP string
	// Currency is the ISO 4217 code of the prices in product files, which name none.
	Currency string
	// KeepaliveQuiet is how long a connection must have been without a request for a
	// stop to close it, from 0 to 10 s. Whoever used it a moment ago may be sending the
	// next request now.
	KeepaliveQuiet time.Duration
	// Record tells activity which items are looked at.
	Record bool
	// Access says who may ask.
	Access Access
	// Now is the clock.
	Now func() time.Time
	// NewID makes request ids and idempotency keys: unique and hard to guess.
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
		HTTP:           "127.0.0.1:8889",
		Currency:       "EUR",
		KeepaliveQuiet: time.Second,
		Record:         true,
		Now:            time.Now,
		NewID:          newUUID,
		Identity:       identity.Config{Required: true},
		Discovery:      discovery.Config{URL: "static://item=127.0.0.1:8888,stock=127.0.0.1:8890,activity=127.0.0.1:8894", Version: lifecycle.Version()},
		Lifecycle:      lifecycle.Config{Admin: "127.0.0.1:9889", Debug: "127.0.0.1:9890", StopTimeout: 15 * time.Second},
		Telemetry:      telemetry.DefaultConfig(os.Stderr, os.Environ(), lifecycle.Version()),
	}
}

// Flags declares the settings that can be given from outside.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.HTTP, "http", c.HTTP, "`address` for HTTP requests")
	fs.StringVar(&c.Currency, "currency", c.Currency, "ISO 4217 `code` of the prices in product files")
	fs.DurationVar(&c.KeepaliveQuiet, "keepalive-quiet", c.KeepaliveQuiet, "`time` without a request after which a stop closes a connection, up to 10s")
	fs.BoolVar(&c.Record, "record", c.Record, "tell activity which items are looked at")
	c.Access.Flags(fs)
	c.Policies.Flags(fs)
	c.Identity.Flags(fs)
	c.Discovery.Flags(fs)
	c.Lifecycle.Flags(fs)
	c.Telemetry.Flags(fs)
}
