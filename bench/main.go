// Command bench measures what the README of this folder promises, and prints
// each figure with its target and the command that gives it: go run ./bench.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// measurement is what a benchmark reports, with the most or the least that it may be.
type measurement struct {
	what      string
	benchmark string // as go test names it, without the number of processors
	units     []string
	most      float64 // 0: not bounded
	least     float64
}

// suite is one run of go test and what is read from it.
type suite struct {
	pkg, bench, times string
	measurements      []measurement
}

func suites() []suite {
	search := func(most float64, what, name string) measurement {
		return measurement{"search: " + what, "BenchmarkCatalogue/search=" + name, []string{"p95-ms", "page2-p95-ms"}, most, 0}
	}
	const most, capped = 50, 0
	return []suite{
		{"./services/item", "GetItem", "300x", []measurement{
			{"GetItem from memory against an empty echo, CPU of the server", "BenchmarkGetItem/cpu=server", []string{"x-echo-cpu"}, 1.25, 0},
			{"the same, CPU of client and server", "BenchmarkGetItem/cpu=client+server", []string{"x-echo-cpu"}, 1.25, 0},
		}},
		{"./services/item", "Protocols", "300x", protocolMeasurements()},
		{"./services/item", "Identity", "20x", []measurement{
			{"GetItem with a token against without, over TTHeader, CPU of client and server", "BenchmarkIdentity/ttheader", []string{"x-without"}, 1.08, 0},
			{"the same over gRPC", "BenchmarkIdentity/grpc", []string{"x-without"}, 1.08, 0},
		}},
		{"./services/item/internal/store", "CachedRead", "50x", []measurement{
			{"SQLite's point read against one from memory", "BenchmarkCachedRead", []string{"x-sqlite"}, 0, 30},
		}},
		{"./services/stock/internal/store", "Reserve", "15x", stockMeasurements()},
		{"./services/e2e", "HotItem", "15x", []measurement{
			{"hot item on PostgreSQL through the gateway, 512 callers, against an empty echo", "BenchmarkHotItem", []string{"x-echo"}, 0, 0.5},
			{"the same", "BenchmarkHotItem", []string{"reservations/s", "p50-ms", "p99-ms"}, 0, 0},
		}},
		{"./services/item/internal/store", "Import", "20x", []measurement{
			{"import", "BenchmarkImport", []string{"rows/s"}, 0, 0},
		}},
		{"./services/item/internal/store", "Catalogue", "100x", []measurement{
			{"a page at nine tenths of the list against the first", "BenchmarkCatalogue/page", []string{"x-first-page"}, 2, 0},
			search(most, "a word in 1 of 1,000 titles", "title/1-of-1000"),
			search(most, "a word in 1 of 100 titles", "title/1-of-100"),
			search(most, "a word in 1 of 1,000 descriptions", "description/1-of-1000"),
			search(most, "a word in 1 of 100 descriptions", "description/1-of-100"),
			search(most, "a word in the tags of 1 of 1,000", "tags/1-of-1000"),
			search(most, "a word in the tags of 1 of 100", "tags/1-of-100"),
			search(most, "the first 4 letters of words in 1 of 100 titles", "prefix-of-4/1-of-100"),
			search(most, "the first 5 letters of a word in 1 of 1,000 descriptions", "prefix-of-5/1-of-1000"),
			search(most, "two words, of 1 of 1,000 and 1 of 10", "two/1-of-1000,1-of-10"),
			search(most, "two words, of 1 of 100 and of all", "two/1-of-100,all"),
			search(most, "two words, each of 1 of 10, that 1 of 100 has", "two/1-of-10,1-of-10"),
			search(most, "two words, each of 1 of 10, that none has", "two/1-of-10,1-of-10,never-both"),
			search(most, "a word that none has", "unknown"),
			search(capped, "capped: a word in 1 of 10 titles", "title/1-of-10"),
			search(capped, "capped: a word in 1 of 10 descriptions", "description/1-of-10"),
			search(capped, "capped: the first 3 letters of words in 1 of 10 titles", "prefix-of-3/1-of-10"),
			search(capped, "capped: a word in all titles", "title/all"),
			search(capped, "capped: a word in all descriptions", "description/all"),
		}},
	}
}

// protocolMeasurements are of a GetItem over each protocol, each against grpc-go on both sides.
func protocolMeasurements() (all []measurement) {
	for _, callers := range []string{"1", "32"} {
		name := "BenchmarkProtocols/callers=" + callers
		for _, side := range []struct{ what, name string }{
			{"Kitex's client over TTHeader", "ttheader"},
			{"Kitex's client over gRPC", "kitex-grpc-client"},
			{"grpc-go's client of our server", "grpc-go-client"},
		} {
			all = append(all,
				measurement{side.what + ", callers: " + callers + ", CPU of both", name, []string{side.name + "-x", side.name + "-µs"}, 0, 0},
				measurement{"the same, CPU of the server", name, []string{side.name + "-server-x"}, 0, 0})
		}
		all = append(all, measurement{"grpc-go's client of grpc-go's server", name, []string{"grpc-go-µs"}, 0, 0})
	}
	return all
}

// stockMeasurements are of reservations, each against a baseline that writes the same rows.
func stockMeasurements() []measurement {
	const postgres, sqlite = "BenchmarkReserve/postgres/", "BenchmarkReserve/sqlite/"
	one, many := "_against_one_statement_each", "512_callers_against_10,000_items"
	soldOut := "512_callers_of_a_sold_out_item_against_one_in_stock"
	return []measurement{
		{"one hot item on PostgreSQL, 64 callers, against one statement each", postgres + "64_callers" + one, []string{"x-baseline"}, 0, 15},
		{"the same, p99 of the baseline against ours", postgres + "64_callers" + one, []string{"baseline-p99/p99"}, 0, 20},
		{"the same, 512 callers", postgres + "512_callers" + one, []string{"x-baseline"}, 0, 50},
		{"the same, p99 of the baseline against ours", postgres + "512_callers" + one, []string{"baseline-p99/p99"}, 0, 20},
		{"a lone caller on PostgreSQL, p50 against one statement", postgres + "one_caller" + one, []string{"x-baseline-p50"}, 1.2, 0},
		{"a lone caller on SQLite, p50 against one transaction", sqlite + "one_caller_against_one_transaction_each", []string{"x-baseline-p50"}, 1.2, 0},
		{"the hot item on PostgreSQL against 10,000 items", postgres + many, []string{"x-baseline"}, 0, 0.9},
		{"the hot item on SQLite against 10,000 items", sqlite + many, []string{"x-baseline"}, 0, 0.9},
		{"refusals of a sold out item on PostgreSQL against reservations", postgres + soldOut, []string{"x-baseline"}, 0, 1},
		{"refusals of a sold out item on SQLite against reservations", sqlite + soldOut, []string{"x-baseline"}, 0, 1},
		{"SQLite, ordered keys, against a log of the same bytes", sqlite + "512_callers_with_ordered_keys_against_a_log", []string{"x-baseline"}, 0, 0.4},
		{"SQLite, random keys, against a log of the same bytes", sqlite + "512_callers_with_random_keys_against_a_log", []string{"x-baseline"}, 0, 0},
	}
}

func main() {
	items := flag.Int("items", 1_000_000, "how `many` items are listed and searched, a multiple of 10,000")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *items); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// run prints what go test says to stderr as it comes, and the table at the end.
func run(ctx context.Context, items int) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range suites() {
		args := []string{"test", "-run", "^$", "-bench", "^Benchmark" + s.bench + "$", "-benchtime", s.times, "-timeout", "3h", s.pkg}
		fmt.Fprintf(table, "\nBENCH_ITEMS=%d go %s\n", items, strings.Join(args, " "))
		var output bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "BENCH_ITEMS="+strconv.Itoa(items))
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&output, os.Stderr), os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
		}
		for _, m := range s.measurements {
			fmt.Fprintln(table, m.row(output.String()))
		}
	}
	return table.Flush()
}

// row reads the figures from the output of go test and says whether all are kept.
func (m measurement) row(output string) string {
	var figures []string
	verdict := "kept"
	for _, unit := range m.units {
		pattern := `(?m)^` + regexp.QuoteMeta(m.benchmark) + `(?:-\d+)?\s.*?([0-9.e+]+) ` + regexp.QuoteMeta(unit) + `(?:\s|$)`
		found := regexp.MustCompile(pattern).FindStringSubmatch(output)
		if found == nil {
			continue // such as the second page of a search that has one
		}
		figure, err := strconv.ParseFloat(found[1], 64)
		if err != nil || m.most > 0 && figure > m.most || figure < m.least {
			verdict = "missed"
		}
		figures = append(figures, fmt.Sprintf("%.4g %s", figure, unit))
	}
	switch {
	case len(figures) == 0:
		return m.what + "\tnot measured"
	case m.most > 0:
		verdict = fmt.Sprintf("at most %g\t%s", m.most, verdict)
	case m.least > 0:
		verdict = fmt.Sprintf("at least %g\t%s", m.least, verdict)
	default:
		verdict = "no target\t"
	}
	return m.what + "\t" + strings.Join(figures, ", ") + "\t" + verdict
}
