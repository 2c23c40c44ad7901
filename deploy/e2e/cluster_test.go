//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

const (
	namespace = "kiteshop-e2e"
	// lost is a namespace whose shop cannot reach its registry.
	lost = "kiteshop-e2e-lost"
	// files is one whose shop keeps SQLite files.
	files = "kiteshop-e2e-files"
	// elsewhere is one whose shop has its database from another release.
	elsewhere = "kiteshop-e2e-elsewhere"
	// version is the chart's appVersion, which the images are tagged with.
	version = "0.1.0"
	// maxImage and maxPacked bound an image, in bytes, unpacked and compressed.
	maxImage  = 55e6
	maxPacked = 25e6
)

// TestCluster installs the shop on the cluster that KUBECONFIG names, tries it,
// and takes it away. Its steps build on each other: the first failure is the last step.
func TestCluster(t *testing.T) {
	c := &cluster{t: t}
	t.Cleanup(c.report)
	t.Cleanup(c.clean)
	c.clean()

	c.step("tools and cluster", c.tools)
	c.step("images are built, once for all", c.buildImages)
	c.step("an image for no service is refused", c.refuseEmptyService)
	if !testing.Short() { // it compiles everything once more
		c.step("binaries are the same when built again", c.buildAgain)
	}
	c.step("others' images are there", c.thirdParty)
	c.step("images are loaded", c.load)
	c.step("values with mistakes are refused", c.refuseValues)
	c.step("install to first answer", c.install)
	c.step("container start to ready", c.startToReady)
	c.step("the README's requests", c.requests)
	c.step("helm test", c.helmTest)
	c.step("a second release here is refused", c.refuseSecond)
	c.step("what was acknowledged survives the pods", c.restart)
	c.step("a pod of stock is deleted under load", func() (string, error) { return c.deleteUnderLoad("stock") })
	c.step("the database is deleted under load", func() (string, error) { return c.deleteUnderLoad("postgresql") })
	c.step("upgrade under load", c.upgrade)
	c.step("rollback", c.rollback)
	c.step("memory in use", c.memory)
	c.step("the volume of the database is not deleted by mistake", c.refuseLoss)
	c.step("uninstall leaves nothing", c.uninstall)
	c.step("an unreachable registry", c.unreachable)
	c.step("the minimal shop, with files", c.minimal)
	c.step("a database of elsewhere", c.external)
}

type cluster struct {
	t     *testing.T
	table []string
}

// step does one thing and notes what was seen, which do returns.
func (c *cluster) step(name string, do func() (string, error)) {
	c.t.Helper()
	start := time.Now()
	seen, err := do()
	took := time.Since(start).Round(100 * time.Millisecond)
	result := "ok"
	if err != nil {
		result, seen = "FAILED", strings.SplitN(err.Error(), "\n", 2)[0]
	}
	c.table = append(c.table, fmt.Sprintf("%s\t%s\t%s\t%s", name, took, result, seen))
	c.t.Logf("%s: %s after %s: %s", name, result, took, seen)
	if err != nil {
		c.diagnose()
		c.t.Fatalf("%s: %v", name, err)
	}
}

func (c *cluster) report() {
	var out bytes.Buffer
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "STEP\tTOOK\tRESULT\tSEEN")
	for _, line := range c.table {
		fmt.Fprintln(w, line)
	}
	w.Flush()
	fmt.Printf("\n%s\n", out.String())
}

// diagnose logs what the cluster says of the pods.
func (c *cluster) diagnose() {
	for _, args := range [][]string{
		{"get", "pods,pvc,events", "--namespace", namespace, "--output", "wide"},
		{"logs", "--namespace", namespace, "--selector", "app.kubernetes.io/part-of=kiteshop", "--tail", "20", "--prefix"},
	} {
		output, _ := run("kubectl", args...)
		c.t.Logf("kubectl %s\n%s", strings.Join(args, " "), output)
	}
}

func (c *cluster) clean() {
	_, _ = run("kubectl", "delete", "namespace", namespace, lost, files, elsewhere, "--ignore-not-found", "--timeout", "120s")
}

// run runs a command in the checkout and gives what it printed.
func run(name string, args ...string) (string, error) { return runWith("", name, args...) }

func runWith(stdin, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = root
	cmd.Stdin = strings.NewReader(stdin)
	output, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, output)
	}
	return string(output), err
}

// refused demands that a command fails and says want.
func refused(want, name string, args ...string) (string, error) {
	output, err := run(name, args...)
	if err == nil {
		return "", fmt.Errorf("%s %s was not refused", name, strings.Join(args, " "))
	}
	for line := range strings.Lines(output) {
		if strings.Contains(line, want) {
			return strings.TrimSpace(line), nil
		}
	}
	return "", fmt.Errorf("%q is not in: %s", want, output)
}

func (c *cluster) tools() (string, error) {
	for _, tool := range []string{"docker", "helm", "kubectl"} {
		if _, err := exec.LookPath(tool); err != nil {
			return "", err
		}
	}
	server, err := run("kubectl", "get", "nodes", "--output", "jsonpath={.items[*].status.nodeInfo.kubeletVersion}")
	if err != nil {
		return "", err
	}
	_, err = run("helm", "dependency", "build", "helm/shop")
	return "Kubernetes " + server, err
}

func images() []string { return append(rooms(), "smoke") }

func image(service string) string { return "ghcr.io/kiteshop/" + service + ":" + version }

func build(service, tag string, options ...string) error {
	args := append([]string{"build", "--quiet", "--build-arg", "SERVICE=" + service, "--build-arg", "VERSION=" + version, "--tag", tag}, options...)
	_, err := run("docker", append(args, ".")...)
	return err
}

func (c *cluster) buildImages() (string, error) {
	var seen []string
	for _, service := range images() {
		if err := build(service, image(service)); err != nil {
			return "", err
		}
		unpacked, packed, err := sizes(image(service))
		if err != nil {
			return "", err
		}
		seen = append(seen, fmt.Sprintf("%s %.1f MB (%.1f compressed)", service, unpacked/1e6, packed/1e6))
		if unpacked > maxImage || packed > maxPacked {
			return "", fmt.Errorf("the image is too large: %s", seen[len(seen)-1])
		}
	}
	return strings.Join(seen, ", "), nil
}

func sizes(image string) (unpacked, packed float64, err error) {
	size, err := run("docker", "image", "inspect", "--format", "{{.Size}}", image)
	if err != nil {
		return 0, 0, err
	}
	compressed, err := run("bash", "-c", "docker save "+image+" | gzip -6 | wc -c")
	if err != nil {
		return 0, 0, err
	}
	_, err = fmt.Sscan(size+" "+compressed, &unpacked, &packed)
	return unpacked, packed, err
}

func (c *cluster) refuseEmptyService() (string, error) {
	return refused("say which program the image is for", "docker", "build", ".")
}

// buildAgain compiles without the layers of the first build.
func (c *cluster) buildAgain() (string, error) {
	first, err := binary(image("gateway"))
	if err != nil {
		return "", err
	}
	again := image("gateway") + "-again"
	if err := build("gateway", again, "--no-cache-filter", "build"); err != nil {
		return "", err
	}
	second, err := binary(again)
	if err == nil && first != second {
		err = fmt.Errorf("the binary was %s and is %s", first, second)
	}
	return "sha256 " + first[:12], err
}

// binary is the sum of an image's program.
func binary(image string) (string, error) {
	container, err := run("docker", "create", image)
	if err != nil {
		return "", err
	}
	container = strings.TrimSpace(container)
	defer func() { _, _ = run("docker", "rm", container) }()
	dir, err := os.MkdirTemp("", "kiteshop-binary-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	if _, err := run("docker", "cp", container+":/kiteshop", dir); err != nil {
		return "", err
	}
	content, err := os.ReadFile(filepath.Join(dir, "kiteshop"))
	return fmt.Sprintf("%x", sha256.Sum256(content)), err
}

// others are the images that are not ours, by the script that makes a stand-in.
func (c *cluster) others() map[string]string {
	found := map[string]string{}
	for _, w := range workloads(render(c.t)) {
		script := filepath.Join("deploy/e2e/images", w.name(), "build")
		if _, err := os.Stat(filepath.Join(root, script)); err == nil {
			found[text(w, "spec", "template", "spec", "containers", 0, "image")] = script
		}
	}
	return found
}

func (c *cluster) thirdParty() (string, error) {
	var seen []string
	for image, script := range c.others() {
		how := "was there"
		if _, err := run("docker", "image", "inspect", image); err != nil {
			how = "pulled"
			if _, err := run("timeout", "120", "docker", "pull", "--quiet", image); err != nil {
				how = "made here"
				if _, err := run(script, image); err != nil {
					return "", err
				}
			}
		}
		seen = append(seen, image+" "+how)
	}
	return strings.Join(seen, ", "), nil
}

// load brings the images to the cluster's nodes: E2E_LOAD is the command for
// that, and need not be set for kind and minikube.
func (c *cluster) load() (string, error) {
	command := strings.Fields(os.Getenv("E2E_LOAD"))
	current, err := run("kubectl", "config", "current-context")
	if err != nil {
		return "", err
	}
	current = strings.TrimSpace(current)
	name, isKind := strings.CutPrefix(current, "kind-")
	switch {
	case len(command) > 0:
	case isKind:
		command = []string{"kind", "load", "docker-image", "--name", name}
	case current == "minikube":
		command = []string{"minikube", "image", "load"}
	default:
		return "", fmt.Errorf("set E2E_LOAD to the command that brings images to the cluster of the context %s", current)
	}
	var all []string
	for _, service := range images() {
		all = append(all, image(service))
	}
	for image := range c.others() {
		all = append(all, image)
	}
	for _, image := range all {
		if _, err := run(command[0], append(command[1:], image)...); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%d by %s", len(all), strings.Join(command, " ")), nil
}

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
	if _, err := run("helm", "install", "shop", "helm/shop", "--namespace", namespace, "--wait", "--timeout", "5m"); err != nil {
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
	if err == nil && took > time.Minute {
		err = fmt.Errorf("it took %s", took)
	}
	return fmt.Sprintf("installed after %.1f s, item 1024 answered after %.1f s", installed.Seconds(), took.Seconds()), err
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
	pod, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name="+room, "--output", "jsonpath={.items[0].metadata.name}")
	if err != nil {
		return err
	}
	if _, err := run("kubectl", "delete", "pod", "--namespace", namespace, pod); err != nil {
		return err
	}
	target := "deployment/" + room
	if room == "postgresql" {
		target = "statefulset/" + room
	}
	return rolledOut(namespace, target, "deployment/item", "deployment/stock")
}

// upgrade replaces every pod of ours while one in the cluster goes on asking.
func (c *cluster) upgrade() (string, error) {
	pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"load","namespace":%q},"spec":{"restartPolicy":"Never",
		"securityContext":{"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}},
		"containers":[{"name":"load","image":%q,"args":["-gateway","http://gateway:8889","-repeat","90s"],
		"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`, namespace, image("smoke"))
	if _, err := runWith(pod, "kubectl", "apply", "--filename", "-"); err != nil {
		return "", err
	}
	if _, err := run("kubectl", "wait", "--namespace", namespace, "pod/load", "--for", "condition=Ready", "--timeout", "60s"); err != nil {
		return "", err
	}
	if _, err := run("helm", "upgrade", "shop", "helm/shop", "--namespace", namespace, "--set", "gateway.config.log-level=debug,item.config.log-level=debug,stock.config.log-level=debug", "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	_, waitErr := run("kubectl", "wait", "--namespace", namespace, "pod/load", "--for", "jsonpath={.status.phase}=Succeeded", "--timeout", "180s")
	logs, err := run("kubectl", "logs", "--namespace", namespace, "load", "--tail", "1")
	if err = errors.Join(waitErr, err); err != nil {
		return "", fmt.Errorf("%s%w", logs, err)
	}
	return "every item, stock and gateway replaced; the tests beside it: " + strings.TrimSpace(logs), nil
}

func (c *cluster) rollback() (string, error) {
	if _, err := run("helm", "rollback", "shop", "1", "--namespace", namespace, "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	level, err := run("kubectl", "get", "configmap", "gateway", "--namespace", namespace, "--output", "jsonpath={.data.KITESHOP_LOG_LEVEL}")
	if err == nil && level != "" {
		err = fmt.Errorf("the setting of the upgrade is still %s", level)
	}
	return "the settings are those of the install", err
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
	if _, err := run("helm", "install", "database", "charts/postgresql", "--namespace", elsewhere, "--create-namespace",
		"--set", "name=db,storage.kind=ephemeral", "--wait", "--timeout", "3m"); err != nil {
		return "", err
	}
	password, err := run("kubectl", "get", "secret", "db-auth", "--namespace", elsewhere, "--output", "go-template={{.data.password | base64decode}}")
	if err != nil {
		return "", err
	}
	secret := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":"shop-database","namespace":%q},"stringData":{"url":"postgres://kiteshop:%s@db/kiteshop?sslmode=disable"}}`, elsewhere, password)
	if _, err := runWith(secret, "kubectl", "apply", "--filename", "-"); err != nil {
		return "", err
	}
	if _, err := run("helm", "install", "shop", "helm/shop", "--namespace", elsewhere, "--values", "helm/shop/values-dev.yaml", "--values", "helm/shop/values-static.yaml",
		"--set", "item.storage.kind=database,stock.storage.kind=database,global.database.urlSecret=shop-database", "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	_, err = run("helm", "test", "shop", "--namespace", elsewhere)
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
	if _, err := run("kubectl", "delete", "pod", "load", "--namespace", namespace); err != nil {
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
