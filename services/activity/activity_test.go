package activity_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudwego/kitex/client"
	kitex "github.com/cloudwego/kitex/transport"

	wire "github.com/kiteshop/kiteshop/idl/kitex_gen/activity"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/activity/activityservice"
	"github.com/kiteshop/kiteshop/services/activity"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// open starts the service, whose clock stands, and a client of it.
func open(t *testing.T) (*activity.Service, activityservice.Client) {
	t.Helper()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cfg := activity.DefaultConfig()
	cfg.Telemetry.Output = nil
	cfg.Now = func() time.Time { return now }
	cfg.RPC, cfg.Lifecycle.Admin, cfg.Lifecycle.Debug = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	ctx, stop := context.WithCancel(context.Background())
	service, err := activity.New(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	registry, err := discovery.Open(discovery.Config{URL: "static://activity=" + service.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	tel, err := telemetry.New("test", telemetry.Config{})
	if err != nil {
		t.Fatal(err)
	}
	options, err := transport.ClientOptions("test", registry, nil, tel)
	if err != nil {
		t.Fatal(err)
	}
	activities, err := activityservice.NewClient("activity", options...)
	if err != nil {
		t.Fatal(err)
	}
	return service, activities
}

// records has a record for each pair of an item and a quantity.
func records(pairs ...int64) *wire.RecordReq {
	req := &wire.RecordReq{}
	for i := 0; i < len(pairs); i += 2 {
		req.Records = append(req.Records, &wire.Record{ItemId: pairs[i], Quantity: pairs[i+1]})
	}
	return req
}

// await waits for what was sent without an answer; there is no other sign of it.
func await(t *testing.T, done func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(20 * time.Second); !done(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatal("it did not arrive within 20 s")
		}
	}
}

func TestWhatIsRecordedComesBackAsTrends(t *testing.T) {
	t.Parallel()
	_, activities := open(t)
	past := records(9, 8)
	at := time.Date(2026, 3, 1, 11, 0, 0, 0, time.UTC).UnixMilli() // a half-life before
	past.Records[0].At = &at
	for _, req := range []*wire.RecordReq{records(7, 3, 8, 1), past} {
		if err := activities.RecordView(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if err := activities.RecordSale(t.Context(), records(8, 2)); err != nil {
		t.Fatal(err)
	}
	list := func(req *wire.GetTrendingReq) string {
		resp, err := activities.GetTrending(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		var text []string
		for _, one := range resp.GetTrends() {
			text = append(text, fmt.Sprint(one.ItemId, one.Score, one.Error, one.Views, one.Sales))
		}
		return strings.Join(text, "; ")
	}
	const both = "8 11 0 1 2; 9 4 0 4 0; 7 3 0 3 0"
	await(t, func() bool { return list(&wire.GetTrendingReq{}) == both })
	for want, req := range map[string]*wire.GetTrendingReq{
		both:                              {Kind: wire.Kind_BOTH, Limit: 100},
		"9 4 0 4 0; 7 3 0 3 0; 8 1 0 1 2": {Kind: wire.Kind_VIEWED},
		"8 2 0 1 2":                       {Kind: wire.Kind_BOUGHT},
		"9 4 0 4 0":                       {Kind: wire.Kind_VIEWED, Limit: 1},
	} {
		if got := list(req); got != want {
			t.Errorf("%v: %s, want %s", req, got, want)
		}
	}
}

func TestARecordOutOfItsBoundsIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	service, activities := open(t)
	if err := activities.RecordView(t.Context(), records(7, 1, 0, 1, 7, 0, -1, -1)); err != nil {
		t.Fatal(err)
	}
	if err := activities.RecordSale(t.Context(), records(7, 1_000_000_001, 7, 1)); err != nil {
		t.Fatal(err)
	}
	if err := activities.RecordSale(t.Context(), &wire.RecordReq{}); err != nil {
		t.Fatal(err)
	}
	metrics := func(want ...string) bool {
		response, err := http.Get(fmt.Sprintf("http://%s/metrics", service.AdminAddr()))
		if err != nil {
			return false // it starts
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range want {
			name, value, _ := strings.Cut(one, " ")
			metric, kind, _ := strings.Cut(name, "/")
			found := false
			for line := range strings.Lines(string(text)) {
				found = found || strings.HasPrefix(line, metric+"{") && strings.Contains(line, `kind="`+kind+`"`) && strings.HasSuffix(line, " "+value+"\n")
			}
			if !found {
				return false
			}
		}
		return true
	}
	await(t, func() bool {
		return metrics("activity_records_total/viewed 4", "activity_records_dropped_total/viewed 3",
			"activity_records_total/bought 2", "activity_records_dropped_total/bought 1")
	})
}

func TestAWrongQuestionIsAnsweredWithAFaultAlsoInThrift(t *testing.T) {
	t.Parallel()
	_, activities := open(t)
	for want, req := range map[string]*wire.GetTrendingReq{
		"invalid_argument: limit must be 1 to 100, not 101":              {Limit: 101},
		"invalid_argument: limit must be 1 to 100, not -1":               {Limit: -1},
		`invalid_argument: kind must be viewed, bought or both, not "9"`: {Kind: 9},
	} {
		_, err := activities.GetTrending(t.Context(), req)
		f := fault.From(transport.ReadFault("activity", err))
		if f.Error() != want || len(f.Fields) != 1 {
			t.Errorf("%v: %v with the fields %v, want %s", req, f, f.Fields, want)
		}
	}
}

func TestClientsThatKnowNothingButThriftAreServed(t *testing.T) {
	t.Parallel()
	service, _ := open(t)
	for _, protocol := range []kitex.Protocol{kitex.PurePayload, kitex.Framed} {
		plain, err := activityservice.NewClient("activity", client.WithHostPorts(service.Addr().String()), client.WithTransportProtocol(protocol))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := plain.GetTrending(t.Context(), &wire.GetTrendingReq{}); err != nil {
			t.Errorf("%s: %v", protocol, err)
		}
		if _, err := plain.GetTrending(t.Context(), &wire.GetTrendingReq{Limit: 101}); err == nil || !strings.Contains(err.Error(), "invalid_argument: limit must be 1 to 100, not 101") {
			t.Errorf("%s: %v", protocol, err)
		}
	}
}

func TestSettingsOutOfTheirBoundsAreRefused(t *testing.T) {
	t.Parallel()
	for want, set := range map[string]func(*activity.Config){
		"half-life is 0s; it must be 1s to 8760h":        func(c *activity.Config) { c.HalfLife = 0 },
		"half-life is 8761h0m0s; it must be 1s to 8760h": func(c *activity.Config) { c.HalfLife = 8761 * time.Hour },
		"sale-weight is -1; it must be 0 to 1000000":     func(c *activity.Config) { c.SaleWeight = -1 },
		"capacity is 0; it must be 1 to 1000000":         func(c *activity.Config) { c.Capacity = 0 },
		"capacity is 1000001; it must be 1 to 1000000":   func(c *activity.Config) { c.Capacity = 1_000_001 },
	} {
		cfg := activity.DefaultConfig()
		cfg.Telemetry.Output = nil
		set(&cfg)
		if _, err := activity.New(t.Context(), cfg); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
