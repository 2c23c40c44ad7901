package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestKindBringsTheGatewayToThisMachineAlone: the node's port is that of the
// Service, and whoever is not on this machine finds nothing.
func TestKindBringsTheGatewayToThisMachineAlone(t *testing.T) {
	t.Parallel()
	gateway := find(render(t, "-f", kindFolder(t)+"/values.yaml"), "Service", "gateway")
	port := at(gateway, "spec", "ports", 0)
	if text(gateway, "spec", "type") != "NodePort" || number(port, "nodePort") == 0 {
		t.Errorf("the gateway's Service is %v", at(gateway, "spec"))
	}
	mappings := list(kindConfig(t), "nodes", 0, "extraPortMappings")
	if len(mappings) != 1 || number(mappings[0], "containerPort") != number(port, "nodePort") ||
		number(mappings[0], "hostPort") != number(port, "port") || text(mappings[0], "listenAddress") != "127.0.0.1" {
		t.Errorf("kind maps %v, the Service has %v", mappings, port)
	}
}

// TestKindHasPlacesToSpreadOver: as many nodes as values-prod.yaml has replicas, in
// more than one zone, by the label that the charts spread by.
func TestKindHasPlacesToSpreadOver(t *testing.T) {
	t.Parallel()
	spread := list(find(render(t), "Deployment", "stock"), "spec", "template", "spec", "topologySpreadConstraints")
	var zones []string
	for _, node := range list(kindConfig(t), "nodes") {
		if text(node, "role") == "worker" {
			zones = append(zones, labels(node, "labels")[text(spread, 0, "topologyKey")])
		}
	}
	if len(zones) != 3 || slices.Contains(zones, "") || len(slices.Compact(slices.Sorted(slices.Values(zones)))) < 2 {
		t.Errorf("the zones of the workers are %q", zones)
	}
}

func TestANodePortOfAServiceInsideIsRefused(t *testing.T) {
	t.Parallel()
	if _, stderr, err := helmTemplate(t, "helm/shop", "--set", "gateway.service.nodePort=30889"); err == nil || !strings.Contains(stderr, "value must be one of 'NodePort', 'LoadBalancer'") {
		t.Errorf("error %v\n%s", err, stderr)
	}
}

func kindFolder(t *testing.T) string {
	t.Helper()
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return here + "/" + root + "/deploy/kind" // helm runs in another folder
}

func kindConfig(t *testing.T) map[string]any {
	t.Helper()
	file, err := os.ReadFile(kindFolder(t) + "/kind.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var config map[string]any
	if err := yaml.Unmarshal(file, &config); err != nil {
		t.Fatal(err)
	}
	return config
}
