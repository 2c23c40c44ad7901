package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/gateway"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
	"github.com/kiteshop/kiteshop/services/shop"
)

// shopIn is a shop whose services find each other in a real registry.
func shopIn(t *testing.T, registry *discoverytest.Server) shop.Config {
	t.Helper()
	cfg := config(t.TempDir())
	cfg.Gateway.Discovery.URL = registry.URL()
	return cfg
}

func TestTheShopLosesNoRequestWhateverHappensToItsRegistry(t *testing.T) {
	t.Parallel()
	for _, kind := range discoverytest.Kinds() {
		t.Run(kind.Name(), func(t *testing.T) {
			t.Parallel()
			registry := discoverytest.Started(t, kind)
			s := open(t, shopIn(t, registry))
			discoverytest.Eventually(t, "all have found each other", func() bool {
				var got struct{ Item item }
				s.send("GET", "/api/item", "").want(t, http.StatusOK, &got)
				return got.Item.Stock != nil
			})
			requests := load(t, s.base+"/api/item?id=1024")

			registry.Kill()
			requests.more(1000)
			registry.Start()
			requests.more(1000)
			registry.Freeze()
			time.Sleep(3 * time.Second) // longer than the session lives: there is nothing to wait for
			requests.more(1000)
			registry.Thaw()
			requests.more(1000)
			registry.Kill()
			registry.Wipe()
			registry.Start()
			discoverytest.Eventually(t, "all are registered again", func() bool {
				return strings.Join(registered(t, registry), " ") == "example.shop.item item stock"
			})
			requests.more(1000)
			if sent, failed, example := requests.stop(); failed != 0 {
				t.Errorf("%d of %d requests failed, as %s", failed, sent, example)
			}
		})
	}
}

// registered are the names that have an instance.
func registered(t *testing.T, server *discoverytest.Server) []string {
	t.Helper()
	registry, err := discovery.Open(discovery.Config{URL: server.URL()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	services, _ := registry.Services(ctx)
	var names []string
	for _, name := range []string{"example.shop.item", "item", "stock"} {
		if len(services[name]) == 1 {
			names = append(names, name)
		}
	}
	return names
}

// requests is a constant load that is counted.
type requests struct {
	t            *testing.T
	cancel       context.CancelFunc
	all          sync.WaitGroup
	sent, failed atomic.Int64
	example      atomic.Value
}

// load sends GET requests, without trying any again, until stop.
func load(t *testing.T, url string) *requests {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &requests{t: t, cancel: cancel}
	t.Cleanup(cancel)
	const callers = 4
	for range callers {
		r.all.Go(func() {
			for ctx.Err() == nil {
				r.send(url)
				time.Sleep(time.Millisecond)
			}
		})
	}
	return r
}

func (r *requests) send(url string) {
	resp, err := http.Get(url)
	if err == nil {
		defer resp.Body.Close()
		var got struct{ Item item }
		err = json.NewDecoder(resp.Body).Decode(&got)
		if err == nil && (resp.StatusCode != http.StatusOK || got.Item.Stock == nil || *got.Item.Stock != 100) {
			err = fmt.Errorf("%s, %+v", resp.Status, got)
		}
	}
	r.sent.Add(1)
	if err != nil {
		r.failed.Add(1)
		r.example.Store(err.Error())
	}
}

// more waits until n more requests have been answered.
func (r *requests) more(n int64) {
	r.t.Helper()
	before := r.sent.Load()
	discoverytest.Eventually(r.t, "requests are answered", func() bool { return r.sent.Load() >= before+n })
}

func (r *requests) stop() (sent, failed int64, example any) {
	r.cancel()
	r.all.Wait()
	return r.sent.Load(), r.failed.Load(), r.example.Load()
}

func TestTheTutorialsModulesAndOursFindEachOther(t *testing.T) {
	t.Parallel()
	program := tutorial(t, "registry")
	for _, kind := range discoverytest.Kinds() {
		t.Run(kind.Name(), func(t *testing.T) {
			t.Parallel()
			registry := discoverytest.Started(t, kind)
			address := registry.Address()

			t.Run("their client finds our server", func(t *testing.T) {
				open(t, shopIn(t, registry))
				output, err := exec.Command(program, "client", kind.Name(), address, "example.shop.item").CombinedOutput()
				if want := "item 1024 \"Kitex\"\n"; err != nil || !strings.HasSuffix(string(output), want) {
					t.Errorf("it said %s (error %v), want %s", output, err, want)
				}
			})
			t.Run("our client finds their server", func(t *testing.T) {
				theirs := exec.Command(program, "server", kind.Name(), address, "item", freePort(t))
				theirs.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
				if err := theirs.Start(); err != nil {
					t.Fatal(err)
				}
				defer func() {
					_ = theirs.Process.Signal(syscall.SIGTERM)
					_ = theirs.Wait()
				}()
				c := gatewayIn(t, registry)
				discoverytest.Eventually(t, "their item is answered", func() bool {
					return strings.Contains(c.send("GET", "/api/item", "", "Accept: text/plain").body, "From the tutorial")
				})
			})
		})
	}
}

// gatewayIn is a gateway alone, which finds the services in a registry.
func gatewayIn(t *testing.T, registry *discoverytest.Server) client {
	t.Helper()
	cfg := gateway.DefaultConfig()
	cfg.HTTP, cfg.Lifecycle.Admin, cfg.Lifecycle.Debug = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Telemetry.Output = nil
	cfg.Discovery.URL = registry.URL()
	service, err := gateway.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	return client{t: t, base: "http://" + service.Addr().String()}
}

func TestAShopWhoseRegistryIsAwayIsUnreadyAndSaysWhy(t *testing.T) {
	t.Parallel()
	registry := discoverytest.New(t, discoverytest.Etcd{})
	cfg := shopIn(t, registry)
	s, err := shop.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- s.Run(ctx, func() { close(ready) }) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the shop ended with %v", err)
		}
	})
	c := client{t: t, base: "http://" + s.Addr().String()}
	var refused problem
	c.send("GET", "/api/item", "").want(t, http.StatusServiceUnavailable, &refused)
	if refused.Code != "unavailable" {
		t.Errorf("refused with %+v", refused)
	}
	select {
	case <-ready:
		t.Error("it is ready without a registry")
	default:
	}
	registry.Start()
	<-ready
	c.send("GET", "/api/item", "").want(t, http.StatusOK, nil)
}

func TestTheRegistryCommandListsWhatARegistryHolds(t *testing.T) {
	t.Parallel()
	program := build(t, "../..")
	registry := discoverytest.Started(t, discoverytest.Etcd{})
	cfg := shopIn(t, registry)
	cfg.Gateway.Discovery.Zone, cfg.Gateway.Discovery.Version = "zone-a", "v1.2.3"
	s := open(t, cfg)
	output, err := exec.Command(program, "registry", "-registry", registry.URL()).CombinedOutput()
	want := fmt.Sprintf(`SERVICE             ADDRESS           WEIGHT   VERSION   ZONE
activity            %[3]s   10       v1.2.3    zone-a
example.shop.item   %[1]s   10       v1.2.3    zone-a
item                %[1]s   10       v1.2.3    zone-a
stock               %[2]s   10       v1.2.3    zone-a
`, s.ItemAddr(), s.StockAddr(), s.ActivityAddr())
	if got := squeeze(string(output)); err != nil || got != squeeze(want) {
		t.Errorf("it said\n%s(error %v), want\n%s", output, err, want)
	}
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"an unknown kind": {[]string{"-registry", "consul://127.0.0.1"}, "it must be one of dns://"},
		"a secret":        {[]string{"-registry-password", "kite"}, "is a secret; give it in the environment, as KITESHOP_REGISTRY_PASSWORD"},
		"nobody there":    {[]string{"-debug", freePort(t)}, "is the shop running?"},
		"a bad parameter": {[]string{"-registry", registry.URL("sesion_timeout=1s")}, "there is no parameter sesion_timeout; there are "},
		"a URL's secret":  {[]string{"-registry", "etcd://shop:kite@127.0.0.1"}, "give it in a file named by password_file or in the environment"},
	} {
		output, err := exec.Command(program, append([]string{"registry"}, c.args...)...).CombinedOutput()
		if err == nil || !strings.Contains(string(output), c.says) {
			t.Errorf("%s: it said %s (error %v), want %q", name, output, err, c.says)
		}
	}
}

// squeeze makes one space of many: how wide a column is depends on the ports.
func squeeze(table string) string {
	lines := strings.Split(strings.TrimSpace(table), "\n")
	for i, line := range lines {
		lines[i] = strings.Join(strings.Fields(line), " ")
	}
	return strings.Join(lines, "\n")
}
