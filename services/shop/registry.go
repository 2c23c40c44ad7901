package shop

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/peterbourgon/ff/v3/ffcli"

	"github.com/kiteshop/kiteshop/services/internal/config"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
)

// registryTimeout bounds the command.
const registryTimeout = 10 * time.Second

// registryCommand lists what a registry holds.
func registryCommand(stdout io.Writer) *ffcli.Command {
	fs := flag.NewFlagSet("registry", flag.ContinueOnError)
	var cfg discovery.Config
	fs.StringVar(&cfg.URL, "registry", "", "`URL` of the registry; empty: ask the running shop which services it knows")
	fs.Var(&cfg.Password, "registry-password", "`password` of the URL's user; from the environment or a file only")
	debug := fs.String("debug", "127.0.0.1:9890", "debug `address` of the running shop's gateway")
	return &ffcli.Command{
		Name:       "registry",
		ShortUsage: "kiteshop registry [flags]",
		ShortHelp:  "lists the services that a registry holds, and their instances",
		FlagSet:    fs,
		Options:    config.Options(),
		Exec: func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("registry takes flags only, and was given %q", args)
			}
			ctx, cancel := context.WithTimeout(ctx, registryTimeout)
			defer cancel()
			services, err := registered(ctx, cfg, *debug)
			if err != nil {
				return err
			}
			return table(stdout, services)
		},
	}
}

func registered(ctx context.Context, cfg discovery.Config, debug string) (map[string][]discovery.Instance, error) {
	if cfg.URL == "" {
		return known(ctx, debug)
	}
	registry, err := discovery.Open(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	defer registry.Close()
	return registry.Services(ctx)
}

// known asks a running gateway which services it knows.
func known(ctx context.Context, debug string) (map[string][]discovery.Instance, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+debug+"/debug/discovery", nil)
	if err != nil {
		return nil, fmt.Errorf("debug address %q: %w", debug, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("is the shop running? (-registry asks a registry instead): %w", err)
	}
	defer resp.Body.Close()
	var report discovery.Report
	if err := json.NewDecoder(resp.Body).Decode(&report); err != nil {
		return nil, fmt.Errorf("answer of http://%s/debug/discovery: %w", debug, err)
	}
	services := map[string][]discovery.Instance{}
	for _, list := range report.Lists {
		services[list.Name] = list.Instances
	}
	return services, nil
}

func table(stdout io.Writer, services map[string][]discovery.Instance) error {
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tADDRESS\tWEIGHT\tVERSION\tZONE")
	for _, name := range slices.Sorted(maps.Keys(services)) {
		for _, instance := range services[name] {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\n", name, instance.Address, instance.Weight,
				cmp.Or(instance.Tags["version"], "-"), cmp.Or(instance.Tags["zone"], "-"))
		}
		if len(services[name]) == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\n", name)
		}
	}
	return w.Flush()
}
