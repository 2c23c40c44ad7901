package domain

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kiteshop/kiteshop/services/internal/fault"
)

// clock stands until a test moves it.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func trendsAt(capacity int) (*Trends, *clock) {
	c := &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	return NewTrends(Options{Capacity: capacity, HalfLife: time.Hour, SaleWeight: 5, Now: func() time.Time { return c.now }}), c
}

func one(item, quantity int64) []Record { return []Record{{ItemID: item, Quantity: quantity}} }

func wantTop(t *testing.T, trends *Trends, kind Kind, want ...Trend) {
	t.Helper()
	got, err := trends.Top(kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("%s: %+v, want %+v", kind, got, want)
	}
}

func TestASaleWeighsAsManyViewsAsIsSet(t *testing.T) {
	t.Parallel()
	trends, _ := trendsAt(10)
	trends.View(append(one(7, 1), one(8, 12)...))
	trends.Sell(append(one(7, 2), one(9, 3)...))
	wantTop(t, trends, Both, Trend{ItemID: 9, Score: 15, Sales: 3}, Trend{ItemID: 8, Score: 12, Views: 12}, Trend{ItemID: 7, Score: 11, Views: 1, Sales: 2})
	wantTop(t, trends, Viewed, Trend{ItemID: 8, Score: 12, Views: 12}, Trend{ItemID: 7, Score: 1, Views: 1, Sales: 2})
	wantTop(t, trends, Bought, Trend{ItemID: 9, Score: 3, Sales: 3}, Trend{ItemID: 7, Score: 2, Views: 1, Sales: 2})
}

func TestACountHalvesExactlyWithEachHalfLife(t *testing.T) {
	t.Parallel()
	trends, clock := trendsAt(10)
	trends.View(one(7, 8))
	for half := 1; half <= 1000; half++ { // the landmark moves three times
		clock.pass(time.Hour)
		score := math.Ldexp(8, -half)
		wantTop(t, trends, Viewed, Trend{ItemID: 7, Score: score, Views: score})
	}
	clock.pass(100 * 365 * 24 * time.Hour)
	wantTop(t, trends, Viewed)
	trends.View(one(7, 8))
	wantTop(t, trends, Viewed, Trend{ItemID: 7, Score: 8, Views: 8})
}

func TestARecordOfThePastCountsAsIfItHadComeThen(t *testing.T) {
	t.Parallel()
	trends, clock := trendsAt(10)
	for item, age := range map[int64]time.Duration{1: 0, 2: time.Hour, 3: 3 * time.Hour, 4: -time.Hour, 5: 200 * 365 * 24 * time.Hour} {
		trends.View([]Record{{ItemID: item, Quantity: 8, At: clock.now.Add(-age)}})
	}
	wantTop(t, trends, Viewed,
		Trend{ItemID: 1, Score: 8, Views: 8}, Trend{ItemID: 4, Score: 8, Views: 8}, Trend{ItemID: 2, Score: 4, Views: 4}, Trend{ItemID: 3, Score: 1, Views: 1})
}

func TestAClockThatIsSetBackChangesNoCount(t *testing.T) {
	t.Parallel()
	trends, clock := trendsAt(10)
	clock.pass(30 * time.Hour)
	trends.View(one(7, 8))
	for _, back := range []time.Duration{time.Nanosecond, 10 * time.Hour, 50 * 365 * 24 * time.Hour} {
		clock.pass(-back)
		wantTop(t, trends, Viewed, Trend{ItemID: 7, Score: 8, Views: 8})
	}
	trends.View(one(7, 8))
	clock.pass(time.Hour)
	wantTop(t, trends, Viewed, Trend{ItemID: 7, Score: 8, Views: 8})
}

func TestWhatIsOutOfItsBoundsIsDroppedAndCounted(t *testing.T) {
	t.Parallel()
	trends, _ := trendsAt(10)
	bad := slices.Concat(one(0, 1), one(-1, 1), one(7, 0), one(7, -1), one(7, MaxQuantity+1), one(math.MinInt64, math.MaxInt64))
	if dropped := trends.View(append(bad, one(7, MaxQuantity)...)); dropped != 6 {
		t.Errorf("%d views were dropped", dropped)
	}
	if dropped := trends.Sell(bad); dropped != 6 {
		t.Errorf("%d sales were dropped", dropped)
	}
	if dropped := trends.View(slices.Repeat(one(8, 1), MaxRecords+3)); dropped != 3 {
		t.Errorf("of more than a call may have, %d were dropped", dropped)
	}
	wantTop(t, trends, Both, Trend{ItemID: 7, Score: MaxQuantity, Views: MaxQuantity}, Trend{ItemID: 8, Score: MaxRecords, Views: MaxRecords})
}

func TestAListHasAsManyAsAreAskedFor(t *testing.T) {
	t.Parallel()
	trends, _ := trendsAt(1000)
	for item := range int64(200) {
		trends.View(one(item+1, 1+item%150))
	}
	for limit, want := range map[int]int{0: 10, 1: 1, 99: 99, 100: 100} {
		if top, err := trends.Top(Viewed, limit); err != nil || len(top) != want || top[0].ItemID != 150 {
			t.Errorf("limit %d: %d items, %v", limit, len(top), err)
		}
	}
	for _, limit := range []int{-1, 101, math.MaxInt} {
		if _, err := trends.Top(Viewed, limit); fault.CodeOf(err) != fault.InvalidArgument {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if _, err := trends.Top("liked", 1); err == nil || err.Error() != `invalid_argument: kind must be viewed, bought or both, not "liked"` {
		t.Errorf("a kind that is none: %v", err)
	}
}

func TestMemoryIsBoundedHoweverManyItemsThereAre(t *testing.T) {
	t.Parallel()
	trends, clock := trendsAt(100)
	for item := range int64(100_000) {
		trends.View(one(item+1, 1))
		trends.Sell(one(item+1, 1))
		clock.pass(time.Second)
	}
	for _, c := range []*counts{trends.views, trends.sales, trends.both} {
		if len(c.heap.counters) != 100 || len(c.heap.place) != 100 || cap(c.heap.counters) > 200 {
			t.Errorf("%d counters in %d, %d places", len(c.heap.counters), cap(c.heap.counters), len(c.heap.place))
		}
	}
}

// event is a record as the exact model keeps it: all of them, for ever.
type event struct {
	item    int64
	weights map[Kind]float64
	at      time.Duration // of the time that has passed
}

// TestCountsAreWithinTheirErrorOfAnExactModel records at random, moves the
// clock at random, also back, and compares after each step.
func TestCountsAreWithinTheirErrorOfAnExactModel(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const capacity = 8
		trends, clock := trendsAt(capacity)
		var events []event
		var passed time.Duration
		record := func(t *rapid.T, kind Kind, do func([]Record) int, inBoth float64) {
			r := Record{ItemID: rapid.Int64Range(1, 20).Draw(t, "item"), Quantity: rapid.Int64Range(1, 50).Draw(t, "quantity")}
			age := time.Duration(max(0, rapid.Int64Range(-int64(time.Hour), int64(5*time.Hour)).Draw(t, "age")))
			if age > 0 {
				r.At = clock.now.Add(-age)
			}
			do([]Record{r})
			weight := float64(r.Quantity)
			events = append(events, event{r.ItemID, map[Kind]float64{kind: weight, Both: weight * inBoth}, passed - age})
		}
		t.Repeat(map[string]func(*rapid.T){
			"view": func(t *rapid.T) { record(t, Viewed, trends.View, 1) },
			"sell": func(t *rapid.T) { record(t, Bought, trends.Sell, 5) },
			"pass": func(t *rapid.T) {
				most := rapid.SampledFrom([]time.Duration{time.Minute, 3 * time.Hour, 300 * time.Hour}).Draw(t, "most")
				d := time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, "time"))
				clock.pass(d)
				passed += d
			},
			"set back": func(t *rapid.T) {
				clock.pass(-time.Duration(rapid.Int64Range(1, int64(48*time.Hour)).Draw(t, "time")))
				if _, err := trends.Top(Both, 1); err != nil { // it looks at the clock, so that it can see the step
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				for _, kind := range []Kind{Viewed, Bought, Both} {
					compare(t, trends, kind, events, passed, capacity)
				}
			},
		})
	})
}

func compare(t *rapid.T, trends *Trends, kind Kind, events []event, passed time.Duration, capacity int) {
	t.Helper()
	exact, total := map[int64]float64{}, 0.0
	for _, e := range events {
		weight := e.weights[kind] * math.Exp2(-(passed - e.at).Hours())
		exact[e.item] += weight
		total += weight
	}
	rounding := total*1e-9 + 1e-280 // of floating point; below are numbers that lose digits
	got, err := trends.Top(kind, MaxLimit)
	if err != nil || len(got) > capacity {
		t.Fatalf("%s: %d items, %v", kind, len(got), err)
	}
	for i, trend := range got {
		truth := exact[trend.ItemID]
		switch {
		case trend.Score < truth-rounding:
			t.Fatalf("%s of item %d is %g: too low, %g is right", kind, trend.ItemID, trend.Score, truth)
		case trend.Score-trend.Error > truth+rounding:
			t.Fatalf("%s of item %d is %g with an error of %g, and %g is right", kind, trend.ItemID, trend.Score, trend.Error, truth)
		case trend.Error > total/float64(capacity)+rounding:
			t.Fatalf("the error of item %d is %g of %g", trend.ItemID, trend.Error, total)
		case i > 0 && trend.Score > got[i-1].Score:
			t.Fatalf("%s: item %d comes after %d", kind, trend.ItemID, got[i-1].ItemID)
		}
		delete(exact, trend.ItemID)
	}
	for item, weight := range exact {
		if weight > total/float64(capacity)+rounding {
			t.Fatalf("%s: item %d is missing with %g of %g", kind, item, weight, total)
		}
	}
}

func BenchmarkView(b *testing.B) {
	trends, clock := trendsAt(10_000)
	batch := make([]Record, 512)
	var next int64
	for b.Loop() { // each item is new, which is the slowest way
		for i := range batch {
			next++
			batch[i] = Record{ItemID: next, Quantity: 1}
		}
		clock.pass(time.Second)
		trends.View(batch)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/view")
}

func BenchmarkTop(b *testing.B) {
	trends, clock := trendsAt(10_000)
	for item := range int64(20_000) {
		trends.View(one(item+1, 1+item*7919%1000))
	}
	clock.pass(time.Second)
	for b.Loop() {
		if _, err := trends.Top(Viewed, 100); err != nil {
			b.Fatal(err)
		}
	}
}
