// Command bench measures what the README of this folder promises, and prints
// each figure with the command that gives it: go run ./bench.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strconv"
	"strings"
	"text/tabwriter"
)

// measurement is a figure of a benchmark, with the most or the least that it may be.
type measurement struct {
	what      string
	benchmark string // as go test names it, without the number of processors
	unit      string
	most      float64 // 0: least holds
	least     float64
}

// suite is one run of go test and what is read from it.
type suite struct {
	pkg, bench, times string
	measurements      []measurement
}

func suites() []suite {
	search := func(what, name string) measurement {
		return measurement{what: "search, p95: " + what, benchmark: "BenchmarkCatalogue/search=" + name, unit: "p95-ms", most: 50}
	}
	return []suite{
		{"./services/item", "GetItem", "60x", []measurement{
			{what: "GetItem from memory, CPU of the server against an empty echo", benchmark: "BenchmarkGetItem/cpu=server", unit: "x-echo-cpu", most: 1.25},
			{what: "the same, client and server", benchmark: "BenchmarkGetItem/cpu=client+server", unit: "x-echo-cpu", most: 1.25},
		}},
		{"./services/item/internal/store", "CachedRead", "20x", []measurement{
			{what: "SQLite's point read against one from memory", benchmark: "BenchmarkCachedRead", unit: "x-sqlite", least: 30},
		}},
		{"./services/item/internal/store", "Catalogue", "50x", []measurement{
			{what: "a page at nine tenths of the list against the first", benchmark: "BenchmarkCatalogue/page", unit: "x-first-page", most: 2},
			search("1 of 1,000 has the word in its title", "title-few"),
			search("1 of 100 has the word in its title", "title"),
			search("the beginning of that word", "title-prefix"),
			search("1 of 100, in its description", "description"),
			search("1 of 100, in its tags", "tags"),
			search("1 of 100, and a word that 1 of 10 has", "two-places"),
			search("a word that none has", "nothing"),
			search("capped: 1 of 10, in its title", "broad-title"),
			search("capped: every item, in its description", "broad-description"),
			search("1 of 100, and a word that every item has", "two-words"),
		}},
	}
}

func main() {
	items := flag.Int("items", 1_000_000, "how `many` items are listed and searched")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *items); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

func run(ctx context.Context, items int) error {
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range suites() {
		args := []string{"test", "-run", "^$", "-bench", "^Benchmark" + s.bench + "$", "-benchtime", s.times, "-timeout", "60m", s.pkg}
		fmt.Fprintf(table, "\nBENCH_ITEMS=%d go %s\n", items, strings.Join(args, " "))
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "BENCH_ITEMS="+strconv.Itoa(items))
		cmd.Stderr = os.Stderr
		output, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, output)
		}
		for _, m := range s.measurements {
			fmt.Fprintln(table, m.row(string(output)))
		}
	}
	return table.Flush()
}

// row reads the figure from the output of go test and says whether it is kept.
func (m measurement) row(output string) string {
	pattern := regexp.QuoteMeta(m.benchmark) + `(?:-\d+)?\s.*?([0-9.e+]+) ` + regexp.QuoteMeta(m.unit) + `\b`
	found := regexp.MustCompile(pattern).FindStringSubmatch(output)
	if found == nil {
		return m.what + "\tnot measured"
	}
	figure, _ := strconv.ParseFloat(found[1], 64)
	target, kept := fmt.Sprintf("at most %g", m.most), figure <= m.most
	if m.least > 0 {
		target, kept = fmt.Sprintf("at least %g", m.least), figure >= m.least
	}
	verdict := "kept"
	if !kept {
		verdict = "missed"
	}
	return fmt.Sprintf("%s\t%.2f %s\t%s\t%s", m.what, figure, m.unit, target, verdict)
}
