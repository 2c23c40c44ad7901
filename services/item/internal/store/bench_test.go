package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// envItems is how many items the benchmarks work on, 20,000 if it is not set.
const envItems = "BENCH_ITEMS"

func itemCount(b *testing.B) int {
	n, err := strconv.Atoi(os.Getenv(envItems))
	if os.Getenv(envItems) != "" && err != nil {
		b.Fatal(err)
	}
	return max(n, 20_000)
}

// catalogue is a store of n items. One item in 1,000 has the word permille in its title,
// one in 100 percent; one in 100 has linen in its description and one in 100 wool in its
// tags; one in 10 has tenth in its title; all have thing in their description.
func catalogue(b *testing.B, n int) *Store {
	b.Helper()
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "item.db"), time.Hour, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	random := rand.New(rand.NewPCG(1, 2))
	words := func(count int) (text string) {
		for range count {
			text += fmt.Sprintf("%c%03d ", 'a'+random.IntN(26), random.IntN(1_000))
		}
		return text
	}
	for from := 0; from < n; from += domain.MaxImportRows {
		rows := make([]domain.ImportRow, min(domain.MaxImportRows, n-from))
		for i := range rows {
			title, description, tags := words(4), words(15)+"thing", []string{"x"}
			for every, word := range map[int]string{1_000: "permille ", 100: "percent ", 10: "tenth "} {
				if (from+i)%every == 0 {
					title += word
				}
			}
			switch (from + i) % 100 {
			case 1:
				description += " linen"
			case 2:
				tags = append(tags, "wool")
			}
			rows[i] = domain.ImportRow{Handle: fmt.Sprint("h", from+i), Patch: domain.Patch{Title: &title, Description: &description, Tags: &tags}}
		}
		if _, err := s.Import(b.Context(), rows, time.UnixMilli(0)); err != nil {
			b.Fatal(err)
		}
		if (from/domain.MaxImportRows)%100 == 99 {
			fmt.Fprintf(os.Stderr, "%d items\n", from+len(rows))
		}
	}
	return s
}

// BenchmarkCachedRead compares a read from memory with one from SQLite.
func BenchmarkCachedRead(b *testing.B) {
	s := catalogue(b, 1_000)
	uncached := &Store{db: s.db, cache: &cache{now: time.Now, entries: s.cache.entries}}
	var ratios []float64
	for b.Loop() {
		cached := timed(b, 2_000, func(ctx context.Context) error { _, err := s.Get(ctx, 7); return err })
		stored := timed(b, 2_000, func(ctx context.Context) error { _, err := uncached.Get(ctx, 7); return err })
		ratios = append(ratios, float64(stored)/float64(cached))
	}
	b.ReportMetric(percentile(ratios, 50), "x-sqlite")
}

// BenchmarkCatalogue lists and searches the items that envItems asks for.
func BenchmarkCatalogue(b *testing.B) {
	n := itemCount(b)
	s := catalogue(b, n)
	b.Run("page", func(b *testing.B) { benchmarkPages(b, s, n) })
	for _, query := range []struct{ name, text string }{
		{"title", "percent"}, {"title-prefix", "perce"}, {"title-few", "permille"}, {"description", "linen"}, {"tags", "wool"},
		{"two-words", "percent thing"}, {"two-places", "linen tenth"}, {"nothing", "zzz"},
		{"broad-title", "tenth"}, {"broad-description", "thing"},
	} {
		b.Run("search="+query.name, func(b *testing.B) { benchmarkSearch(b, s, query.text) })
	}
}

func benchmarkPages(b *testing.B, s *Store, n int) {
	page, err := s.List(b.Context(), 20, "")
	if err != nil {
		b.Fatal(err)
	}
	deep := deepCursor(b, s, int64(n)*9/10)
	var ratios []float64
	for b.Loop() {
		first := timed(b, 20, func(ctx context.Context) error { _, err := s.List(ctx, 20, ""); return err })
		later := timed(b, 20, func(ctx context.Context) error { _, err := s.List(ctx, 20, deep); return err })
		ratios = append(ratios, float64(later)/float64(first))
	}
	if len(page.Items) != 20 {
		b.Fatalf("the first page has %d items", len(page.Items))
	}
	b.ReportMetric(percentile(ratios, 50), "x-first-page")
}

// benchmarkSearch measures the first page and, where there is one, the second.
func benchmarkSearch(b *testing.B, s *Store, query string) {
	var took []float64
	capped := 0.0
	for b.Loop() {
		cursor := ""
		for range 2 {
			start := time.Now()
			page, err := s.Search(b.Context(), query, 20, cursor)
			if err != nil {
				b.Fatal(err)
			}
			took = append(took, float64(time.Since(start).Microseconds())/1000)
			if page.Capped {
				capped = 1
			}
			if cursor = page.Next; cursor == "" {
				break
			}
		}
	}
	b.ReportMetric(percentile(took, 50), "p50-ms")
	b.ReportMetric(percentile(took, 95), "p95-ms")
	b.ReportMetric(capped, "capped")
}

// BenchmarkImport imports rows that are new and, again, rows that are known.
func BenchmarkImport(b *testing.B) {
	for b.Loop() {
		start := time.Now()
		catalogue(b, 5_000)
		b.ReportMetric(5_000/time.Since(start).Seconds(), "rows/s")
	}
}

// timed is the time that times calls take.
func timed(b *testing.B, times int, call func(ctx context.Context) error) time.Duration {
	start := time.Now()
	for range times {
		if err := call(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(start)
}

func percentile(values []float64, p int) float64 {
	slices.Sort(values)
	return values[min(len(values)*p/100, len(values)-1)]
}

// deepCursor is the cursor of the page after the item id.
func deepCursor(b *testing.B, s *Store, id int64) string {
	b.Helper()
	if _, err := s.Get(b.Context(), id); err != nil {
		b.Fatal(err)
	}
	return sqldb.EncodeCursor("items", id)
}
