package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cloudwego/hertz/pkg/app"
	"github.com/cloudwego/hertz/pkg/app/server"

	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// BenchmarkHotItem compares reservations of one hot item on PostgreSQL, through
// the gateway and over RPC, with an empty message that takes the same way. 512
// callers, PostgreSQL and all services share the machine. One iteration is one
// round of each side, in turns; the figures are medians.
func BenchmarkHotItem(b *testing.B) {
	cfg := config("")
	cfg.Item.Store.Store = sqldb.Location(sqldbtest.StartPostgres(b).Database())
	shop := open(b, cfg)
	shop.send("POST", "/api/v1/stock/1024/movements", `{"delta":1000000000,"reason":"received"}`).want(b, http.StatusCreated, nil)

	const callers = 512
	requests := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	reserve := post(b, requests, shop.base+"/api/v1/reservations", `{"lines":[{"item_id":1024,"quantity":1}]}`, http.StatusCreated)
	echo := post(b, requests, startEcho(b)+"/echo", `{}`, http.StatusOK)
	round(b, callers, reserve)
	round(b, callers, echo)
	var rates, echoes, ratios, p50s, p99s []float64
	for b.Loop() {
		ours, empty := round(b, callers, reserve), round(b, callers, echo)
		rates, echoes, ratios = append(rates, ours.rate), append(echoes, empty.rate), append(ratios, ours.rate/empty.rate)
		p50s, p99s = append(p50s, ours.p50), append(p99s, ours.p99)
	}
	b.ReportMetric(0, "ns/op")
	for unit, values := range map[string][]float64{
		"reservations/s": rates, "echoes/s": echoes, "x-echo": ratios, "p50-ms": p50s, "p99-ms": p99s,
	} {
		slices.Sort(values)
		b.ReportMetric(values[len(values)/2], unit)
	}
}

// startEcho is what every request pays: Hertz, and a Kitex call that does nothing.
func startEcho(b *testing.B) string {
	b.Helper()
	tel, err := telemetry.New("echo", telemetry.Config{})
	if err != nil {
		b.Fatal(err)
	}
	rpc, err := transport.NewServer("127.0.0.1:0", nil, tel)
	if err != nil {
		b.Fatal(err)
	}
	if err := itemservice.RegisterService(rpc, &empty{}); err != nil {
		b.Fatal(err)
	}
	go func() { _ = rpc.Part().Serve() }()
	b.Cleanup(func() { _ = rpc.Part().Stop(context.Background()) })
	registry, err := discovery.Open(discovery.Config{URL: "static://item=" + rpc.Addr().String()}, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	options, err := transport.ClientOptions("benchmark", registry, nil, tel)
	if err != nil {
		b.Fatal(err)
	}
	items, err := itemservice.NewClient("item", options...)
	if err != nil {
		b.Fatal(err)
	}
	ln, err := transport.Listen("http", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	hertz := server.New(server.WithListener(ln))
	hertz.POST("/echo", func(ctx context.Context, c *app.RequestContext) {
		if _, err := items.GetItem(ctx, &itemapi.GetItemReq{}); err != nil {
			c.String(http.StatusInternalServerError, err.Error())
			return
		}
		c.JSON(http.StatusOK, struct{}{})
	})
	go func() { _ = hertz.Run() }()
	b.Cleanup(func() { _ = hertz.Close() })
	base := "http://" + ln.Addr().String()
	eventually(b, "the echo answers", func() bool {
		response, err := http.Post(base+"/echo", "application/json", nil)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return base
}

// empty answers GetItem with nothing; the other methods are never called.
type empty struct{ itemapi.ItemService }

func (*empty) GetItem(context.Context, *itemapi.GetItemReq) (*itemapi.GetItemResp, error) {
	return &itemapi.GetItemResp{}, nil
}

func post(b *testing.B, requests *http.Client, url, body string, status int) func() error {
	b.Helper()
	return func() error {
		response, err := requests.Post(url, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err == nil && response.StatusCode != status {
			err = fmt.Errorf("%s: %s", response.Status, text)
		}
		return err
	}
}

// result is that of a round: calls a second, and milliseconds of a call.
type result struct{ rate, p50, p99 float64 }

func round(b *testing.B, callers int, do func() error) result {
	b.Helper()
	taken := make([][]float64, callers)
	start := time.Now()
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			for time.Since(start) < time.Second {
				began := time.Now()
				if err := do(); err != nil {
					b.Error(err)
					return
				}
				taken[i] = append(taken[i], float64(time.Since(began))/float64(time.Millisecond))
			}
		})
	}
	all.Wait()
	elapsed := time.Since(start).Seconds()
	sorted := slices.Concat(taken...)
	slices.Sort(sorted)
	return result{float64(len(sorted)) / elapsed, sorted[len(sorted)/2], sorted[len(sorted)*99/100]}
}
