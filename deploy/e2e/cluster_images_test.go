//go:build cluster

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func images() []string { return append(rooms(), "smoke", "load") }

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

// others are the images that are not ours, by the workload that asks for them.
func (c *cluster) others() map[string]string {
	found := map[string]string{}
	for _, w := range workloads(render(c.t, c.without...)) {
		if image := text(w, "spec", "template", "spec", "containers", 0, "image"); !strings.HasPrefix(image, "ghcr.io/kiteshop/") {
			found[w.name()] = image
		}
	}
	return found
}

// optional are the values that leave out what the rest can do without.
func optional() map[string]string {
	return map[string]string{
		"grafana": "observability.grafana.enabled=false",
		"jaeger":  "observability.jaeger.enabled=false,global.telemetry.traces=",
	}
}

// thirdParty pulls the others, or makes stand-ins. What is optional and cannot be had is left out.
func (c *cluster) thirdParty() (string, error) {
	var seen []string
	for name, image := range c.others() {
		how, err := provide(image, filepath.Join("deploy/e2e/images", name, "build"))
		if off := optional()[name]; err != nil && off != "" {
			c.without = append(c.without, "--set", off)
			how, err = "cannot be had and is left out", nil
		}
		if err != nil {
			return "", err
		}
		seen = append(seen, image+" "+how)
	}
	return strings.Join(seen, ", "), nil
}

func provide(image, script string) (how string, err error) {
	if _, err := run("docker", "image", "inspect", image); err == nil {
		return "was there", nil
	}
	if _, err := run("timeout", "120", "docker", "pull", "--quiet", image); err == nil {
		return "pulled", nil
	}
	_, err = run(script, image)
	return "made here", err
}

// load brings all images to the cluster's nodes.
func (c *cluster) load() (string, error) {
	var all []string
	for _, service := range images() {
		all = append(all, image(service))
	}
	for _, image := range c.others() {
		all = append(all, image)
	}
	return fmt.Sprintf("%d images", len(all)), bring(all)
}

// bring brings images to the cluster's nodes: E2E_LOAD is the command for
// that, and need not be set for kind and minikube.
func bring(images []string) error {
	command := strings.Fields(os.Getenv("E2E_LOAD"))
	current, err := run("kubectl", "config", "current-context")
	if err != nil {
		return err
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
		return fmt.Errorf("set E2E_LOAD to the command that brings images to the cluster of the context %s", current)
	}
	for _, image := range images {
		if _, err := run(command[0], append(command[1:], image)...); err != nil {
			return err
		}
	}
	return nil
}
