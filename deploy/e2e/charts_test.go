package e2e

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/kiteshop/kiteshop/services/activity"
	"github.com/kiteshop/kiteshop/services/gateway"
	"github.com/kiteshop/kiteshop/services/item"
	"github.com/kiteshop/kiteshop/services/stock"
)

// shapes are the documented ways to install the umbrella.
func shapes() map[string][]string {
	return map[string][]string{
		"defaults": nil,
		"dev":      {"-f", "helm/shop/values-dev.yaml"},
		"minimal":  {"-f", "helm/shop/values-minimal.yaml"},
		"prod":     {"-f", "helm/shop/values-prod.yaml"},
		"sqlite":   {"-f", "helm/shop/values-sqlite.yaml"},
		"static":   {"-f", "helm/shop/values-static.yaml"},
		"dns":      {"-f", "helm/shop/values-dns.yaml"},
		"etcd":     {"-f", "helm/shop/values-etcd.yaml", "--set", "global.registry.address=etcd.infra:2379"},
		"nacos":    {"-f", "helm/shop/values-nacos.yaml", "--set", "global.registry.address=nacos.infra:8848"},
	}
}

func TestEveryValuesFileIsAmongTheShapes(t *testing.T) {
	files, err := filepath.Glob(root + "/helm/shop/values-*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("values files: %v, error %v", files, err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.Base(file), "values-"), ".yaml")
		if _, ok := shapes()[name]; !ok {
			t.Errorf("%s is rendered by no test", file)
		}
	}
}

func TestChartsPassStrictLint(t *testing.T) {
	dir := charts(t)
	lint := func(args ...string) {
		cmd := exec.Command("helm", append([]string{"lint", "--strict"}, args...)...)
		cmd.Dir = dir
		if output, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("helm lint %s: %v\n%s", strings.Join(args, " "), err, output)
		}
	}
	lint("charts/service", "--set", "image.repository=ghcr.io/kiteshop/item")
	lint("charts/zookeeper")
	lint("charts/postgresql")
	lint("charts/otel-collector")
	lint("charts/observability")
	for _, args := range shapes() {
		lint(append([]string{"helm/shop"}, args...)...)
	}
}

// TestHowOftenARoomRuns: SQLite is a file for one process, PostgreSQL is for several.
func TestHowOftenARoomRuns(t *testing.T) {
	for _, c := range []struct {
		shape    string
		room     string
		replicas int
		recreate bool
	}{
		{"defaults", "item", 2, false},
		{"defaults", "stock", 2, false},
		{"defaults", "gateway", 2, false},
		{"prod", "item", 3, false},
		{"prod", "stock", 3, false},
		{"sqlite", "item", 1, true},
		{"sqlite", "stock", 1, true},
		{"sqlite", "gateway", 2, false},
		{"minimal", "stock", 1, true},
	} {
		d := find(render(t, shapes()[c.shape]...), "Deployment", c.room)
		recreate := text(d, "spec", "strategy", "type") == "Recreate"
		if got := number(d, "spec", "replicas"); got != c.replicas || recreate != c.recreate {
			t.Errorf("%s: %s has %d replicas, want %d; recreated %t, want %t", c.shape, c.room, got, c.replicas, recreate, c.recreate)
		}
	}
}

// TestStoppingFitsInTheGracePeriod: a room takes up to its -stop-timeout to stop.
func TestStoppingFitsInTheGracePeriod(t *testing.T) {
	stop := int(gateway.DefaultConfig().Lifecycle.StopTimeout.Seconds())
	for _, name := range rooms() {
		spec := at(find(render(t), "Deployment", name), "spec", "template", "spec")
		wait := number(spec, "containers", 0, "lifecycle", "preStop", "sleep", "seconds")
		if grace := number(spec, "terminationGracePeriodSeconds"); grace <= wait+stop {
			t.Errorf("%s is killed after %d s and takes up to %d s", name, grace, wait+stop)
		}
	}
}

func rooms() []string { return []string{"item", "stock", "activity", "gateway"} }

// TestSettingsAreFlagsOfTheProgram: a room refuses variables that it does not know.
func TestSettingsAreFlagsOfTheProgram(t *testing.T) {
	sets := map[string]*flag.FlagSet{}
	for _, room := range rooms() {
		sets[room] = flag.NewFlagSet(room, flag.ContinueOnError)
	}
	itemConfig, stockConfig, activityConfig, gatewayConfig := item.DefaultConfig(), stock.DefaultConfig(), activity.DefaultConfig(), gateway.DefaultConfig()
	itemConfig.Flags(sets["item"])
	stockConfig.Flags(sets["stock"])
	activityConfig.Flags(sets["activity"])
	gatewayConfig.Flags(sets["gateway"])
	for shape, args := range shapes() {
		objects := render(t, args...)
		for _, room := range rooms() {
			settings := labels(find(objects, "ConfigMap", room), "data")
			if settings["KITESHOP_REGISTRY"] == "" {
				t.Errorf("%s: %s is told no registry: %v", shape, room, settings)
			}
			for _, v := range list(find(objects, "Deployment", room), "spec", "template", "spec", "containers", 0, "env") {
				settings[text(v, "name")] = "1"
			}
			for name, value := range settings {
				if !strings.HasPrefix(name, "KITESHOP_") {
					continue
				}
				name = strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "KITESHOP_"), "_", "-"))
				if err := sets[room].Set(name, value); err != nil {
					t.Errorf("%s: %s refuses -%s=%s: %v", shape, room, name, value, err)
				}
			}
		}
	}
}

func TestTheRegistryIsWhatWasChosen(t *testing.T) {
	const password = "?password_file=/etc/kiteshop/registry/password"
	for shape, want := range map[string]string{
		"defaults": "zookeeper://kiteshop@zookeeper:2181" + password,
		"static":   "static://item=item:8888,stock=stock:8890,activity=activity:8894",
		"dns":      "dns://item=item-headless:8888,stock=stock-headless:8890,activity=activity-headless:8894",
		"etcd":     "etcd://etcd.infra:2379",
		"nacos":    "nacos://nacos.infra:8848",
	} {
		objects := render(t, shapes()[shape]...)
		if got := text(find(objects, "ConfigMap", "gateway"), "data", "KITESHOP_REGISTRY"); got != want {
			t.Errorf("%s: the registry is %s, want %s", shape, got, want)
		}
		if bundled := find(objects, "StatefulSet", "zookeeper") != nil; bundled != strings.HasPrefix(want, "zookeeper") {
			t.Errorf("%s: ZooKeeper is part of it: %t", shape, bundled)
		}
	}
	objects := render(t, append(shapes()["etcd"], "--set", "global.registry.user=kiteshop,global.registry.secret=etcd-user")...)
	if got, want := text(find(objects, "ConfigMap", "item"), "data", "KITESHOP_REGISTRY"), "etcd://kiteshop@etcd.infra:2379"+password; got != want {
		t.Errorf("with a user the registry is %s, want %s", got, want)
	}
	if got := text(find(objects, "Deployment", "item"), "spec", "template", "spec", "volumes", 0, "secret", "secretName"); got != "etcd-user" {
		t.Errorf("the password is from %q, want etcd-user", got)
	}
}

func TestTheMinimalShapeFitsInItsMemory(t *testing.T) {
	total := 0
	for _, w := range workloads(render(t, shapes()["minimal"]...)) {
		for _, c := range list(w, "spec", "template", "spec", "containers") {
			total += number(w, "spec", "replicas") * mebibytes(t, text(c, "resources", "requests", "memory"))
		}
	}
	if total == 0 || total > 512 {
		t.Errorf("all memory requests together are %d MiB, want at most 512", total)
	}
}

func mebibytes(t *testing.T, quantity string) int {
	t.Helper()
	n, err := strconv.Atoi(strings.TrimSuffix(quantity, "Mi"))
	if err != nil {
		t.Fatalf("memory %q: the test reads Mi only", quantity)
	}
	return n
}

func TestAnEnsembleKnowsItsServers(t *testing.T) {
	objects := render(t, "--set", "zookeeper.servers=3")
	config := text(find(objects, "ConfigMap", "zookeeper"), "data", "zoo.cfg")
	for i := range 3 {
		want := fmt.Sprintf("server.%d=zookeeper-%d.zookeeper-servers.store.svc:2888:3888\n", i+1, i)
		if !strings.Contains(config, want) {
			t.Errorf("zoo.cfg lacks %q:\n%s", want, config)
		}
	}
	headless := find(objects, "Service", "zookeeper-servers")
	if text(headless, "spec", "clusterIP") != "None" || at(headless, "spec", "publishNotReadyAddresses") != true {
		t.Errorf("the servers do not find each other before they are ready: %v", headless["spec"])
	}
	if single := text(find(render(t), "ConfigMap", "zookeeper"), "data", "zoo.cfg"); strings.Contains(single, "server.") {
		t.Errorf("one server waits for others:\n%s", single)
	}
}

// TestImageReferences: a tag, a digest, or both, as skaffold and CI give them.
func TestImageReferences(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for _, c := range []struct{ set, want string }{
		{"gateway.image.repository=r.example/g", "r.example/g:0.1.0"},
		{"gateway.image.tag=v9", "ghcr.io/kiteshop/gateway:v9"},
		{"gateway.image.digest=" + digest, "ghcr.io/kiteshop/gateway@" + digest},
		{"gateway.image.tag=v9,gateway.image.digest=" + digest, "ghcr.io/kiteshop/gateway:v9@" + digest},
	} {
		d := find(render(t, "--set", c.set), "Deployment", "gateway")
		if got := text(d, "spec", "template", "spec", "containers", 0, "image"); got != c.want {
			t.Errorf("%s: image %s, want %s", c.set, got, c.want)
		}
	}
}

// TestSkaffoldBuildsEveryImage: each program that the Dockerfile builds is an
// artifact, and its image is put into the values.
func TestSkaffoldBuildsEveryImage(t *testing.T) {
	file, err := os.ReadFile(root + "/skaffold.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var skaffold map[string]any
	if err := yaml.Unmarshal(file, &skaffold); err != nil {
		t.Fatal(err)
	}
	programs := []string{"smoke"}
	folders, err := filepath.Glob(root + "/services/*/cmd")
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		programs = append(programs, filepath.Base(filepath.Dir(folder)))
	}
	release := at(skaffold, "deploy", "helm", "releases", 0)
	var built []string
	for _, artifact := range list(skaffold, "build", "artifacts") {
		service := text(artifact, "docker", "buildArgs", "SERVICE")
		built = append(built, service)
		for _, part := range []string{"repository", "tag", "digest"} {
			if text(release, "setValueTemplates", service+".image."+part) == "" {
				t.Errorf("the %s of the image of %s is not put into the values", part, service)
			}
		}
	}
	slices.Sort(programs)
	slices.Sort(built)
	if !slices.Equal(programs, built) {
		t.Errorf("artifacts %v, want one for each of %v", built, programs)
	}
}
