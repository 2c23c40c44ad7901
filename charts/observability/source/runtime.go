package main

import "fmt"

func runtimeBoard() board {
	return board{
		name: "runtime", title: "Kiteshop: processes and telemetry",
		description: "How the processes are, and whether what they tell arrives.",
		sections: []section{
			{"Go", []panel{
				series("Memory", "bytes", "Used by Go, by instance. It rises and falls with the garbage collector; a floor that rises for hours is a leak.",
					target{total("go_memory_used_bytes", "service_name", "instance"), "{{service_name}} {{instance}}", false}),
				series("Goroutines", "short", "Some dozens, and a few for each stream. A line that only rises is a leak: /debug/pprof/goroutine says where.",
					target{total("go_goroutine_count", "service_name", "instance"), "{{service_name}} {{instance}}", false}),
				series("Memory allocated", "Bps", "What the garbage collector has to clear up. It follows the requests.",
					target{rate("go_memory_allocated_bytes_total", "", "service_name", "instance"), "{{service_name}} {{instance}}", false}),
				series("Next garbage collection", "bytes", "The size of the heap at which it ends; about twice what is in use.",
					target{total("go_memory_gc_goal_bytes", "service_name", "instance"), "{{service_name}} {{instance}}", false}),
			}},
			{"What the services lose", []panel{
				series("Telemetry dropped", "cps", "Spans and lines of the log that were not sent; 0. See the runbook TelemetryDropped.",
					target{rate("telemetry_dropped_total", "", "service_name", "signal", "reason"), "{{service_name}} {{signal}} {{reason}}", false}),
				series("Log lines left out", "cps", "Lines that were the same as many before them. The log says how many of which; look there what repeats.",
					target{rate("telemetry_suppressed_total", "", "service_name", "level"), "{{service_name}} {{level}}", false}),
				series("Views and sales recorded", "cps", "By activity, for the trends; dropped are out of their bounds.",
					target{rate("activity_records_total", "", "kind"), "{{kind}}", false},
					target{rate("activity_records_dropped_total", "", "kind"), "{{kind}} dropped", false}),
			}},
			{"What the collector takes and passes on", collectorRecords()},
			{"Traces and memory of the collector", collectorTraces()},
			{"Who is watched", []panel{
				series("Reached by Prometheus", "short", "1 for each target that answers. See the runbook TargetDown.",
					target{"min by (job, instance) (up)", "{{job}} {{instance}}", false}),
				number("Processes that report", "short", "By service: the number of their pods.",
					target{"count by (service_name) (go_goroutine_count)", "{{service_name}}", false}),
			}},
		},
	}
}

// perSecond is how often the collector counts something.
func perSecond(counter, legend string) target {
	return target{fmt.Sprintf("sum(rate(%s[%s]))", counter, interval), legend, false}
}

func collectorRecords() []panel {
	return []panel{
		series("Records taken", "cps", "Spans, metric points and lines of the log that the collector accepts.",
			perSecond("otelcol_receiver_accepted_spans", "spans"),
			perSecond("otelcol_receiver_accepted_metric_points", "metric points"),
			perSecond("otelcol_receiver_accepted_log_records", "log records")),
		series("Records refused or lost", "cps", "Refused: the collector has no memory left. Lost: who should get them does not take them. Both are 0; see the runbooks CollectorRefuses and CollectorCannotSend.",
			perSecond("otelcol_receiver_refused_spans", "spans refused"),
			perSecond("otelcol_receiver_refused_metric_points", "metric points refused"),
			perSecond("otelcol_receiver_refused_log_records", "log records refused"),
			perSecond("otelcol_exporter_send_failed_spans", "spans lost")),
		series("Waiting to be sent", "percentunit", "How full the queue to the receiver of traces is; near 0. At 100 % traces are lost.",
			target{"max by (exporter) (otelcol_exporter_queue_size / otelcol_exporter_queue_capacity)", "{{exporter}}", false}),
	}
}

func collectorTraces() []panel {
	return []panel{
		series("Traces kept", "cps", "All with errors, all that are slow, and some of the rest, by what decided.",
			target{fmt.Sprintf("sum by (policy, sampled) (rate(otelcol_processor_tail_sampling_count_traces_sampled[%s]))", interval), "{{policy}} {{sampled}}", false}),
		series("Traces waiting for the decision", "short", "It is bounded; at the bound the oldest are decided too early.",
			target{"sum(otelcol_processor_tail_sampling_sampling_traces_on_memory)", "traces", false}),
		series("Collector's memory", "bytes", "Below its limit. At three quarters of it the collector refuses.",
			target{"sum by (instance) (otelcol_process_memory_rss)", "{{instance}}", false}),
	}
}

// perSignal adds up what the collector counts of spans, metrics and logs. Of a signal that never came there is no counter.
func perSignal(counter, window string) string {
	one := func(signal string) string {
		return fmt.Sprintf("(sum(rate(%s_%s[%s])) or vector(0))", counter, signal, window)
	}
	return one("spans") + " + " + one("metric_points") + " + " + one("log_records")
}
