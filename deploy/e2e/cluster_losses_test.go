//go:build cluster

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// before is the commit whose charts and programs are upgraded from, and beforeTag what its images are tagged with.
	before, beforeTag = "9929dfd", "0.0.9"
	// enough is how many requests each case has at least, and usual how many a second.
	enough, usual = 10_000, 300
	// caseTime bounds a case.
	caseTime = 10 * time.Minute
)

// TestNothingIsLost does to a shop under load what operators and clusters do to
// one. No request may fail, and the books must say afterwards what was
// acknowledged. The cases go on after one that failed.
func TestNothingIsLost(t *testing.T) {
	c := &cluster{t: t, without: []string{"--set", "observability.enabled=false"}}
	t.Cleanup(c.report)
	t.Cleanup(c.clean)
	c.clean()
	c.step("tools and cluster", c.tools)
	c.step("images are built", c.buildImages)
	c.step("others' images are there", c.thirdParty)
	c.step("images are loaded", c.load)
	c.step("the release before is installed", c.installBefore)

	rooms := []string{"deployment/gateway", "deployment/item", "deployment/stock"}
	c.underLoad("helm upgrade from the release before", c.upgraded)
	c.underLoad("helm rollback to it", func() error {
		_, err := run("helm", "rollback", "shop", "1", "--namespace", namespace, "--wait", "--timeout", "5m")
		return err
	})
	c.step("helm upgrade once more", func() (string, error) { return "", c.upgraded() })
	for _, room := range append(rooms, "deployment/activity") {
		c.underLoad("rolling restart of "+strings.TrimPrefix(room, "deployment/"), func() error { return restarted(room) })
	}
	c.underLoad("scaled out to 3", func() error { return scaled(3, rooms...) })
	c.underLoad("scaled in to 1", func() error { return scaled(1, rooms...) })
	c.step("two of each again", func() (string, error) { return "", scaled(2, rooms...) })
	c.underLoad("a pod of each evicted", func() error {
		return errors.Join(evicted("gateway"), evicted("item"), evicted("stock"))
	})
	c.underLoad("ZooKeeper restarted", func() error { return restarted("statefulset/zookeeper") })
	c.underLoad("ZooKeeper away for 30 s", func() error { return away("statefulset/zookeeper") })
	c.underLoad("collector away for 30 s", func() error { return away("deployment/otel-collector") })
	c.underLoad("PostgreSQL restarted", func() error { return restarted("statefulset/postgresql") }, refusalsAllowed)
	c.step("the books are reconciled", reconciled)
}

// reconciled compares every balance with its ledger and its reservations.
func reconciled() (string, error) {
	stock, stop, err := forward("svc/stock", "8890")
	if err != nil {
		return "", err
	}
	defer stop()
	seen, err := run("go", "run", ".", "reconcile", "-stock", strings.TrimPrefix(stock, "http://"))
	return strings.TrimSpace(seen), err
}

// installBefore installs the charts and programs of the commit before; -short
// takes today's programs, and builds no others.
func (c *cluster) installBefore() (string, error) {
	dir := c.t.TempDir()
	if _, err := run("bash", "-c", "set -o pipefail; git archive "+before+" | tar -x -C "+dir); err != nil {
		return "", fmt.Errorf("the history must reach back to %s (git fetch --unshallow): %w", before, err)
	}
	chart := filepath.Join(dir, "helm/shop")
	if _, err := run("helm", "dependency", "build", chart); err != nil {
		return "", err
	}
	tag := version
	if !testing.Short() {
		tag = beforeTag
	}
	args := []string{"shop", chart, "--namespace", namespace}
	for _, room := range rooms() {
		args = append(args, "--set", room+".image.tag="+tag)
	}
	rendered, err := run("helm", append([]string{"template"}, args...)...)
	if err != nil {
		return "", err
	}
	needed, err := imagesBefore(dir, tag, rendered)
	if err != nil {
		return "", err
	}
	if err := bring(needed); err != nil {
		return "", err
	}
	_, err = run("helm", append([]string{"install", "--create-namespace", "--wait", "--timeout", "5m"}, args...)...)
	return "the charts of " + before + " with programs " + tag, err
}

// imagesBefore builds the programs in dir, if they have a tag of their own, and
// provides what else is rendered.
func imagesBefore(dir, tag, rendered string) ([]string, error) {
	var needed []string
	for _, found := range regexp.MustCompile(`(?m)image: "?([^"\s]+)`).FindAllStringSubmatch(rendered, -1) {
		var err error
		service, ours := strings.CutPrefix(strings.TrimSuffix(found[1], ":"+tag), "ghcr.io/kiteshop/")
		name := strings.TrimSuffix(filepath.Base(strings.Split(found[1], ":")[0]), "-contrib")
		switch {
		case !ours:
			script := map[string]string{"postgres": "postgresql", "opentelemetry-collector": "otel-collector", "zookeeper": "zookeeper"}[name]
			_, err = provide(found[1], filepath.Join("deploy/e2e/images", script, "build"))
		case tag == version || !slices.Contains(rooms(), service):
			continue
		default:
			_, err = run("docker", "build", "--quiet", "--build-arg", "SERVICE="+service, "--build-arg", "VERSION="+tag, "--tag", found[1], dir)
		}
		if err != nil {
			return nil, err
		}
		needed = append(needed, found[1])
	}
	return needed, nil
}

// upgraded brings today's charts, with their programs.
func (c *cluster) upgraded() error {
	_, err := c.helm("upgrade", "--reset-values", "--wait", "--timeout", "5m")
	return err
}

func restarted(target string) error {
	if _, err := run("kubectl", "rollout", "restart", "--namespace", namespace, target); err != nil {
		return err
	}
	return rolledOut(namespace, target)
}

func scaled(replicas int, targets ...string) error {
	for _, target := range targets {
		if _, err := run("kubectl", "scale", "--namespace", namespace, target, "--replicas", strconv.Itoa(replicas)); err != nil {
			return err
		}
	}
	return errors.Join(rolledOut(namespace, targets...), gone())
}

// gone waits until no pod is stopping.
func gone() error {
	var left string
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(time.Second) {
		var err error
		left, err = run("kubectl", "get", "pods", "--namespace", namespace, "--output",
			`go-template={{range .items}}{{if .metadata.deletionTimestamp}}{{.metadata.name}} {{end}}{{end}}`)
		if err != nil || left == "" {
			return err
		}
	}
	return fmt.Errorf("pods that are still stopping: %s", left)
}

// evicted does what a drain of the node does to one pod.
func evicted(room string) error {
	pods, err := podsOf(room)
	if err != nil || len(pods) == 0 {
		return fmt.Errorf("%s has %d pods, error %w", room, len(pods), err)
	}
	if err := evict(pods[0]); err != nil {
		return err
	}
	return errors.Join(rolledOut(namespace, "deployment/"+room), gone())
}

func evict(pod string) error {
	eviction := fmt.Sprintf(`{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":%q,"namespace":%q}}`, pod, namespace)
	path := fmt.Sprintf("/api/v1/namespaces/%s/pods/%s/eviction", namespace, pod)
	_, err := runWith(eviction, "kubectl", "create", "--raw", path, "--filename", "-")
	return err
}

func away(target string) error {
	if err := scaled(0, target); err != nil {
		return err
	}
	time.Sleep(30 * time.Second)
	return scaled(1, target)
}

// loss is what deploy/load answers at the end.
type loss struct {
	Requests, Failed, Refused, Unknown int
	P50                                float64 `json:"p50_ms"`
	P99                                float64 `json:"p99_ms"`
	Longest                            float64 `json:"longest_ms"`
	Held                               int64
	Ledger                             string
	First                              []string
}

// refusalsAllowed lets a case have answers 503 with Retry-After.
const refusalsAllowed = true

// demand is how much a case asks.
type demand struct {
	rate  int // requests in a second
	least int // requests
}

// underLoad disturbs the shop while a pod asks it, and notes what was lost.
func (c *cluster) underLoad(name string, disturb func() error, refusals ...bool) {
	c.t.Helper()
	c.underLoadOf(demand{usual, enough}, name, disturb, refusals...)
}

func (c *cluster) underLoadOf(d demand, name string, disturb func() error, refusals ...bool) {
	c.t.Helper()
	if c.losses == nil {
		c.losses = []string{"CASE\tREQUESTS\tFAILED\tREFUSED\tSTOCK UNKNOWN\tP50 MS\tP99 MS\tLONGEST MS\tRESERVED\tLEDGER"}
	}
	seen, err := c.measure(d, disturb)
	c.losses = append(c.losses, fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%.1f\t%.1f\t%.0f\t%d\t%s",
		name, seen.Requests, seen.Failed, seen.Refused, seen.Unknown, seen.P50, seen.P99, seen.Longest, seen.Held, seen.Ledger))
	c.t.Log(c.losses[len(c.losses)-1])
	if err != nil {
		c.diagnose()
		c.t.Fatalf("%s: %v", name, err)
	}
	if seen.Failed > 0 || seen.Refused > 0 && !slices.Contains(refusals, refusalsAllowed) || seen.Ledger != "exact" {
		c.t.Errorf("%s: %d requests failed, %d were refused, the ledger is %s\n%s", name, seen.Failed, seen.Refused, seen.Ledger, strings.Join(seen.First, "\n"))
	}
}

func (c *cluster) measure(d demand, disturb func() error) (seen loss, err error) {
	pod := fmt.Sprintf(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"load","namespace":%q},"spec":{"restartPolicy":"Never",
		"securityContext":{"runAsNonRoot":true,"runAsUser":65532,"seccompProfile":{"type":"RuntimeDefault"}},
		"containers":[{"name":"load","image":%q,"args":["-gateway","http://gateway:8889","-rate","%d"],"readinessProbe":{"httpGet":{"path":"/progress","port":8080}},
		"securityContext":{"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]}}}]}}`, namespace, image("load"), d.rate)
	if _, err := runWith(pod, "kubectl", "apply", "--filename", "-"); err != nil {
		return seen, err
	}
	defer func() {
		_, deleteErr := run("kubectl", "delete", "pod", "load", "--namespace", namespace)
		err = errors.Join(err, deleteErr)
	}()
	if _, err := run("kubectl", "wait", "--namespace", namespace, "pod/load", "--for", "condition=Ready", "--timeout", "60s"); err != nil {
		return seen, err
	}
	load, stop, err := forward("pod/load", "8080")
	if err != nil {
		return seen, err
	}
	defer stop()
	if err := reached(load, d.least/10); err != nil {
		return seen, err
	}
	if err := disturb(); err != nil {
		return seen, err
	}
	if err := gone(); err != nil {
		return seen, err
	}
	if err := reached(load, d.least); err != nil {
		return seen, err
	}
	request, err := http.NewRequest(http.MethodPost, load+"/end", nil)
	if err != nil {
		return seen, err
	}
	response, err := (&http.Client{Timeout: caseTime}).Do(request)
	if err != nil {
		return seen, err
	}
	defer response.Body.Close()
	return seen, json.NewDecoder(response.Body).Decode(&seen)
}

// reached waits until a load has sent so many requests.
func reached(load string, requests int) error {
	var last string
	for deadline := time.Now().Add(caseTime); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		_, body, err := send("GET", load+"/progress", "", "")
		if err != nil {
			return err
		}
		last = body
		if sent, err := strconv.Atoi(last); err == nil && sent >= requests {
			return nil
		}
	}
	return fmt.Errorf("the load has sent %s of %d requests", last, requests)
}
