package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	kitexclient "github.com/cloudwego/kitex/client"
	"github.com/cloudwego/kitex/pkg/loadbalance"
	"github.com/google/uuid"

	kitexstock "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// firstReserved is the first of the items that BenchmarkHashByItem reserves.
const firstReserved = 2000

// BenchmarkHashByItem compares reservations by three instances of stock on one
// PostgreSQL whose calls go to any, as it ships, with those that a consistent hash
// sends to one instance for each item: of one hot item and of a thousand, and with
// a commit after each. 64 callers. One iteration is a round of each side, in turns;
// the figures are medians.
func BenchmarkHashByItem(b *testing.B) {
	spread, hashed := threeStocks(b)
	for id := range int64(1000) {
		if _, err := spread.AdjustStock(b.Context(), &kitexstock.AdjustStockReq{
			ItemId: firstReserved + id, Delta: 1_000_000_000, Reason: kitexstock.Reason_REASON_RECEIVED, IdempotencyKey: uuid.NewString(),
		}); err != nil {
			b.Fatal(err)
		}
	}
	for _, items := range []int64{1, 1000} {
		for _, commit := range []bool{false, true} {
			b.Run(fmt.Sprintf("items=%d/commit=%t", items, commit), func(b *testing.B) {
				compareStocks(b, buying(spread, items, commit), buying(hashed, items, commit))
			})
		}
	}
}

// buying reserves one of some items after the other.
func buying(stocks stockservice.Client, items int64, commit bool) func() error {
	var next atomic.Int64
	return func() error {
		made, err := stocks.Reserve(context.Background(), &kitexstock.ReserveReq{
			Lines: []*kitexstock.ReservationLine{{ItemId: firstReserved + next.Add(1)%items, Quantity: 1}}, IdempotencyKey: uuid.NewString(),
		})
		if err == nil && commit {
			_, err = stocks.CommitReservation(context.Background(), &kitexstock.ChangeReservationReq{
				Id: made.GetReservation().GetId(), IdempotencyKey: uuid.NewString(),
			})
		}
		return err
	}
}

func compareStocks(b *testing.B, spread, hashed func() error) {
	b.Helper()
	const callers = 64
	round(b, callers, spread)
	round(b, callers, hashed)
	figures := map[string][]float64{}
	for b.Loop() {
		before, after := round(b, callers, spread), round(b, callers, hashed)
		figures["x-rate"] = append(figures["x-rate"], after.rate/before.rate)
		figures["x-p99"] = append(figures["x-p99"], after.p99/before.p99)
		figures["spread/s"] = append(figures["spread/s"], before.rate)
	}
	reportMedians(b, figures)
}

// threeStocks runs three processes, and gives two clients of them.
func threeStocks(b *testing.B) (spread, hashed stockservice.Client) {
	b.Helper()
	store, program := sqldbtest.StartPostgres(b).Database(), build(b, "../stock/cmd")
	var entries []string
	for i := range 3 {
		entry := "stock=" + steadyPort(b)
		entries = append(entries, entry)
		runLogged(b, program, filepath.Join(b.TempDir(), fmt.Sprint(i)), nil, "-rpc", strings.TrimPrefix(entry, "stock="), "-store", store,
			"-registry", "static://"+entry, "-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0")
	}
	options, err := clientsOf("static://" + strings.Join(entries, ","))
	if err != nil {
		b.Fatal(err)
	}
	byItem := loadbalance.NewConsistBalancer(loadbalance.NewConsistentHashOption(func(_ context.Context, request any) string {
		if reserve, ok := request.(interface{ GetReq() *kitexstock.ReserveReq }); ok {
			return fmt.Sprint(reserve.GetReq().GetLines()[0].GetItemId())
		}
		return uuid.NewString() // a commit does not name its items
	}))
	if spread, err = stockservice.NewClient("stock", options...); err != nil {
		b.Fatal(err)
	}
	if hashed, err = stockservice.NewClient("stock", append(options, kitexclient.WithLoadBalancer(byItem))...); err != nil {
		b.Fatal(err)
	}
	eventually(b, "each instance answers", func() bool {
		for range 30 {
			if _, err := spread.GetItemStock(b.Context(), &kitexstock.GetItemStockReq{ItemId: 1}); err != nil {
				return false
			}
		}
		return true
	})
	return spread, hashed
}
