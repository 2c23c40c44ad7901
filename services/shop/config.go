package shop

import (
	"cmp"
	"flag"
	"os"
	"path/filepath"

	"golang.org/x/term"

	"github.com/kiteshop/kiteshop/services/activity"
	"github.com/kiteshop/kiteshop/services/gateway"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/item"
	"github.com/kiteshop/kiteshop/services/stock"
)

// inProcess stands where the URL of a registry could: the services find each other in memory.
const inProcess = "in process"

// Config is the configuration of each service. DefaultConfig fills it.
type Config struct {
	Gateway  gateway.Config
	Item     item.Config
	Stock    stock.Config
	Activity activity.Config
}

// DefaultConfig is the shop on the contract's ports, with the demo item, and a
// log for people where one looks on.
func DefaultConfig() Config {
	cfg := Config{Gateway: gateway.DefaultConfig(), Item: item.DefaultConfig(), Stock: stock.DefaultConfig(), Activity: activity.DefaultConfig()}
	cfg.Item.Demo = true
	cfg.Gateway.Discovery.URL = inProcess
	if term.IsTerminal(int(os.Stderr.Fd())) {
		cfg.Gateway.Telemetry.Format = "text"
	}
	return cfg
}

// Flags declares the settings of the shop; each holds for all services that have it.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.StringVar(&c.Gateway.HTTP, "http", c.Gateway.HTTP, "`address` for HTTP requests")
	fs.StringVar(&c.Gateway.Currency, "currency", c.Gateway.Currency, "ISO 4217 `code` of the prices in product files")
	c.Item.Store.Flags(fs)
	fs.BoolVar(&c.Item.Demo, "demo", c.Item.Demo, "put the tutorial's item 1024 with 100 units into an empty store")
	c.Gateway.Access.Flags(fs)
	c.Gateway.Policies.Flags(fs)
	c.Gateway.Identity.Flags(fs)
	c.Gateway.Discovery.Flags(fs)
	c.Gateway.Telemetry.Flags(fs)
}

// share gives every service what was set for one.
func (c *Config) share() {
	c.Stock.Store, c.Stock.Demo = c.Item.Store, c.Item.Demo
	c.Item.Telemetry, c.Stock.Telemetry, c.Activity.Telemetry = c.Gateway.Telemetry, c.Gateway.Telemetry, c.Gateway.Telemetry
	c.Item.Policies, c.Stock.Policies, c.Activity.Policies = c.Gateway.Policies, c.Gateway.Policies, c.Gateway.Policies
	c.Item.Identity, c.Stock.Identity, c.Activity.Identity = c.Gateway.Identity, c.Gateway.Identity, c.Gateway.Identity
	if c.Gateway.Access.Keys == "" { // so that key create, told nothing either, makes the first one
		c.Gateway.Access.Keys, c.Gateway.Access.KeysOptional = filepath.Join(cmp.Or(c.Item.Store.Data, "data"), keysFile), true
	}
	if c.Gateway.Discovery.URL == inProcess {
		c.Gateway.Discovery.Registry = discovery.NewMemory()
	}
	c.Item.Discovery, c.Stock.Discovery, c.Activity.Discovery = c.Gateway.Discovery, c.Gateway.Discovery, c.Gateway.Discovery
}
