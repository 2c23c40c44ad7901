package e2e

import (
	"regexp"
	"testing"
)

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
		{[]any{"automountServiceAccountToken"}, text(spec, "serviceAccountName") == "otel-collector"}, // who asks whose pods there are
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

// outside and outsideKeys are the Secrets that whoever installs values-prod.yaml
// makes, with outsideKey, which is helm test's.
const outside, outsideKeys, outsideKey = "shop-database", "shop-api-keys", "shop-test-key"

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
			if name := text(volume, path...); name != "" && name != outside && name != outsideKeys && find(objects, kind, name) == nil {
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
