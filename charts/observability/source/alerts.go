package main

import (
	"fmt"
	"time"
)

// alerts are the burning budgets, which customers feel, and causes that they will feel.
func alerts(c clock) group {
	all := burnAlerts(c)
	for _, list := range [][]alert{stockAlerts(c), findingAlerts(c), databaseAlerts(c), governanceAlerts(c), fileAlerts(c), telemetryAlerts(c)} {
		for _, a := range list {
			all = append(all, a.rule(c))
		}
	}
	return group{Name: "alerts", Interval: c.of(30 * time.Second), Rules: all}
}

func stockAlerts(c clock) []alert {
	return []alert{
		{
			name:        "LedgerDrifts",
			conditions:  []condition{{"max(stock_ledger_drift)", 0}},
			severity:    "page",
			summary:     "The stock is not what the ledger adds up to",
			description: "At the last reconciliation {{ $value }} numbers of the stock differed from the sums of their records. The shop may sell what it does not have.",
		},
		{
			name:        "LedgerUnchecked",
			conditions:  []condition{{`min(stock_upkeep_age_seconds{task="reconciliation"})`, c.seconds(time.Hour)}},
			lasting:     time.Minute,
			severity:    "ticket",
			summary:     "The stock is no longer compared with the ledger",
			description: "No stock instance has completed a reconciliation for {{ $value | humanizeDuration }}; one is due every 15 minutes.",
		},
		{
			name:        "ReservationsExpireLate",
			conditions:  []condition{{quantile(0.99, "stock_reservation_expiry_lag_seconds", "", c.of(5*time.Minute)), c.seconds(time.Minute)}},
			severity:    "ticket",
			summary:     "Reservations are given back late",
			description: "One of 100 reservations was given back {{ $value | humanizeDuration }} or more after its time; 1 s is normal. Its units could not be sold meanwhile.",
		},
		{
			name:        "ExpiryStopped",
			conditions:  []condition{{`min(stock_upkeep_age_seconds{task="expiry"})`, c.seconds(5 * time.Minute)}},
			severity:    "page",
			summary:     "Reservations are no longer given back",
			description: "No stock instance has looked for reservations whose time is over for {{ $value | humanizeDuration }}; one does each second. What is not bought stays unsold.",
		},
		{
			name:        "StockQueueWaits",
			conditions:  []condition{{quantile(0.99, "stock_queue_wait_seconds", "", c.of(5*time.Minute)), 0.5}},
			lasting:     time.Minute,
			severity:    "page",
			summary:     "Changes of the stock wait for their turn",
			description: "One of 100 changes of the stock waited {{ $value | humanizeDuration }} or more for its batch; 10 ms is normal. Soon calls are refused as overloaded.",
		},
	}
}

// findingAlerts are about services that do not find each other.
func findingAlerts(c clock) []alert {
	return []alert{
		{
			name:        "ServiceHasNoInstance",
			conditions:  []condition{{"max by (name) (discovery_list_doubted + (discovery_instances == bool 0))", 0}},
			lasting:     time.Minute,
			severity:    "page",
			summary:     "The registry has no instance of {{ $labels.name }}",
			description: "The registry tells of no instance of {{ $labels.name }}. Callers go on with the last ones that they knew for 5 minutes, then calls fail ({{ $value }}, normal is 0).",
		},
		{
			name:        "InstanceUnregistered",
			conditions:  []condition{{"1 - min by (job, instance, names) (discovery_registered)", 0}},
			lasting:     10 * time.Minute, // the collector shows what a process said last for 5 minutes, and leaving says 0
			severity:    "ticket",
			summary:     "An instance of {{ $labels.names }} is not in the registry",
			description: "The instance {{ $labels.instance }} runs and is not registered as {{ $labels.names }} ({{ $value }}, normal is 0): nobody new will call it.",
		},
		{
			name:        "InstanceListOld",
			conditions:  []condition{{"max by (job, name) (discovery_list_age_seconds)", c.seconds(5 * time.Minute)}},
			severity:    "ticket",
			summary:     "{{ $labels.job }} has not heard from the registry",
			description: "What {{ $labels.job }} knows of the instances of {{ $labels.name }} is {{ $value | humanizeDuration }} old; 10 s is normal. Instances that are new are not found, those that left are still called.",
		},
	}
}

// databaseAlerts go by what item and stock answer: without a connection there is no statement that fails.
func databaseAlerts(c clock) []alert {
	const answers = `rpc_server_call_duration_seconds_count{job=~"kiteshop/(item|stock)"%s}`
	rates := func(labels string) string {
		return fmt.Sprintf("sum by (job) (rate("+answers+"[%s]))", labels, c.of(5*time.Minute))
	}
	all := rates("")
	return []alert{{
		name:        "DatabaseUnavailable",
		conditions:  []condition{{fmt.Sprintf(`(%s or 0 * %s) / %s`, rates(`,rpc_response_status_code=~"unavailable|outcome_unknown"`), all, all), 0.05}},
		lasting:     time.Minute,
		severity:    "page",
		summary:     "The database of {{ $labels.job }} does not answer",
		description: "{{ $value | humanizePercentage }} of the calls of {{ $labels.job }} are answered that its database is not available; 0 % is normal.",
	}}
}

func telemetryAlerts(c clock) []alert {
	window := c.of(5 * time.Minute)
	return []alert{
		{
			name:        "TargetDown",
			conditions:  []condition{{"1 - min by (job, instance) (up)", 0}},
			lasting:     2 * time.Minute,
			severity:    "page",
			summary:     "Prometheus does not reach {{ $labels.job }}",
			description: "Prometheus cannot read the metrics of {{ $labels.instance }} (job {{ $labels.job }}; {{ $value }}, normal is 0). Without the collector no alert about the shop can fire.",
		},
		{
			name:        "TelemetryDropped",
			conditions:  []condition{{fmt.Sprintf("sum by (job, signal, reason) (rate(telemetry_dropped_total[%s]))", window), 0}},
			severity:    "ticket",
			summary:     "{{ $labels.job }} loses telemetry",
			description: "{{ $labels.job }} drops {{ $value | printf \"%.1f\" }} {{ $labels.signal }} a second ({{ $labels.reason }}); 0 is normal. Requests are not touched, but their traces and logs have holes.",
		},
		{
			name:        "CollectorRefuses",
			conditions:  []condition{{perSignal("otelcol_receiver_refused", window), 0}},
			severity:    "ticket",
			summary:     "The collector refuses telemetry",
			description: "The collector refuses {{ $value | printf \"%.1f\" }} records a second; 0 is normal. Most often its memory is used up.",
		},
		{
			name:        "CollectorCannotSend",
			conditions:  []condition{{fmt.Sprintf("sum(rate(otelcol_exporter_send_failed_spans[%s]))", window), 0}},
			lasting:     time.Minute,
			severity:    "ticket",
			summary:     "The collector cannot pass telemetry on",
			description: "The collector loses {{ $value | printf \"%.1f\" }} spans a second, because their receiver has not taken them for 5 minutes; 0 is normal.",
		},
	}
}
