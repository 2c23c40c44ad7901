package discovery_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/discovery"
)

func TestOpenSaysWhatIsWrongWithAURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]string{
		"zookeeper://":                             `server ":2181" must be host:port`,
		"zookeeper://a:b":                          `server "a:b" must be host:port`,
		"zookeeper://a,b:0":                        `server "b:0" must be host:port`,
		"zookeeper://shop:kite@a":                  "the URL has a password; give it in a file named by password_file or in the environment",
		"zookeeper://a?session_timeout=10":         `session_timeout is "10"; it must be a time as 10s`,
		"zookeeper://a?session_timeout=0s":         `session_timeout is "0s"; it must be a time as 10s`,
		"zookeeper://a?refresh=-1s":                `refresh is "-1s"; it must be a time as 10s`,
		"zookeeper://a?refesh=1s":                  "there is no parameter refesh; there are driver, empty_grace, leave_wait, password_file, refresh, session_timeout",
		"zookeeper://a?driver=own":                 `driver is "own"; it must be contrib, or absent`,
		"zookeeper://a/shop?driver=contrib":        "registry-zookeeper knows no prefix",
		"etcd://a?session_timeout=100ms":           "session_timeout is 100ms; etcd counts in seconds, so it must be at least 1s",
		"etcd://a?tls=maybe":                       `tls is "maybe"; it must be true or false`,
		"etcd://a?cert_file=x":                     "cert_file and key_file go together",
		"nacos://a/shop":                           "it has the path /shop; Nacos has namespaces and groups instead: ?namespace=…&group=…",
		"nacos://a?not_load_cache_at_start=always": `not_load_cache_at_start is "always"; it must be true or false`,
		"dns://item":                               `entry "item" must be name=host:port or host:port`,
	} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			_, err := discovery.Open(discovery.Config{URL: url}, nil)
			if err == nil || !strings.HasSuffix(err.Error(), want) || strings.Contains(err.Error(), "kite@") {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestOpenRefusesAnInstanceThatNobodyCouldCall(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		cfg  discovery.Config
		want string
	}{
		{discovery.Config{Advertise: "10.0.0.1:port"}, `advertise is "10.0.0.1:port"; it must be a host or host:port`},
		{discovery.Config{Advertise: ":8888"}, `advertise is ":8888"; it must be a host or host:port`},
		{discovery.Config{Weight: -1}, "weight is -1; it must be at least 0, which stands for 10"},
	} {
		c.cfg.URL = "etcd://127.0.0.1"
		if _, err := discovery.Open(c.cfg, nil); err == nil || err.Error() != c.want {
			t.Errorf("error = %v, want %s", err, c.want)
		}
	}
	for _, advertise := range []string{"10.0.0.1", "item.example", "item.example:80", "fd00::1", "[fd00::1]:80"} {
		registry, err := discovery.Open(discovery.Config{URL: "etcd://127.0.0.1", Advertise: advertise}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Errorf("advertise %s: %v", advertise, err)
			continue
		}
		registry.Close()
	}
}

func TestAMissingPasswordFileIsToldAndTriedAgain(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "password")
	registry := open(t, "zookeeper://shop@127.0.0.1:1?password_file="+file)
	a := registry.Announce(tcp(t, "127.0.0.1:7001"), "item")
	wantProblem := func(part string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !strings.Contains(a.Registered().Error(), part); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("problem = %v, want %s", a.Registered(), part)
			}
		}
	}
	wantProblem("password_file: open " + file)
	if err := os.WriteFile(file, []byte("kite"), 0o600); err != nil {
		t.Fatal(err)
	}
	wantProblem("no session with 127.0.0.1:1")
}

func TestLeavingWaitsUntilCallersCanKnow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		registry, err := discovery.Open(discovery.Config{URL: "static://127.0.0.1:1?leave_wait=7s"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer registry.Close()
		a := registry.Announce(tcp(t, "127.0.0.1:7001"), "item")
		synctest.Wait()
		start := time.Now()
		a.Withdraw(t.Context())
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("leaving took %s, want 7s", took)
		}
	})
}

func TestNacosTakesItsAddressFromTheTutorialsVariables(t *testing.T) {
	for _, c := range []struct{ address, port, url, want string }{
		{"", "", "nacos://", "nacos://127.0.0.1:8848"},
		{"nacos.example", "9848", "nacos://", "nacos://nacos.example:9848"},
		{"nacos.example", "9848", "nacos://shop@10.0.0.1,10.0.0.2:1", "nacos://shop@10.0.0.1,10.0.0.2:1"},
	} {
		t.Setenv("serverAddr", c.address)
		t.Setenv("serverPort", c.port)
		registry, err := discovery.Open(discovery.Config{URL: c.url}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		if got := registry.Report().Registry; got != c.want {
			t.Errorf("%s with serverAddr=%s serverPort=%s is %s, want %s", c.url, c.address, c.port, got, c.want)
		}
		registry.Close()
	}
}
