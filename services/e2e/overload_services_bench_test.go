package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	kitexstock "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
)

const (
	// envFlood makes this test binary call a service for a while, as "METHOD RATE REGISTRY" says.
	envFlood = "E2E_FLOOD"
	// benchmarkItems is how many items there are to list and to search.
	benchmarkItems = 2000
	// floodLead is how long the flood has begun before it is looked at.
	floodLead = time.Second
)

// BenchmarkOverloadOfServices is BenchmarkOverload of item and stock as they
// ship, on SQLite, over TTHeader. What saturates a method is how often 64 callers
// are answered. A process of its own asks nine and a half times as often, or, where that is more than
// it can make, by maxAsked calls at once; the figures are of calls beside those, half as often as what saturates.
// OVERLOAD_POLICIES is a file of other policies.
func BenchmarkOverloadOfServices(b *testing.B) {
	registry, processes := startServices(b)
	calls, err := serviceCalls(registry)
	if err != nil {
		b.Fatal(err)
	}
	for method, service := range map[string]string{"GetItem": "item", "ListItems": "item", "SearchItems": "item", "GetItemStock": "stock", "Reserve": "stock"} {
		b.Run(method, func(b *testing.B) {
			call := calls[method]
			saturate(b, call)
			rate := saturate(b, call)
			b.ReportMetric(float64(rate), "saturated/s")
			figures := map[string][]float64{}
			for b.Loop() {
				calm := askFor(b.Context(), call, rate/10, overloadTakes)
				others := startFlood(b, method, rate*19/2, registry)
				seen := askFor(b.Context(), call, rate/2, overloadTakes)
				answered := float64(len(seen.answered))/overloadTakes.Seconds() + others()/(overloadTakes+floodLead).Seconds()
				note(b, figures, calm, seen, call, processes[service])
				figures["x-rate"] = append(figures["x-rate"], answered/float64(rate))
			}
			reportMedians(b, figures)
		})
	}
}

// serviceCalls are calls of the services in a registry, by method.
func serviceCalls(registry string) (map[string]func(context.Context) error, error) {
	options, err := clientsOf(registry)
	if err != nil {
		return nil, err
	}
	items, err1 := itemservice.NewClient("item", options...)
	stocks, err2 := stockservice.NewClient("stock", options...)
	run, last := uuid.NewString(), atomic.Int64{}
	return map[string]func(context.Context) error{
		"GetItem": func(ctx context.Context) error {
			_, err := items.GetItem(ctx, &itemapi.GetItemReq{Id: 1024})
			return err
		},
		"ListItems": func(ctx context.Context) error {
			_, err := items.ListItems(ctx, &itemapi.ListItemsReq{Limit: 100})
			return err
		},
		"SearchItems": func(ctx context.Context) error {
			_, err := items.SearchItems(ctx, &itemapi.SearchItemsReq{Query: "kite", Limit: 20})
			return err
		},
		"GetItemStock": func(ctx context.Context) error {
			_, err := stocks.GetItemStock(ctx, &kitexstock.GetItemStockReq{ItemId: 1024})
			return err
		},
		"Reserve": func(ctx context.Context) error {
			_, err := stocks.Reserve(ctx, &kitexstock.ReserveReq{
				Lines: []*kitexstock.ReservationLine{{ItemId: 1024, Quantity: 1}}, IdempotencyKey: fmt.Sprint(run, last.Add(1)),
			})
			return err
		},
		"CreateItem": func(ctx context.Context) error {
			title := fmt.Sprint("A kite of the kind ", last.Add(1))
			_, err := items.CreateItem(ctx, &itemapi.CreateItemReq{Fields: &itemapi.ItemFields{Title: &title}})
			return err
		},
		"AdjustStock": func(ctx context.Context) error {
			_, err := stocks.AdjustStock(ctx, &kitexstock.AdjustStockReq{ItemId: 1024, Delta: 1_000_000_000, Reason: kitexstock.Reason_REASON_RECEIVED, IdempotencyKey: run})
			return err
		},
	}, errors.Join(err1, err2)
}

// startFlood calls from a process of its own; answered waits for its end, and gives how many of its calls were answered.
func startFlood(b *testing.B, method string, rate int, registry string) (answered func() float64) {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %s", envFlood, method, rate, registry))
	cmd.Stderr = os.Stderr
	output, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	time.Sleep(floodLead)
	return func() (count float64) {
		if _, err := fmt.Fscan(output, &count); err != nil {
			b.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		return count
	}
}

// flood is that process.
func flood(ctx context.Context, spec string) error {
	var method, registry string
	var rate int
	if _, err := fmt.Sscan(spec, &method, &rate, &registry); err != nil {
		return err
	}
	calls, err := serviceCalls(registry)
	if err != nil {
		return err
	}
	all := askFor(ctx, calls[method], rate, overloadTakes+floodLead)
	fmt.Println(len(all.answered))
	return nil
}

// saturate is how many calls a second 64 callers get answered.
func saturate(b *testing.B, call func(context.Context) error) int {
	b.Helper()
	const callers, last = 64, 2 * time.Second
	var answered atomic.Int64
	var group sync.WaitGroup
	end := time.Now().Add(last)
	for range callers {
		group.Go(func() {
			for time.Now().Before(end) {
				if err := call(b.Context()); err == nil {
					answered.Add(1)
				} else if !isOverloaded(err) {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return int(float64(answered.Load()) / last.Seconds())
}

// startServices runs item and stock, each a process, with some items and much of item 1024.
func startServices(b *testing.B) (registry string, processes map[string]*os.Process) {
	b.Helper()
	dir, item, stock := b.TempDir(), steadyPort(b), steadyPort(b)
	registry, processes = "static://item="+item+",stock="+stock, map[string]*os.Process{}
	for name, address := range map[string]string{"item": item, "stock": stock} {
		processes[name] = runLogged(b, build(b, "../"+name+"/cmd"), filepath.Join(dir, name+".log"), nil, "-rpc", address, "-data", dir, "-demo", "-registry", registry,
			"-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-policies", os.Getenv("OVERLOAD_POLICIES"))
	}
	calls, err := serviceCalls(registry)
	if err != nil {
		b.Fatal(err)
	}
	eventually(b, "the services answer", func() bool { return calls["GetItem"](b.Context()) == nil && calls["AdjustStock"](b.Context()) == nil })
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			for range benchmarkItems / 16 {
				if err := calls["CreateItem"](b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return registry, processes
}
