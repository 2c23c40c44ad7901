package main

import (
	"fmt"
	"time"
)

func governanceBoard() board {
	return board{
		name: "governance", title: "Kiteshop: governance",
		description: "What the policies, keys and certificates do: who is refused, what is tried again, and whom nobody calls.",
		sections: []section{
			{"Too much at once", []panel{
				series("Requests refused", "reqps", "By the gateway, before their bodies are read. concurrent: too many are worked on. reads and writes: one caller asks too often; that is meant.",
					target{rate("gateway_refused_total", "", "reason"), "{{reason}}", false}),
				series("Calls refused", "reqps", "By the services. full: as many wait as may; late: it waited in vain; streams: as many are open as may. Normally none; see the runbook Overloaded.",
					target{rate("rpc_server_refused_total", "", "rpc_method", "reason"), "{{rpc_method}} {{reason}}", false}),
				series("Calls worked on", "short", "By method, of all instances. The policies say how many there may be in each.",
					target{total("rpc_server_calls_working", "rpc_method"), "{{rpc_method}}", false}),
				series("Calls that wait", "short", "Until they are worked on. Normally none; a line that stays up is a method that has less room than it needs, or slow work.",
					target{total("rpc_server_calls_waiting", "rpc_method"), "{{rpc_method}}", false}),
			}},
			{"What is tried again", []panel{
				series("Repetitions", "reqps", "By method and cause; a fifth of a method's calls at most. overloaded: it had not begun; timeout and connection: look at who is called.",
					target{rate("rpc_client_repetitions_total", "", "rpc_method", "cause"), "{{rpc_method}} {{cause}}", false}),
				series("Repetitions left out", "reqps", "Too many were made already, so the failure went to the caller. Normally none: somebody fails for longer than repeating helps.",
					target{rate("rpc_client_repetitions_denied_total", "", "rpc_method"), "{{rpc_method}}", false}),
				series("Second questions", "reqps", "Asked of another instance while the first takes long. Many that won: one instance is slow. Many that lost: the hedge is too short.",
					target{rate("rpc_client_hedges_total", "", "rpc_method", "outcome"), "{{rpc_method}} {{outcome}}", false}),
			}},
			{"Whom nobody calls", []panel{
				series("Breakers open", "short", "1 while a service does not call a method, or only tries it, because most calls failed. See the runbook BreakerOpen.",
					target{worst("rpc_client_breaker_open", "service_name", "rpc_method"), "{{service_name}} to {{rpc_method}}", false}),
				series("Instances passed over", "short", "They refuse connections, do not answer or are much slower than the others, as the caller sees it. See the runbook InstancePassedOver.",
					target{worst("rpc_client_instances_passed_over", "service_name", "server_address"), "{{service_name}} on {{server_address}}", false}),
				series("Old answers", "reqps", "Given by the gateway, and marked, because the service with the new ones is not there. Normally none: look whom nobody calls.",
					target{rate("gateway_stale_answers_total", "", "what"), "{{what}}", false}),
			}},
			{"Who asks", []panel{
				series("Requests with keys or tokens", "reqps", "By what became of them. key and token were good. refused and missing are callers' mistakes; a crowd of refused is somebody who tries. undecided: see the runbook KeySetOld.",
					target{rate("gateway_authentications_total", "", "outcome"), "{{outcome}}", false}),
				series("Calls denied", "reqps", "By method and reason, because of the service that called; none. See the runbook CallsDenied.",
					target{rate("rpc_server_denied_total", "", "rpc_method", "reason"), "{{rpc_method}} {{reason}}", false}),
				series("Calls without a token", "reqps", "They passed, because -identity-required is false. When there are none it may be true.",
					target{rate("rpc_server_unidentified_total", "", "rpc_method", "reason"), "{{rpc_method}} {{reason}}", false}),
			}},
			{"Files, keys and certificates", []panel{
				series("Files that are wrong", "short", "1 for each file that is refused while what it said before still holds; 0. See the runbook FileRefused.",
					target{worst("files_wrong", "service_name", "instance", "file"), "{{service_name}} {{instance}} {{file}}", false}),
				series("Files that changed", "cps", "applied or refused. A change must reach every instance.",
					target{rate("files_reloads_total", "", "service_name", "file", "outcome"), "{{service_name}} {{file}} {{outcome}}", false}),
				series("Certificates end in", "s", "The time that is left of each. At 30 days there is a ticket; see the runbook CertificateExpires.",
					target{"min by (service) (identity_certificate_left_seconds{" + chosen + "})", "identity of {{service}}", false},
					target{"min by (instance) (gateway_tls_certificate_left_seconds{" + chosen + "})", "TLS of {{instance}}", false}),
				series("Age of the issuer's keys", "s", "Those that tokens are verified with; they are fetched every 5 minutes. See the runbook KeySetOld.",
					target{worst("gateway_jwks_age_seconds", "instance"), "{{instance}}", false}),
			}},
		},
	}
}

// governanceAlerts are about callers that are refused, and services that nobody calls.
func governanceAlerts(c clock) []alert {
	window := c.of(5 * time.Minute)
	return []alert{
		{
			name: "Overloaded",
			conditions: []condition{{fmt.Sprintf(
				`(sum by (job, rpc_method, reason) (rate(rpc_server_refused_total[%[1]s])) or sum by (job, reason) (rate(gateway_refused_total{reason="concurrent"}[%[1]s])))`, window), 0}},
			lasting:     5 * time.Minute, // as long as the window: one burst does not last
			severity:    "ticket",        // what customers feel of it, RequestsFail tells
			summary:     "{{ $labels.job }} has more to do than its policy allows",
			description: "For 5 minutes {{ $labels.job }} has refused calls{{ with $labels.rpc_method }} of {{ . }}{{ end }} ({{ $labels.reason }}): {{ $value | printf \"%.1f\" }} a second, normal is 0. Some are repeated, the others are 503 to customers.",
		},
		{
			name:        "BreakerOpen",
			conditions:  []condition{{"max by (job, rpc_method) (rpc_client_breaker_open)", 0}},
			lasting:     2 * time.Minute,
			severity:    "page",
			summary:     "{{ $labels.job }} does not call {{ $labels.rpc_method }} any more",
			description: "Most calls of {{ $labels.rpc_method }} by {{ $labels.job }} are not answered, so for 2 minutes it has only tried now and then ({{ $value }}, normal is 0). Customers get errors, old answers or items without their stock.",
		},
		{
			name: "InstancePassedOver",
			conditions: []condition{
				{"max by (job, server_address) (rpc_client_instances_passed_over)", 0},
				{fmt.Sprintf("sum by (job, server_address) (rate(rpc_client_call_duration_seconds_count[%s]))", window), 0}, // without calls nobody finds out that it is well
			},
			lasting:     5 * time.Minute,
			severity:    "ticket",
			summary:     "{{ $labels.job }} passes over instances of {{ $labels.server_address }}",
			description: "{{ $value }} instances of {{ $labels.server_address }} are in the registry and have not been well for 5 minutes, as {{ $labels.job }} sees it. The others have their work.",
		},
		{
			name:        "CallsDenied",
			conditions:  []condition{{fmt.Sprintf("sum by (job, rpc_method, reason) (rate(rpc_server_denied_total[%s]))", window), 0}},
			severity:    "ticket",
			summary:     "{{ $labels.job }} denies calls of {{ $labels.rpc_method }}",
			description: "{{ $labels.job }} denies calls of {{ $labels.rpc_method }} because of who calls ({{ $labels.reason }}): {{ $value | printf \"%.2f\" }} a second, normal is 0. A service has a wrong key, or somebody calls who should not.",
		},
	}
}

// fileAlerts are about files, keys and certificates.
func fileAlerts(c clock) []alert {
	all := []alert{
		{
			name:        "FileRefused",
			conditions:  []condition{{"max by (job, instance, file) (files_wrong)", 0}},
			lasting:     time.Minute,
			severity:    "ticket",
			summary:     "{{ $labels.job }} refuses a file: {{ $labels.file }}",
			description: "The instance {{ $labels.instance }} of {{ $labels.job }} refuses its file ({{ $labels.file }}; {{ $value }}, normal is 0), and goes on with what was in it before. If it starts again it fails.",
		},
		{
			name:        "KeySetOld",
			conditions:  []condition{{"max by (job, instance) (gateway_jwks_age_seconds)", c.seconds(time.Hour)}},
			severity:    "ticket",
			summary:     "The keys of the tokens' issuer are old",
			description: "The gateway {{ $labels.instance }} has the issuer's keys of {{ $value | humanizeDuration }} ago, or none; 5 minutes is normal. Tokens that are signed with a newer key are answered with 503.",
		},
	}
	const certificates = `(min by (service) (identity_certificate_left_seconds) or label_replace(min(gateway_tls_certificate_left_seconds), "service", "HTTPS at the gateway", "", ""))`
	for _, left := range []struct {
		days     time.Duration
		severity string
	}{{30, "ticket"}, {3, "page"}} {
		limit := left.days * 24 * time.Hour
		all = append(all, alert{
			name:        "CertificateExpires",
			conditions:  []condition{{fmt.Sprintf("%.0f - %s", c.seconds(limit), certificates), 0}},
			severity:    left.severity,
			labels:      map[string]string{"window": label(limit)},
			summary:     "A certificate ends soon: {{ $labels.service }}",
			description: fmt.Sprintf("The certificate of {{ $labels.service }} has less than %s left, since {{ $value | humanizeDuration }}. When it has ended, whoever asks for it refuses it.", label(limit)),
		})
	}
	return all
}
