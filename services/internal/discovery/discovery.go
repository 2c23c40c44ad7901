// Package discovery tells services where the others are. One URL chooses how.
//
// A service announces itself and is kept registered until it withdraws, whatever
// happens to the registry. A caller asks for a name and gets the last list that
// the registry has given, whatever happens to the registry.
package discovery

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Config chooses the registry and says what an instance tells of itself.
type Config struct {
	// URL as Open takes it. Ignored when Registry is set.
	URL string
	// Registry is one that is open already. Who opened it closes it.
	Registry *Registry
	// Password for the user in URL, unless URL has a password_file.
	Password Secret
	// Advertise is the host, or host:port, at which callers reach this instance.
	// Empty: the address that it listens on or, if that is every address of the
	// machine, the one that faces the registry.
	Advertise string
	// Weight is this instance's share of the calls relative to the others. 0: 10, as in Kitex.
	Weight int
	// Zone and Version are told to whoever reads the registry; empty ones are not told.
	Zone    string
	Version string
}

// Flags declares -registry and what goes with it.
func (c *Config) Flags(fs *flag.FlagSet) {
	fs.Var((*urlFlag)(&c.URL), "registry", "`URL` of the registry: "+strings.Join(forms(), ", "))
	fs.Var(&c.Password, "registry-password", "`password` of the URL's user; from the environment or a file only")
	fs.StringVar(&c.Advertise, "advertise", c.Advertise, "`host` or host:port at which callers reach this instance")
	fs.IntVar(&c.Weight, "weight", c.Weight, "this instance's share of the calls relative to the others; 0 is 10")
	fs.StringVar(&c.Zone, "zone", c.Zone, "`zone` that this instance runs in")
}

// Secret is a setting that is never shown and never taken from the command line.
type Secret string

// String hides the value.
func (s *Secret) String() string {
	if s == nil || *s == "" {
		return ""
	}
	return "***"
}

// Set implements flag.Value.
func (s *Secret) Set(value string) error {
	*s = Secret(value)
	return nil
}

// IsSecret keeps the setting from being given on the command line, where other
// users of the machine can read it.
func (s *Secret) IsSecret() bool { return true }

// Instance is one address that serves a name.
type Instance struct {
	Address string            `json:"address"`
	Weight  int               `json:"weight"`
	Tags    map[string]string `json:"tags,omitempty"`
}

// The keys of an instance's tags.
const (
	tagZone    = "zone"
	tagVersion = "version"
)

// defaultWeight is Kitex's.
const defaultWeight = 10

// kind is one kind of registry.
type kind struct {
	form      string // of its URLs
	open      func(*location, Config) (driver, error)
	leaveWait time.Duration // the default of leave_wait
}

func kinds() map[string]kind {
	return map[string]kind{
		"static":    {"static://name=host:port,…", openStatic, 0},
		"dns":       {"dns://name=host:port,…", openDNS, defaultLeaveWait},
		"zookeeper": {"zookeeper://[user@]host:port,…[/prefix]", openZookeeper, defaultLeaveWait},
		"etcd":      {"etcd://[user@]host:port,…[/prefix]", openEtcd, defaultLeaveWait},
		"nacos":     {"nacos://[user@]host:port,…", openNacos, defaultLeaveWait},
	}
}

func forms() []string {
	var forms []string
	for _, kind := range kinds() {
		forms = append(forms, kind.form)
	}
	slices.Sort(forms)
	return forms
}

// Open gives the registry that is configured. It does not wait for it: whatever
// needs it tries until it answers. The error says what is wrong with the URL.
func Open(cfg Config, log *slog.Logger) (*Registry, error) {
	if cfg.Registry != nil {
		return cfg.Registry, nil
	}
	scheme, _, found := strings.Cut(cfg.URL, "://")
	kind, known := kinds()[scheme]
	if !found || !known {
		return nil, fmt.Errorf("registry %q: it must be one of %s", (*urlFlag)(&cfg.URL), strings.Join(forms(), ", "))
	}
	place, err := parseLocation(cfg.URL)
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w", scheme, err)
	}
	timing := place.timing(kind)
	driver, err := kind.open(place, cfg)
	if err = errors.Join(err, place.unknown()); err != nil {
		return nil, fmt.Errorf("registry %s: %w", place, err)
	}
	if err := checkAdvertise(cfg.Advertise); err != nil {
		return nil, err
	}
	if cfg.Weight < 0 {
		return nil, fmt.Errorf("weight is %d; it must be at least 0, which stands for %d", cfg.Weight, defaultWeight)
	}
	return newRegistry(place.String(), driver, place.password(cfg.Password), cfg, timing, log), nil
}

// NewMemory makes an empty registry for services that share a process.
func NewMemory() *Registry {
	timing := timing{refresh: time.Hour} // there is always a sign of a change, and what it says is true
	fixed := func() (string, error) { return "", nil }
	return newRegistry("memory://"+uuid.NewString(), newMemory(), fixed, Config{}, timing, slog.New(slog.DiscardHandler))
}

// Services asks the registry what it holds, by name of the service. A contributed
// module cannot tell.
func (r *Registry) Services(ctx context.Context) (map[string][]Instance, error) {
	session, err := r.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer session.close(context.WithoutCancel(ctx))
	names, err := session.names(ctx)
	if err != nil {
		return nil, err
	}
	services := map[string][]Instance{}
	for _, name := range names {
		if services[name], err = session.list(ctx, name, func() {}); err != nil {
			return nil, fmt.Errorf("service %s: %w", name, err)
		}
	}
	return services, nil
}

// instance is what this process says of itself.
func (c Config) instance(address string) Instance {
	weight := c.Weight
	if weight == 0 {
		weight = defaultWeight
	}
	tags := map[string]string{tagZone: c.Zone, tagVersion: c.Version}
	maps.DeleteFunc(tags, func(_, value string) bool { return value == "" })
	return Instance{Address: address, Weight: weight, Tags: tags}
}
