package item

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitextransport "github.com/cloudwego/kitex/transport"

	"github.com/kiteshop/kiteshop/idl"
	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/identity"
	"github.com/kiteshop/kiteshop/services/internal/lifecycle"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// BenchmarkIdentity compares the CPU time of a GetItem whose caller says who it
// is with that of one that does not, of two servers that answer the same; that
// of client and server together. One iteration is one round of each, in turns,
// the other first each time; the figures are the median and the quartiles of the rounds' ratios.
func BenchmarkIdentity(b *testing.B) {
	for _, protocol := range []struct {
		name    string
		options []client.Option
	}{
		{"ttheader", nil},
		{"grpc", []client.Option{client.WithTransportProtocol(kitextransport.GRPC)}},
	} {
		b.Run(protocol.name, func(b *testing.B) {
			compareIdentity(b, protocol.options)
		})
	}
}

func compareIdentity(b *testing.B, options []client.Option) {
	keys := identity.Config{Key: b.TempDir(), Required: true}
	keys.Trust = keys.Key
	for _, name := range []string{"gateway", "item"} {
		key, certificate, err := identity.Make(name, time.Now(), 1)
		must(b, err)
		must(b, os.WriteFile(filepath.Join(keys.Key, name+".key"), key, 0o600))
		must(b, os.WriteFile(filepath.Join(keys.Key, name+".crt"), certificate, 0o600))
	}
	known, unknown := identityClient(b, keys, options), identityClient(b, identity.Config{}, options)
	round := func(call func(context.Context) error) float64 {
		before := processCPU(b)
		for range 5 { // of 640 calls
			callTogether(b, manyCallers, call)
		}
		return (processCPU(b) - before).Seconds()
	}
	for range 3 {
		round(known)
		round(unknown)
	}
	var ratios []float64
	for turn := 0; b.Loop(); turn++ {
		var with, without float64
		if turn%2 == 0 {
			with, without = round(known), round(unknown)
		} else {
			without, with = round(unknown), round(known)
		}
		ratios = append(ratios, with/without)
	}
	b.ReportMetric(0, "ns/op") // the length of a round says nothing
	b.ReportMetric(median(ratios), "x-without")
	b.ReportMetric(ratios[len(ratios)/4], "x-lower-quarter")
	b.ReportMetric(ratios[len(ratios)*3/4], "x-upper-quarter")
}

// echoed answers each item at once: what is measured is the way there.
type echoed struct{ itemapi.ItemService }

func (*echoed) GetItem(_ context.Context, req *itemapi.GetItemReq) (*itemapi.GetItemResp, error) {
	fields := shirt()
	return &itemapi.GetItemResp{Item: &itemapi.Item{Id: req.GetId(), Title: fields.GetTitle(), Description: fields.GetDescription()}}, nil
}

// identityClient calls a server of its own; with keys both are known.
func identityClient(b *testing.B, keys identity.Config, options []client.Option) func(context.Context) error {
	b.Helper()
	rules := func(name string) (*transport.Governance, *telemetry.Telemetry) {
		tel, err := telemetry.New(name, telemetry.Config{})
		must(b, err)
		life, err := lifecycle.New(slog.New(slog.DiscardHandler), lifecycle.Config{Admin: "127.0.0.1:0", Debug: "127.0.0.1:0", StopTimeout: time.Minute}, tel.Metrics)
		must(b, err)
		b.Cleanup(func() { must(b, life.Close()) })
		rules, err := transport.Govern(policy.Config{}, idl.Policies(), tel, life)
		must(b, err)
		must(b, rules.Identify(name, keys, tel))
		return rules, tel
	}
	ofServer, tel := rules("item")
	server, err := transport.NewServer("127.0.0.1:0", ofServer, tel)
	must(b, err)
	must(b, itemservice.RegisterService(server, &echoed{}))
	part := server.Part()
	ended := make(chan error, 1)
	go func() { ended <- part.Serve() }()
	b.Cleanup(func() {
		must(b, part.Stop(context.Background()))
		<-ended
	})
	ofClient, tel := rules("gateway")
	made, err := transport.ClientOptions("gateway", static(b, server.Addr().String()), ofClient, tel)
	must(b, err)
	items, err := itemservice.NewClient("item", append(made, options...)...)
	must(b, err)
	return func(ctx context.Context) error {
		_, err := items.GetItem(ctx, &itemapi.GetItemReq{Id: 7})
		return err
	}
}
