package transport_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

func TestStopLetsTheCallUnderWayFinish(t *testing.T) {
	t.Parallel()
	began, goOn := make(chan struct{}), make(chan struct{})
	server := serve(t, items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
		close(began)
		<-goOn
		return titled("kite")(ctx, id)
	}})
	items := dial(t, server.Addr())
	type answer struct {
		resp *item.GetItemResp
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		resp, err := items.GetItem(t.Context(), &item.GetItemReq{Id: 7})
		answered <- answer{resp, err}
	}()
	<-began
	stopped := make(chan error, 1)
	go func() { stopped <- server.stop() }()
	refused(t, server.Addr())
	close(goOn)
	if got := <-answered; got.err != nil || got.resp.GetItem().GetTitle() != "kite" {
		t.Errorf("the call under way got %v, %v", got.resp, got.err)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Stop: %v", err)
	}
}

// refused returns when nobody listens at addr any more.
func refused(t *testing.T, addr net.Addr) {
	t.Helper()
	for {
		conn, err := net.Dial("tcp", addr.String())
		if errors.Is(err, syscall.ECONNREFUSED) {
			return
		}
		if err == nil {
			_ = conn.Close()
		}
	}
}

func newServer(t *testing.T) *transport.Server {
	t.Helper()
	tel, err := telemetry.New("item", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server, err := transport.NewServer("127.0.0.1:0", nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stopPart(t, server.Part()) })
	return server
}

func stopPart(t *testing.T, part lifecycle.Part) {
	t.Helper()
	if err := part.Stop(context.Background()); err != nil {
		t.Errorf("stopping %s: %v", part.Name, err)
	}
}

func TestStopReleasesThePort(t *testing.T) {
	t.Parallel()
	ran := serve(t, items{get: titled("kite")})
	if _, err := dial(t, ran.Addr()).GetItem(t.Context(), &item.GetItemReq{Id: 7}); err != nil {
		t.Fatal(err)
	}
	if err := ran.stop(); err != nil {
		t.Fatal(err)
	}
	neverRan := newServer(t)
	stopPart(t, neverRan.Part())
	for name, server := range map[string]*transport.Server{"ran": ran.Server, "never ran": neverRan} {
		ln, err := net.Listen("tcp", server.Addr().String())
		if err != nil {
			t.Errorf("of the server that %s: %v", name, err)
			continue
		}
		_ = ln.Close()
	}
}

func TestListenNamesThePurposeOfAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	taken := newServer(t).Addr().String()
	_, err := transport.Listen("http", taken)
	want := "the http address " + taken + " cannot be opened (give another with -http): "
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("error = %v, want %s…", err, want)
	}
}

func TestClosingAListenerTwiceClosesNothingElse(t *testing.T) {
	t.Parallel()
	ln, err := transport.Listen("rpc", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closeListener := func() {
		t.Helper()
		if err := ln.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	closeListener()
	var files []*os.File // some of which get the numbers that the listener had
	dir := t.TempDir()
	for i := range 8 {
		file, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = file.Close() })
		files = append(files, file)
	}
	closeListener()
	runtime.GC() // of the listener, which is in no use any more
	runtime.GC()
	for _, file := range files {
		if _, err := file.WriteString("kite"); err != nil {
			t.Error(err)
		}
	}
}

func TestTheAnnouncementHoldsUntilItIsStopped(t *testing.T) {
	t.Parallel()
	server := newServer(t)
	registry := memory(t)
	part := server.Announcement(registry, "item", "example.shop.item")
	ended := make(chan error, 1)
	go func() { ended <- part.Serve() }()
	await(t, func() bool { return part.Ready(t.Context()) == nil })
	for _, name := range []string{"item", "example.shop.item"} {
		result, err := registry.Resolver().Resolve(t.Context(), name)
		if err != nil || len(result.Instances) != 1 || result.Instances[0].Address().String() != server.Addr().String() {
			t.Errorf("%s is at %v (error %v), want %s alone", name, result.Instances, err, server.Addr())
		}
	}
	stopPart(t, part)
	if err := <-ended; err != nil {
		t.Errorf("Serve: %v", err)
	}
	for _, name := range []string{"item", "example.shop.item"} {
		await(t, func() bool {
			_, err := registry.Resolver().Resolve(t.Context(), name)
			return err != nil
		})
	}
}

func TestAnAnnouncementThatNeverRanStops(t *testing.T) {
	t.Parallel()
	stopPart(t, newServer(t).Announcement(memory(t), "item"))
}
