package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/compose-spec/compose-go/v2/cli"
	"github.com/compose-spec/compose-go/v2/types"

	"github.com/kiteshop/kiteshop/services/internal/discovery/discoverytest"
	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// composition is where the hosts, ports and files that compose.yaml names are
// on this machine.
type composition struct {
	servers *strings.Replacer
	secrets map[string]string // the file of each
	// By the service's name.
	programs map[string]string
	ports    map[string]map[string]string // ":8888" is an address of 127.0.0.1
}

// TestTheShopOfComposeSells runs the programs with the settings, secrets and
// health checks of deploy/compose, against a ZooKeeper, a PostgreSQL and a receiver
// of telemetry of this machine; then the test of an installed shop, as Compose runs it.
func TestTheShopOfComposeSells(t *testing.T) {
	t.Parallel()
	registry, database := discoverytest.Started(t, discoverytest.ZooKeeper{}), sqldbtest.StartPostgres(t)
	url := database.Database()
	var telemetry atomic.Int64
	receiver := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { telemetry.Add(1) }))
	defer receiver.Close()
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("a registry's password"), 0o600); err != nil {
		t.Fatal(err)
	}
	here := composition{
		servers: strings.NewReplacer(
			"zookeeper:2181", registry.Address(),
			"postgresql:5432/kiteshop", url[strings.Index(url, "@")+1:strings.Index(url, "?")],
			"otel-collector:4318", receiver.Listener.Addr().String(),
		),
		secrets:  map[string]string{"zookeeper": password, "postgresql": database.PasswordFile(), "trust": identities(t)},
		programs: map[string]string{},
		ports:    map[string]map[string]string{},
	}
	for _, name := range []string{"item", "stock", "activity", "gateway"} {
		here.secrets[name] = filepath.Join(filepath.Dir(here.secrets["trust"]), name+".key")
	}
	services := composedServices(t)
	for _, name := range []string{"item", "stock", "activity", "gateway"} {
		here.start(t, name, services[name])
	}
	for _, name := range []string{"item", "stock", "activity", "gateway"} {
		here.waitUntilHealthy(t, name, services[name])
	}
	args := []string(services["smoke"].Command)
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "gateway:8889", here.ports["gateway"][":8889"])
	}
	if output, err := exec.Command(build(t, "../../deploy/smoke"), args...).CombinedOutput(); err != nil {
		t.Errorf("smoke %q: %v\n%s", args, err, output)
	}
	discoverytest.Eventually(t, "the services send telemetry", func() bool { return telemetry.Load() > 0 })
}

// identities makes the services' keys as the program passwords does, and gives the
// file of their certificates, beside which they are.
func identities(t *testing.T) string {
	t.Helper()
	program, err := os.ReadFile("../../deploy/compose/passwords")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/passwords", program, 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command("sh", dir+"/passwords").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return dir + "/secrets/trust"
}

func composedServices(t *testing.T) types.Services {
	t.Helper()
	options, err := cli.NewProjectOptions([]string{"../../deploy/compose/compose.yaml"}, cli.WithProfiles([]string{"test"}))
	if err != nil {
		t.Fatal(err)
	}
	project, err := options.LoadProject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return project.Services
}

// start runs a service until the test ends, and then demands that it stops as it was told.
func (c composition) start(t *testing.T, name string, service types.ServiceConfig) {
	t.Helper()
	c.programs[name], c.ports[name] = build(t, "../"+name+"/cmd"), map[string]string{}
	cmd := exec.Command(c.programs[name], service.Command...)
	cmd.Env = []string{"KITESHOP_DEBUG=127.0.0.1:0"}
	for key, value := range service.Environment {
		setting := c.servers.Replace(*value)
		for _, secret := range service.Secrets {
			if setting == filepath.Dir(secret.Target) { // of one file
				setting = c.secrets[secret.Source]
			}
			setting = strings.ReplaceAll(setting, secret.Target, c.secrets[secret.Source])
		}
		for _, volume := range service.Volumes {
			setting = strings.ReplaceAll(setting, volume.Target, volume.Source)
		}
		if strings.HasPrefix(setting, ":") {
			c.ports[name][setting] = freePort(t)
			setting = c.ports[name][setting]
		}
		cmd.Env = append(cmd.Env, key+"="+setting)
	}
	var output strings.Builder
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			t.Errorf("%s ended with %v and said\n%s", name, err, output.String())
		}
	})
}

// waitUntilHealthy runs the health check of a service until it succeeds.
func (c composition) waitUntilHealthy(t *testing.T, name string, service types.ServiceConfig) {
	t.Helper()
	check := service.HealthCheck.Test // CMD, /kiteshop, ready, 127.0.0.1:9888
	args := []string{check[2], c.ports[name][strings.TrimPrefix(check[3], "127.0.0.1")]}
	discoverytest.Eventually(t, name+" is healthy", func() bool {
		return exec.Command(c.programs[name], args...).Run() == nil
	})
}
