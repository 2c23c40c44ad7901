//go:build cluster

package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

// checked is the namespace in which renderings are checked, and nothing is made.
const checked = "kiteshop-e2e-checked"

// renderings are the shapes, and what values turn on beyond them. What a Prometheus
// operator takes is not among them: its kinds are known where it is installed.
func renderings(t *testing.T) map[string][]string {
	t.Helper()
	all := maps.Clone(shapes())
	all["manifest"] = minimalManifest
	all["kind"] = []string{"-f", kindFolder(t) + "/values.yaml"}
	for name, set := range map[string]string{
		"autoscaling":           "gateway.autoscaling.enabled=true,item.autoscaling.enabled=true,stock.autoscaling.enabled=true",
		"disruption":            "gateway.replicas=3,gateway.disruption.minAvailable=50%,item.replicas=3,item.disruption.maxUnavailable=2,stock.replicas=3,stock.disruption.minAvailable=2",
		"spread":                "stock.spread.whenUnsatisfiable=DoNotSchedule,item.spread.topologyKeys={kubernetes.io/hostname}",
		"priorities":            "gateway.priorityClassName=a,stock.priorityClassName=b,zookeeper.priorityClassName=c,postgresql.priorityClassName=d,otel-collector.priorityClassName=e,observability.priorityClassName=f",
		"ensemble":              "zookeeper.servers=3",
		"load balancer":         "gateway.service.type=LoadBalancer,gateway.service.nodePort=30889,gateway.service.annotations.a=b",
		"nobody is kept out":    "gateway.networkPolicy.enabled=false,item.networkPolicy.enabled=false,zookeeper.networkPolicy.enabled=false",
		"volumes that stay":     "postgresql.storage.keep=true,zookeeper.storage.keep=true,observability.prometheus.storage.kind=persistent,observability.jaeger.storage.kind=persistent,observability.grafana.storage.kind=persistent",
		"places":                "item.nodeSelector.disk=fast,item.tolerations[0].key=shop,item.tolerations[0].operator=Exists,item.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].weight=1,item.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].key=disk,item.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].preference.matchExpressions[0].operator=Exists",
		"images by credentials": "item.imagePullSecrets[0].name=mine,zookeeper.imagePullSecrets[0].name=mine,observability.imagePullSecrets[0].name=mine,smoke.imagePullSecrets[0].name=mine",
		"a database by its URL": "postgresql.enabled=false,global.database.url=postgres://shop@db:5432/shop,global.database.secret=mine",
	} {
		all[name] = []string{"--set", set}
	}
	return all
}

// TestTheClusterKnowsEveryField has the API server check each rendering as it
// would before it stores it. A field that it does not know fails, and so does a
// pod that would not be admitted where the namespace is restricted.
func TestTheClusterKnowsEveryField(t *testing.T) {
	remove := func() {
		_, _ = run("kubectl", "delete", "namespace", checked, "--ignore-not-found", "--timeout", "120s")
	}
	remove()
	t.Cleanup(remove)
	if _, err := runWith(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+checked+
		`","labels":{"pod-security.kubernetes.io/warn":"restricted"}}}`, "kubectl", "create", "--filename", "-"); err != nil {
		t.Fatal(err)
	}
	for name, args := range renderings(t) {
		t.Run(name, func(t *testing.T) {
			rendered, stderr, err := helmTemplate(t, "helm/shop", args...)
			if err != nil {
				t.Fatalf("%v\n%s", err, stderr)
			}
			if err := known(rendered); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("a field in the wrong place", func(t *testing.T) {
		rendered, stderr, err := helmTemplate(t, "helm/shop")
		if err != nil {
			t.Fatalf("%v\n%s", err, stderr)
		}
		// A container's field, at the pod.
		wrong := strings.Replace(rendered, "enableServiceLinks: false", "enableServiceLinks: false\n      imagePullPolicy: Always", 1)
		if err := known(wrong); err == nil || !strings.Contains(err.Error(), `unknown field "spec.template.spec.imagePullPolicy"`) {
			t.Errorf("it was not refused as unknown: %v", err)
		}
	})
}

// known has the API server check what was rendered, and make nothing.
func known(rendered string) error {
	seen, err := runWith(rendered, "kubectl", "apply", "--namespace", checked, "--dry-run=server", "--validate=strict", "--filename", "-")
	if err == nil && strings.Contains(seen, "Warning:") {
		err = fmt.Errorf("the API server warns:\n%s", seen)
	}
	return err
}
