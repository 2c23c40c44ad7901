package e2e

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// root is the checkout.
const root = "../.."

// chartsCopy is a copy of charts/ and helm/ whose dependencies are packed, so
// that the tests leave the checkout as it is.
var chartsCopy = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kiteshop-charts-")
	if err != nil {
		return "", err
	}
	for _, folder := range []string{"charts", "helm"} {
		if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(root, folder))); err != nil {
			return "", err
		}
	}
	output, err := exec.Command("helm", "dependency", "build", filepath.Join(dir, "helm/shop")).CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(output)))
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if _, err := exec.LookPath("helm"); err == nil {
		if dir, err := chartsCopy(); err == nil {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// charts is a folder with charts/ and helm/, in which helm can be run.
func charts(t *testing.T) string {
	t.Helper()
	if _, err := exec.LookPath("helm"); err != nil {
		if os.Getenv("TEST_SERVERS") == "required" {
			t.Fatal("there is no helm in PATH")
		}
		t.Skip("there is no helm in PATH: the charts are not rendered")
	}
	dir, err := chartsCopy()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// helmTemplate renders a chart as the release "shop" in the namespace "store".
func helmTemplate(t *testing.T, chart string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	cmd := exec.Command("helm", append([]string{"template", "shop", chart, "--namespace", "store"}, args...)...)
	cmd.Dir = charts(t)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	return out.String(), errs.String(), err
}

// object is one rendered object of Kubernetes.
type object map[string]any

// render gives the objects of the umbrella.
func render(t *testing.T, args ...string) []object {
	t.Helper()
	return renderChart(t, "helm/shop", args...)
}

func renderChart(t *testing.T, chart string, args ...string) []object {
	t.Helper()
	stdout, stderr, err := helmTemplate(t, chart, args...)
	if err != nil {
		t.Fatalf("helm template %s %s: %v\n%s", chart, strings.Join(args, " "), err, stderr)
	}
	return parse(t, stdout)
}

func parse(t *testing.T, manifest string) []object {
	t.Helper()
	var objects []object
	for decoder := yaml.NewDecoder(strings.NewReader(manifest)); ; {
		var o object
		err := decoder.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(o) > 0 {
			objects = append(objects, o)
		}
	}
}

// at follows keys, and indexes of lists, and gives nil where there is nothing.
func at(value any, path ...any) any {
	for _, step := range path {
		switch step := step.(type) {
		case string:
			switch v := value.(type) {
			case object:
				value = v[step]
			case map[string]any:
				value = v[step]
			default:
				return nil
			}
		case int:
			list, _ := value.([]any)
			if step >= len(list) {
				return nil
			}
			value = list[step]
		}
	}
	return value
}

func text(value any, path ...any) string {
	s, _ := at(value, path...).(string)
	return s
}

func number(value any, path ...any) int {
	n, _ := at(value, path...).(int)
	return n
}

func list(value any, path ...any) []any {
	l, _ := at(value, path...).([]any)
	return l
}

func labels(value any, path ...any) map[string]string {
	found := map[string]string{}
	m := at(value, path...)
	if o, ok := m.(object); ok {
		m = map[string]any(o)
	}
	entries, _ := m.(map[string]any)
	for key, v := range entries {
		found[key], _ = v.(string)
	}
	return found
}

// covers tells whether labels have all that a selector asks for.
func covers(selector, labels map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return true
}

func (o object) kind() string { return text(o, "kind") }
func (o object) name() string { return text(o, "metadata", "name") }

// find gives the object of a kind and name, or nil.
func find(objects []object, kind, name string) object {
	for _, o := range objects {
		if o.kind() == kind && o.name() == name {
			return o
		}
	}
	return nil
}

// workloads are the objects that make pods.
func workloads(objects []object) []object {
	var found []object
	for _, o := range objects {
		if o.kind() == "Deployment" || o.kind() == "StatefulSet" {
			found = append(found, o)
		}
	}
	return found
}
