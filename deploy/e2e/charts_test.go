package e2e

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	for _, args := range shapes() {
		lint(append([]string{"helm/shop"}, args...)...)
	}
}

// TestEveryWorkload holds for each pod of each shape.
func TestEveryWorkload(t *testing.T) {
	for shape, args := range shapes() {
		t.Run(shape, func(t *testing.T) {
			objects := render(t, args...)
			for _, w := range workloads(objects) {
				t.Run(w.name(), func(t *testing.T) {
					checkPod(t, at(w, "spec", "template"))
					checkSelectors(t, objects, w)
					checkBudget(t, objects, w)
				})
			}
		})
	}
}

func checkPod(t *testing.T, pod any) {
	t.Helper()
	spec := at(pod, "spec")
	for _, want := range []struct {
		path  []any
		value any
	}{
		{[]any{"automountServiceAccountToken"}, false},
		{[]any{"enableServiceLinks"}, false},
		{[]any{"securityContext", "runAsNonRoot"}, true},
		{[]any{"securityContext", "seccompProfile", "type"}, "RuntimeDefault"},
	} {
		if got := at(spec, want.path...); got != want.value {
			t.Errorf("%v = %v, want %v", want.path, got, want.value)
		}
	}
	if number(spec, "securityContext", "runAsUser") == 0 {
		t.Error("runAsUser is not a number above 0: the kubelet refuses names")
	}
	if text(pod, "metadata", "annotations", "checksum/config") == "" {
		t.Error("nothing restarts the pod when its configuration changes")
	}
	for _, c := range list(spec, "containers") {
		if at(c, "securityContext", "allowPrivilegeEscalation") != false ||
			at(c, "securityContext", "readOnlyRootFilesystem") != true ||
			text(c, "securityContext", "capabilities", "drop", 0) != "ALL" {
			t.Errorf("container %s is not restricted: %v", text(c, "name"), at(c, "securityContext"))
		}
		for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
			if at(c, probe) == nil {
				t.Errorf("container %s has no %s", text(c, "name"), probe)
			}
		}
		for _, resource := range [][]any{{"requests", "cpu"}, {"requests", "memory"}, {"limits", "memory"}} {
			if at(c, append([]any{"resources"}, resource...)...) == nil {
				t.Errorf("container %s has no %v", text(c, "name"), resource)
			}
		}
		if image := text(c, "image"); !regexp.MustCompile(`^[^:@]+:v?[0-9]+(\.[0-9]+){1,2}$`).MatchString(image) {
			t.Errorf("image %q is not pinned to a version", image)
		}
	}
}

// outside is the Secret that whoever installs values-prod.yaml makes.
const outside = "shop-database"

// checkSelectors demands that what a workload refers to is there.
func checkSelectors(t *testing.T, objects []object, w object) {
	t.Helper()
	pod := at(w, "spec", "template")
	podLabels := labels(pod, "metadata", "labels")
	if selector := labels(w, "spec", "selector", "matchLabels"); len(selector) == 0 || !covers(selector, podLabels) {
		t.Errorf("selector %v does not find the pods %v", selector, podLabels)
	}
	ports := map[string]bool{}
	for _, p := range list(pod, "spec", "containers", 0, "ports") {
		ports[text(p, "name")] = true
	}
	served := false
	for _, s := range objects {
		if s.kind() != "Service" || !covers(labels(s, "spec", "selector"), podLabels) {
			continue
		}
		served = true
		for _, p := range list(s, "spec", "ports") {
			if !ports[text(p, "targetPort")] {
				t.Errorf("Service %s sends to the port %q, which the container has not", s.name(), text(p, "targetPort"))
			}
		}
	}
	if !served {
		t.Error("no Service finds the pods")
	}
	for _, source := range list(pod, "spec", "containers", 0, "envFrom") {
		if name := text(source, "configMapRef", "name"); find(objects, "ConfigMap", name) == nil {
			t.Errorf("there is no ConfigMap %q", name)
		}
	}
	for _, volume := range list(pod, "spec", "volumes") {
		for kind, path := range map[string][]any{
			"ConfigMap":             {"configMap", "name"},
			"PersistentVolumeClaim": {"persistentVolumeClaim", "claimName"},
			"Secret":                {"secret", "secretName"},
		} {
			if name := text(volume, path...); name != "" && name != outside && find(objects, kind, name) == nil {
				t.Errorf("there is no %s %q", kind, name)
			}
		}
	}
}

// checkBudget demands a disruption budget where it can be kept, and only there.
func checkBudget(t *testing.T, objects []object, w object) {
	t.Helper()
	replicas, scaled := at(w, "spec", "replicas").(int)
	if hpa := find(objects, "HorizontalPodAutoscaler", w.name()); hpa != nil {
		if scaled {
			t.Error("an autoscaler and the chart both set the replicas")
		}
		replicas = number(hpa, "spec", "minReplicas")
	}
	budget := find(objects, "PodDisruptionBudget", w.name())
	if (budget != nil) != (replicas > 1) {
		t.Errorf("%d replicas, and a disruption budget: %t", replicas, budget != nil)
	}
	if budget != nil && (at(budget, "spec", "maxUnavailable") == nil) == (at(budget, "spec", "minAvailable") == nil) {
		t.Errorf("disruption budget %v: one of maxUnavailable and minAvailable", budget["spec"])
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

// TestTheDatabaseIsWhatWasChosen holds for item and stock; the gateway has none.
func TestTheDatabaseIsWhatWasChosen(t *testing.T) {
	const password = "&password_file=/etc/kiteshop/database/password"
	sets := func(values string) []string {
		return []string{"--set", "postgresql.enabled=false", "--set-string", values}
	}
	for name, c := range map[string]struct {
		args                []string
		url, secret, egress string
		fromSecret          bool
	}{
		"bundled": {nil, "postgres://kiteshop@postgresql:5432/kiteshop?sslmode=disable" + password, "postgresql-auth", "postgresql:5432", false},
		"elsewhere": {
			sets("global.database.url=postgres://shop@db.infra:6432/shop?sslmode=verify-full,global.database.secret=mine"),
			"postgres://shop@db.infra:6432/shop?sslmode=verify-full" + password, "mine", ":6432", false,
		},
		"elsewhere without a password": {
			sets("global.database.url=postgres://shop@db.infra/shop"), "postgres://shop@db.infra/shop", "", ":5432", false,
		},
		"elsewhere, all of it secret": {append(shapes()["prod"], "--set", "global.database.port=6432"), "", outside, ":6432", true},
		"files":                       {shapes()["sqlite"], "", "", "", false},
		"files, chosen as before there was a choice": {
			[]string{"--set", "item.storage.kind=persistent,item.storage.keep=true,stock.storage.kind=ephemeral"}, "", "", "", false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			objects := render(t, c.args...)
			for _, room := range []string{"item", "stock"} {
				checkDatabase(t, objects, room, c.url, c.secret, c.egress, c.fromSecret)
			}
			checkDatabase(t, objects, "gateway", "", "", "", false)
		})
	}
}

func checkDatabase(t *testing.T, objects []object, room, url, secret, egress string, fromSecret bool) {
	t.Helper()
	settings := labels(find(objects, "ConfigMap", room), "data")
	if got := settings["KITESHOP_STORE"]; got != url {
		t.Errorf("%s: the URL is %q, want %q", room, got, url)
	}
	spec := at(find(objects, "Deployment", room), "spec", "template", "spec")
	if files := settings["KITESHOP_DATA"] != ""; room != "gateway" && files == (egress != "") {
		t.Errorf("%s keeps files: %t, beside the database %q", room, files, egress)
	}
	mounted := ""
	for _, volume := range list(spec, "volumes") {
		if text(volume, "name") == "database" {
			mounted = text(volume, "secret", "secretName")
		}
	}
	if mounted != secret {
		t.Errorf("%s: the Secret is %q, want %q", room, mounted, secret)
	}
	variable := false
	for _, v := range list(spec, "containers", 0, "env") {
		variable = variable || text(v, "name") == "KITESHOP_STORE" &&
			text(v, "valueFrom", "secretKeyRef", "name") == secret && text(v, "valueFrom", "secretKeyRef", "key") == "url"
	}
	if variable != fromSecret {
		t.Errorf("%s has the URL from the Secret: %t, want %t", room, variable, fromSecret)
	}
	// Of the two registries and the collector nobody has these ports.
	opened := ""
	for _, rule := range list(find(objects, "NetworkPolicy", room), "spec", "egress") {
		if port := number(rule, "ports", 0, "port"); port == 5432 || port == 6432 {
			opened = fmt.Sprintf("%s:%d", text(rule, "to", 0, "podSelector", "matchLabels", "app.kubernetes.io/name"), port)
		}
	}
	if opened != egress {
		t.Errorf("%s: the policy opens %q, want %q", room, opened, egress)
	}
}

// TestPasswordsAreInSecretsOnly: those that the charts make.
func TestPasswordsAreInSecretsOnly(t *testing.T) {
	objects := render(t)
	for _, name := range []string{"zookeeper-auth", "postgresql-auth"} {
		password := text(find(objects, "Secret", name), "stringData", "password")
		if len(password) < 32 {
			t.Errorf("the password of %s has %d characters, want 32", name, len(password))
		}
		for _, o := range objects {
			content, err := yaml.Marshal(o)
			if err != nil {
				t.Fatal(err)
			}
			if o.kind() != "Secret" && strings.Contains(string(content), password) {
				t.Errorf("%s %s has the password of %s", o.kind(), o.name(), name)
			}
		}
	}
}

func TestTheBundledPostgreSQL(t *testing.T) {
	objects := renderChart(t, "charts/postgresql")
	set := find(objects, "StatefulSet", "postgresql")
	spec := at(set, "spec", "template", "spec")
	if number(spec, "securityContext", "runAsUser") != 999 || number(spec, "securityContext", "fsGroup") != 999 {
		t.Errorf("the image's user is 999: %v", at(spec, "securityContext"))
	}
	mounts := map[string]bool{}
	for _, m := range list(spec, "containers", 0, "volumeMounts") {
		mounts[text(m, "mountPath")] = true
	}
	for _, v := range list(spec, "containers", 0, "env") {
		switch value := text(v, "value"); text(v, "name") {
		case "PGDATA":
			if mounts[value] || !mounts[filepath.Dir(value)] {
				t.Errorf("the data is in %s, which is no folder of a volume: %v", value, mounts)
			}
		case "POSTGRES_PASSWORD_FILE":
			if !mounts[filepath.Dir(value)] {
				t.Errorf("nothing is mounted where %s is", value)
			}
		}
	}
	rules := text(find(objects, "ConfigMap", "postgresql"), "data", "pg_hba.conf")
	if strings.Contains(rules, "trust") || !strings.Contains(rules, "host  kiteshop kiteshop all scram-sha-256\n") {
		t.Errorf("who comes by the network and how:\n%s", rules)
	}
	for value, want := range map[string]string{"false": "Delete", "true": "Retain"} {
		objects := renderChart(t, "charts/postgresql", "--set", "storage.keep="+value)
		if got := text(find(objects, "StatefulSet", "postgresql"), "spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"); got != want {
			t.Errorf("storage.keep=%s: the volume's policy is %s, want %s", value, got, want)
		}
		kept := text(find(objects, "Secret", "postgresql-auth"), "metadata", "annotations", "helm.sh/resource-policy") == "keep"
		if kept != (want == "Retain") {
			t.Errorf("storage.keep=%s: the password is kept: %t", value, kept)
		}
	}
	if objects := renderChart(t, "charts/postgresql", "--set", "auth.secret=mine,storage.kind=ephemeral"); find(objects, "Secret", "postgresql-auth") != nil ||
		at(find(objects, "StatefulSet", "postgresql"), "spec", "volumeClaimTemplates") != nil {
		t.Error("with a Secret and an emptyDir of the user's choice the chart makes others")
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
			if settings["OTEL_EXPORTER_OTLP_ENDPOINT"] != "http://otel-collector:4318" {
				t.Errorf("%s: %s sends to %q", shape, room, settings["OTEL_EXPORTER_OTLP_ENDPOINT"])
			}
			delete(settings, "OTEL_EXPORTER_OTLP_ENDPOINT")
			for name, value := range settings {
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

func TestBadValuesAreRefusedWithASentence(t *testing.T) {
	for _, c := range []struct{ set, want string }{
		{"itme.replicas=1", "additional properties 'itme' not allowed"},
		{"item.replica=1", "additional properties 'replica' not allowed"},
		{"item.image.tga=1", "additional properties 'tga' not allowed"},
		{"global.registry.adress=a:1", "additional properties 'adress' not allowed"},
		{"zookeeper.storage.sise=1Gi", "additional properties 'sise' not allowed"},
		{"otel-collector.replicas=none", "got string, want integer"},
		{"gateway.replicas=two", "got string, want integer"},
		{"postgresql.storage.sise=1Gi", "additional properties 'sise' not allowed"},
		{"postgresql.config.hba_file=x", "'hba_file'"},
		{"postgresql.replicas=2", "this chart runs one server, for trying"},
		{"item.replicas=2,item.storage.kind=persistent", "maximum: got 2, want 1"},
		{"stock.autoscaling.enabled=true,stock.storage.kind=ephemeral", "'/autoscaling/enabled'"},
		{"stock.storage.kind=sqlite", "value must be one of 'none', 'database', 'ephemeral', 'persistent'"},
		{"postgresql.enabled=false", "say where PostgreSQL is"},
		{"global.database.urlSecret=mine", "would start one that nobody uses"},
		{"global.database.url=postgres://shop@db.infra/shop", "would start one that nobody uses"},
		{"global.database.url=postgres://shop@db.infra/shop,global.database.urlSecret=mine", "holds all of the URL"},
		{"global.database.secret=mine", "give both the same Secret"},
		{"postgresql.auth.secret=mine", "give both the same Secret"},
		{"postgresql.enabled=false,global.database.url=postgres://shop:secret@db.infra/shop", "without a password"},
		{"postgresql.enabled=false,global.database.url=postgres://shop:se@c/ret@db.infra/shop", "without a password"},
		{"postgresql.enabled=false,global.database.url=postgres://shop@db.infra/shop?password=secret", "without a password"},
		{"postgresql.enabled=false,global.database.url=db.infra:5432", "must be as postgres://USER@HOST"},
		{"item.config.store=postgres://", "'store'"},
		{"zookeeper.servers=2", "value must be one of 1, 3, 5"},
		{"global.registry.kind=consul", "value must be one of 'zookeeper', 'etcd', 'nacos', 'dns', 'static'"},
		{"global.registry.kind=etcd", "missing property 'address'"},
		{"global.registry.kind=static", "would start a ZooKeeper that nobody uses"},
		{"global.registry.address=zk.infra:2181", "would start a ZooKeeper that nobody uses"},
		{"global.registry.address=zk.infra", "does not match pattern"},
		{"zookeeper.enabled=false", "say where ZooKeeper is"},
		{"item.config.registry=static://", "'registry'"},
		{"gateway.terminationGracePeriodSeconds=5", "minimum: got 5, want 20"},
	} {
		if _, stderr, err := helmTemplate(t, "helm/shop", "--set", c.set); err == nil || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: error %v, want %q in\n%s", c.set, err, c.want, stderr)
		}
	}
	if _, stderr, _ := helmTemplate(t, "helm/shop", "--set", "postgresql.enabled=false,global.database.url=postgres://shop:secret@db.infra/shop"); strings.Contains(stderr, "secret@") {
		t.Errorf("a refused password is shown:\n%s", stderr)
	}
	if _, stderr, err := helmTemplate(t, "charts/service"); err == nil || !strings.Contains(stderr, "image.repository is empty: name the image") {
		t.Errorf("charts/service without an image: error %v\n%s", err, stderr)
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

// TestWhoReachesWhom reads the policies as a cluster that enforces them does.
// nobody is a pod of another namespace, guest one of the same that is no part of the shop.
func TestWhoReachesWhom(t *testing.T) {
	type flow struct {
		from, to, port string
	}
	allowed := map[flow]bool{
		{"gateway", "item", "rpc"}:                  true,
		{"gateway", "stock", "rpc"}:                 true,
		{"gateway", "activity", "rpc"}:              true,
		{"item", "stock", "rpc"}:                    true,
		{"stock", "activity", "rpc"}:                true,
		{"gateway", "zookeeper", "client"}:          true,
		{"item", "zookeeper", "client"}:             true,
		{"stock", "zookeeper", "client"}:            true,
		{"activity", "zookeeper", "client"}:         true,
		{"item", "postgresql", "postgresql"}:        true,
		{"stock", "postgresql", "postgresql"}:       true,
		{"gateway", "otel-collector", "otlp-http"}:  true,
		{"item", "otel-collector", "otlp-http"}:     true,
		{"stock", "otel-collector", "otlp-http"}:    true,
		{"activity", "otel-collector", "otlp-http"}: true,
		{"guest", "gateway", "http"}:                true,
		{"nobody", "gateway", "http"}:               true,
	}
	for _, from := range []string{"guest", "nobody"} { // who collects metrics
		for _, to := range rooms() {
			allowed[flow{from, to, "admin"}] = true
		}
		allowed[flow{from, "otel-collector", "metrics"}] = true
	}

	objects := render(t)
	names := []string{"guest", "nobody"}
	for _, w := range workloads(objects) {
		names = append(names, w.name())
	}
	flows := 0
	for _, from := range names {
		for _, w := range workloads(objects) {
			for _, port := range list(w, "spec", "template", "spec", "containers", 0, "ports") {
				f := flow{from, w.name(), text(port, "name")}
				if got := reaches(objects, f.from, w, port); got != allowed[f] {
					t.Errorf("%s reaches %s at %s: %t, want %t", f.from, f.to, f.port, got, allowed[f])
				}
				flows++
				delete(allowed, f)
			}
		}
	}
	if len(allowed) > 0 || flows == 0 {
		t.Errorf("flows that no pod has a port for: %v", slices.Collect(maps.Keys(allowed)))
	}
	for _, w := range workloads(objects) {
		if !denied(objects, w) {
			t.Errorf("no deny-all holds for %s", w.name())
		}
	}
}

// reaches tells whether the policies let a pod through to the port of a workload.
func reaches(objects []object, from string, to object, port any) bool {
	source := podLabelsOf(objects, from)
	target := labels(to, "spec", "template", "metadata", "labels")
	same := from != "nobody"
	ingress := matches(objects, target, "ingress", "from", source, same, port)
	if source == nil {
		return ingress
	}
	return ingress && matches(objects, source, "egress", "to", target, true, port)
}

// podLabelsOf gives nil for pods to which no policy of the shop applies.
func podLabelsOf(objects []object, name string) map[string]string {
	for _, w := range workloads(objects) {
		if w.name() == name {
			return labels(w, "spec", "template", "metadata", "labels")
		}
	}
	return nil
}

// matches tells whether a rule of a policy for pod lets peer use port.
func matches(objects []object, pod map[string]string, direction, side string, peer map[string]string, sameNamespace bool, port any) bool {
	for _, policy := range objects {
		if policy.kind() != "NetworkPolicy" || !covers(labels(policy, "spec", "podSelector", "matchLabels"), pod) {
			continue
		}
		for _, rule := range list(policy, "spec", direction) {
			if portAllowed(rule, port) && peerAllowed(list(rule, side), peer, sameNamespace) {
				return true
			}
		}
	}
	return false
}

func portAllowed(rule, port any) bool {
	ports := list(rule, "ports")
	for _, p := range ports {
		if p := at(p, "port"); p == at(port, "name") || p == at(port, "containerPort") {
			return true
		}
	}
	return len(ports) == 0
}

func peerAllowed(peers []any, pod map[string]string, sameNamespace bool) bool {
	for _, p := range peers {
		namespaces, pods := at(p, "namespaceSelector"), at(p, "podSelector")
		if namespaces != nil && len(labels(namespaces, "matchLabels")) > 0 {
			continue // by name: kube-system, where none of these pods is
		}
		if namespaces == nil && !sameNamespace {
			continue
		}
		if pods == nil || covers(labels(pods, "matchLabels"), pod) {
			return true
		}
	}
	return len(peers) == 0
}

// denied tells whether a policy without rules holds for the pods of w.
func denied(objects []object, w object) bool {
	for _, policy := range objects {
		if policy.kind() == "NetworkPolicy" && len(list(policy, "spec", "policyTypes")) == 2 &&
			at(policy, "spec", "ingress") == nil && at(policy, "spec", "egress") == nil &&
			covers(labels(policy, "spec", "podSelector", "matchLabels"), labels(w, "spec", "template", "metadata", "labels")) {
			return true
		}
	}
	return false
}
