package lifecycle_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"reflect"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
)

func get(t *testing.T, addr net.Addr, path string) (status int, body string) {
	t.Helper()
	response, err := http.Get("http://" + addr.String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

type readiness struct {
	Ready   bool
	Missing map[string]string
}

func wantReadyz(t *testing.T, s *lifecycle.Service, status int, want readiness) {
	t.Helper()
	gotStatus, body := get(t, s.AdminAddr(), "/readyz")
	var got readiness
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if gotStatus != status || !reflect.DeepEqual(got, want) {
		t.Errorf("/readyz = %d %s, want %d %+v", gotStatus, body, status, want)
	}
}

func TestAdminAndDebugPortsAnswer(t *testing.T) {
	t.Parallel()
	s := newService(t, config())
	s.HandleDebug("notes", "what was noted", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "none") })
	start(t, s)
	for _, c := range []struct {
		addr   net.Addr
		path   string
		status int
		body   string // "": not looked at
	}{
		{s.AdminAddr(), "/livez", 200, "ok\n"},
		{s.AdminAddr(), "/readyz", 200, `{"missing":{},"ready":true}` + "\n"},
		{s.AdminAddr(), "/metrics", 200, "items 7\n"},
		{s.AdminAddr(), "/debug/pprof/", 404, ""},
		{s.DebugAddr(), "/debug/pprof/", 200, ""},
		{s.DebugAddr(), "/debug/notes", 200, "none\n"},
		{s.DebugAddr(), "/debug/", 200, "<!doctype html><title>debug</title><ul>\n" +
			"<li><a href=\"/debug/notes\">/debug/notes</a> what was noted\n" +
			"<li><a href=\"/debug/pprof/\">/debug/pprof/</a> profiles of this process\n</ul>\n"},
		{s.DebugAddr(), "/debug/pprof/goroutine", 200, ""},
		{s.DebugAddr(), "/debug/pprof/cmdline", 200, ""},
		{s.DebugAddr(), "/metrics", 404, ""},
	} {
		status, body := get(t, c.addr, c.path)
		if status != c.status || c.body != "" && body != c.body {
			t.Errorf("%s = %d %q, want %d %q", c.path, status, body, c.status, c.body)
		}
	}
}

func TestReadyzNamesThePartsThatAreMissing(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	sometimes := func(context.Context) error {
		if broken.Load() {
			return errBroken
		}
		return nil
	}
	s := newService(t, config(),
		lifecycle.Part{Name: "store", Ready: sometimes},
		lifecycle.Part{Name: "cache", Ready: func(context.Context) error { return nil }},
		lifecycle.Part{Name: "plain"},
		lifecycle.Part{Name: "registration", Ready: sometimes})
	start(t, s)

	wantReadyz(t, s, http.StatusOK, readiness{Ready: true, Missing: map[string]string{}})
	broken.Store(true)
	wantReadyz(t, s, http.StatusServiceUnavailable, readiness{Missing: map[string]string{
		"store": "the disk is full", "registration": "the disk is full"}})
	if status, body := get(t, s.AdminAddr(), "/livez"); status != http.StatusOK || body != "ok\n" {
		t.Errorf("/livez = %d %q while a part is missing, want 200 ok", status, body)
	}
	broken.Store(false)
	wantReadyz(t, s, http.StatusOK, readiness{Ready: true, Missing: map[string]string{}})
}

func TestReadyzAnswersAlthoughAPartDoesNot(t *testing.T) {
	t.Parallel()
	s := newService(t, config(), lifecycle.Part{Name: "store", Ready: func(ctx context.Context) error {
		<-ctx.Done()
		return ctx.Err()
	}})
	start(t, s)
	wantReadyz(t, s, http.StatusServiceUnavailable, readiness{Missing: map[string]string{"store": "context deadline exceeded"}})
}

func TestReadyzSaysThatTheServiceIsStopping(t *testing.T) {
	t.Parallel()
	stopping, goOn := make(chan struct{}), make(chan struct{})
	s := newService(t, config(), lifecycle.Part{Name: "server", Stop: func(context.Context) error {
		close(stopping)
		<-goOn
		return nil
	}})
	stop := start(t, s)
	ended := make(chan error)
	go func() { ended <- stop() }()
	<-stopping
	wantReadyz(t, s, http.StatusServiceUnavailable, readiness{Missing: map[string]string{"service": "it is stopping"}})
	close(goOn)
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNewRefusesADebugAddressThatOthersCanReach(t *testing.T) {
	t.Parallel()
	for _, address := range []string{":0", "0.0.0.0:0"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			cfg := config()
			cfg.Debug = address
			_, err := lifecycle.New(slog.New(slog.DiscardHandler), cfg, http.NotFoundHandler())
			want := "debug address " + address + ": it must be a loopback address, as 127.0.0.1"
			if err == nil || err.Error() != want {
				t.Errorf("error = %v, want %s", err, want)
			}
		})
	}
}

func TestAPortThatIsTakenIsNamedWithItsPurpose(t *testing.T) {
	t.Parallel()
	ln := listen(t, "127.0.0.1:0")
	taken := ln.Addr().String()
	for purpose, open := range map[string]func() error{
		"admin": func() error {
			cfg := config()
			cfg.Admin = taken
			_, err := lifecycle.New(slog.New(slog.DiscardHandler), cfg, http.NotFoundHandler())
			return err
		},
		"debug": func() error {
			cfg := config()
			cfg.Debug = taken
			_, err := lifecycle.New(slog.New(slog.DiscardHandler), cfg, http.NotFoundHandler())
			return err
		},
		"rpc": func() error {
			_, err := lifecycle.Listen("rpc", taken)
			return err
		},
	} {
		t.Run(purpose, func(t *testing.T) {
			t.Parallel()
			err := open()
			want := "the " + purpose + " address " + taken + " cannot be opened (give another with -" + purpose + "): "
			if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EADDRINUSE) {
				t.Errorf("error = %v, want %s…", err, want)
			}
		})
	}
}

func TestNewThatFailsReleasesThePortsItHas(t *testing.T) {
	t.Parallel()
	free := listen(t, "127.0.0.1:0")
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	cfg := config()
	cfg.Debug, cfg.Admin = free.Addr().String(), listen(t, "127.0.0.1:0").Addr().String()
	if _, err := lifecycle.New(slog.New(slog.DiscardHandler), cfg, http.NotFoundHandler()); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("error = %v, want that of the admin port", err)
	}
	wantFree(t, free.Addr())
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	ln, err := lifecycle.Listen("test", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln
}
