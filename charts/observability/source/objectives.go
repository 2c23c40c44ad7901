package main

import (
	"fmt"
	"time"
)

// objective is a promise about the requests of a group of routes, over 30 days.
type objective struct {
	// name is that of the group and of what is promised.
	name string
	// requests selects the group.
	requests string
	// promised is the part of the requests that must be good.
	promised float64
	// within is the longest time of a good answer in seconds, which must be a
	// boundary of the histogram; "" when any answer but 5xx is good.
	within string
}

const (
	// browse is what a visitor sees. A stream of the stock has no end to measure.
	browse = `http_request_method="GET",http_route=~"/api/item|/api/v1/(items|trending|stock)(/:[a-z_]+)?"`
	// buy is what a visitor pays for.
	buy = `http_route=~"/api/v1/reservations.*"`
	// manage is what the shop's people change. A product file takes as long as it is large.
	manage = `http_request_method!="GET",http_route=~"/api/v1/(items|stock).*"`
)

func allObjectives() []objective {
	return []objective{
		{"browse answered", browse, 0.999, ""},
		{"browse fast", browse, 0.99, "0.1"},
		{"buy answered", buy, 0.999, ""},
		{"buy fast", buy, 0.99, "0.25"},
		{"manage answered", manage, 0.999, ""},
		{"manage fast", manage, 0.99, "0.5"},
	}
}

const (
	served = "http_server_request_duration_seconds"
	failed = `http_response_status_code=~"5.."`
	notBad = `http_response_status_code!~"5.."`
)

// shortest is the window in which requests are counted. Longer windows are
// averages of it, weighted by the requests because both counts are averaged.
const shortest = 5 * time.Minute

// windows are those of the alerts below, except the shortest.
func windows() []time.Duration {
	const day = 24 * time.Hour
	return []time.Duration{30 * time.Minute, time.Hour, 2 * time.Hour, 6 * time.Hour, day, 3 * day, 30 * day}
}

// objectives records of each objective how fast its budget of bad requests
// burns, as the Site Reliability Workbook (chapter 5) has it: at 1 the budget
// of 30 days lasts 30 days.
func objectives(c clock) group {
	g := group{Name: "objectives", Interval: c.of(30 * time.Second)}
	record := func(name, expr string, labels map[string]string) {
		g.Rules = append(g.Rules, rule{Record: name, Expr: expr, Labels: labels})
	}
	for _, o := range allObjectives() {
		labels := map[string]string{"objective": o.name}
		record("slo:requests:rate", o.all(c), labels)
		record("slo:bad_requests:rate", o.bad(c), labels)
		record("slo:budget:ratio", fmt.Sprintf("vector(%.4g)", 1-o.promised), labels)
	}
	record("slo:burn:5m", "slo:bad_requests:rate / slo:requests:rate / slo:budget:ratio", nil)
	for _, w := range windows() {
		record("slo:burn:"+label(w), fmt.Sprintf("avg_over_time(slo:bad_requests:rate[%[1]s]) / avg_over_time(slo:requests:rate[%[1]s]) / slo:budget:ratio", c.of(w)), nil)
	}
	return g
}

func (o objective) all(c clock) string {
	if o.within == "" {
		return fmt.Sprintf("sum(rate(%s_count{%s}[%s]))", served, o.requests, c.of(shortest))
	}
	return fmt.Sprintf("sum(rate(%s_count{%s,%s}[%s]))", served, o.requests, notBad, c.of(shortest))
}

// bad counts 5xx, or, of the other answers, those that took too long. Where none has ever failed it is 0.
func (o objective) bad(c clock) string {
	if o.within == "" {
		return fmt.Sprintf("sum(rate(%s_count{%s,%s}[%s])) or 0 * %s", served, o.requests, failed, c.of(shortest), o.all(c))
	}
	return fmt.Sprintf("%s - sum(rate(%s_bucket{%s,%s,le=%q}[%s]))", o.all(c), served, o.requests, notBad, o.within, c.of(shortest))
}

// label names a window, whatever the clock.
func label(w time.Duration) string { return clock{1}.of(w) }

// burn is a speed at which a budget goes, over a long window, so that it matters,
// and a short one, so that the alert ends soon after the cause.
type burn struct {
	times       float64
	long, short time.Duration
	severity    string
	budget      string // what is left of it if it goes on
}

func burns() []burn {
	const day = 24 * time.Hour
	return []burn{
		{14.4, time.Hour, 5 * time.Minute, "page", "2 days"},
		{6, 6 * time.Hour, 30 * time.Minute, "page", "5 days"},
		{3, day, 2 * time.Hour, "ticket", "10 days"},
		{1, 3 * day, 6 * time.Hour, "ticket", "30 days"},
	}
}

// burnAlerts are four for the requests that fail and four for those that are slow.
func burnAlerts(c clock) []rule {
	var all []rule
	for _, kind := range []struct{ name, objectives, summary, what string }{
		{"RequestsFail", ".* answered", "Too many requests fail", "end with 5xx"},
		{"RequestsSlow", ".* fast", "Too many requests are slow", "take too long"},
	} {
		for _, b := range burns() {
			over := func(w time.Duration) condition {
				return condition{fmt.Sprintf("slo:burn:%s{objective=~%q}", label(w), kind.objectives), b.times}
			}
			all = append(all, alert{
				name:       kind.name,
				conditions: []condition{over(b.long), over(b.short)},
				severity:   b.severity,
				labels:     map[string]string{"window": label(b.long)},
				summary:    kind.summary,
				description: fmt.Sprintf("Requests of %q %s {{ $value | printf \"%%.1f\" }} times as often as promised, over %s and %s. At %g times the budget of 30 days is gone in %s.",
					"{{ $labels.objective }}", kind.what, label(b.long), label(b.short), b.times, b.budget),
			}.rule(c))
		}
	}
	return all
}
