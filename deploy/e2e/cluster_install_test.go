//go:build cluster

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// refuseValues tries what only a cluster can tell.
func (c *cluster) refuseValues() (string, error) {
	if _, err := runWith(`{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"`+namespace+
		`","labels":{"pod-security.kubernetes.io/enforce":"restricted"}}}`, "kubectl", "apply", "--filename", "-"); err != nil {
		return "", err
	}
	var seen []string
	for _, mistake := range []struct{ set, want string }{
		{"item.storage.kind=persistent,item.storage.storageClass=fast", `the storage class "fast" does not exist`},
		{"postgresql.storage.storageClass=fast", `the storage class "fast" does not exist`},
		{"postgresql.auth.secret=mine,global.database.secret=mine", `The Secret "mine" is not in the namespace`},
		{"postgresql.enabled=false,global.database.urlSecret=mine", `names the Secret "mine", which is not in the namespace`},
		{"zookeeper.auth.secret=mine", `The Secret "mine" is not in the namespace`},
		{"global.registry.secret=mine", `names the Secret "mine", which is not in the namespace`},
		{"item.replicas=2,item.storage.kind=persistent", "maximum: got 2, want 1"},
	} {
		line, err := refused(mistake.want, "helm", "install", "shop", "helm/shop", "--namespace", namespace, "--set", mistake.set)
		if err != nil {
			return "", err
		}
		seen = append(seen, line)
	}
	return seen[0], nil
}

func (c *cluster) install() (string, error) {
	start := time.Now()
	if _, err := c.helm("install", "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	installed := time.Since(start)
	shop, stop, err := forward("svc/gateway", "8889")
	if err != nil {
		return "", err
	}
	defer stop()
	status, body, err := send("GET", shop+"/api/item?id=1024", "", "")
	if err == nil && (status != http.StatusOK || !strings.Contains(body, `"stock":100`)) {
		err = fmt.Errorf("the first answer is %d %s", status, body)
	}
	took := time.Since(start)
	return fmt.Sprintf("installed after %.1f s, item 1024 answered after %.1f s", installed.Seconds(), took.Seconds()), err
}

// helm installs or upgrades the shop.
func (c *cluster) helm(command string, options ...string) (string, error) {
	args := append([]string{command, "shop", "helm/shop", "--namespace", namespace}, c.without...)
	return run("helm", append(args, options...)...)
}

// forward makes a port of a pod or service reachable.
func forward(target, port string) (url string, stop func(), err error) {
	return forwardIn(namespace, target, port)
}

func forwardIn(namespace, target, port string) (url string, stop func(), err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	address := ln.Addr().String()
	_, local, _ := net.SplitHostPort(address)
	ln.Close()
	cmd := exec.Command("kubectl", "port-forward", "--namespace", namespace, target, local+":"+port)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if conn, err := net.Dial("tcp", address); err == nil {
			conn.Close()
			return "http://" + address, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("kubectl port-forward %s: %s", target, output.String())
}

func send(method, url, contentType, body string) (status int, answer string, err error) {
	request, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := (&http.Client{Timeout: 30 * time.Second}).Do(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return response.StatusCode, string(content), err
}

// startToReady reads the times from the pods; Kubernetes tells whole seconds.
func (c *cluster) startToReady() (string, error) {
	var seen []string
	for _, room := range rooms() {
		output, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name="+room, "--output", "json")
		if err != nil {
			return "", err
		}
		var pods struct {
			Items []struct {
				Status struct {
					Conditions []struct {
						Type               string
						LastTransitionTime time.Time
					}
					ContainerStatuses []struct {
						RestartCount int
						State        struct{ Running struct{ StartedAt time.Time } }
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(output), &pods); err != nil {
			return "", err
		}
		for _, pod := range pods.Items {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == "Ready" {
					status := pod.Status.ContainerStatuses[0]
					seen = append(seen, fmt.Sprintf("%s %.0f s, %d restarts", room,
						condition.LastTransitionTime.Sub(status.State.Running.StartedAt).Seconds(), status.RestartCount))
				}
			}
		}
	}
	return strings.Join(seen, "; "), unrestarted()
}

// unrestarted demands that no process of ours has ended by itself: they wait for
// a database that is not there.
func unrestarted() error {
	counts, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name in (item,stock,gateway)",
		"--output", `jsonpath={range .items[*]}{.status.containerStatuses[0].restartCount} {end}`)
	if err == nil && strings.Trim(counts, "0 ") != "" {
		err = fmt.Errorf("pods of item, stock and gateway were restarted: %s", counts)
	}
	return err
}

// requests are the README's curl lines, against what they are to answer.
func (c *cluster) requests() (string, error) {
	shop, stop, err := forward("svc/gateway", "8889")
	if err != nil {
		return "", err
	}
	defer stop()
	products, err := os.ReadFile(filepath.Join(root, "services/e2e/testdata/products.csv"))
	if err != nil {
		return "", err
	}
	const jsonType = "application/json"
	requests := []struct {
		method, path, contentType, body string
		status                          int
		want                            string
	}{
		{"GET", "/api/item?id=1024", "", "", 200, `"id":1024`},
		{"POST", "/api/v1/items", jsonType, `{"title":"Straw Hat","price":{"amount":1999,"currency":"EUR"}}`, 201, `"title":"Straw Hat"`},
		{"POST", "/api/v1/imports", "text/csv", string(products), 200, `"created":`},
		{"GET", "/api/v1/items?q=shirt&limit=5", "", "", 200, `"items":[{`},
		{"POST", "/api/v1/stock/1024/movements", jsonType, `{"delta":5,"reason":"received","reference":"PO-7"}`, 201, `"delta":5`},
		{"GET", "/api/v1/stock/1024", "", "", 200, `"on_hand":105`},
	}
	for _, r := range requests {
		status, body, err := send(r.method, shop+r.path, r.contentType, r.body)
		if err != nil {
			return "", err
		}
		if status != r.status || !strings.Contains(body, r.want) {
			return "", fmt.Errorf("%s %s was answered %d %s", r.method, r.path, status, body)
		}
	}
	return fmt.Sprintf("%d answered as documented", len(requests)), nil
}

func (c *cluster) helmTest() (string, error) {
	output, err := run("helm", "test", "shop", "--namespace", namespace)
	if err == nil && !strings.Contains(output, "Succeeded") {
		err = fmt.Errorf("helm test said %s", output)
	}
	return "created an item, received stock, sold some, read the item and the ledger back", err
}

func (c *cluster) refuseSecond() (string, error) {
	return refused(`has a Service "`, "helm", "install", "second", "helm/shop", "--namespace", namespace)
}
