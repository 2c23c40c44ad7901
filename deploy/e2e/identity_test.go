package e2e

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"testing"

	"go.yaml.in/yaml/v3"
)

// identities are those who call services: the rooms, and the person who operates them.
func identities() []string { return append(rooms(), "operator") }

func TestEachServiceHasAKeyOfItsOwnAndKnowsTheCertificatesOfAll(t *testing.T) {
	t.Parallel()
	objects := render(t)
	trust := labels(find(objects, "ConfigMap", "trust"), "data")
	if len(trust) != len(identities()) {
		t.Errorf("the ConfigMap trust has %d certificates, want those of %v", len(trust), identities())
	}
	keys := map[string]bool{}
	for _, name := range identities() {
		secret := labels(find(objects, "Secret", name+"-identity"), "stringData")
		pair, err := tls.X509KeyPair([]byte(secret["tls.crt"]), []byte(secret["tls.key"])) // that they belong together
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, ok := pair.PrivateKey.(ed25519.PrivateKey); !ok {
			t.Errorf("the key of %s is a %T, want Ed25519", name, pair.PrivateKey)
		}
		block, _ := pem.Decode([]byte(trust[name+".crt"]))
		if block == nil {
			t.Fatalf("trust has no certificate of %s", name)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil || certificate.Subject.CommonName != name || trust[name+".crt"] != secret["tls.crt"] {
			t.Errorf("trust's certificate of %s is of %q, or another than in its Secret: %v", name, certificate.Subject.CommonName, err)
		}
		keys[secret["tls.key"]] = true
	}
	if len(keys) != len(identities()) {
		t.Errorf("%d services have %d keys", len(identities()), len(keys))
	}
	for _, w := range workloads(objects) {
		want := []string(nil)
		if slices.Contains(rooms(), w.name()) {
			want = []string{w.name() + "-identity"}
		}
		if got := identitySecrets(w); !slices.Equal(got, want) {
			t.Errorf("%s mounts the keys %v, want %v", w.name(), got, want)
		}
	}
}

// identitySecrets are the Secrets with keys that a pod of w sees.
func identitySecrets(w object) []string {
	var found []string
	for _, volume := range list(w, "spec", "template", "spec", "volumes") {
		for _, name := range identities() {
			if text(volume, "secret", "secretName") == name+"-identity" {
				found = append(found, name+"-identity")
			}
		}
	}
	return found
}

func TestWithoutIdentityThereIsNoKey(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "global.identity.enabled=false")
	for _, name := range identities() {
		if find(objects, "Secret", name+"-identity") != nil {
			t.Errorf("there is a key of %s", name)
		}
	}
	for _, w := range workloads(objects) {
		if got := identitySecrets(w); got != nil {
			t.Errorf("%s mounts %v, which is not there", w.name(), got)
		}
	}
	own := render(t, "--set", "global.identity.generate=false")
	if find(own, "Secret", "item-identity") != nil || find(own, "ConfigMap", "trust") != nil {
		t.Error("keys are made beside those that are there")
	}
	if got := identitySecrets(find(own, "Deployment", "item")); !slices.Equal(got, []string{"item-identity"}) {
		t.Errorf("item mounts %v", got)
	}
}

func TestChangesOfPoliciesReachThePodsWithoutARestart(t *testing.T) {
	t.Parallel()
	before := render(t)
	after := render(t, "--set-json", `policies={"log_level":"debug","methods":{"StockService/Reserve":{"concurrent":64}}}`)
	var file map[string]any
	if err := yaml.Unmarshal([]byte(text(find(after, "ConfigMap", "policies"), "data", "policies.yaml")), &file); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(file); got != "map[log_level:debug methods:map[StockService/Reserve:map[concurrent:64]]]" {
		t.Errorf("the file says %s", got)
	}
	for _, room := range rooms() {
		one, other := find(before, "Deployment", room), find(after, "Deployment", room)
		if fmt.Sprint(one) != fmt.Sprint(other) {
			t.Errorf("%s is restarted:\n%v\n%v", room, one, other)
		}
		if got := labels(find(after, "ConfigMap", room), "data")["KITESHOP_POLICIES"]; got != "/etc/kiteshop/policies/policies.yaml" {
			t.Errorf("%s reads %q", room, got)
		}
	}
}

func TestSecretsAreFilesOfTheServiceThatNamesThem(t *testing.T) {
	t.Parallel()
	objects := render(t, "--set", "gateway.secrets.tls=shop-tls")
	for _, room := range rooms() {
		pod := at(find(objects, "Deployment", room), "spec", "template", "spec")
		mounted := slices.ContainsFunc(list(pod, "volumes"), func(v any) bool { return text(v, "secret", "secretName") == "shop-tls" }) &&
			slices.ContainsFunc(list(pod, "containers", 0, "volumeMounts"), func(m any) bool {
				return text(m, "mountPath") == "/etc/kiteshop/tls" && at(m, "readOnly") == true
			})
		if mounted != (room == "gateway") {
			t.Errorf("%s has the files of shop-tls: %t", room, mounted)
		}
	}
}
