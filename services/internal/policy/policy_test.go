package policy

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const shipped = `
edge: {concurrent: 100, reads: {per_second: 50, burst: 10}}
methods:
  Hats/Get: {effect: read, budget: 1s, attempts: 2, hedge: 100ms, breaker: 0.5, concurrent: 8, waiting: 4, callers: [gateway]}
  Hats/Make: {effect: keyed, budget: 2s, attempts: 2, concurrent: 8, callers: [gateway]}
  Hats/Count: {effect: once, budget: 1s, attempts: 1, concurrent: 8, callers: ["*"]}
  Hats/Watch: {effect: stream, callers: ["*"]}
`

// open gives policies with a file of changes, and what writes that file.
func open(t *testing.T, first string) (*Policies, func(text string)) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policies.yaml")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	p, err := Open(Config{File: file}, []byte(shipped))
	if err != nil {
		t.Fatal(err)
	}
	return p, write
}

func reload(t *testing.T, p *Policies, want bool) {
	t.Helper()
	if changed, err := p.Reload(); err != nil || changed != want {
		t.Fatalf("changed %t, %v; want %t", changed, err, want)
	}
}

func TestAFileChangesWhatItNamesAndNothingElse(t *testing.T) {
	t.Parallel()
	p, write := open(t, "# nothing yet\n")
	before, _ := p.Of("Hats/Get")
	write("log_level: debug\nsample_ratio: 0.1\nedge: {writes: {per_second: 5, burst: 2}}\nmethods: {Hats/Get: {hedge: 50ms}}\n")
	reload(t, p, true)

	now := p.Now()
	if *now.Level != slog.LevelDebug || *now.SampleRatio != 0.1 {
		t.Errorf("level %v, ratio %v", now.Level, now.SampleRatio)
	}
	if want := (Edge{Concurrent: 100, Reads: Rate{50, 10}, Writes: Rate{5, 2}}); now.Edge != want {
		t.Errorf("edge %+v, want %+v", now.Edge, want)
	}
	after, _ := p.Of("Hats/Get")
	if after.Hedge != 50*time.Millisecond || after.Budget != before.Budget || after.Breaker != before.Breaker || after.Concurrent != before.Concurrent {
		t.Errorf("%+v, before %+v", after, before)
	}

	write("methods: {Hats/Get: &short {budget: 500ms}, Hats/Make: *short}")
	reload(t, p, true)
	if one, other := p.Now().Methods["Hats/Get"], p.Now().Methods["Hats/Make"]; one.Budget != other.Budget || one.Budget != 500*time.Millisecond {
		t.Errorf("budgets %s and %s", one.Budget, other.Budget)
	}
	write("")
	reload(t, p, true)
	if again, _ := p.Of("Hats/Get"); again.Hedge != before.Hedge || p.Now().Level != nil {
		t.Errorf("%+v, level %v after the changes were taken back", again, p.Now().Level)
	}
	reload(t, p, false)
}

func TestAWrongFileIsRefusedAndTheLastGoodOneKept(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"methods: {Hats/Sell: {budget: 1s}}", `methods: there is no method "Hats/Sell"; there are Hats/Count, Hats/Get, Hats/Make, Hats/Watch`},
		{"methods: {Hats/Get: {bugdet: 1s}}", "methods: Hats/Get: yaml: unmarshal errors:\n  line 1: field bugdet not found in type policy.Method"},
		{"method: {}", "field method not found"},
		{"edge: {reads: {per_second: -1}}", "edge.reads.per_second is -1; it must be 0, which is no limit, or more"},
		{"edge: {reads: {per_second: .nan}}", "edge.reads.per_second is NaN"},
		{"edge: {writes: {per_second: 1}}", "edge.writes.burst is 0; with a limit it must be from 1 to 1000000"},
		{"edge: {concurrent: 0}", "edge.concurrent is 0; it must be from 1 to 1000000"},
		{"sample_ratio: 1.5", "sample_ratio is 1.5; it must be from 0 to 1"},
		{"log_level: loud", "log_level"},
		{"methods: {Hats/Get: {concurrent: -1}}", "methods: Hats/Get: concurrent is -1; it must be from 1 to 1000000"},
		{"methods: {Hats/Get: {waiting: -1}}", "waiting is -1; it must be from 0 to 1000000"},
		{"methods: {Hats/Get: {attempts: 4}}", "attempts is 4; it must be from 1 to 3"},
		{"methods: {Hats/Get: {budget: 0s}}", "budget is 0s; it must be from 1ms to 5m0s"},
		{"methods: {Hats/Get: {hedge: 501ms}}", "hedge is 501ms; it must be 0, which is never, or from 1ms to the time of an attempt, which is 500ms"},
		{"methods: {Hats/Get: {breaker: 2}}", "breaker is 2; it must be from 0, which is none, to 1"},
		{"methods: {Hats/Make: {hedge: 10ms}}", "hedge is 10ms; only a method whose effect is read is asked of two"},
		{"methods: {Hats/Make: {stale: 1s}}", "stale is 1s; it must be 0, and only a read may have more"},
		{"methods: {Hats/Count: {attempts: 2}}", "attempts is 2; a method whose effect is once is called once"},
		{"methods: {Hats/Watch: {concurrent: 2}}", "a stream has neither budget, attempts, breaker, concurrent nor waiting"},
		{"methods: {Hats/Count: {effect: read}}", "effect and callers are what the program ships with; a file cannot change them"},
		{`methods: {Hats/Get: {callers: ["*"]}}`, "effect and callers are what the program ships with; a file cannot change them"},
		{"log_level: info\n---\nlog_level: warn", "there is more than one YAML document"},
		{"log_level: info\nlog_level: warn", "already defined"},
		{"[1]", "cannot unmarshal"},
		{"{", "yaml"},
		{strings.Repeat("#", maxFile+1), "is larger than 1048576 bytes"},
	} {
		t.Run(c.want, func(t *testing.T) {
			t.Parallel()
			p, write := open(t, "log_level: warn")
			good := p.Now()
			write(c.text)
			for range 2 { // it stays wrong until it is another
				if changed, err := p.Reload(); changed || err == nil || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("changed %t, %v", changed, err)
				}
			}
			if p.Now() != good {
				t.Error("the rules are others")
			}
			write("log_level: error")
			reload(t, p, true)

			write(c.text)
			if _, err := Open(Config{File: p.file}, []byte(shipped)); err == nil {
				t.Error("a service starts with it")
			}
		})
	}
}

func TestAFileThatGoesAndComesBackIsReadAgain(t *testing.T) {
	t.Parallel()
	p, write := open(t, "log_level: warn")
	good := p.Now()
	if err := os.Remove(p.file); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Reload(); err == nil {
		t.Error("nothing says that the file is gone")
	}
	if p.Now() != good {
		t.Error("the rules are others")
	}
	write("log_level: warn")
	reload(t, p, true)
}

func TestWhoAsksIsToldOfEachChange(t *testing.T) {
	t.Parallel()
	p, write := open(t, "")
	var ratios []float64
	p.OnChange(func(s *Set) {
		if s.SampleRatio == nil {
			ratios = append(ratios, -1)
		} else {
			ratios = append(ratios, *s.SampleRatio)
		}
	})
	write("sample_ratio: 0.5")
	reload(t, p, true)
	write("sample_ratio: 5")
	if _, err := p.Reload(); err == nil {
		t.Error("5 was taken")
	}
	write("sample_ratio: 1")
	reload(t, p, true)
	if len(ratios) != 3 || ratios[0] != -1 || ratios[1] != 0.5 || ratios[2] != 1 {
		t.Errorf("told %v", ratios)
	}
}

// TestAMountedConfigMapIsReadAgain swaps the file as Kubernetes does: the name
// leads over a link to a folder, and the link is replaced.
func TestAMountedConfigMapIsReadAgain(t *testing.T) {
	t.Parallel()
	mount := t.TempDir()
	swap := func(version, text string) {
		t.Helper()
		for _, err := range []error{
			os.Mkdir(filepath.Join(mount, version), 0o700),
			os.WriteFile(filepath.Join(mount, version, "policies.yaml"), []byte(text), 0o600),
			os.Symlink(version, filepath.Join(mount, "..data_tmp")),
			os.Rename(filepath.Join(mount, "..data_tmp"), filepath.Join(mount, "..data")),
		} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	swap("..first", "log_level: warn")
	file := filepath.Join(mount, "policies.yaml")
	if err := os.Symlink(filepath.Join("..data", "policies.yaml"), file); err != nil {
		t.Fatal(err)
	}
	p, err := Open(Config{File: file}, []byte(shipped))
	if err != nil {
		t.Fatal(err)
	}
	swap("..second", "log_level: error")
	if err := os.RemoveAll(filepath.Join(mount, "..first")); err != nil {
		t.Fatal(err)
	}
	reload(t, p, true)
	if level := *p.Now().Level; level != slog.LevelError {
		t.Errorf("level %s", level)
	}
	swap("..third", "log_level: error")
	reload(t, p, false)
}
