package e2e

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// TestEveryAlertFires makes the fault that an alert is for, to the processes that it is about, and mends it. It takes
// minutes, and is run by .ci/verify.
func TestEveryAlertFires(t *testing.T) {
	if os.Getenv("TEST_ALERTS") == "" {
		t.Skip("it takes minutes; TEST_ALERTS=1 runs it")
	}
	o := observe(t)
	o.startEdge() // whose issuer is away: in a minute its keys are old
	o.keepAsking()
	seen := map[string]bool{}
	for _, f := range o.outages() {
		o.within("no alert of the fault fires before it: "+f.name, func() bool {
			return !o.someFire(f.ends)
		})
		mend := f.begin()
		o.within("the alerts fire: "+f.name+": "+strings.Join(append(f.ends, f.also...), ", "), func() bool {
			firing := o.firing()
			for name := range firing {
				seen[name] = true
			}
			return o.allOf(firing, f.ends) && o.allOf(seen, f.also)
		})
		mend()
	}
	for _, name := range o.alertNames() {
		if !seen[name] {
			t.Errorf("%s has not fired", name)
		}
	}
}

// outage is something that goes wrong, and the alerts that it makes fire.
type outage struct {
	name string
	// ends are those that do not fire before, also those that fire once more.
	ends []string
	// also are those that may have fired before: over long windows, or because this machine is slow.
	also  []string
	begin func() (mend func())
}

func (o *observed) outages() []outage {
	nothing := func() {}
	return []outage{
		{"somebody changes a balance", []string{"LedgerDrifts"}, nil, func() func() {
			o.change(`UPDATE stock.stock SET on_hand = on_hand + 1, available = available + 1 WHERE item_id = 1024`)
			return func() {
				o.change(`UPDATE stock.stock SET on_hand = on_hand - 1, available = available - 1 WHERE item_id = 1024`)
			}
		}},
		{"somebody writes a policy that cannot be", []string{"FileRefused"}, nil, func() func() {
			o.rule("edge: {concurrent: -1}")
			return func() { o.rule("") }
		}},
		{"somebody calls with a wrong token", []string{"CallsDenied"}, nil, o.keepIntruding},
		{"a certificate is forgotten", []string{"CertificateExpires 30d", "CertificateExpires 3d"}, nil, func() func() {
			o.certify("operator", 30*time.Minute)
			return func() { o.certify("operator", 365*24*time.Hour) }
		}},
		{"an instance takes no connections", []string{"InstancePassedOver"}, nil, func() func() { return o.registerDead("item") }},
		{"the only instance of item hangs", []string{"BreakerOpen"}, nil, func() func() {
			o.freeze("item")
			return func() { o.thaw("item") }
		}},
		{"the receiver of the traces is away", []string{"CollectorCannotSend"}, nil, func() func() {
			o.traces.Stop()
			return o.takeTraces
		}},
		{"the registry is away", []string{"InstanceListOld", "InstanceUnregistered"}, nil, func() func() {
			o.registry.Kill()
			return o.registry.Start
		}},
		{"the only instance of activity is gone", []string{"ServiceHasNoInstance"}, nil, func() func() {
			o.kill("activity")
			return func() { o.startService("activity") }
		}},
		{"stock hangs while reservations end", []string{"ReservationsExpireLate"}, nil, func() func() {
			for range 20 {
				o.send("POST", reservations, `{"lines":[{"item_id":1024,"quantity":1}],"ttl_seconds":1}`)
			}
			o.freeze("stock")
			pause(6 * time.Second)
			o.thaw("stock")
			return nothing
		}},
		{"somebody's transaction has the locks", []string{"StockQueueWaits"}, []string{"RequestsSlow 1h", "RequestsSlow 6h", "RequestsSlow 1d", "RequestsSlow 3d"}, o.holdLocks},
		{"stock has less room than is asked for", []string{"Overloaded"}, nil, func() func() {
			o.rule("methods: {StockService/Reserve: {concurrent: 1, waiting: 0}}")
			unlock := o.holdLocks()
			return func() {
				unlock()
				o.rule("")
			}
		}},
		{"the issuer of the tokens has been away since the start", nil, []string{"KeySetOld"}, func() func() { return nothing }},
		{"the database is away", []string{"DatabaseUnavailable", "ExpiryStopped", "LedgerUnchecked"}, []string{"RequestsFail 1h", "RequestsFail 6h", "RequestsFail 1d", "RequestsFail 3d"}, func() func() {
			o.postgres.Kill()
			return o.postgres.Start
		}},
		{"traces of the gateway go nowhere", []string{"TelemetryDropped"}, nil, func() func() {
			o.kill("gateway")
			o.startService("gateway", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://"+steadyPort(o.t)+"/v1/traces")
			return nothing
		}},
		{"the collector has no memory left", []string{"CollectorRefuses"}, nil, func() func() {
			o.kill("collector")
			o.startCollector("processors: {memory_limiter: {limit_mib: 5, spike_limit_mib: 1}}")
			return nothing
		}},
		{"the collector is away", []string{"TargetDown"}, nil, func() func() {
			o.kill("collector")
			return nothing
		}},
	}
}

// keepAsking has some callers, who may be refused, until the test ends.
func (o *observed) keepAsking() {
	ctx, cancel := context.WithCancel(context.Background())
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for ctx.Err() == nil {
				for _, request := range [][3]string{
					{"GET", "/api/v1/items", ""},
					{"GET", "/api/v1/stock/1024", ""},
					{"POST", reservations, `{"lines":[{"item_id":1024,"quantity":1}],"ttl_seconds":1}`},
				} {
					_, _ = o.try(request[0], request[1], strings.NewReader(request[2]))
				}
				pause(200 * time.Millisecond)
			}
		})
	}
	o.t.Cleanup(callers.Wait)
	o.t.Cleanup(cancel)
}

func (o *observed) someFire(names []string) bool {
	firing := o.firing()
	for _, name := range names {
		if firing[name] {
			return true
		}
	}
	return false
}

func (o *observed) allOf(set map[string]bool, names []string) bool {
	for _, name := range names {
		if !set[name] {
			return false
		}
	}
	return true
}

// alertNames are all, with their windows, as firing has them.
func (o *observed) alertNames() (all []string) {
	o.t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name   string
				Labels map[string]string
			}
		}
	}
	// Recorded series are rules of another type.
	if err := o.get("/api/v1/rules", map[string][]string{"type": {"alert"}}, &data); err != nil {
		o.t.Fatal(err)
	}
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			all = append(all, strings.TrimSpace(r.Name+" "+r.Labels["window"]))
		}
	}
	if len(all) == 0 {
		o.t.Fatal("Prometheus has no alerts")
	}
	return all
}

// connect is a connection to stock's database.
func (o *observed) connect() *pgx.Conn {
	o.t.Helper()
	source, err := url.Parse(o.database)
	if err != nil {
		o.t.Fatal(err)
	}
	password, err := os.ReadFile(o.postgres.PasswordFile())
	if err != nil {
		o.t.Fatal(err)
	}
	source.User, source.RawQuery = url.UserPassword(source.User.Username(), strings.TrimSpace(string(password))), "sslmode=disable"
	conn, err := pgx.Connect(context.Background(), source.String())
	if err != nil {
		o.t.Fatal(err)
	}
	return conn
}

// change does by hand what nobody should.
func (o *observed) change(statement string) {
	o.t.Helper()
	conn := o.connect()
	defer func() { _ = conn.Close(context.Background()) }()
	tag, err := conn.Exec(context.Background(), statement)
	if err != nil || tag.RowsAffected() == 0 {
		o.t.Fatalf("%s: %v, error %v", statement, tag, err)
	}
}

// holdLocks keeps the stock of all items locked for a second again and again, until it is mended. Who waits gets them in between.
func (o *observed) holdLocks() (mend func()) {
	o.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	conn := o.connect()
	done := make(chan error)
	go func() {
		var err error
		for ctx.Err() == nil && err == nil {
			_, err = conn.Exec(context.Background(), `BEGIN; LOCK TABLE stock.stock; SELECT pg_sleep(1); COMMIT`)
		}
		done <- err
	}()
	return func() {
		cancel()
		if err := <-done; err != nil {
			o.t.Error(fmt.Errorf("holding the locks: %w", err))
		}
		_ = conn.Close(context.Background())
	}
}
