package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const (
	scope = "github.com/kiteshop/kiteshop"
	// maxWaiting is how many spans, and how many lines of the log, wait to be sent,
	// at about a kilobyte each. More are dropped.
	maxWaiting = 8192
	// sendEvery is how long they wait, unless 512 are there before.
	sendEvery = 2 * time.Second
	// flushTimeout bounds the last sending: a receiver that hangs must not use up the time to stop.
	flushTimeout = 5 * time.Second
)

// otlp is how OTLP travels to a collector.
type otlp string

const (
	overHTTP otlp = "http/protobuf"
	overGRPC otlp = "grpc"
)

// port is the one that collectors listen on for it.
func (by otlp) port() string {
	if by == overGRPC {
		return "4317"
	}
	return "4318"
}

// endpoint is where the environment says that a signal (traces, metrics, logs) is sent to by
// OTLP, or "" if it says nothing. What else it says, as
// OTEL_EXPORTER_OTLP_HEADERS, the exporter reads by itself.
func endpoint(environment []string, signal string, by otlp) (string, error) {
	set := map[string]string{}
	for _, entry := range environment {
		name, value, _ := strings.Cut(entry, "=")
		set[name] = value
	}
	upper := strings.ToUpper(signal)
	either := func(setting string) (name, value string) {
		if own := "OTEL_EXPORTER_OTLP_" + upper + "_" + setting; set[own] != "" {
			return own, set[own]
		}
		return "OTEL_EXPORTER_OTLP_" + setting, set["OTEL_EXPORTER_OTLP_"+setting]
	}
	exporter := "OTEL_" + upper + "_EXPORTER"
	if value := set[exporter]; value != "" && value != "otlp" && value != "none" {
		return "", fmt.Errorf("%s is %q; it must be otlp or none", exporter, value)
	}
	name, where := either("ENDPOINT")
	if where == "" || set[exporter] == "none" || strings.EqualFold(set["OTEL_SDK_DISABLED"], "true") {
		return "", nil
	}
	parsed, err := url.Parse(where)
	switch {
	case strings.Contains(where, "@"): // it may be a password: it is not repeated
		return "", fmt.Errorf("%s has an @; a user and a password belong in OTEL_EXPORTER_OTLP_HEADERS, as Authorization=Basic%%20…", name)
	case err != nil || parsed.Host == "" || (parsed.Scheme != "http" && parsed.Scheme != "https"):
		return "", fmt.Errorf("%s is %q; it must be a URL as http://collector:%s", name, where, by.port())
	}
	if protocol, value := either("PROTOCOL"); value != "" && value != string(by) {
		return "", fmt.Errorf("%s is %q; it must be %s, which is the default, and the port the collector's for it (%s)", protocol, value, by, by.port())
	}
	if name == "OTEL_EXPORTER_OTLP_ENDPOINT" {
		where = strings.TrimSuffix(where, "/") + "/v1/" + signal
	}
	return where, nil
}

// outlet is the way of one signal to its receiver: it bounds what waits, counts
// what is dropped, and logs when the receiver goes away and when it is back.
type outlet struct {
	log         *slog.Logger
	dropped     metric.Int64Counter
	full        metric.MeasurementOption
	undelivered metric.MeasurementOption
	waiting     atomic.Int64
	away        atomic.Bool
}

func newOutlet(signal string, log *slog.Logger, meter metric.Meter) (*outlet, error) {
	dropped, err := meter.Int64Counter("telemetry.dropped", metric.WithUnit("{record}"),
		metric.WithDescription("Spans and lines of the log that were not sent: too many waited already, or the receiver did not take them."))
	label := func(reason string) metric.MeasurementOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", signal), attribute.String("reason", reason)))
	}
	o := &outlet{log: log.With("signal", signal), dropped: dropped, full: label("full"), undelivered: label("undelivered")}
	dropped.Add(context.Background(), 0, o.full)
	dropped.Add(context.Background(), 0, o.undelivered)
	return o, err
}

// enter tells whether there is room for one more.
func (o *outlet) enter() bool {
	if o.waiting.Add(1) <= maxWaiting {
		return true
	}
	o.waiting.Add(-1)
	o.dropped.Add(context.Background(), 1, o.full)
	return false
}

// leave notes what became of records that had entered.
func (o *outlet) leave(ctx context.Context, records int, err error) {
	o.waiting.Add(-int64(records))
	if err != nil {
		o.dropped.Add(ctx, int64(records), o.undelivered)
	}
	switch before := o.away.Swap(err != nil); {
	case err != nil && !before:
		o.log.WarnContext(ctx, "the collector takes no telemetry; it is dropped until it does", "error", err)
	case err == nil && before:
		o.log.InfoContext(ctx, "the collector takes telemetry again")
	}
}
