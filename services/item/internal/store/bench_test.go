package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb"
	"github.com/kiteshop/kiteshop/services/item/internal/domain"
)

// envItems is how many items the benchmarks work on, a multiple of 10,000; 20,000 if it is not set.
const envItems = "BENCH_ITEMS"

// envStore is the URL of an empty PostgreSQL database to work on; SQLite if it is not set.
const envStore = "BENCH_STORE"

// pageSize is domain.DefaultPage: what a caller gets who asks for nothing else.
const pageSize = domain.DefaultPage

// BenchmarkCachedRead compares a read from memory with one from the database.
func BenchmarkCachedRead(b *testing.B) {
	s := openCatalogue(b, 1_000)
	uncached := &Store{db: s.db, cache: &cache{now: time.Now, entries: s.cache.entries}}
	var ratios []float64
	for b.Loop() {
		cached := timed(b, 2_000, func(ctx context.Context) error { _, err := s.Get(ctx, 7); return err })
		stored := timed(b, 2_000, func(ctx context.Context) error { _, err := uncached.Get(ctx, 7); return err })
		ratios = append(ratios, float64(stored)/float64(cached))
	}
	b.ReportMetric(percentile(ratios, 50), "x-sqlite")
	b.ReportMetric(0, "ns/op") // the length of a round says nothing
}

// BenchmarkImport imports items that are new, as many as one call may bring.
func BenchmarkImport(b *testing.B) {
	s := openCatalogue(b, 0)
	imported := 0
	for b.Loop() {
		importItems(b, s, imported, domain.MaxImportRows)
		imported += domain.MaxImportRows
	}
	b.ReportMetric(float64(imported)/b.Elapsed().Seconds(), "rows/s")
}

// BenchmarkCatalogue lists and searches the items that envItems asks for.
func BenchmarkCatalogue(b *testing.B) {
	n := 20_000
	if text := os.Getenv(envItems); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil || n < 10_000 || n%10_000 != 0 {
			b.Fatalf("%s=%s: it must be a multiple of 10000", envItems, text)
		}
	}
	s := openCatalogue(b, n)
	b.Run("page", func(b *testing.B) { benchmarkPages(b, s, int64(n)*9/10) })
	for _, search := range []struct {
		name  string
		query func(v int) string // one of several that match equally many
		every int                // one of so many items matches; 0: none
	}{
		{"title/1-of-1000", func(v int) string { return word(title, 1_000, v) }, 1_000},
		{"title/1-of-100", func(v int) string { return word(title, 100, v) }, 100},
		{"description/1-of-1000", func(v int) string { return word(description, 1_000, v) }, 1_000},
		{"description/1-of-100", func(v int) string { return word(description, 100, v) }, 100},
		{"tags/1-of-1000", func(v int) string { return word(tags, 1_000, v) }, 1_000},
		{"tags/1-of-100", func(v int) string { return word(tags, 100, v) }, 100},
		{"prefix-of-4/1-of-100", func(v int) string { return word(title, 1_000, v*10)[:4] }, 100},
		{"prefix-of-5/1-of-1000", func(v int) string { return word(description, 1_000, v)[:5] }, 1_000},
		{"two/1-of-1000,1-of-10", func(v int) string { return word(title, 1_000, v*10) + " " + word(tags, 10, v) }, 1_000},
		{"two/1-of-100,all", func(v int) string { return word(title, 100, v) + " " + word(description, 1, 0) }, 100},
		{"two/1-of-10,1-of-10", func(v int) string { return word(title, 10, v) + " " + word(description, 10, v) }, 100},
		{"two/1-of-10,1-of-10,never-both", func(v int) string { return word(title, 10, v) + " " + word(title, 10, v+1) }, 0},
		{"unknown", func(v int) string { return fmt.Sprint("unknown", v) }, 0},
		{"title/1-of-10", func(v int) string { return word(title, 10, v) }, 10},
		{"description/1-of-10", func(v int) string { return word(description, 10, v) }, 10},
		{"prefix-of-3/1-of-10", func(v int) string { return word(title, 1_000, v*100)[:3] }, 10},
		{"title/all", func(int) string { return word(title, 1, 0) }, 1},
		{"description/all", func(int) string { return word(description, 1, 0) }, 1},
	} {
		b.Run("search="+search.name, func(b *testing.B) {
			matches := 0
			if search.every > 0 {
				matches = n / search.every
			}
			benchmarkSearch(b, s, search.query, matches)
		})
	}
}

func benchmarkPages(b *testing.B, s *Store, deepID int64) {
	list := func(cursor string) func(context.Context) error {
		return func(ctx context.Context) error {
			page, err := s.List(ctx, pageSize, cursor)
			if err == nil && len(page.Items) != pageSize {
				err = fmt.Errorf("a page of %d items", len(page.Items))
			}
			return err
		}
	}
	first, deep := list(""), list(sqldb.EncodeCursor("items", deepID))
	var ratios []float64
	for b.Loop() {
		ratios = append(ratios, 1/float64(timed(b, 20, first))*float64(timed(b, 20, deep)))
	}
	b.ReportMetric(percentile(ratios, 50), "x-first-page")
	b.ReportMetric(0, "ns/op")
}

// benchmarkSearch measures ten queries in turn, the first page of each and, where there is one, the second.
func benchmarkSearch(b *testing.B, s *Store, query func(v int) string, matches int) {
	var first, second []float64
	search := func(v int, cursor string) (page domain.Page, milliseconds float64) {
		start := time.Now()
		page, err := s.Search(b.Context(), query(v), pageSize, cursor)
		if err != nil {
			b.Fatal(err)
		}
		return page, float64(time.Since(start).Microseconds()) / 1000
	}
	for v := 0; b.Loop(); v = (v + 1) % 10 {
		page, took := search(v, "")
		if len(page.Items) != min(matches, pageSize) || page.Capped != (matches > domain.MaxRanked) {
			b.Fatalf("%q: %d items, capped %t; %d match", query(v), len(page.Items), page.Capped, matches)
		}
		first = append(first, took)
		if page.Next != "" {
			_, took = search(v, page.Next)
			second = append(second, took)
		}
	}
	b.ReportMetric(percentile(first, 50), "p50-ms")
	b.ReportMetric(percentile(first, 95), "p95-ms")
	if len(second) > 0 {
		b.ReportMetric(percentile(second, 95), "page2-p95-ms")
	}
	b.ReportMetric(0, "ns/op")
}

// The fields of an item that get words of their own.
const (
	title       = 't'
	description = 'd'
	tags        = 'g'
)

// word is the v-th of those words of a field of which each stands in one of so
// many items: every is 1,000, 100, 10 or 1.
func word(field rune, every, v int) string {
	share := map[int]string{1_000: "m%03dish", 100: "c%02dish", 10: "x%dish", 1: "i%dish"}[every]
	return string(field) + fmt.Sprintf(share, v%every)
}

// wordsOf are the words of word that stand in a field of item number i.
func wordsOf(field rune, i int) []string {
	var words []string
	for _, every := range []int{1_000, 100, 10, 1} {
		words = append(words, word(field, every, i))
	}
	return words
}

// openCatalogue is a store of n items.
func openCatalogue(b *testing.B, n int) *Store {
	b.Helper()
	cfg := sqldb.Config{Store: sqldb.Location(os.Getenv(envStore))}
	if cfg.Store == "" {
		cfg.Data = b.TempDir()
	}
	s, err := Open(b.Context(), cfg, time.Hour, time.Now)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	start := time.Now()
	for from := 0; from < n; from += domain.MaxImportRows {
		importItems(b, s, from, domain.MaxImportRows)
		if from > 0 && from%50_000 == 0 {
			fmt.Fprintf(os.Stderr, "%d of %d items after %s\n", from, n, time.Since(start).Round(time.Second))
		}
	}
	return s
}

// importItems imports the items from number from on. Their titles have the
// words of the number's last digits, descriptions and tags those of the digits
// before the last, so that a word of a title and one of a description meet by
// chance only.
func importItems(b *testing.B, s *Store, from, count int) {
	b.Helper()
	fillers := newFillers(uint64(from))
	rows := make([]domain.ImportRow, count)
	for n := range rows {
		i := from + n
		name := strings.Join(append(wordsOf(title, i), fillers(3)...), " ")
		text := strings.Join(append(wordsOf(description, i/10), fillers(10)...), " ")
		labels := wordsOf(tags, i/10)
		rows[n] = domain.ImportRow{Handle: fmt.Sprint("product-", i), Patch: domain.Patch{Title: &name, Description: &text, Tags: &labels}}
	}
	results, err := s.Import(b.Context(), rows, time.UnixMilli(0))
	if err != nil {
		b.Fatal(err)
	}
	if results[0].Outcome != domain.Created {
		b.Fatalf("item %d: %v", from, results[0])
	}
}

// newFillers makes words of a vocabulary of 20,000, of which few stand in many items, as in a language.
func newFillers(seed uint64) func(count int) []string {
	vocabulary := rand.NewZipf(rand.New(rand.NewPCG(1, seed)), 1.1, 10, 20_000)
	return func(count int) []string {
		words := make([]string, count)
		for i := range words {
			words[i] = "w" + strconv.FormatUint(vocabulary.Uint64(), 36)
		}
		return words
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
