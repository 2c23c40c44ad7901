package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestEveryAlertHasARunbookAndEveryRunbookAnAlert(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../../deploy/runbooks/[A-Z]*.md") // those of work that is planned, as upgrade.md, begin with a small letter
	if err != nil {
		t.Fatal(err)
	}
	var written, wanted []string
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".md"); name != "README" {
			written = append(written, name)
		}
	}
	for _, r := range alerts(clock{1}).Rules {
		wanted = append(wanted, r.Alert)
		if got, want := r.Annotations["runbook_url"], runbooks+r.Alert+".md"; got != want {
			t.Errorf("the runbook of %s is at %s, want %s", r.Alert, got, want)
		}
	}
	slices.Sort(wanted)
	if wanted = slices.Compact(wanted); !slices.Equal(written, wanted) {
		t.Errorf("there are runbooks %v, want one for each of %v", written, wanted)
	}
}

func TestEveryRunbookIsShortAndSaysWhomItTouchesHowToSeeItAndHowToMendIt(t *testing.T) {
	t.Parallel()
	for _, r := range alerts(clock{1}).Rules {
		text, err := os.ReadFile("../../../deploy/runbooks/" + r.Alert + ".md")
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(string(text), "\n"); lines > 40 {
			t.Errorf("%s.md has %d lines, want 40 at most", r.Alert, lines)
		}
		for _, part := range []string{"# " + r.Alert + "\n", "**Customers**", "## See it", "```promql\n", "## Mend it"} {
			if !strings.Contains(string(text), part) {
				t.Errorf("%s.md has no %q", r.Alert, part)
			}
		}
	}
}

func TestEveryAlertSaysHowBadItIsAndShowsItsValue(t *testing.T) {
	t.Parallel()
	for _, r := range alerts(clock{1}).Rules {
		if severity := r.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("the severity of %s is %q", r.Alert, severity)
		}
		if r.Annotations["summary"] == "" || !strings.Contains(r.Annotations["description"], "$value") {
			t.Errorf("%s says %v", r.Alert, r.Annotations)
		}
	}
}

func TestEveryPanelIsExplainedAndEveryRowFillsTheWidth(t *testing.T) {
	t.Parallel()
	for _, b := range allBoards() {
		for _, s := range b.sections {
			if count := len(s.panels); count > 4 || wholeWidth%count != 0 {
				t.Errorf("%s, %s: %d panels do not share the width", b.name, s.title, count)
			}
			for _, p := range s.panels {
				if p.title == "" || len(p.description) < 20 || p.unit == "" || len(p.targets) == 0 {
					t.Errorf("%s, %s: %+v lacks something", b.name, s.title, p)
				}
				for _, other := range p.targets {
					if other.expr == "" || (len(p.targets) > 1 && other.legend == "") {
						t.Errorf("%s, %s: %+v lacks something", b.name, p.title, other)
					}
				}
			}
		}
	}
}

func TestShorterTimesAreTheSameRules(t *testing.T) {
	t.Parallel()
	long, short := allGroups(clock{1}), allGroups(clock{60})
	for i, g := range long {
		for j, r := range g.Rules {
			other := short[i].Rules[j]
			if r.Record != other.Record || r.Alert != other.Alert || len(r.conditions) != len(other.conditions) {
				t.Errorf("rule %d of %s differs: %+v and %+v", j, g.Name, r, other)
			}
		}
	}
	burn := long[1].Rules[0].Expr
	if want := `slo:burn:1h{objective=~".* answered"} > 14.4` + "\nand\n" + `slo:burn:5m{objective=~".* answered"} > 14.4`; burn != want {
		t.Errorf("the first alert asks %q, want %q", burn, want)
	}
	if got, want := short[0].Rules[0].Expr, "[5s]"; !strings.Contains(got, want) {
		t.Errorf("60 times shorter it asks %s, want %s in it", got, want)
	}
}

func TestAStrangeSpeedIsRefused(t *testing.T) {
	t.Parallel()
	for _, faster := range []int{-1, 0, 1001} {
		if err := run(t.TempDir(), faster, false); err == nil || !strings.Contains(err.Error(), "it must be 1 to 1000") {
			t.Errorf("-faster %d: %v", faster, err)
		}
	}
}
