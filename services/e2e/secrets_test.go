package e2e

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
	"github.com/kiteshop/kiteshop/services/internal/telemetry/telemetrytest"
)

// TestNoSecretIsLoggedOrSent gives a process passwords of all kinds, right and
// wrong, and looks for them in what it prints and in what the collector gets.
func TestNoSecretIsLoggedOrSent(t *testing.T) {
	t.Parallel()
	const secret = "hunter2" // is part of each of them
	item, gateway := build(t, "../item/cmd"), build(t, "../gateway/cmd")
	database := sqldbtest.StartPostgres(t).Database()
	wrong := strings.Replace(database, "postgres://", "postgres://nobody:"+secret+"@", 1)
	if _, rest, found := strings.Cut(database, "@"); found {
		wrong = "postgres://nobody:" + secret + "@" + rest
	}
	for _, c := range []struct {
		name, program string
		args          []string
		environment   []string
		runs          bool
	}{
		{"a database that refuses the user", item, []string{"-store", wrong}, nil, false},
		{"a database that is away", item, []string{"-store", "postgres://shop:" + secret + "@127.0.0.1:1/shop", "-store-wait", "2s"}, nil, false},
		{"a database URL that is wrong", item, []string{"-store", "postgres://shop:" + secret + "%@127.0.0.1:1"}, nil, false},
		{"a registry that is away", gateway, []string{"-registry", "etcd://shop@127.0.0.1:1"}, []string{"KITESHOP_REGISTRY_PASSWORD=" + secret}, true},
		{"another that is away", gateway, []string{"-registry", "zookeeper://shop@127.0.0.1:1"}, []string{"KITESHOP_REGISTRY_PASSWORD=" + secret}, true},
		{"a registry URL with a password", gateway, []string{"-registry", "etcd://shop:" + secret + "@127.0.0.1:1"}, nil, false},
		{"headers for the collector", gateway, nil, []string{"OTEL_EXPORTER_OTLP_HEADERS=Authorization=Bearer%20" + secret}, true},
		{"a collector's URL with a password", gateway, nil, []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=http://shop:" + secret + "@127.0.0.1:1"}, false},
		{"a collector's URL that is wrong", gateway, nil, []string{"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT=shop:" + secret + "@127.0.0.1"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			collector := telemetrytest.Start(t)
			address := freePort(t)
			args := append([]string{"-admin", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-log-level", "debug"}, c.args...)
			if c.program == gateway {
				args = append(args, "-http", address, "-stop-timeout", "5s")
			}
			cmd := exec.Command(c.program, args...)
			var printed lockedBuffer
			cmd.Stdout, cmd.Stderr = &printed, &printed
			cmd.Env = append(append(os.Environ(), collector.Environment()...), c.environment...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if c.runs {
				s := client{t: t, base: "http://" + address}
				eventually(t, "the gateway answers", func() bool {
					_, err := s.try("GET", "/api/v1/items/1024", http.NoBody, "Authorization: Bearer "+secret, "Cookie: session="+secret)
					return err == nil
				})
				_ = cmd.Process.Signal(os.Interrupt)
			}
			late := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
			defer late.Stop()
			if err := cmd.Wait(); (err == nil) != c.runs {
				t.Errorf("it ended with %v:\n%s", err, printed.String())
			}
			sent := fmt.Sprint(collector.Spans(), collector.Lines(), collector.Attributes())
			if c.runs && (len(collector.Spans()) == 0 || len(collector.Lines()) == 0) {
				t.Error("no span or no line came")
			}
			for what, text := range map[string]string{"printed": printed.String(), "sent": sent} {
				if strings.Contains(text, secret) {
					t.Errorf("the secret is %s: %s", what, text)
				}
			}
		})
	}
}
