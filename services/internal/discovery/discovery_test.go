package discovery_test

import (
	"context"
	"flag"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cloudwego/kitex/pkg/rpcinfo"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
)

// resolve asks as Kitex does: for the target that the resolver makes of a service name.
func resolve(t *testing.T, registry discovery.Registry, name string) ([]string, error) {
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

func wantAddresses(t *testing.T, registry discovery.Registry, name string, want ...string) {
	t.Helper()
	got, err := resolve(t, registry, name)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%s is at %v (error %v), want %v", name, got, err, want)
	}
}

func wantUnknown(t *testing.T, registry discovery.Registry, name, want string) {
	t.Helper()
	if got, err := resolve(t, registry, name); err == nil || err.Error() != want || got != nil {
		t.Errorf("%s is at %v (error %v), want the error %s", name, got, err, want)
	}
}

func open(t *testing.T, url string) discovery.Registry {
	t.Helper()
	registry, err := discovery.Open(discovery.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	return registry
}

func announce(t *testing.T, registry discovery.Registry, name, address string) (withdraw func()) {
	t.Helper()
	addr, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Error(err)
	}
	undo, err := registry.Announce(t.Context(), name, addr)
	if err != nil {
		t.Error(err)
	}
	return func() {
		t.Helper()
		if err := undo(context.Background()); err != nil {
			t.Error(err)
		}
	}
}

func TestStaticFindsEachNameAtItsAddresses(t *testing.T) {
	t.Parallel()
	registry := open(t, "static://item=127.0.0.1:1,stock=[::1]:3,item=127.0.0.1:2")
	wantAddresses(t, registry, "item", "127.0.0.1:1", "127.0.0.1:2")
	wantAddresses(t, registry, "stock", "[::1]:3")
	wantUnknown(t, registry, "gateway", `the static registry has no entry for "gateway"`)
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
			if _, err := discovery.Open(discovery.Config{URL: c.url}); err == nil || err.Error() != want {
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
			want := `registry "` + url + `": it must be static://name=host:port,…`
			if _, err := discovery.Open(discovery.Config{URL: url}); err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestOpenGivesTheRegistryThatIsOpenAlready(t *testing.T) {
	t.Parallel()
	memory := discovery.NewMemory()
	got, err := discovery.Open(discovery.Config{URL: "nonsense", Registry: memory})
	if err != nil || got != discovery.Registry(memory) {
		t.Errorf("Open = %v (error %v), want the registry given", got, err)
	}
}

func TestMemoryFindsWhatIsAnnouncedUntilItIsWithdrawn(t *testing.T) {
	t.Parallel()
	registry := discovery.NewMemory()
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
	registry := discovery.NewMemory()
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
	registry := discovery.NewMemory()
	announce(t, registry, "item", "127.0.0.1:9")
	var all sync.WaitGroup
	for i := range 8 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(i+1))
		all.Go(func() {
			for range 50 {
				withdraw := announce(t, registry, "item", address)
				if got, err := resolve(t, registry, "item"); !slices.Contains(got, address) {
					t.Errorf("item is at %v (error %v), not at %s", got, err, address)
				}
				withdraw()
			}
		})
	}
	all.Wait()
	wantAddresses(t, registry, "item", "127.0.0.1:9")
}

func TestRegistriesInOneProcessDoNotKnowEachOther(t *testing.T) {
	t.Parallel()
	one, other := discovery.NewMemory(), discovery.NewMemory()
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
