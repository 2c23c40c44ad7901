package e2e

import (
	"maps"
	"slices"
	"testing"
)

// TestWhoReachesWhom reads the policies as a cluster that enforces them does.
// nobody is a pod of another namespace, guest one of the same that is no part of the shop.
func TestWhoReachesWhom(t *testing.T) {
	type flow struct {
		from, to, port string
	}
	allowed := map[flow]bool{
		{"gateway", "item", "rpc"}:                       true,
		{"gateway", "stock", "rpc"}:                      true,
		{"gateway", "activity", "rpc"}:                   true,
		{"item", "stock", "rpc"}:                         true,
		{"stock", "activity", "rpc"}:                     true,
		{"gateway", "zookeeper", "client"}:               true,
		{"item", "zookeeper", "client"}:                  true,
		{"stock", "zookeeper", "client"}:                 true,
		{"activity", "zookeeper", "client"}:              true,
		{"item", "postgresql", "postgresql"}:             true,
		{"stock", "postgresql", "postgresql"}:            true,
		{"gateway", "otel-collector", "otlp-http"}:       true,
		{"item", "otel-collector", "otlp-http"}:          true,
		{"stock", "otel-collector", "otlp-http"}:         true,
		{"activity", "otel-collector", "otlp-http"}:      true,
		{"otel-collector", "jaeger", "otlp-grpc"}:        true,
		{"prometheus", "otel-collector", "metrics"}:      true,
		{"prometheus", "otel-collector", "shop-metrics"}: true,
		{"prometheus", "jaeger", "metrics"}:              true,
		{"grafana", "prometheus", "http"}:                true,
		{"grafana", "jaeger", "http"}:                    true,
		{"guest", "gateway", "http"}:                     true,
		{"nobody", "gateway", "http"}:                    true,
		{"guest", "grafana", "http"}:                     true,
		{"nobody", "grafana", "http"}:                    true,
	}
	for _, from := range []string{"guest", "nobody"} { // who collects metrics
		for _, to := range rooms() {
			allowed[flow{from, to, "admin"}] = true
		}
		allowed[flow{from, "otel-collector", "metrics"}] = true
		allowed[flow{from, "otel-collector", "shop-metrics"}] = true
		allowed[flow{from, "jaeger", "metrics"}] = true
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

// TestTheRegistryIsReached: Nacos's clients talk to it 1000 ports above its address.
func TestTheRegistryIsReached(t *testing.T) {
	t.Parallel()
	for shape, want := range map[string][]int{"etcd": {2379}, "nacos": {8848, 9848}} {
		objects := render(t, shapes()[shape]...)
		for _, room := range rooms() {
			for _, port := range want {
				if !matches(objects, podLabelsOf(objects, room), "egress", "to", nil, false, map[string]any{"containerPort": port}) {
					t.Errorf("%s: %s may not reach the port %d", shape, room, port)
				}
			}
		}
	}
}
