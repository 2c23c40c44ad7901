package lifecycle_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAProgramAsksAnotherWhetherItIsReady(t *testing.T) {
	t.Parallel()
	answers := func(status int, text string) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/readyz" {
				status = http.StatusNotFound
			}
			w.WriteHeader(status)
			_, _ = w.Write([]byte(text))
		}))
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = nobody.Close()
	unready := answers(http.StatusServiceUnavailable, `{"ready":false,"missing":{"store":"it is away"}}`)
	for _, c := range []struct {
		name string
		args []string
		exit int
		said string
	}{
		{"ready", []string{"ready", answers(http.StatusOK, `{"ready":true}`)}, 0, ""},
		{"unready", []string{"ready", unready}, 1, unready + ` is not ready: {"ready":false,"missing":{"store":"it is away"}}`},
		{"away", []string{"ready", nobody.Addr().String()}, 1, "connection refused"},
		{"no address", []string{"ready"}, 1, "ready takes the address of an admin port, as 127.0.0.1:9888"},
		{"no port", []string{"ready", "localhost"}, 1, "ready takes the address of an admin port, as 127.0.0.1:9888: address localhost: missing port in address"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := command(t, "args", c.args...)
			output, _ := cmd.CombinedOutput()
			if exit := cmd.ProcessState.ExitCode(); exit != c.exit || !strings.Contains(string(output), c.said) {
				t.Errorf("exit code %d, output %q; want %d, %q", exit, output, c.exit, c.said)
			}
			if c.exit == 0 && len(output) > 0 {
				t.Errorf("it said %q, and nobody reads that", output)
			}
		})
	}
}
