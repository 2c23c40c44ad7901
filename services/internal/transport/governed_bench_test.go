package transport_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/idl/kitex_gen/item"
)

// BenchmarkReadsWhileInstancesStall compares the slowest hundredth of 2,000 reads
// by new clients with and without a hedge, in turns. Each of three instances takes
// a second for every fiftieth read, too seldom to be passed over.
func BenchmarkReadsWhileInstancesStall(b *testing.B) {
	var addresses []string
	for range 3 {
		stalling := newCounting()
		stalling.every = 50
		addresses = append(addresses, stalling.serve(b, time.Second))
	}
	var without, with []time.Duration
	for b.Loop() {
		without = append(without, slowest(b, "effect: read, budget: 20s, attempts: 2", addresses))
		with = append(with, slowest(b, "effect: read, budget: 20s, attempts: 2, hedge: 100ms", addresses))
	}
	slices.Sort(without)
	slices.Sort(with)
	b.ReportMetric(float64(without[len(without)/2].Milliseconds()), "p99-ms-without")
	b.ReportMetric(float64(with[len(with)/2].Milliseconds()), "p99-ms-with")
	b.ReportMetric(without[len(without)/2].Seconds()/with[len(with)/2].Seconds(), "ratio")
}

func slowest(b *testing.B, rule string, addresses []string) time.Duration {
	items := govern(b, rule, aKeyed, addresses)
	var mu sync.Mutex
	var times []time.Duration
	for _, err := range callAll(2000, func(int) error {
		start := time.Now()
		_, err := items.GetItem(b.Context(), &item.GetItemReq{Id: 7})
		mu.Lock()
		defer mu.Unlock()
		times = append(times, time.Since(start))
		return err
	}) {
		b.Error(err)
	}
	slices.Sort(times)
	return times[len(times)*99/100]
}
