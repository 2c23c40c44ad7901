package e2e

import (
	"errors"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// TestTheDebugPortTellsNoSecret starts stock with a database and a registry
// that need passwords, and reads every page that its debug port lists.
func TestTheDebugPortTellsNoSecret(t *testing.T) {
	t.Parallel()
	const registryPassword, header = "swordfish", "xyzzy"
	store, storePassword := withPassword(t, sqldbtest.StartPostgres(t))
	etcd, debug := freePort(t), freePort(t) // nobody answers at etcd
	cmd := exec.Command(build(t, "../stock/cmd"), "-rpc", "127.0.0.1:0", "-admin", "127.0.0.1:0", "-debug", debug, "-registry", "etcd://user@"+etcd)
	cmd.Env = append(cmd.Environ(),
		"KITESHOP_STORE="+store,
		"KITESHOP_REGISTRY_PASSWORD="+registryPassword,
		"OTEL_EXPORTER_OTLP_HEADERS=authorization="+header)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c := client{t: t, base: "http://" + debug}
	eventually(t, "the server has registered its probes", func() bool {
		got, err := c.try("GET", "/debug/diagnosis/server/service_infos", strings.NewReader(""))
		return err == nil && got.status == http.StatusOK
	})
	pages := []string{"/debug/"}
	for _, link := range regexp.MustCompile(`href="([^"]+)"`).FindAllStringSubmatch(c.send("GET", "/debug/", "").body, -1) {
		pages = append(pages, link[1])
	}
	var listed struct{ Probes []string }
	c.send("GET", "/debug/diagnosis/", "").want(t, http.StatusOK, &listed)
	for _, probe := range listed.Probes {
		pages = append(pages, "/debug/diagnosis/"+probe)
	}
	if len(pages) != 17 { // five of the index, twelve probes
		t.Errorf("there are %q", pages)
	}
	for _, page := range pages {
		got := c.send("GET", page, "").want(t, http.StatusOK, nil)
		for _, secret := range []string{storePassword, registryPassword, header} {
			if strings.Contains(got.body, secret) {
				t.Errorf("%s tells %s", page, secret)
			}
		}
	}
	var settings map[string]string
	c.send("GET", "/debug/diagnosis/settings", "").want(t, http.StatusOK, &settings)
	if settings["registry"] != "etcd://user@"+etcd || settings["stop-timeout"] != "15s" || !strings.HasPrefix(settings["store"], "postgres://") {
		t.Errorf("the settings are %v", settings)
	}
}

// withPassword is the URL of a database with the password in it.
func withPassword(t *testing.T, server *sqldbtest.Postgres) (database, password string) {
	t.Helper()
	text, err1 := os.ReadFile(server.PasswordFile())
	location, err2 := url.Parse(server.Database())
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	password = strings.TrimSpace(string(text))
	location.User = url.UserPassword(location.User.Username(), password)
	location.RawQuery = "sslmode=disable"
	return location.String(), password
}
