package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	kitexstock "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
)

// benchmarkItems is how many items there are to list and to search.
const benchmarkItems = 2000

// BenchmarkOverloadOfServices is BenchmarkOverload of item and stock as they
// ship, on SQLite, over TTHeader. What saturates a method is how often 64 callers
// are answered. Where ten times that is more than the clients can make, it is
// overload by maxAsked calls at once. OVERLOAD_POLICIES is a file of other policies.
func BenchmarkOverloadOfServices(b *testing.B) {
	items, stocks, processes := startServices(b)
	var key atomic.Int64
	for _, c := range []struct {
		name, service string
		call          func(ctx context.Context) error
	}{
		{"GetItem", "item", func(ctx context.Context) error {
			_, err := items.GetItem(ctx, &itemapi.GetItemReq{Id: 1024})
			return err
		}},
		{"ListItems", "item", func(ctx context.Context) error {
			_, err := items.ListItems(ctx, &itemapi.ListItemsReq{Limit: 100})
			return err
		}},
		{"SearchItems", "item", func(ctx context.Context) error {
			_, err := items.SearchItems(ctx, &itemapi.SearchItemsReq{Query: "kite", Limit: 20})
			return err
		}},
		{"GetItemStock", "stock", func(ctx context.Context) error {
			_, err := stocks.GetItemStock(ctx, &kitexstock.GetItemStockReq{ItemId: 1024})
			return err
		}},
		{"Reserve", "stock", func(ctx context.Context) error {
			_, err := stocks.Reserve(ctx, &kitexstock.ReserveReq{
				Lines: []*kitexstock.ReservationLine{{ItemId: 1024, Quantity: 1}}, IdempotencyKey: fmt.Sprint("overload-", key.Add(1)),
			})
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			saturate(b, c.call)
			rate := saturate(b, c.call)
			b.ReportMetric(float64(rate), "saturated/s")
			overload(b, c.call, rate, processes[c.service])
		})
	}
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

// startServices runs item and stock, each a process.
func startServices(b *testing.B) (itemservice.Client, stockservice.Client, map[string]*os.Process) {
	b.Helper()
	dir, registry := b.TempDir(), ""
	addresses, processes := map[string]string{"item": steadyPort(b), "stock": steadyPort(b)}, map[string]*os.Process{}
	registry = "static://item=" + addresses["item"] + ",stock=" + addresses["stock"]
	for name, address := range addresses {
		processes[name] = runLogged(b, build(b, "../"+name+"/cmd"), filepath.Join(dir, name+".log"), nil, "-rpc", address, "-data", dir, "-demo", "-registry", registry,
			"-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-policies", os.Getenv("OVERLOAD_POLICIES"))
	}
	items, err := itemservice.NewClient("item", (&modelled{address: addresses["item"]}).options(b, "item")...)
	if err != nil {
		b.Fatal(err)
	}
	stocks, err := stockservice.NewClient("stock", (&modelled{address: addresses["stock"]}).options(b, "stock")...)
	if err != nil {
		b.Fatal(err)
	}
	eventually(b, "the services answer", func() bool {
		_, err1 := items.GetItem(b.Context(), &itemapi.GetItemReq{Id: 1024})
		_, err2 := stocks.GetItemStock(b.Context(), &kitexstock.GetItemStockReq{ItemId: 1024})
		return err1 == nil && err2 == nil
	})
	_, err = stocks.AdjustStock(b.Context(), &kitexstock.AdjustStockReq{ItemId: 1024, Delta: 1_000_000_000, Reason: kitexstock.Reason_REASON_RECEIVED, IdempotencyKey: "overload"})
	if err != nil {
		b.Fatal(err)
	}
	var group sync.WaitGroup
	for caller := range 16 {
		group.Go(func() {
			for i := range benchmarkItems / 16 {
				title := fmt.Sprintf("A kite of the kind %d-%d", caller, i)
				if _, err := items.CreateItem(b.Context(), &itemapi.CreateItemReq{Fields: &itemapi.ItemFields{Title: &title}}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	return items, stocks, processes
}
