package discovery_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloudwego/kitex/pkg/rpcinfo"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
)

// resolve asks as Kitex does: for the target that the resolver makes of a service name.
func resolve(t *testing.T, registry *discovery.Registry, name string) ([]string, error) {
	t.Helper()
	resolver := registry.Resolver()
	target := resolver.Target(t.Context(), rpcinfo.NewEndpointInfo(name, "GetItem", nil, nil))
	result, err := resolver.Resolve(t.Context(), target)
	var addresses []string
	for _, instance := range result.Instances {
		if got := instance.Address().Network(); got != "tcp" {
			t.Errorf("network = %q, want tcp", got)
		}
		addresses = append(addresses, instance.Address().String())
	}
	return addresses, err
}

func wantAddresses(t *testing.T, registry *discovery.Registry, name string, want ...string) {
	t.Helper()
	var got []string
	var err error
	discoverytest.Eventually(t, fmt.Sprintf("%s is at %v", name, want), func() bool {
		got, err = resolve(t, registry, name)
		return err == nil && slices.Equal(got, want)
	})
}

func wantUnknown(t *testing.T, registry *discovery.Registry, name, want string) {
	t.Helper()
	discoverytest.Eventually(t, name+" fails with "+want, func() bool {
		got, err := resolve(t, registry, name)
		return err != nil && err.Error() == want && got == nil
	})
}

func open(t *testing.T, url string) *discovery.Registry {
	t.Helper()
	registry, err := discovery.Open(discovery.Config{URL: url}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	return registry
}

// memory is a registry that closes with the test.
func memory(t *testing.T) *discovery.Registry {
	t.Helper()
	registry := discovery.NewMemory()
	t.Cleanup(registry.Close)
	return registry
}

// announce announces and waits until it is registered.
func announce(t *testing.T, registry *discovery.Registry, name, address string) (withdraw func()) {
	t.Helper()
	a := announceAt(t, registry, address, name)
	return func() { a.Withdraw(context.Background()) }
}

func TestStaticFindsEachNameAtItsAddresses(t *testing.T) {
	t.Parallel()
	registry := open(t, "static://item=127.0.0.1:1,stock=[::1]:3,item=127.0.0.1:2")
	wantAddresses(t, registry, "item", "127.0.0.1:1", "127.0.0.1:2")
	wantAddresses(t, registry, "stock", "[::1]:3")
	wantUnknown(t, registry, "gateway", `static://item=127.0.0.1:1,stock=[::1]:3,item=127.0.0.1:2 has not told yet where "gateway" is: there is no entry for "gateway"`)
}

func TestAStaticEntryWithoutANameServesTheNamesThatHaveNone(t *testing.T) {
	t.Parallel()
	registry := open(t, "static://127.0.0.1:9,item=127.0.0.1:1,127.0.0.1:8")
	wantAddresses(t, registry, "item", "127.0.0.1:1")
	wantAddresses(t, registry, "stock", "127.0.0.1:9", "127.0.0.1:8")
}

func TestAnnouncingToAStaticRegistryChangesNothing(t *testing.T) {
	t.Parallel()
	registry := open(t, "static://item=127.0.0.1:1")
	withdraw := announce(t, registry, "item", "127.0.0.1:2")
	wantAddresses(t, registry, "item", "127.0.0.1:1")
	withdraw()
	wantAddresses(t, registry, "item", "127.0.0.1:1")
}

func TestDNSFindsEveryAddressOfAHost(t *testing.T) {
	t.Parallel()
	registry := open(t, "dns://item=localhost:8888,item=127.0.0.1:8888,stock=[::1]:8890,127.0.0.1:9")
	wantAddresses(t, registry, "stock", "[::1]:8890")
	wantAddresses(t, registry, "gateway", "127.0.0.1:9")
	ips, err := net.DefaultResolver.LookupHost(t.Context(), "localhost")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, ip := range append(ips, "127.0.0.1") {
		want = append(want, net.JoinHostPort(ip, "8888"))
	}
	slices.Sort(want)
	wantAddresses(t, registry, "item", slices.Compact(want)...)
}

func TestOpenNamesTheBadEntry(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ url, entry string }{
		{"static://", `""`},
		{"static://item", `"item"`},
		{"static://item=", `"item="`},
		{"static://item=127.0.0.1", `"item=127.0.0.1"`},
		{"static://item=127.0.0.1:", `"item=127.0.0.1:"`},
		{"static://item=::1:8888", `"item=::1:8888"`},
		{"static://item=127.0.0.1:1,stock", `"stock"`},
		{"static://item=127.0.0.1:1,", `""`},
	} {
		t.Run(c.url, func(t *testing.T) {
			t.Parallel()
			want := "registry " + c.url + ": entry " + c.entry + " must be name=host:port or host:port"
			if _, err := discovery.Open(discovery.Config{URL: c.url}, nil); err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestOpenRefusesAnUnknownScheme(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"", "static", "static:127.0.0.1:1", "consul://127.0.0.1:8500", "127.0.0.1:8888", "STATIC://127.0.0.1:1"} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			want := `registry "` + url + `": it must be one of dns://name=host:port,…, etcd://[user@]host:port,…[/prefix], ` +
				`nacos://[user@]host:port,…, static://name=host:port,…, zookeeper://[user@]host:port,…[/prefix]`
			if _, err := discovery.Open(discovery.Config{URL: url}, nil); err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestOpenGivesTheRegistryThatIsOpenAlready(t *testing.T) {
	t.Parallel()
	memory := memory(t)
	got, err := discovery.Open(discovery.Config{URL: "nonsense", Registry: memory}, nil)
	if err != nil || got != memory {
		t.Errorf("Open = %v (error %v), want the registry given", got, err)
	}
}

func TestMemoryFindsWhatIsAnnouncedUntilItIsWithdrawn(t *testing.T) {
	t.Parallel()
	registry := memory(t)
	wantUnknown(t, registry, "item", `no instance of "item" is registered`)
	withdrawFirst := announce(t, registry, "item", "127.0.0.1:1")
	withdrawSecond := announce(t, registry, "item", "127.0.0.1:2")
	withdrawAlias := announce(t, registry, "example.shop.item", "127.0.0.1:1")
	wantAddresses(t, registry, "item", "127.0.0.1:1", "127.0.0.1:2")

	withdrawFirst()
	wantAddresses(t, registry, "item", "127.0.0.1:2")
	wantAddresses(t, registry, "example.shop.item", "127.0.0.1:1")
	withdrawFirst()
	wantAddresses(t, registry, "item", "127.0.0.1:2")

	withdrawSecond()
	withdrawAlias()
	wantUnknown(t, registry, "item", `no instance of "item" is registered`)
	wantUnknown(t, registry, "example.shop.item", `no instance of "example.shop.item" is registered`)
}

func TestMemoryDoesNotChangeAnAnswerAlreadyGiven(t *testing.T) {
	t.Parallel()
	registry := memory(t)
	withdraw := announce(t, registry, "item", "127.0.0.1:1")
	announce(t, registry, "item", "127.0.0.1:2")
	result, err := registry.Resolver().Resolve(t.Context(), "item")
	if err != nil {
		t.Fatal(err)
	}
	withdraw()
	if got := result.Instances[0].Address().String(); got != "127.0.0.1:1" {
		t.Errorf("first instance = %s, want 127.0.0.1:1", got)
	}
}

func TestMemoryMayBeUsedByManyAtTheSameTime(t *testing.T) {
	t.Parallel()
	registry := memory(t)
	announce(t, registry, "item", "127.0.0.1:9")
	var all sync.WaitGroup
	for i := range 8 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(i+1))
		all.Go(func() {
			for range 50 {
				withdraw := announce(t, registry, "item", address)
				discoverytest.Eventually(t, "item is at "+address, func() bool {
					got, _ := resolve(t, registry, "item")
					return slices.Contains(got, address)
				})
				withdraw()
			}
		})
	}
	all.Wait()
	wantAddresses(t, registry, "item", "127.0.0.1:9")
}

func TestRegistriesInOneProcessDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	one, other := memory(t), memory(t)
	announce(t, one, "item", "127.0.0.1:1")
	wantUnknown(t, other, "item", `no instance of "item" is registered`)
}

func TestFlagsSetTheURLAndSayHowItLooks(t *testing.T) {
	t.Parallel()
	cfg := discovery.Config{URL: "static://default:1"}
	fs := flag.NewFlagSet("item", flag.ContinueOnError)
	cfg.Flags(fs)
	if got := fs.Lookup("registry"); got == nil || got.DefValue != "static://default:1" || !strings.Contains(got.Usage, "static://name=host:port") {
		t.Errorf("flag registry = %+v, want one with the default and the form", got)
	}
	if err := fs.Parse([]string{"-registry", "static://given:2"}); err != nil || cfg.URL != "static://given:2" {
		t.Errorf("URL = %q (error %v), want static://given:2", cfg.URL, err)
	}
}
