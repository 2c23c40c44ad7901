package item

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cloudwego/kitex/pkg/klog"

	itemapi "github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	stockapi "github.com/kiteshop/kiteshop/idl/kitex_gen/stock"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/stock/stockservice"
	"github.com/kiteshop/kiteshop/services/internal/discovery"
)

const (
	manyCallers   = 32  // that call at the same time
	callsPerRound = 640 // few, so that what else the machine does hits both sides alike
	warmUp        = 20  // rounds that are not counted
	// serveVariable, when set, makes this test binary the server.
	serveVariable = "SERVE_BENCHMARK"
)

// BenchmarkGetItem compares the CPU time of a GetItem that is answered from
// memory with that of an empty message from the same server. One iteration is
// one round of each; the figures are medians. The item is read anew once a
// second and its stock every 200 ms, as the service ships; that is counted too.
func BenchmarkGetItem(b *testing.B) {
	b.Run("cpu=client+server", func(b *testing.B) {
		compareWithEcho(b, startServer(b), func() time.Duration { return processCPU(b) })
	})
	b.Run("cpu=server", func(b *testing.B) {
		address, _, cpu := startServerProcess(b)
		compareWithEcho(b, address, cpu)
	})
}

func compareWithEcho(b *testing.B, address string, cpu func() time.Duration) {
	options := clientOptions(b, address)
	items, err := itemservice.NewClient("item", options...)
	must(b, err)
	stocks, err := stockservice.NewClient("stock", options...)
	must(b, err)

	created, err := items.CreateItem(b.Context(), &itemapi.CreateItemReq{Fields: shirt()})
	must(b, err)
	id := created.GetItem().GetId()
	getItem := func(ctx context.Context) error {
		resp, err := items.GetItem(ctx, &itemapi.GetItemReq{Id: id})
		if err == nil && resp.GetItem().Stock == nil {
			return errors.New("the item came without its stock")
		}
		return err
	}
	echo := func(ctx context.Context) error {
		_, err := stocks.GetItemStock(ctx, &stockapi.GetItemStockReq{ItemId: id})
		return err
	}
	round := func(call func(context.Context) error) float64 { // µs of CPU for one call
		before := cpu()
		callTogether(b, manyCallers, call)
		return (cpu() - before).Seconds() * 1e6 / callsPerRound
	}
	for range warmUp {
		round(echo)
		round(getItem)
	}

	var echos, gets []float64
	for b.Loop() {
		echos, gets = append(echos, round(echo)), append(gets, round(getItem))
	}
	b.ReportMetric(median(gets)/median(echos), "x-echo-cpu")
	b.ReportMetric(median(echos), "echo-cpu-µs")
	b.ReportMetric(median(gets), "getitem-cpu-µs")
	b.ReportMetric(0, "ns/op") // the length of a round says nothing
}

// callTogether makes the calls of one round.
func callTogether(b *testing.B, callers int, call func(context.Context) error) {
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for range callsPerRound / callers {
				if err := call(b.Context()); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
}

// shirt is an item as real product files have them.
func shirt() *itemapi.ItemFields {
	text := func(s string) *string { return &s }
	return &itemapi.ItemFields{
		Title:       text("Ocean Blue Shirt"),
		Description: text("Ocean blue cotton shirt with a narrow collar and buttons down the front and long sleeves. Soft feel."),
		Handle:      text("ocean-blue-shirt"),
		Options: &itemapi.Options{Values: []*itemapi.Option{
			{Name: "Size", Value: "M"}, {Name: "Color", Value: "Ocean Blue"},
		}},
		Vendor: text("partners-demo"),
		Type:   text("Shirt"),
		Tags:   &itemapi.Strings{Values: []string{"men", "cotton", "summer"}},
		Price:  &itemapi.Price{Value: &itemapi.Money{Amount: 5000, Currency: "EUR"}},
		Images: &itemapi.Strings{Values: []string{
			"https://cdn.example.com/s/files/1/0803/6591/products/ocean-blue-shirt-front.jpg?v=1436889465",
			"https://cdn.example.com/s/files/1/0803/6591/products/ocean-blue-shirt-back.jpg?v=1436889465",
		}},
	}
}

// stockStub stands in for the stock service. It serves the echo too.
type stockStub struct{ stockapi.StockService }

func (*stockStub) GetItemStock(context.Context, *stockapi.GetItemStockReq) (*stockapi.GetItemStockResp, error) {
	return &stockapi.GetItemStockResp{}, nil
}

func (*stockStub) BatchGetStock(_ context.Context, req *stockapi.BatchGetStockReq) (*stockapi.BatchGetStockResp, error) {
	resp := &stockapi.BatchGetStockResp{}
	for _, id := range req.GetItemIds() {
		resp.Stocks = append(resp.Stocks, &stockapi.Stock{ItemId: id, Balance: &stockapi.Balance{OnHand: 7, Available: 7}})
	}
	return resp, nil
}

// startServer runs the item service as it ships, with the stub on the same port.
func startServer(tb testing.TB) (address string) {
	klog.SetLevel(klog.LevelWarn) // what is below would stand amid the results
	registry := discovery.NewMemory()
	cfg := DefaultConfig()
	cfg.RPC, cfg.Lifecycle.Admin, cfg.Lifecycle.Debug = "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0"
	cfg.Store.Data, cfg.Demo = tb.TempDir(), false
	cfg.Discovery.Registry = registry
	cfg.StockBudget = time.Minute // a busy machine must not cost an item its stock
	cfg.Telemetry.Output = nil
	service, err := New(tb.Context(), cfg)
	must(tb, err)
	must(tb, stockservice.RegisterService(service.server, &stockStub{}))
	registry.Announce(service.Addr(), "stock")
	tb.Cleanup(registry.Close)

	stopped := make(chan error, 1)
	go func() { stopped <- service.Run(tb.Context()) }()
	tb.Cleanup(func() { must(tb, <-stopped) })
	return service.Addr().String()
}

// startServerProcess runs this test binary a second time, as the server alone.
func startServerProcess(b *testing.B) (address, grpcGo string, cpu func() time.Duration) {
	process := exec.Command(os.Args[0], "-test.run=^TestServeBenchmark$")
	process.Env = append(os.Environ(), serveVariable+"=1")
	process.Stderr = os.Stderr
	questions, err := process.StdinPipe()
	must(b, err)
	stdout, err := process.StdoutPipe()
	must(b, err)
	answers := bufio.NewReader(stdout)
	must(b, process.Start())
	b.Cleanup(func() {
		must(b, questions.Close())
		_, _ = io.Copy(io.Discard, answers)
		must(b, process.Wait())
	})
	read := func() string {
		line, err := answers.ReadString('\n')
		must(b, err)
		return strings.TrimSpace(line)
	}
	address, grpcGo, _ = strings.Cut(read(), " ")
	return address, grpcGo, func() time.Duration {
		_, err := fmt.Fprintln(questions)
		must(b, err)
		nanoseconds, err := strconv.ParseInt(read(), 10, 64)
		must(b, err)
		return time.Duration(nanoseconds)
	}
}

// TestServeBenchmark is the server process: it prints its address and that of
// grpc-go's server, then its CPU time for every line that it reads.
func TestServeBenchmark(t *testing.T) {
	if os.Getenv(serveVariable) == "" {
		t.Skip("the benchmarks run it in a process of its own")
	}
	address := startServer(t)
	fmt.Println(address, startGRPCGo(t, address))
	for questions := bufio.NewScanner(os.Stdin); questions.Scan(); {
		fmt.Println(processCPU(t).Nanoseconds())
	}
}

// processCPU is what this process has used so far, user and system.
func processCPU(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	must(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
