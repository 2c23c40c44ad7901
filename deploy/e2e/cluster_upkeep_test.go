//go:build cluster

package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// restart deletes the pods that have the data.
func (c *cluster) restart() (string, error) {
	if _, err := run("kubectl", "delete", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name in (item,stock)"); err != nil {
		return "", err
	}
	if err := rolledOut(namespace, "deployment/item", "deployment/stock"); err != nil {
		return "", err
	}
	return still105()
}

// rolledOut waits until every pod is ready.
func rolledOut(namespace string, targets ...string) error {
	for _, target := range targets {
		if _, err := run("kubectl", "rollout", "status", "--namespace", namespace, target, "--timeout", "120s"); err != nil {
			return err
		}
	}
	return nil
}

// still105 asks for the units of item 1024, of which an answer from memory may be old.
func still105() (string, error) {
	shop, stop, err := forward("svc/gateway", "8889")
	if err != nil {
		return "", err
	}
	defer stop()
	var last string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		_, last, err = send("GET", shop+"/api/item?id=1024", "", "")
		if err == nil && strings.Contains(last, `"stock":105`) {
			return "item 1024 still has its 105 units", nil
		}
	}
	return "", fmt.Errorf("item 1024 is %s, error %w", last, err)
}

// deleteUnderLoad deletes a pod of a room while units are sold, and then audits the books.
func (c *cluster) deleteUnderLoad(room string) (string, error) {
	shop, stop, err := forward("svc/gateway", "8889")
	if err != nil {
		return "", err
	}
	defer stop()
	load, err := startSales(shop)
	if err != nil {
		return "", err
	}
	time.Sleep(5 * time.Second)
	err = deleteOne(room)
	time.Sleep(5 * time.Second)
	seen, loadErr := load.end()
	if err := errors.Join(err, loadErr, unrestarted()); err != nil {
		return "", err
	}
	_, err = still105()
	return seen, err
}

// deleteOne deletes a pod and waits until its room is complete again.
func deleteOne(room string) error {
	pods, err := podsOf(room)
	if err != nil || len(pods) == 0 {
		return fmt.Errorf("%s has %d pods, error %w", room, len(pods), err)
	}
	if _, err := run("kubectl", "delete", "pod", "--namespace", namespace, pods[0]); err != nil {
		return err
	}
	target := "deployment/" + room
	if room == "postgresql" {
		target = "statefulset/" + room
	}
	return rolledOut(namespace, target, "deployment/item", "deployment/stock")
}

func (c *cluster) memory() (string, error) {
	output, _ := run("kubectl", "top", "pods", "--namespace", namespace, "--no-headers")
	seen := []string{"in MiB where the cluster measures it"}
	for line := range strings.Lines(output) {
		if fields := strings.Fields(line); len(fields) == 3 && strings.HasSuffix(fields[2], "Mi") {
			seen = append(seen, fields[0]+" "+fields[2])
		}
	}
	return strings.Join(seen, ", "), nil
}

// refuseLoss tries an upgrade that would take the volume of the database away.
func (c *cluster) refuseLoss() (string, error) {
	return refused("its volume would be deleted", "helm", "upgrade", "shop", "helm/shop", "--namespace", namespace, "--values", "helm/shop/values-sqlite.yaml")
}

// minimal installs the smallest shop, which keeps files, and tries what would lose them.
func (c *cluster) minimal() (string, error) {
	if _, err := run("helm", "install", "shop", "helm/shop", "--namespace", files, "--create-namespace",
		"--values", "helm/shop/values-minimal.yaml", "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	if _, err := run("kubectl", "delete", "pods", "--namespace", files, "--selector", "app.kubernetes.io/name in (item,stock)"); err != nil {
		return "", err
	}
	if err := rolledOut(files, "deployment/item", "deployment/stock"); err != nil {
		return "", err
	}
	if _, err := run("helm", "test", "shop", "--namespace", files); err != nil {
		return "", err
	}
	if _, err := refused("has its data in a SQLite file", "helm", "upgrade", "shop", "helm/shop", "--namespace", files, "--reset-values"); err != nil {
		return "", err
	}
	_, err := run("helm", "uninstall", "shop", "--namespace", files, "--wait", "--timeout", "3m")
	return "helm test passed after item and stock were deleted; an upgrade to an empty PostgreSQL is refused", err
}

// external installs charts/postgresql alone, and a shop that knows it by a URL in a Secret.
func (c *cluster) external() (string, error) {
	if err := databaseIn(elsewhere); err != nil {
		return "", err
	}
	if _, err := run("helm", "install", "shop", "helm/shop", "--namespace", elsewhere, "--values", "helm/shop/values-dev.yaml", "--values", "helm/shop/values-static.yaml",
		"--set", "item.storage.kind=database,stock.storage.kind=database,global.database.urlSecret="+outside, "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	_, err := run("helm", "test", "shop", "--namespace", elsewhere)
	return "helm test passed with the URL from a Secret", err
}

// unreachable installs a shop whose registry is not there.
func (c *cluster) unreachable() (string, error) {
	if _, err := run("helm", "install", "shop", "helm/shop", "--namespace", lost, "--create-namespace",
		"--values", "helm/shop/values-dev.yaml", "--set", "zookeeper.enabled=false,otel-collector.enabled=false,global.registry.user=,global.registry.address=nowhere:2181"); err != nil {
		return "", err
	}
	for _, room := range rooms() {
		if _, err := run("kubectl", "wait", "--namespace", lost, "pod", "--selector", "app.kubernetes.io/name="+room,
			"--for", "jsonpath={.status.containerStatuses[0].started}=true", "--timeout", "60s"); err != nil {
			return "", err
		}
	}
	time.Sleep(30 * time.Second) // long enough for the liveness probes to have failed
	states, err := run("kubectl", "get", "pods", "--namespace", lost, "--output",
		`jsonpath={range .items[*]}{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}{"\n"}{end}`)
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(strings.ReplaceAll(states, "false 0\n", "")) != "" {
		return "", fmt.Errorf("ready and restarts are %q; want every pod unready and none restarted", states)
	}
	admin, stop, err := forwardIn(lost, "deployment/item", "9888")
	if err != nil {
		return "", err
	}
	defer stop()
	status, body, err := send("GET", admin+"/readyz", "", "")
	if err == nil && (status != http.StatusServiceUnavailable || !strings.Contains(body, "nowhere")) {
		err = fmt.Errorf("item's /readyz is %d %s", status, body)
	}
	return "no pod restarted; item says " + strings.TrimSpace(body), err
}

func (c *cluster) uninstall() (string, error) {
	if _, err := run("helm", "uninstall", "shop", "--namespace", namespace, "--wait", "--timeout", "3m"); err != nil {
		return "", err
	}
	var left string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		var err error
		left, err = run("kubectl", "get", "all,configmap,secret,pvc,networkpolicy,pdb,hpa", "--namespace", namespace,
			"--field-selector", "metadata.name!=kube-root-ca.crt", "--output", "name")
		if err != nil {
			return "", err
		}
		if left == "" {
			return "no object and no volume is left", nil
		}
	}
	return "", fmt.Errorf("left: %s", left)
}
