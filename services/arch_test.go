package services_test

import (
	"fmt"
	"slices"
	"testing"
)

type rule struct {
	name    string
	because string
	check   func(sources []source) (violations []string)
}

func rules() []rule {
	return []rule{
		{
			"every package has its place in the plan",
			"a package without a place escapes the other rules",
			places{
				".", "./bench", "./deploy/*", "./idl", "./idl/kitex_gen/...", "./services/internal/*", "./services/internal/*/*test", "./services/*", "./services/*/cmd",
				"./services/*/internal/domain", "./services/*/internal/rpc", "./services/*/internal/http",
				"./services/*/internal/store", "./services/*/internal/upstream",
			}.check,
		},
		{
			"the domain knows nothing but the trade",
			"it is read and tested without the outside world; currency is pure data: the table of ISO 4217",
			imports{
				of:     []string{"./services/*/internal/domain"},
				deny:   []string{"..."},
				except: []string{"std", "./services/internal/fault", "github.com/bojanz/currency"},
			}.check,
		},
		{
			"rpc and http meet neither store nor upstream",
			"adapters know the domain alone; the door joins them",
			imports{
				of:   []string{"./services/*/internal/rpc", "./services/*/internal/http"},
				deny: []string{"./services/*/internal/store", "./services/*/internal/upstream", "./services/internal/sqldb", "database/sql"},
			}.check,
		},
		{
			"upstream meets neither rpc, nor http, nor store",
			"adapters know the domain alone; the door joins them",
			imports{
				of: []string{"./services/*/internal/upstream"},
				deny: []string{"./services/*/internal/rpc", "./services/*/internal/http", "./services/*/internal/store",
					"./services/internal/sqldb", "database/sql"},
			}.check,
		},
		{
			"the store never sees the wire",
			"what is kept must not change with a contract or a framework",
			imports{
				of: []string{"./services/*/internal/store"},
				deny: []string{"./idl/...", "./services/*/internal/rpc", "./services/*/internal/http", "./services/*/internal/upstream",
					"./services/internal/transport", "github.com/cloudwego/..."},
			}.check,
		},
		{
			"only doors, upstream and rpc see kitex_gen",
			"wire types stop at the edge of a room; shop has the tutorial's client",
			imports{
				of:   []string{"./..."},
				not:  []string{"./idl/kitex_gen/...", "./services/*", "./services/*/internal/rpc", "./services/*/internal/upstream"},
				deny: []string{"./idl/..."},
			}.check,
		},
		{
			"generated code imports nothing of ours",
			"it can be made again from the contracts alone",
			imports{
				of:     []string{"./idl/kitex_gen/..."},
				deny:   []string{"./..."},
				except: []string{"./idl/kitex_gen/..."},
			}.check,
		},
		{
			"the kit knows no room and no contract",
			"it serves rooms that do not exist yet",
			imports{
				of:     []string{"./services/internal/*"},
				deny:   []string{"./..."},
				except: []string{"./services/internal/*"},
			}.check,
		},
		{
			"in the kit only transport imports others of the kit",
			"each can be read alone; transport is where they come together",
			imports{
				of:   []string{"./services/internal/*"},
				not:  []string{"./services/internal/transport"},
				deny: []string{"./services/internal/*"},
			}.check,
		},
		{
			"only telemetry imports the contributed instrumentation",
			"it is one choice of several, and what it keeps of the promises is looked at in one place",
			imports{
				of:   []string{"./..."},
				not:  []string{"./services/internal/telemetry"},
				deny: []string{"github.com/kitex-contrib/obs-opentelemetry/...", "github.com/hertz-contrib/obs-opentelemetry/..."},
			}.check,
		},
		{
			"only shop and cmd import doors",
			"a room is reached by its contract; only what starts rooms holds them",
			imports{
				of:   []string{"./..."},
				not:  []string{".", "./services/shop", "./services/*/cmd"},
				deny: []string{"./services/*"},
			}.check,
		},
		{
			"the program at the root is the shop",
			"there is one place that puts the rooms together",
			imports{
				of:     []string{"."},
				deny:   []string{"./..."},
				except: []string{"./services/shop"},
			}.check,
		},
		{
			"a cmd starts what its door opens and does nothing else",
			"so that shop, which has no cmds, starts exactly what ships",
			imports{
				of:     []string{"./services/*/cmd"},
				deny:   []string{"..."},
				except: []string{"context", "./services/*", "./services/internal/config", "./services/internal/lifecycle"},
			}.check,
		},
		{
			"the kit serves two rooms, exports 20 names at most and has no drawer for the rest",
			"what one room needs belongs to it, and what is not named for what it does attracts everything",
			kitIsShared,
		},
		{
			"environment, flags and exit are for doors and cmds",
			"whatever else a part needs is handed to it, so that tests and other programs can",
			process{
				"./bench":                       {"flag", "os.Environ", "os.Exit"},
				"./deploy/*":                    {"flag", "os.Exit", "os.Getenv"},
				"./services/*":                  {"flag", "os.Environ"},
				"./services/internal/config":    {"flag", "os.Environ"},
				"./services/internal/lifecycle": {"flag", "os.Args", "os.Exit"},
				"./services/internal/telemetry": {"flag in Config.Flags"},
				"./services/internal/discovery": {"flag in Config.Flags"},
				"./services/internal/policy":    {"flag in Config.Flags"},
				"./services/internal/identity":  {"flag in Config.Flags"},
				"./services/internal/sqldb":     {"flag in Config.Flags"},
				"./services/internal/*/*test":   {"os.Environ", "os.Getenv"},
			}.check,
		},
		{
			"packages have no state and do nothing when they are imported",
			"two shops run in one process, and what a package holds they would share",
			noGlobals,
		},
		{
			"every package has one package comment",
			"it is the first thing that a reader looks for, and there is one place to keep it true",
			packageComments,
		},
	}
}

func TestArchitecture(t *testing.T) {
	t.Parallel()
	sources := load(t)
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			for _, violation := range r.check(sources) {
				t.Errorf("%s\nthe rule: %s\nthe reason: %s", violation, r.name, r.because)
			}
		})
	}
}

// places are the patterns of all packages that there may be.
type places []string

func (p places) check(sources []source) []string {
	violations := stale(sources, p...)
	for _, s := range sources {
		if !matchesAny(p, s.path) {
			violations = append(violations, s.path+" has no place")
		}
	}
	return violations
}

// imports lets the packages in of, without those in not, import nothing in deny
// but what is in except.
type imports struct{ of, not, deny, except []string }

func (r imports) check(sources []source) []string {
	violations := stale(sources, slices.Concat(r.of, r.not, r.deny)...)
	used := map[string]bool{}
	for _, s := range among(sources, r.of, r.not) {
		for _, imported := range s.imports() {
			if !matchesAny(r.deny, imported) {
				continue
			}
			excepted := slices.IndexFunc(r.except, func(pattern string) bool { return matches(pattern, imported) })
			if excepted < 0 {
				violations = append(violations, s.path+" imports "+imported)
				continue
			}
			used[r.except[excepted]] = true
		}
	}
	for _, pattern := range r.except {
		if !used[pattern] {
			violations = append(violations, fmt.Sprintf("the exception for %s is used by no package", pattern))
		}
	}
	return violations
}
