package e2e

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/kiteshop/kiteshop/services/internal/apikey"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/identity"
)

// govern makes the files that rule the services: policies that change nothing,
// and keys with certificates of a year.
func (o *observed) govern() {
	o.t.Helper()
	if err := os.Mkdir(o.keys(), 0o700); err != nil {
		o.t.Fatal(err)
	}
	o.rule("")
	for _, name := range []string{"gateway", "item", "stock", "activity", "operator"} {
		o.certify(name, 365*24*time.Hour)
	}
}

func (o *observed) keys() string { return filepath.Join(o.folder, "keys") }

// governed are the settings of a service that is ruled. Calls without a token
// pass and are counted; those with a wrong one are denied.
func (o *observed) governed() []string {
	return []string{"-policies", filepath.Join(o.folder, "policies.yaml"), "-identity-key", o.keys(), "-identity-trust", o.keys(), "-identity-required=false"}
}

// rule changes the policies.
func (o *observed) rule(changes string) {
	o.t.Helper()
	o.replace("policies.yaml", []byte(changes))
}

// certify makes a key, and a certificate that is still good for left.
func (o *observed) certify(name string, left time.Duration) {
	o.t.Helper()
	days := int(left/(24*time.Hour)) + 1
	key, certificate, err := identity.Make(name, time.Now().Add(left-time.Duration(days)*24*time.Hour), days)
	if err != nil {
		o.t.Fatal(err)
	}
	o.replace("keys/"+name+".key", key)
	o.replace("keys/"+name+".crt", certificate)
}

// replace puts a file in the place of the one before at once, so that nobody reads half of it.
func (o *observed) replace(name string, content []byte) {
	o.t.Helper()
	path := filepath.Join(o.folder, name)
	if err := errors.Join(os.WriteFile(path+".new", content, 0o600), os.Rename(path+".new", path)); err != nil {
		o.t.Fatal(err)
	}
}

// startEdge starts a second gateway, with TLS, API keys, and tokens of an issuer that is away.
func (o *observed) startEdge() {
	o.t.Helper()
	o.programs["edge"], o.addresses["edge"] = o.programs["gateway"], steadyPort(o.t)
	if _, _, err := apikey.File(o.apiKeys()).Create(o.t.Context(), "somebody", []string{"read"}, time.Now(), rand.Reader); err != nil {
		o.t.Fatal(err)
	}
	o.startService("edge")
	o.within("the second gateway listens", func() bool {
		conn, err := net.Dial("tcp", o.addresses["edge"])
		if err == nil {
			conn.Close()
		}
		return err == nil
	})
}

func (o *observed) apiKeys() string { return filepath.Join(o.folder, "api-keys.yaml") }

// edge are the settings of the second gateway.
func (o *observed) edge() []string {
	certificate := filepath.Join(o.keys(), "gateway") // whoever calls this one would have to know it
	return []string{
		"-tls-cert", certificate + ".crt", "-tls-key", certificate + ".key", "-api-keys", o.apiKeys(),
		"-jwt-issuer", "https://issuer.example.com", "-jwt-audience", "kiteshop", "-jwks-url", "http://" + steadyPort(o.t) + "/jwks.json",
	}
}

// intrude calls stock with a token that nobody made.
func (o *observed) intrude() {
	o.t.Helper()
	conn, err := grpc.NewClient(o.addresses["stock rpc"], grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		o.t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer no.token.this")
	if err := conn.Invoke(ctx, "/stock.StockService/ListStock", &emptypb.Empty{}, &emptypb.Empty{}, grpc.WaitForReady(true)); status.Code(err) != codes.Unauthenticated {
		o.t.Errorf("a call with a wrong token: %v", err)
	}
}

// keepIntruding does so until it is mended.
func (o *observed) keepIntruding() (mend func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var intruder sync.WaitGroup
	intruder.Go(func() {
		for ctx.Err() == nil {
			o.intrude()
			pause(100 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		intruder.Wait()
	}
}

// registerDead puts an instance of a service into the registry that takes no connections.
func (o *observed) registerDead(service string) (mend func()) {
	o.t.Helper()
	registry, err := discovery.Open(discovery.Config{URL: o.registry.URL("leave_wait=0s")}, slog.New(slog.DiscardHandler))
	if err != nil {
		o.t.Fatal(err)
	}
	dead, err := net.ResolveTCPAddr("tcp", steadyPort(o.t))
	if err != nil {
		o.t.Fatal(err)
	}
	announced := registry.Announce(dead, service)
	return sync.OnceFunc(func() {
		announced.Withdraw(context.Background())
		registry.Close()
	})
}
