package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// entries maps names to addresses; "" stands for every name that has no entry.
type entries map[string][]string

// parseEntries reads name=host:port,… and host:port,….
func parseEntries(list string) (entries, error) {
	e := entries{}
	for entry := range strings.SplitSeq(list, ",") {
		name, address, named := strings.Cut(strings.TrimSpace(entry), "=")
		if !named {
			name, address = "", strings.TrimSpace(entry)
		}
		if checkAddress(address) != nil {
			return nil, fmt.Errorf("entry %q must be name=host:port or host:port", entry)
		}
		e[name] = append(e[name], address)
	}
	return e, nil
}

func (e entries) of(name string) ([]string, error) {
	for _, addresses := range [][]string{e[name], e[""]} {
		if len(addresses) > 0 {
			return addresses, nil
		}
	}
	return nil, fmt.Errorf("there is no entry for %q", name)
}

// static is a list that never changes; announcing changes nothing.
type static struct {
	neverLost
	entries entries
}

func openStatic(place *location, _ Config) (driver, error) {
	entries, err := parseEntries(place.hosts)
	return static{entries: entries}, err
}

func (s static) connect(context.Context, string) (session, error)         { return s, nil }
func (s static) endpoint() string                                         { return "" }
func (s static) register(context.Context, string, Instance, func()) error { return nil }
func (s static) names(context.Context) ([]string, error)                  { return sortedKeys(s.entries), nil }

func (s static) list(_ context.Context, name string, _ func()) ([]Instance, error) {
	addresses, err := s.entries.of(name)
	return instancesAt(addresses), err
}

// dns asks for the addresses of a host, as Kubernetes gives for a headless
// service: one for each ready pod. Announcing changes nothing: Kubernetes does it.
type dns struct {
	static
	resolver *net.Resolver
}

func openDNS(place *location, _ Config) (driver, error) {
	entries, err := parseEntries(place.hosts)
	return dns{static{entries: entries}, net.DefaultResolver}, err
}

func (d dns) connect(context.Context, string) (session, error) { return d, nil }

func (d dns) list(ctx context.Context, name string, _ func()) ([]Instance, error) {
	hosts, err := d.entries.of(name)
	if err != nil {
		return nil, err
	}
	var addresses []string
	for _, address := range hosts {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		ips, err := d.resolver.LookupHost(ctx, host)
		if notFound, ok := errors.AsType[*net.DNSError](err); ok && notFound.IsNotFound {
			continue // no pod is ready
		}
		if err != nil {
			return nil, err
		}
		for _, ip := range ips {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	slices.Sort(addresses)
	return instancesAt(slices.Compact(addresses)), nil
}

func instancesAt(addresses []string) []Instance {
	var instances []Instance
	for _, address := range addresses {
		instances = append(instances, Instance{Address: address, Weight: defaultWeight})
	}
	return instances
}
