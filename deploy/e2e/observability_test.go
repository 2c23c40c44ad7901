package e2e

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestTelemetryGoesToWhatIsThere(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set               string
		collector, jaeger string
	}{
		"all":                     {"", "http://otel-collector:4318", "jaeger:4317"},
		"no collector":            {"otel-collector.enabled=false", "", ""},
		"no observability":        {"observability.enabled=false", "http://otel-collector:4318", ""},
		"neither":                 {"otel-collector.enabled=false,observability.enabled=false", "", ""},
		"a collector elsewhere":   {"otel-collector.enabled=false,global.telemetry.collector=otel.infra:4318", "http://otel.infra:4318", ""},
		"a Jaeger elsewhere":      {"observability.enabled=false,global.telemetry.traces=jaeger.infra:4317", "http://otel-collector:4318", "jaeger.infra:4317"},
		"the collector's own way": {"otel-collector.traces.endpoint=tempo.infra:4317", "http://otel-collector:4318", "tempo.infra:4317"},
		"nothing is sent":         {"global.telemetry.collector=,global.telemetry.traces=", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			objects := render(t, "--set", c.set)
			for _, room := range rooms() {
				if got := labels(find(objects, "ConfigMap", room), "data")["OTEL_EXPORTER_OTLP_ENDPOINT"]; got != c.collector {
					t.Errorf("%s sends to %q, want %q", room, got, c.collector)
				}
			}
			got := ""
			for _, v := range list(find(objects, "Deployment", "otel-collector"), "spec", "template", "spec", "containers", 0, "env") {
				if text(v, "name") == "JAEGER_ENDPOINT" {
					got = text(v, "value")
				}
			}
			if got != c.jaeger {
				t.Errorf("the collector sends traces to %q, want %q", got, c.jaeger)
			}
		})
	}
}

func TestEveryPodSaysInItsTelemetryWhichItIs(t *testing.T) {
	t.Parallel()
	objects := render(t)
	for _, room := range rooms() {
		fields, attributes := map[string]string{}, ""
		for _, v := range list(find(objects, "Deployment", room), "spec", "template", "spec", "containers", 0, "env") {
			fields["$("+text(v, "name")+")"] = text(v, "valueFrom", "fieldRef", "fieldPath")
			if text(v, "name") == "OTEL_RESOURCE_ATTRIBUTES" {
				attributes = text(v, "value")
			}
		}
		got := map[string]string{}
		for pair := range strings.SplitSeq(attributes, ",") {
			name, value, _ := strings.Cut(pair, "=")
			got[name] = fields[value] // only variables that stand before it have a value
		}
		want := map[string]string{
			"service.instance.id": "metadata.name", "k8s.pod.name": "metadata.name",
			"k8s.pod.uid": "metadata.uid", "k8s.namespace.name": "metadata.namespace",
		}
		if !maps.Equal(got, want) {
			t.Errorf("%s says %v, want %v", room, got, want)
		}
	}
}

func TestTheCollectorMayReadThePodsOfItsNamespaceAndNothingElse(t *testing.T) {
	t.Parallel()
	objects := render(t)
	var rules []any
	for _, o := range objects {
		switch o.kind() {
		case "Role":
			rules = append(rules, list(o, "rules")...)
		case "ClusterRole", "ClusterRoleBinding":
			t.Errorf("%s %s holds for the whole cluster", o.kind(), o.name())
		}
	}
	got, err := json.Marshal(rules)
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"apiGroups":[""],"resources":["pods"],"verbs":["get","list","watch"]}]`; string(got) != want {
		t.Errorf("rules are %s, want %s", got, want)
	}
	binding := find(objects, "RoleBinding", "otel-collector")
	pod := at(find(objects, "Deployment", "otel-collector"), "spec", "template", "spec")
	account := text(pod, "serviceAccountName")
	if old := text(pod, "serviceAccount"); old != account {
		t.Errorf("the account has the old name %q: a rollback to charts without it would keep it", old)
	}
	if account == "" || account != text(binding, "subjects", 0, "name") || find(objects, "ServiceAccount", account) == nil {
		t.Errorf("the pod runs as %q, and the Role is bound to %v", account, list(binding, "subjects"))
	}
	for _, o := range render(t, "--set", "otel-collector.kubernetes.enabled=false") {
		if slices.Contains([]string{"Role", "RoleBinding", "ServiceAccount"}, o.kind()) {
			t.Errorf("without pod attributes there is still %s %s", o.kind(), o.name())
		}
	}
}

// TestNoDashboardAndNoRuleIsForgotten: a file that a glob misses is missed by nobody else.
func TestNoDashboardAndNoRuleIsForgotten(t *testing.T) {
	t.Parallel()
	objects := render(t)
	for folder, configMap := range map[string]string{"dashboards": "grafana-dashboards", "rules": "prometheus-rules"} {
		files, err := os.ReadDir(root + "/charts/observability/" + folder)
		if err != nil || len(files) == 0 {
			t.Fatalf("files of %s: %v, error %v", folder, files, err)
		}
		data := labels(find(objects, "ConfigMap", configMap), "data")
		for _, file := range files {
			content, err := os.ReadFile(root + "/charts/observability/" + folder + "/" + file.Name())
			if err != nil {
				t.Fatal(err)
			}
			if data[file.Name()] != string(content) {
				t.Errorf("%s/%s is not in %s as it is", folder, file.Name(), configMap)
			}
		}
		if len(data) != len(files) {
			t.Errorf("%s has %d files, want %d", configMap, len(data), len(files))
		}
	}
}

func TestPrometheusTakesItsConfigurationAndItsRules(t *testing.T) {
	t.Parallel()
	promtool := program(t, "promtool")
	objects := renderChart(t, "charts/observability")
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "rules"), 0o700); err != nil {
		t.Fatal(err)
	}
	config := strings.ReplaceAll(labels(find(objects, "ConfigMap", "prometheus"), "data")["prometheus.yml"], "/etc/prometheus", dir)
	files := map[string]string{"prometheus.yml": config}
	for name, content := range labels(find(objects, "ConfigMap", "prometheus-rules"), "data") {
		files["rules/"+name] = content
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	output, err := exec.Command(promtool, "check", "config", "--lint-fatal", filepath.Join(dir, "prometheus.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("promtool: %v\n%s", err, output)
	}
	if found := strings.Count(string(output), "rules found"); found != len(files)-1 {
		t.Errorf("promtool found rules in %d files, want %d:\n%s", found, len(files)-1, output)
	}
	var settings map[string]any
	if err := yaml.Unmarshal([]byte(config), &settings); err != nil {
		t.Fatal(err)
	}
	shop := at(settings, "scrape_configs", 0)
	if text(shop, "static_configs", 0, "targets", 0) != "otel-collector:8889" || at(shop, "honor_labels") != true {
		t.Errorf("the first job is %v; want the shop's metrics with the labels that they have", shop)
	}
}

func TestGrafanaKnowsPrometheusAndJaegerAndTheWayFromOneToTheOther(t *testing.T) {
	t.Parallel()
	objects := renderChart(t, "charts/observability")
	files := labels(find(objects, "ConfigMap", "grafana"), "data")
	var sources, boards map[string]any
	for file, into := range map[string]*map[string]any{"datasources.yaml": &sources, "dashboards.yaml": &boards} {
		if err := yaml.Unmarshal([]byte(files[file]), into); err != nil {
			t.Fatal(err)
		}
	}
	found := map[string]any{}
	for _, source := range list(sources, "datasources") {
		found[text(source, "uid")] = source
		host := strings.TrimPrefix(strings.Split(text(source, "url"), "//")[1], "//")
		name, port, _ := strings.Cut(host, ":")
		service := find(objects, "Service", name)
		if service == nil || port != jsonText(at(service, "spec", "ports", 0, "port")) {
			t.Errorf("the source %s is at %s, where no Service is", text(source, "name"), host)
		}
	}
	destination := at(found["prometheus"], "jsonData", "exemplarTraceIdDestinations", 0)
	if text(destination, "name") != "trace_id" || found[text(destination, "datasourceUid")] == nil {
		t.Errorf("an example leads to %v, want by trace_id to Jaeger", destination)
	}
	container := at(find(objects, "StatefulSet", "grafana"), "spec", "template", "spec", "containers", 0)
	mounts := map[string]string{}
	for _, m := range list(container, "volumeMounts") {
		mounts[text(m, "mountPath")] = text(m, "name")
	}
	if mounts[text(boards, "providers", 0, "options", "path")] != "dashboards" {
		t.Errorf("dashboards are looked for in %v, mounted is %v", at(boards, "providers", 0, "options"), mounts)
	}
}

func jsonText(value any) string {
	content, _ := json.Marshal(value)
	return string(content)
}

func TestPartsOfObservabilityAreLeftOutOneByOne(t *testing.T) {
	t.Parallel()
	for _, part := range []string{"prometheus", "jaeger", "grafana"} {
		for _, o := range renderChart(t, "charts/observability", "--set", part+".enabled=false") {
			if o.name() == part || strings.HasPrefix(o.name(), part+"-") {
				t.Errorf("without %s there is %s %s", part, o.kind(), o.name())
			}
		}
	}
	for _, o := range render(t, "--set", "observability.enabled=false") {
		if slices.Contains([]string{"prometheus", "jaeger", "grafana"}, o.name()) {
			t.Errorf("without observability there is %s %s", o.kind(), o.name())
		}
	}
}

func TestTheOperatorsObjectsAreMadeWhereItIs(t *testing.T) {
	t.Parallel()
	objects := renderChart(t, "charts/observability", "--set", "prometheusOperator.enabled=true,prometheusOperator.labels.release=mine,prometheus.enabled=false",
		"--api-versions", "monitoring.coreos.com/v1/ServiceMonitor")
	monitor := find(objects, "ServiceMonitor", "otel-collector")
	collector := find(render(t), "Service", "otel-collector")
	if !covers(labels(monitor, "spec", "selector", "matchLabels"), labels(collector, "metadata", "labels")) || labels(monitor, "metadata", "labels")["release"] != "mine" {
		t.Errorf("the ServiceMonitor %v does not find the collector's Service", monitor)
	}
	ports := map[string]bool{}
	for _, p := range list(collector, "spec", "ports") {
		ports[text(p, "name")] = true
	}
	for _, endpoint := range list(monitor, "spec", "endpoints") {
		if !ports[text(endpoint, "port")] {
			t.Errorf("the Service has no port %q", text(endpoint, "port"))
		}
	}
	groups := 0
	for _, o := range objects {
		if o.kind() == "PrometheusRule" {
			groups += len(list(o, "spec", "groups"))
		}
	}
	if groups == 0 {
		t.Error("no rule is given to the operator")
	}
}
