package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// runbooks is where people read what to do.
const runbooks = "https://github.com/kiteshop/kiteshop/blob/main/deploy/runbooks/"

// clock says how long the times of the rules are: as they are written, or
// faster times shorter.
type clock struct{ faster int }

// of is a duration as PromQL writes it.
func (c clock) of(d time.Duration) string {
	d /= time.Duration(c.faster)
	for _, unit := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}} {
		if d%unit.size == 0 {
			return strconv.FormatInt(int64(d/unit.size), 10) + unit.name
		}
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
}

// seconds is a duration as a number.
func (c clock) seconds(d time.Duration) float64 { return (d / time.Duration(c.faster)).Seconds() }

// group is a file of rules.
type group struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval,omitempty"`
	Rules    []rule `yaml:"rules"`
}

// rule records a series or is an alert.
type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`

	conditions []condition
}

// condition holds where what is measured is above the limit. They are kept
// apart, so that a test can ask for the measured alone.
type condition struct {
	measured string
	above    float64
}

func (c condition) String() string {
	return c.measured + " > " + strconv.FormatFloat(c.above, 'g', -1, 64)
}

// alert is a rule that fires while all conditions hold, for as long as it says.
type alert struct {
	name       string
	conditions []condition
	lasting    time.Duration
	severity   string // page: somebody gets up; ticket: in working hours
	summary    string
	// description ends with the value.
	description string
	labels      map[string]string
}

func (a alert) rule(c clock) rule {
	all := make([]string, len(a.conditions))
	for i, one := range a.conditions {
		all[i] = one.String()
	}
	labels := map[string]string{"severity": a.severity}
	for name, value := range a.labels {
		labels[name] = value
	}
	r := rule{
		Alert:  a.name,
		Expr:   strings.Join(all, "\nand\n"),
		Labels: labels,
		Annotations: map[string]string{
			"summary":     a.summary,
			"description": a.description,
			"runbook_url": runbooks + a.name + ".md",
		},
		conditions: a.conditions,
	}
	if a.lasting > 0 {
		r.For = c.of(a.lasting)
	}
	return r
}

func allGroups(c clock) []group {
	return []group{objectives(c), alerts(c)}
}

// query is what somebody asks Prometheus, for a test to ask it too.
type query struct {
	Where string `json:"where"`
	Expr  string `json:"expr"`
}

func allQueries(boards []board, groups []group) []query {
	var all []query
	for _, b := range boards {
		for _, s := range b.sections {
			for _, p := range s.panels {
				for _, t := range p.targets {
					all = append(all, query{fmt.Sprintf("dashboard %s, %q", b.name, p.title), t.expr})
				}
			}
		}
	}
	for _, g := range groups {
		for _, r := range g.Rules {
			if r.Record != "" {
				all = append(all, query{"rule " + r.Record, r.Expr})
			}
			for _, c := range r.conditions {
				all = append(all, query{"alert " + r.Alert, c.measured})
			}
		}
	}
	return all
}
