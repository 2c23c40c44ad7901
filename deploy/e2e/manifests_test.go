package e2e

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// minimalManifest is the smallest shop, for those who have no helm. Without Secrets: what a
// chart makes up must not be the same for all who use the file. Without a namespace, so that
// it fits into any.
var minimalManifest = []string{
	"--skip-tests", "-f", "helm/shop/values-minimal.yaml", "-f", "helm/shop/values-dns.yaml", "--set", "otel-collector.kubernetes.enabled=false", "--set", "global.identity.enabled=false",
}

func TestWhatTheChartsRenderForThoseWithoutHelm(t *testing.T) {
	t.Parallel()
	const file = root + "/deploy/manifests/minimal.yaml"
	rendered, stderr, err := helmTemplate(t, "helm/shop", minimalManifest...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr)
	}
	if *update {
		text := "# Made by `make rendered`: helm template shop helm/shop " + strings.Join(minimalManifest, " ") + "\n" + rendered
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	// Compared by what they say: another helm may write it otherwise.
	got, want := parse(t, string(text)), parse(t, rendered)
	if len(got) != len(want) {
		t.Errorf("%s has %d objects, and the charts render %d: make rendered", file, len(got), len(want))
	}
	for _, o := range want {
		if !reflect.DeepEqual(find(got, o.kind(), o.name()), o) {
			t.Errorf("%s: %s %s is not what the charts render: make rendered", file, o.kind(), o.name())
		}
	}
	for _, o := range got {
		if o.kind() == "Secret" || at(o, "metadata", "namespace") != nil {
			t.Errorf("%s %s is a Secret, or of one namespace", o.kind(), o.name())
		}
	}
}
