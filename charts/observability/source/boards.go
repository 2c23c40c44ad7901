package main

import "fmt"

func allBoards() []board {
	return []board{overview(), stockBoard(), discoveryBoard(), governanceBoard(), runtimeBoard()}
}

const calls = "rpc_server_call_duration_seconds"

func overview() board {
	return board{
		name: "overview", title: "Kiteshop: overview",
		description: "How the shop serves its customers. The first place to look.",
		sections: []section{
			{"Promises, over 30 days", []panel{
				number("Budget left", "percentunit", "What is left of the requests that may fail or be slow. 100 % is the best. Below 20 % put off risky changes; below 0 the promise is broken.",
					target{"1 - slo:burn:30d", "{{objective}}", false}),
				series("Speed at which budgets burn", "short", "At 1 a budget lasts 30 days. Above 14.4 for an hour somebody is called; see the runbooks RequestsFail and RequestsSlow.",
					target{"slo:burn:1h", "{{objective}}", false}),
			}},
			{"Requests from outside", []panel{
				series("Requests", "reqps", "By route. It follows the day; a sudden fall means that customers do not get through.",
					target{rate(served+"_count", "", "http_request_method", "http_route"), "{{http_request_method}} {{http_route}}", false}),
				series("Requests that fail", "reqps", "Answers with 5xx, by route and status; normally none. 503 says that a service or a database is away or busy: look below which one.",
					target{rate(served+"_count", failed, "http_route", "http_response_status_code"), "{{http_response_status_code}} {{http_route}}", false}),
				series("Requests that are refused", "reqps", "Answers with 4xx, by status. 409 are customers who come too late, 400 and 422 mistakes of callers; a jump after a release is ours.",
					target{rate(served+"_count", `http_response_status_code=~"4.."`, "http_response_status_code"), "{{http_response_status_code}}", false}),
			}},
			{"How long customers wait", []panel{
				series("Time to answer", "s", "Of all routes. p50 is a few milliseconds, p99 below 100 ms. The points lead to traces.", spread(served)...),
				series("The slowest of each route", "s", "p99. Imports take as long as their files are large.",
					slowest(served, "{{http_request_method}} {{http_route}}", "http_request_method", "http_route")),
				series("Requests under way", "short", "Streams too. It grows without end when something inside hangs.",
					target{total("http_server_active_requests", "http_request_method"), "{{http_request_method}}", false}),
			}},
			{"Calls between the services", []panel{
				series("Calls", "reqps", "By service and method.",
					target{rate(calls+"_count", "", "service_name", "rpc_method"), "{{service_name}} {{rpc_method}}", false}),
				series("Calls that fail", "reqps", "Those that somebody must look at, by code; normally none. unavailable: the database; overloaded: too much to do; internal: a bug, see the log.",
					target{rate(calls+"_count", `error_type!=""`, "service_name", "rpc_response_status_code"), "{{service_name}} {{rpc_response_status_code}}", false}),
				series("The slowest of each method", "s", "p99. Changes of the stock wait for the disk: 5 to 50 ms. The points lead to traces.",
					slowest(calls, "{{service_name}} {{rpc_method}}", "service_name", "rpc_method")),
			}},
			{"Databases", []panel{
				series("Statements", "ops", "By service and kind.",
					target{rate("db_client_operation_duration_seconds_count", "", "service_name", "db_operation_name"), "{{service_name}} {{db_operation_name}}", false}),
				series("Statements that fail", "ops", "By kind of error; normally none. Without a connection there is no statement. See the runbook DatabaseUnavailable.",
					target{rate("db_client_operation_duration_seconds_count", `error_type!=""`, "service_name", "error_type"), "{{service_name}} {{error_type}}", false}),
				series("The slowest statements", "s", "p99 by service and kind; below 50 ms. The points lead to traces.",
					slowest("db_client_operation_duration_seconds", "{{service_name}} {{db_operation_name}}", "service_name", "db_operation_name")),
			}},
		},
	}
}

func stockBoard() board {
	return board{
		name: "stock", title: "Kiteshop: stock",
		description: "Whether what is sold is there, and how busy the stock is.",
		sections: []section{
			{"Is it right?", []panel{
				number("Ledger drift", "short", "Numbers that are not what the records add up to, at the last reconciliation. It must be 0; see the runbook LedgerDrifts.",
					target{"max(stock_ledger_drift)", "", false}),
				number("Items low on stock", "short", "Below their threshold, at the last reconciliation. GET /api/v1/stock?below_threshold=true lists them.",
					target{"max(stock_items_below_threshold)", "", false}),
				number("Since the last reconciliation", "s", "At most 15 minutes, unless -reconcile-every says otherwise.",
					target{`min(stock_upkeep_age_seconds{task="reconciliation"})`, "", false}),
				number("Since the last expiry", "s", "About 1 s, unless -expire-every says otherwise.",
					target{`min(stock_upkeep_age_seconds{task="expiry"})`, "", false}),
			}},
			{"Reservations", []panel{
				series("Reservations asked for", "ops", "By outcome. sold_out is good business; failed must be 0.",
					target{rate("stock_reservations_total", "", "outcome"), "{{outcome}}", false}),
				series("Sold out", "percentunit", "The part of those who asked and came too late. It is high in a sale of few units, and tells the buyers to order more.",
					target{fmt.Sprintf("(%s) / (%s)", rate("stock_reservations_total", `outcome="sold_out"`), rate("stock_reservations_total", "")), "sold out", false}),
				series("What became of reservations", "ops", "Most should be committed and fulfilled. Many that expire are carts left behind.",
					target{rate("stock_reservation_steps_total", "", "step"), "{{step}}", false}),
				series("Given back late", "s", "How long after its time a reservation is expired; below 2 s. See the runbook ReservationsExpireLate.",
					spread("stock_reservation_expiry_lag_seconds")...),
			}},
			{"How busy it is", []panel{
				series("Changes that share a commit", "short", "A lone change is 1. Near 512 the stock is as busy as it can be.", spread("stock_batch_size")...),
				series("The hottest item", "short", "How many changes of one commit wanted the same item. High is a hot item, and no trouble by itself.", spread("stock_batch_hottest")...),
				series("Time of a commit", "s", "Mostly the disk of the database; 2 to 20 ms. The points lead to traces.", spread("stock_batch_duration_seconds")...),
			}},
			{"Who waits", []panel{
				series("Changes that wait", "short", "For the next commit. At 8192 more are refused as overloaded.",
					target{total("stock_queue_length", "instance"), "{{instance}}", false}),
				series("How long they wait", "s", "p99 is below 20 ms. See the runbook StockQueueWaits.", spread("stock_queue_wait_seconds")...),
				series("Wait for the turn to write", "s", "In item and stock one write runs at a time. Long waits are long writes before it: look at the slowest statements.",
					slowest("sqldb_update_wait_seconds", "{{service_name}}", "service_name")),
			}},
			{"Who watches", []panel{
				series("Watchers", "short", "Streams that watch an item, at stock; browsers, at the gateway, many of which share a stream. 20,000 at most in each.",
					target{total("stock_watchers", "instance"), "stock {{instance}}", false},
					target{total("gateway_watch_readers", "instance"), "gateway {{instance}}", false}),
				series("States sent", "ops", "skipped are states that were replaced before they were sent; as many as sent means slow readers, who see the newest all the same.",
					target{rate("stock_states_sent_total", ""), "sent", false},
					target{rate("stock_states_skipped_total", ""), "skipped", false}),
				series("Open streams", "short", "By method; they follow the watchers and the counts of shelves.", target{total("rpc_server_streams_open", "rpc_method"), "{{rpc_method}}", false}),
				series("Streams that end", "ops", "By code. canceled is a reader who left; unavailable and internal are ours.",
					target{rate("rpc_server_streams_ended_total", "", "rpc_method", "rpc_response_status_code"), "{{rpc_method}} {{rpc_response_status_code}}", false}),
			}},
			{"Counts of the shelves", []panel{
				series("Counts", "ops", "Counts of syncs that were answered, and those that the rules forbid: the answers say why.",
					target{rate("stock_counts_total", ""), "answered", false},
					target{rate("stock_counts_refused_total", ""), "refused", false}),
				series("Sales told to activity", "ops", "full and unreachable are lost to the trends, and touch nothing else.",
					target{rate("stock_activity_records_total", "", "outcome"), "{{outcome}}", false}),
			}},
		},
	}
}

func discoveryBoard() board {
	return board{
		name: "discovery", title: "Kiteshop: discovery and caches",
		description: "Whether the services find each other, and what they remember.",
		sections: []section{
			{"In the registry", []panel{
				series("Registered", "short", "1 for each instance that the registry has; 0 is an instance that nobody new will call. See the runbook InstanceUnregistered.",
					target{total("discovery_registered", "names", "instance"), "{{names}} {{instance}}", false}),
				series("Since the registry confirmed it", "s", "Some seconds; at most as long as its refresh, 10 s.",
					target{worst("discovery_registration_age_seconds", "names", "instance"), "{{names}} {{instance}}", false}),
			}},
			{"What callers know", []panel{
				series("Instances known", "short", "Of each service that is called, by caller; the number of its pods. 0: calls fail, see the runbook ServiceHasNoInstance.",
					target{worst("discovery_instances", "service_name", "name"), "{{service_name}} knows of {{name}}", false}),
				series("Age of the list", "s", "Below 15 s. Older: the registry does not answer, see the runbook InstanceListOld.",
					target{worst("discovery_list_age_seconds", "service_name", "name"), "{{service_name}} on {{name}}", false}),
				series("Doubted lists", "short", "1 while the registry tells of no instance and callers go on with the last ones; normally 0.",
					target{worst("discovery_list_doubted", "service_name", "name"), "{{service_name}} on {{name}}", false}),
			}},
			{"Calls and connections", []panel{
				series("Calls made", "reqps", "Attempts, by caller and callee.",
					target{rate("rpc_client_call_duration_seconds_count", "", "service_name", "server_address"), "{{service_name}} to {{server_address}}", false}),
				series("The slowest calls", "s", "p99 as the caller sees it. Much more than the callee's own p99 is the network or a queue.",
					slowest("rpc_client_call_duration_seconds", "{{service_name}} to {{server_address}}", "service_name", "server_address")),
				series("Connections refused", "cps", "limit: more than 10,000; malformed: what came is no protocol that we speak; flood: too much sent ahead. Normally 0; look who connects.",
					target{rate("rpc_server_connections_refused_total", "", "service_name", "reason"), "{{service_name}} {{reason}}", false}),
			}},
			{"What item remembers", []panel{
				series("Answered from memory", "percentunit", "Part of the items, and of their stock levels, that were found in item's memory. Few hits cost time, not correctness.",
					target{fmt.Sprintf("(%s) / (%s)", rate("item_cache_requests_total", `result="hit"`, "cache"), rate("item_cache_requests_total", "", "cache")), "{{cache}}", false}),
				series("Items without their stock", "reqps", "Answers that left the stock out because stock did not answer in time; normally 0.",
					target{rate("item_stock_unknown_total", ""), "unknown", false}),
			}},
		},
	}
}
