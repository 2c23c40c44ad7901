package discovery

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"

	kitex "github.com/cloudwego/kitex/pkg/discovery"
)

// static is a list that never changes; announcing changes nothing.
type static struct {
	list      string
	addresses map[string][]string
}

// newStatic reads name=host:port,…; an entry without a name serves every name
// that has no entry of its own.
func newStatic(list string) (Registry, error) {
	s := static{list: list, addresses: map[string][]string{}}
	for entry := range strings.SplitSeq(list, ",") {
		name, address, named := strings.Cut(strings.TrimSpace(entry), "=")
		if !named {
			name, address = "", strings.TrimSpace(entry)
		}
		_, port, err := net.SplitHostPort(address)
		if _, portErr := strconv.ParseUint(port, 10, 16); err != nil || portErr != nil {
			return nil, fmt.Errorf("registry static://%s: entry %q must be name=host:port or host:port", list, entry)
		}
		s.addresses[name] = append(s.addresses[name], address)
	}
	return s, nil
}

func (s static) Announce(context.Context, string, net.Addr) (func(context.Context) error, error) {
	return func(context.Context) error { return nil }, nil
}

func (s static) Resolver() kitex.Resolver {
	return resolver("static://"+s.list, func(name string) ([]string, error) {
		for _, addresses := range [][]string{s.addresses[name], s.addresses[""]} {
			if len(addresses) > 0 {
				return addresses, nil
			}
		}
		return nil, fmt.Errorf("the static registry has no entry for %q", name)
	})
}
