package discovery

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// checkAddress demands host:port with a port that can be called.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if number, portErr := strconv.ParseUint(port, 10, 16); err != nil || host == "" || portErr != nil || number == 0 {
		return fmt.Errorf("%q must be host:port", address)
	}
	return nil
}

func checkAdvertise(advertise string) error {
	if advertise == "" || checkAddress(advertise) == nil || checkAddress(net.JoinHostPort(strings.Trim(advertise, "[]"), "1")) == nil && !strings.Contains(withoutIPv6(advertise), ":") {
		return nil
	}
	return fmt.Errorf("advertise is %q; it must be a host or host:port", advertise)
}

// withoutIPv6 is host, or "" if it is an IPv6 address, whose colons are no port's.
func withoutIPv6(host string) string {
	if ip, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil && ip.Is6() {
		return ""
	}
	return host
}

// advertised is where callers reach a listener: where the configuration says,
// else where it listens, else, if that is everywhere, the machine's address that
// faces the registry.
func advertised(ctx context.Context, advertise string, listener net.Addr, registry string) (string, error) {
	host, port, err := net.SplitHostPort(listener.String())
	if err != nil {
		return "", fmt.Errorf("listener: %w", err)
	}
	if advertise != "" {
		if checkAddress(advertise) == nil {
			return advertise, nil
		}
		return net.JoinHostPort(strings.Trim(advertise, "[]"), port), nil
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() || registry == "" {
		return listener.String(), nil
	}
	// A UDP socket is bound to the route's address without a packet being sent.
	conn, err := (&net.Dialer{}).DialContext(ctx, "udp", registry)
	if err != nil {
		return "", fmt.Errorf("no address to advertise (give one with -advertise): %w", err)
	}
	local, _, err := net.SplitHostPort(conn.LocalAddr().String())
	if err = errors.Join(err, conn.Close()); err != nil {
		return "", fmt.Errorf("no address to advertise (give one with -advertise): %w", err)
	}
	return net.JoinHostPort(local, port), nil
}
