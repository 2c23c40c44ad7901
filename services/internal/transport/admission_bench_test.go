package transport_test

import (
	"context"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
	"github.com/kiteshop/kiteshop/idl/kitex_gen/item/itemservice"
	"github.com/kiteshop/kiteshop/services/internal/fault"
	"github.com/kiteshop/kiteshop/services/internal/policy"
	"github.com/kiteshop/kiteshop/services/internal/telemetry"
	"github.com/kiteshop/kiteshop/services/internal/transport"
)

// BenchmarkAdmission compares, of client and server, the processor time of a call
// of a method that is bounded, and of one that is refused, with that of a call
// that nothing bounds. One iteration is 2000 calls of each kind, in turns; run it with -benchtime 20x. The figures are medians.
func BenchmarkAdmission(b *testing.B) {
	open := func(rules string) itemservice.Client {
		return dial(b, serveMade(b, telemetry.Config{}, func(tel *telemetry.Telemetry) (*transport.Server, error) {
			if rules == "" {
				return transport.NewServer("127.0.0.1:0", nil, tel)
			}
			policies, err := policy.Open(policy.Config{}, []byte(rules))
			if err != nil {
				return nil, err
			}
			return transport.NewServer("127.0.0.1:0", &transport.Governance{Policies: policies}, tel)
		}, func(s *transport.Server) error {
			return itemservice.RegisterService(s, &items{get: func(ctx context.Context, id int64) (*item.GetItemResp, error) {
				if id == 0 { // stays
					<-b.Context().Done()
				}
				return titled("kite")(ctx, id)
			}})
		}, nil).Addr())
	}
	const rules = `{edge: {concurrent: 1}, methods: {ItemService/GetItem: {effect: read, budget: 2m, attempts: 1, concurrent: %, waiting: 0, callers: ["*"]}}}`
	free, bounded, full := open(""), open(strings.Replace(rules, "%", "64", 1)), open(strings.Replace(rules, "%", "1", 1))
	go func() { _, _ = full.GetItem(b.Context(), &item.GetItemReq{}) }()
	isFull := func() bool {
		_, err := full.GetItem(b.Context(), &item.GetItemReq{Id: 7})
		return fault.CodeOf(transport.ReadFault("item", err)) == fault.Overloaded
	}
	await(b, isFull)
	var letIn, refused []float64
	for b.Loop() {
		alone := cpuOfCalls(b, free)
		letIn, refused = append(letIn, cpuOfCalls(b, bounded)/alone), append(refused, cpuOfCalls(b, full)/alone)
	}
	slices.Sort(letIn)
	slices.Sort(refused)
	b.ReportMetric(letIn[len(letIn)/2], "x-bounded")
	b.ReportMetric(refused[len(refused)/2], "x-refused")
	b.ReportMetric(0, "ns/op")
}

// cpuOfCalls is the time that 2000 calls of 8 callers take of the processors.
func cpuOfCalls(b *testing.B, items itemservice.Client) float64 {
	b.Helper()
	used := func() float64 {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()).Seconds()
	}
	before := used()
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 250 {
				_, _ = items.GetItem(b.Context(), &item.GetItemReq{Id: 7})
			}
		})
	}
	group.Wait()
	return used() - before
}
