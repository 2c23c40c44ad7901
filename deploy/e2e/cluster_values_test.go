//go:build cluster

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestClusterValues installs the values files for which something must be there
// first, and runs helm test for each. TestCluster does the others.
func TestClusterValues(t *testing.T) {
	c := &cluster{t: t}
	t.Cleanup(c.report)
	t.Cleanup(c.clean)
	c.step("tools and cluster", c.tools)
	c.step("images are built", c.buildImages)
	c.step("others' images are there", c.thirdParty)
	c.step("images are loaded", c.load)
	for _, file := range []string{"dev", "dns", "sqlite"} {
		c.step("values-"+file, func() (string, error) { return c.tryValues(file, nothing) })
	}
	c.step("values-prod", func() (string, error) {
		// Three of each ask for more CPU than one small node has.
		return c.tryValues("prod", func() error { return errors.Join(databaseBeside(), apiKeys()) }, "--set", "item.resources.requests.cpu=50m,stock.resources.requests.cpu=50m,gateway.resources.requests.cpu=50m,observability.prometheus.resources.requests.cpu=50m")
	})
	c.step("values-etcd", func() (string, error) {
		return c.tryValues("etcd", c.etcd, "--set", "global.registry.address=etcd:2379")
	})
	c.step("values-nacos", func() (string, error) {
		return c.tryValues("nacos", c.nacos, "--set", "global.registry.address=nacos:8848")
	})
}

// tryValues prepares a namespace, installs a values file there, tests it, and takes all away.
func (c *cluster) tryValues(file string, prepare func() error, options ...string) (string, error) {
	c.clean()
	if _, err := run("kubectl", "create", "namespace", tried); err != nil {
		return "", err
	}
	if err := prepare(); err != nil {
		return "", err
	}
	args := append([]string{"install", "shop", "helm/shop", "--namespace", tried, "--values", "helm/shop/values-" + file + ".yaml", "--wait", "--timeout", "5m"}, c.without...)
	if _, err := run("helm", append(args, options...)...); err != nil {
		return "", err
	}
	if _, err := run("helm", "test", "shop", "--namespace", tried); err != nil {
		return "", err
	}
	pods, err := run("kubectl", "get", "deployments,statefulsets", "--namespace", tried, "--output", `jsonpath={range .items[*]}{.metadata.name} {.status.readyReplicas}, {end}`)
	return "helm test passed; ready: " + strings.TrimSuffix(pods, ", "), err
}

func nothing() error { return nil }

// apiKeys makes the keys that values-prod.yaml asks for, as its head says.
func apiKeys() error {
	dir, err := os.MkdirTemp("", "keys-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "api-keys.yaml")
	made, err := run("go", "run", ".", "key", "create", "-name", "helm-test", "-scopes", "admin", "-api-keys", file)
	if err != nil {
		return err
	}
	key, _, _ := strings.Cut(made, "\n")
	if _, err := run("kubectl", "create", "secret", "generic", outsideKeys, "--namespace", tried, "--from-file="+file); err != nil {
		return err
	}
	_, err = run("kubectl", "create", "secret", "generic", outsideKey, "--namespace", tried, "--from-literal=key="+key)
	return err
}

// databaseBeside installs charts/postgresql as a release of its own, with the Secret that values-prod.yaml asks for.
func databaseBeside() error { return databaseIn(tried) }

func databaseIn(namespace string) error {
	if _, err := run("helm", "install", "database", "charts/postgresql", "--namespace", namespace, "--create-namespace",
		"--set", "name=db,storage.kind=ephemeral", "--wait", "--timeout", "3m"); err != nil {
		return err
	}
	password, err := run("kubectl", "get", "secret", "db-auth", "--namespace", namespace, "--output", "go-template={{.data.password | base64decode}}")
	if err != nil {
		return err
	}
	secret := fmt.Sprintf(`{"apiVersion":"v1","kind":"Secret","metadata":{"name":%q,"namespace":%q},"stringData":{"url":"postgres://kiteshop:%s@db/kiteshop?sslmode=disable"}}`, outside, namespace, password)
	_, err = runWith(secret, "kubectl", "apply", "--filename", "-")
	return err
}

func (c *cluster) etcd() error {
	return registry("etcd", "quay.io/coreos/etcd:v3.6.4",
		`"command":["/usr/local/bin/etcd","--data-dir=/tmp/etcd","--listen-client-urls=http://0.0.0.0:2379","--advertise-client-urls=http://etcd:2379"],
		"readinessProbe":{"httpGet":{"path":"/health","port":2379}}`, 2379)
}

// nacos gives the image what it wants to know, though nobody must log in.
func (c *cluster) nacos() error {
	return registry("nacos", "nacos/nacos-server:v3.1.0",
		`"env":[{"name":"MODE","value":"standalone"},{"name":"NACOS_AUTH_IDENTITY_KEY","value":"kiteshop"},{"name":"NACOS_AUTH_IDENTITY_VALUE","value":"kiteshop"},
		{"name":"NACOS_AUTH_TOKEN","value":"b25seSBhIHRlc3Qgc2VydmVyIHNpZ25zIHdpdGggdGhpcw=="}],
		"readinessProbe":{"httpGet":{"path":"/nacos/v3/admin/core/state/readiness","port":8848}}`, 8848, 9848)
}

// registry runs a registry server in a pod, and gives it a name.
func registry(name, image, container string, ports ...int) error {
	if _, err := provide(image, "deploy/e2e/images/"+name+"/build"); err != nil {
		return err
	}
	if err := bring([]string{image}); err != nil {
		return err
	}
	var open []string
	for _, port := range ports {
		open = append(open, fmt.Sprintf(`{"name":"p%d","port":%d}`, port, port))
	}
	objects := fmt.Sprintf(`{"apiVersion":"v1","kind":"List","items":[
		{"apiVersion":"v1","kind":"Service","metadata":{"name":%[1]q},"spec":{"selector":{"app":%[1]q},"ports":[%[4]s]}},
		{"apiVersion":"v1","kind":"Pod","metadata":{"name":%[1]q,"labels":{"app":%[1]q}},"spec":{"enableServiceLinks":false,"containers":[{"name":%[1]q,"image":%[2]q,%[3]s}]}}]}`,
		name, image, container, strings.Join(open, ","))
	if _, err := runWith(objects, "kubectl", "apply", "--namespace", tried, "--filename", "-"); err != nil {
		return err
	}
	_, err := run("kubectl", "wait", "--namespace", tried, "pod/"+name, "--for", "condition=Ready", "--timeout", "5m")
	return err
}
