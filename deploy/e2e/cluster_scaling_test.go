//go:build cluster

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	// important is the PriorityClass of stock's pods, and importance their priority.
	important, importance = "kiteshop-e2e-important", 1000
	// fewGateways and manyGateways bound the autoscaler.
	fewGateways, manyGateways = 2, 4
	// busy is the CPU of a gateway, in percent of what it requests, above which there are to be more. The usual
	// load takes about three times as much on our machine.
	busy = 50
	// few is how many requests a second need no more than fewGateways, on a slow machine too.
	few = 5
	// settled is how long an autoscaler may take: it waits 5 minutes before it takes a pod away.
	settled = 10 * time.Minute
)

// TestClusterScaling tries what is said by value about how many pods there are,
// where they run, and which of them comes first.
func TestClusterScaling(t *testing.T) {
	c := &cluster{t: t, without: []string{"--set", "observability.enabled=false"}}
	t.Cleanup(c.report)
	t.Cleanup(func() { _, _ = run("kubectl", "delete", "priorityclass", important, "--ignore-not-found") })
	t.Cleanup(c.clean)
	c.clean()
	c.step("tools and cluster", c.tools)
	c.step("images are built", c.buildImages)
	c.step("others' images are there", c.thirdParty)
	c.step("images are loaded", c.load)
	c.step("installed, scaled by the CPU", c.installScaled)
	c.step("one of two evictions is refused", evictedAtOnce)
	c.step("pods wait for a place that is demanded", c.spread)
	c.step("what is important comes first", c.important)
	if _, err := run("kubectl", "top", "nodes"); err != nil {
		t.Skipf("the autoscaler is not tried, because the cluster measures no pods: %v", err)
	}
	c.underLoad("the autoscaler adds gateways", func() error {
		return gateways(func(now int) bool { return now > fewGateways })
	})
	c.underLoadOf(demand{rate: few, least: few * 60}, "the autoscaler takes them away", func() error {
		return gateways(func(now int) bool { return now == fewGateways })
	})
}

// installScaled has names of its own for what is not of one namespace.
func (c *cluster) installScaled() (string, error) {
	class := fmt.Sprintf(`{"apiVersion":"scheduling.k8s.io/v1","kind":"PriorityClass","metadata":{"name":%q},"value":%d}`, important, importance)
	if _, err := runWith(class, "kubectl", "apply", "--filename", "-"); err != nil {
		return "", err
	}
	c.without = append(c.without, "--set", fmt.Sprintf("stock.priorityClassName=%s,gateway.autoscaling.enabled=true,gateway.autoscaling.minReplicas=%d,gateway.autoscaling.maxReplicas=%d,gateway.autoscaling.cpuPercent=%d", important, fewGateways, manyGateways, busy))
	if _, err := c.helm("install", "--create-namespace", "--wait", "--timeout", "5m"); err != nil {
		return "", err
	}
	priorities, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name in (item,stock)",
		"--output", `jsonpath={range .items[*]}{.metadata.labels.app\.kubernetes\.io/name}={.spec.priority} {end}`)
	if want := fmt.Sprintf("item=0 item=0 stock=%d stock=%d ", importance, importance); err == nil && priorities != want {
		err = fmt.Errorf("the priorities are %q, want %q", priorities, want)
	}
	return priorities, err
}

// gateways waits until the autoscaler has as many as wanted.
func gateways(enough func(now int) bool) error {
	var last string
	for deadline := time.Now().Add(settled); time.Now().Before(deadline); time.Sleep(time.Second) {
		var err error
		last, err = run("kubectl", "get", "deployment", "gateway", "--namespace", namespace, "--output", "jsonpath={.spec.replicas} {.status.readyReplicas}")
		if err != nil {
			return err
		}
		wanted, ready, _ := strings.Cut(last, " ")
		if now, err := strconv.Atoi(wanted); err == nil && wanted == ready && enough(now) {
			return nil
		}
	}
	status, err := run("kubectl", "describe", "hpa", "gateway", "--namespace", namespace)
	return errors.Join(fmt.Errorf("wanted and ready gateways are %s after %s\n%s", last, settled, status), err)
}

// evictedAtOnce asks for both pods of item at the same time.
func evictedAtOnce() (string, error) {
	names, err := podsOf("item")
	if err != nil || len(names) != 2 {
		return "", fmt.Errorf("item has the pods %q, error %w", names, err)
	}
	answers := make(chan error, len(names))
	for _, name := range names {
		go func() { answers <- evict(name) }()
	}
	first, second := <-answers, <-answers
	if (first == nil) == (second == nil) {
		return "", fmt.Errorf("the evictions were answered: %w; %w", first, second)
	}
	if refusal := errors.Join(first, second); !strings.Contains(refusal.Error(), "would violate the pod's disruption budget") {
		return "", refusal
	}
	return "the other: it would violate the disruption budget", errors.Join(rolledOut(namespace, "deployment/item"), gone())
}

// podsOf are the names of a room's pods.
func podsOf(room string) ([]string, error) {
	names, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name="+room, "--output", "jsonpath={.items[*].metadata.name}")
	return strings.Fields(names), err
}

// spread wants a place that no node has, first without fail and then if it can be.
func (c *cluster) spread() (string, error) {
	if _, err := c.helm("upgrade", "--set", "item.spread.topologyKeys={kiteshop.example/rack},item.spread.whenUnsatisfiable=DoNotSchedule"); err != nil {
		return "", err
	}
	why, err := waiting("item")
	if err != nil {
		return "", err
	}
	if !strings.Contains(why, "topology spread constraints") {
		return "", fmt.Errorf("item's pod waits because: %s", why)
	}
	_, err = c.helm("upgrade", "--set", "item.spread.topologyKeys={kiteshop.example/rack}", "--wait", "--timeout", "5m")
	return "DoNotSchedule: " + why + "; ScheduleAnyway: it came", err
}

// waiting waits until a pod of a room has no node, and says why.
func waiting(room string) (why string, err error) {
	err = within(func() error {
		output, err := run("kubectl", "get", "pods", "--namespace", namespace, "--selector", "app.kubernetes.io/name="+room, "--output", "json")
		if err != nil {
			return err
		}
		var pods struct {
			Items []struct {
				Status struct {
					Conditions []struct{ Type, Reason, Message string }
				}
			}
		}
		if err := json.Unmarshal([]byte(output), &pods); err != nil {
			return err
		}
		for _, pod := range pods.Items {
			for _, condition := range pod.Status.Conditions {
				if condition.Type == "PodScheduled" && condition.Reason == "Unschedulable" {
					why = condition.Message
					return nil
				}
			}
		}
		return fmt.Errorf("no pod of %s waits for a node", room)
	})
	return why, err
}

// important fills the cluster and then wants one more of item, which waits, and one
// more of stock, which does not.
func (c *cluster) important() (string, error) {
	cores, err := run("kubectl", "get", "nodes", "--output", "jsonpath={.items[*].status.allocatable.cpu}")
	if err != nil {
		return "", err
	}
	if err := fill(cores); err != nil {
		return "", err
	}
	if _, err := run("kubectl", "scale", "--namespace", namespace, "deployment/item", "--replicas", "3"); err != nil {
		return "", err
	}
	why, err := waiting("item")
	if err != nil {
		return "", err
	}
	if err := scaled(3, "deployment/stock"); err != nil {
		return "", err
	}
	if _, err := waiting("item"); err != nil {
		return "", fmt.Errorf("item's pod did not go on waiting: %w", err)
	}
	if _, err := run("kubectl", "delete", "deployment", "filler", "--namespace", namespace); err != nil {
		return "", err
	}
	return "item's third pod waits (" + why + "), stock's takes the place of another", scaled(2, "deployment/item", "deployment/stock")
}

// fill takes the CPU that is left, as far as the scheduler knows: the pods' image is nowhere.
func fill(cores string) error {
	const each = 50 // thousandths of a core, as much as a pod of item
	replicas := 1
	for _, core := range strings.Fields(cores) {
		thousandths, ok := strings.CutSuffix(core, "m")
		if !ok {
			thousandths += "000"
		}
		n, err := strconv.Atoi(thousandths)
		if err != nil {
			return err
		}
		replicas += n / each
	}
	filler := fmt.Sprintf(`{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"filler","namespace":%q},"spec":{"replicas":%d,
		"selector":{"matchLabels":{"app.kubernetes.io/name":"filler"}},"template":{"metadata":{"labels":{"app.kubernetes.io/name":"filler"}},"spec":{"terminationGracePeriodSeconds":0,
		"containers":[{"name":"filler","image":"nowhere:0","imagePullPolicy":"Never","resources":{"requests":{"cpu":"%dm"}}}]}}}}`, namespace, replicas, each)
	if _, err := runWith(filler, "kubectl", "apply", "--filename", "-"); err != nil {
		return err
	}
	_, err := waiting("filler")
	return err
}
