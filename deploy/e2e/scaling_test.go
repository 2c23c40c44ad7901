package e2e

import (
	"fmt"
	"maps"
	"strings"
	"testing"
)

func TestAnAutoscalerOwnsTheReplicas(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=4,gateway.autoscaling.maxReplicas=9,gateway.autoscaling.cpuPercent=55,gateway.replicas=7")
	deployment, scaler := find(objects, "Deployment", "gateway"), find(objects, "HorizontalPodAutoscaler", "gateway")
	if at(deployment, "spec", "replicas") != nil {
		t.Error("the Deployment sets replicas too, so that each upgrade would undo the scaling")
	}
	if target := labels(scaler, "spec", "scaleTargetRef"); text(scaler, "apiVersion") != "autoscaling/v2" ||
		!maps.Equal(target, map[string]string{"apiVersion": "apps/v1", "kind": "Deployment", "name": "gateway"}) {
		t.Errorf("it scales %v", target)
	}
	metric := at(scaler, "spec", "metrics", 0, "resource")
	got := fmt.Sprint(number(scaler, "spec", "minReplicas"), number(scaler, "spec", "maxReplicas"), text(metric, "name"), text(metric, "target", "type"), number(metric, "target", "averageUtilization"))
	if want := fmt.Sprint(4, 9, "cpu", "Utilization", 55); got != want {
		t.Errorf("it scales by %s, want %s", got, want)
	}
	for _, name := range []string{"item", "stock", "activity"} {
		if find(objects, "HorizontalPodAutoscaler", name) != nil {
			t.Errorf("%s is scaled too", name)
		}
	}
}

// TestADisruptionBudgetIsWhatWasChosen: one of the two numbers, and none for one replica.
func TestADisruptionBudgetIsWhatWasChosen(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"gateway.replicas=3": "1 <nil>",
		"gateway.replicas=1": "",
		"gateway.replicas=0": "",
		"gateway.replicas=1,gateway.disruption.minAvailable=1":                                    "",
		"gateway.replicas=3,gateway.disruption.minAvailable=2":                                    "<nil> 2",
		"gateway.replicas=3,gateway.disruption.maxUnavailable=2":                                  "2 <nil>",
		"gateway.replicas=3,gateway.disruption.minAvailable=50%":                                  "<nil> 50%",
		"gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=1,gateway.replicas=3":   "",
		"gateway.autoscaling.enabled=true,gateway.disruption.minAvailable=1,gateway.replicas=1":   "<nil> 1",
		"gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=3,gateway.replicas=100": "1 <nil>",
	} {
		objects := render(t, "--set", set)
		got := ""
		if budget := find(objects, "PodDisruptionBudget", "gateway"); budget != nil {
			got = fmt.Sprintf("%v %v", at(budget, "spec", "maxUnavailable"), at(budget, "spec", "minAvailable"))
			if selector := labels(budget, "spec", "selector", "matchLabels"); len(selector) == 0 ||
				!covers(selector, labels(find(objects, "Deployment", "gateway"), "spec", "template", "metadata", "labels")) {
				t.Errorf("%s: the budget is of other pods: %v", set, selector)
			}
		}
		if got != want {
			t.Errorf("%s: maxUnavailable and minAvailable are %q, want %q", set, got, want)
		}
	}
}

// TestPodsAreSpreadOverZonesAndNodes: each constraint counts the pods of one
// version of one service, so that a rolling update is spread, too.
func TestPodsAreSpreadOverZonesAndNodes(t *testing.T) {
	t.Parallel()
	spread := func(args ...string) string {
		var got []string
		pod := at(find(render(t, args...), "Deployment", "stock"), "spec", "template")
		for _, c := range list(pod, "spec", "topologySpreadConstraints") {
			if selector := labels(c, "labelSelector", "matchLabels"); len(selector) == 0 || !covers(selector, labels(pod, "metadata", "labels")) || text(c, "matchLabelKeys", 0) != "pod-template-hash" {
				t.Errorf("%v counts other pods", c)
			}
			got = append(got, fmt.Sprint(text(c, "topologyKey"), " ", number(c, "maxSkew"), " ", text(c, "whenUnsatisfiable")))
		}
		return strings.Join(got, ", ")
	}
	for want, args := range map[string][]string{
		"topology.kubernetes.io/zone 1 ScheduleAnyway, kubernetes.io/hostname 1 ScheduleAnyway": nil,
		"topology.kubernetes.io/zone 1 DoNotSchedule, kubernetes.io/hostname 1 DoNotSchedule":   {"--set", "stock.spread.whenUnsatisfiable=DoNotSchedule"},
		"kubernetes.io/hostname 1 ScheduleAnyway":                                               {"--set", "stock.spread.topologyKeys={kubernetes.io/hostname}"},
		"": {"--set-json", "stock.spread.topologyKeys=[]"},
	} {
		if got := spread(args...); got != want {
			t.Errorf("%v: spread %q, want %q", args, got, want)
		}
	}
}

func TestAPriorityIsThatOfItsServiceAlone(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "stock.priorityClassName=sells")
	for _, name := range rooms() {
		want := ""
		if name == "stock" {
			want = "sells"
		}
		if got := text(find(objects, "Deployment", name), "spec", "template", "spec", "priorityClassName"); got != want {
			t.Errorf("%s has the priority %q, want %q", name, got, want)
		}
	}
}

func TestScalingThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=7":          "gateway.autoscaling: minReplicas is 7, and maxReplicas must be as many or more; it is 6",
		"gateway.autoscaling.enabled=true,gateway.resources.requests.cpu=":            "does not match pattern",
		"gateway.autoscaling.enabled=true,gateway.resources.requests.cpu=null":        "nothing is requested: --set gateway.resources.requests.cpu=100m",
		"gateway.autoscaling.minReplicas=0":                                           "minimum: got 0, want 1",
		"gateway.autoscaling.maxReplicas=1000":                                        "maximum: got 1,000, want 100",
		"gateway.autoscaling.cpuPercent=0":                                            "minimum: got 0, want 1",
		"gateway.autoscaling.memoryPercent=80":                                        "additional properties 'memoryPercent' not allowed",
		"gateway.disruption.minAvailable=1,gateway.disruption.maxUnavailable=1":       "maxProperties: got 2, want 1",
		"gateway.disruption.maxUnavailable=0":                                         "minimum: got 0, want 1",
		"gateway.disruption.minAvailable=100%":                                        "does not match pattern",
		"gateway.disruption.minAvailable=2":                                           "gateway has 2 replicas, and disruption.minAvailable is 2: no node that runs one could be emptied. It may be 1 at most",
		"gateway.spread.whenUnsatisfiable=Never":                                      "value must be one of 'ScheduleAnyway', 'DoNotSchedule'",
		"gateway.spread.topologyKeys={kubernetes.io/hostname,kubernetes.io/hostname}": "items at 0 and 1 are equal",
		"gateway.priorityClassName=High Priority":                                     "does not match pattern",
		"activity.replicas=2":                                                         "maximum: got 2, want 1",
		"activity.autoscaling.enabled=true":                                           "'/activity/autoscaling/enabled'",
		"gateway.autoscaling.enabled=true,gateway.disruption.minAvailable=2":          "gateway has 2 replicas, and disruption.minAvailable is 2",
	} {
		if _, stderr, err := helmTemplate(t, "helm/shop", "--set", set); err == nil || !strings.Contains(stderr, want) {
			t.Errorf("%s: error %v, want %q in\n%s", set, err, want, stderr)
		}
	}
}

// TestProductionOutlivesANode: what customers see runs three times, on nodes of
// its own if there are as many, and no more than one of three is taken away at once.
func TestProductionOutlivesANode(t *testing.T) {
	t.Parallel()
	objects := render(t, shapes()["prod"]...)
	for _, name := range []string{"item", "stock", "gateway", "zookeeper"} {
		w := workload(t, objects, name)
		replicas := number(w, "spec", "replicas")
		if scaler := find(objects, "HorizontalPodAutoscaler", name); scaler != nil {
			replicas = number(scaler, "spec", "minReplicas")
		}
		if replicas != 3 {
			t.Errorf("%s runs %d times, want 3", name, replicas)
		}
		if budget := find(objects, "PodDisruptionBudget", name); number(budget, "spec", "maxUnavailable") != 1 {
			t.Errorf("%s: the disruption budget is %v", name, at(budget, "spec"))
		}
		if keys := list(w, "spec", "template", "spec", "topologySpreadConstraints"); len(keys) != 2 || text(keys[1], "topologyKey") != "kubernetes.io/hostname" {
			t.Errorf("%s is not spread over nodes: %v", name, keys)
		}
	}
	if scaler := find(objects, "HorizontalPodAutoscaler", "gateway"); number(scaler, "spec", "maxReplicas") != 12 {
		t.Errorf("the gateway's autoscaler: %v", at(scaler, "spec"))
	}
	for _, name := range []string{"item", "stock"} {
		if find(objects, "HorizontalPodAutoscaler", name) != nil {
			t.Errorf("%s is scaled, and so are the connections to the database", name)
		}
		if demo := text(find(objects, "ConfigMap", name), "data", "KITESHOP_DEMO"); demo != "false" {
			t.Errorf("%s has demo data: %s", name, demo)
		}
	}
	if find(objects, "StatefulSet", "postgresql") != nil || find(objects, "Secret", outside) != nil {
		t.Error("the chart makes the database, or its Secret")
	}
	if _, stderr, err := helmTemplate(t, "helm/shop", append(shapes()["prod"], "--set", "global.database.urlSecret=")...); err == nil || !strings.Contains(stderr, "say where PostgreSQL is") {
		t.Errorf("without a database: error %v\n%s", err, stderr)
	}
}

// TestARegistryThatRunsElsewhereMustBeNamed holds of values-etcd.yaml and values-nacos.yaml.
func TestARegistryThatRunsElsewhereMustBeNamed(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"etcd", "nacos"} {
		if _, stderr, err := helmTemplate(t, "helm/shop", "-f", "helm/shop/values-"+kind+".yaml"); err == nil || !strings.Contains(stderr, "missing property 'address'") {
			t.Errorf("%s without an address: error %v\n%s", kind, err, stderr)
		}
	}
}

// TestDevelopmentKeepsNothingAndWaitsForNobody holds of values-dev.yaml.
func TestDevelopmentKeepsNothingAndWaitsForNobody(t *testing.T) {
	t.Parallel()
	objects := render(t, shapes()["dev"]...)
	for _, o := range objects {
		if kind := o.kind(); kind == "PersistentVolumeClaim" || kind == "HorizontalPodAutoscaler" || kind == "PodDisruptionBudget" || at(o, "spec", "volumeClaimTemplates") != nil {
			t.Errorf("there is a %s %s", kind, o.name())
		}
	}
	for _, name := range rooms() {
		deployment := find(objects, "Deployment", name)
		if replicas := number(deployment, "spec", "replicas"); replicas != 1 {
			t.Errorf("%s runs %d times", name, replicas)
		}
		settings := labels(find(objects, "ConfigMap", name), "data")
		if settings["KITESHOP_LOG_LEVEL"] != "debug" || settings["KITESHOP_STOP_TIMEOUT"] != "1s" || at(deployment, "spec", "template", "spec", "containers", 0, "lifecycle") != nil {
			t.Errorf("%s: %v", name, settings)
		}
	}
}
