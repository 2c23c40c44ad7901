package main

import (
	"fmt"
	"strings"
)

// chosen selects what the variables of a dashboard have chosen.
const chosen = `service_name=~"$service",instance=~"$instance"`

// interval is Grafana's: at least four times that of the scrapes.
const interval = "$__rate_interval"

// quantile is the part q of the measurements of a histogram in a window.
func quantile(q float64, histogram, labels, window string, by ...string) string {
	return fmt.Sprintf("histogram_quantile(%g, sum by (%s) (rate(%s_bucket{%s}[%s])))",
		q, strings.Join(append([]string{"le"}, by...), ", "), histogram, labels, window)
}

// rate is how often something happens in a second, of what is chosen.
func rate(counter, labels string, by ...string) string {
	return fmt.Sprintf("sum by (%s) (rate(%s{%s}[%s]))", strings.Join(by, ", "), counter, and(chosen, labels), interval)
}

// total is the sum of a gauge, of what is chosen.
func total(gauge string, by ...string) string {
	return fmt.Sprintf("sum by (%s) (%s{%s})", strings.Join(by, ", "), gauge, chosen)
}

// worst is the largest value of a gauge, of what is chosen.
func worst(gauge string, by ...string) string {
	return fmt.Sprintf("max by (%s) (%s{%s})", strings.Join(by, ", "), gauge, chosen)
}

// spread are the median and the slow ends of a histogram, of what is chosen.
func spread(histogram string) []target {
	var all []target
	for _, q := range []float64{0.5, 0.95, 0.99} {
		all = append(all, target{quantile(q, histogram, chosen, interval), fmt.Sprintf("p%g", q*100), true})
	}
	return all
}

// slowest is p99 of a histogram by some labels, of what is chosen.
func slowest(histogram, legend string, by ...string) target {
	return target{quantile(0.99, histogram, chosen, interval, by...), legend, true}
}

func and(one, other string) string {
	if other == "" {
		return one
	}
	return one + "," + other
}
