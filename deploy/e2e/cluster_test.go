//go:build cluster

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
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
	// tried is one in which one values file after the other is installed.
	tried = "kiteshop-e2e-tried"
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
	c.step("telemetry arrives", c.telemetry)
	c.step("a second release here is refused", c.refuseSecond)
	c.step("what was acknowledged survives the pods", c.restart)
	c.step("a pod of stock is deleted under load", func() (string, error) { return c.deleteUnderLoad("stock") })
	c.step("the database is deleted under load", func() (string, error) { return c.deleteUnderLoad("postgresql") })
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
	// losses has a line for each case under load.
	losses []string
	// without leaves out what cannot be had here.
	without []string
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
	for _, lines := range [][]string{append([]string{"STEP\tTOOK\tRESULT\tSEEN"}, c.table...), c.losses} {
		var out bytes.Buffer
		w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
		for _, line := range lines {
			fmt.Fprintln(w, line)
		}
		w.Flush()
		fmt.Printf("\n%s\n", out.String())
	}
}

func namespaces() []string { return []string{namespace, lost, files, elsewhere, tried} }

// diagnose logs what the cluster says of the pods.
func (c *cluster) diagnose() {
	for _, namespace := range namespaces() {
		for _, args := range [][]string{
			{"get", "pods,pvc,events", "--namespace", namespace, "--output", "wide"},
			{"logs", "--namespace", namespace, "--selector", "app.kubernetes.io/part-of=kiteshop", "--tail", "20", "--prefix"},
		} {
			output, _ := run("kubectl", args...)
			c.t.Logf("kubectl %s\n%s", strings.Join(args, " "), output)
		}
	}
}

func (c *cluster) clean() {
	args := append([]string{"delete", "namespace", "--ignore-not-found", "--timeout", "180s"}, namespaces()...)
	_, _ = run("kubectl", args...)
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
