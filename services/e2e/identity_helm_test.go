package e2e

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/kiteshop/kiteshop/services/internal/identity"
)

// TestKeysAsHelmMakesThemAreTaken has helm make a key and a certificate with the functions that charts have.
func TestKeysAsHelmMakesThemAreTaken(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("helm"); err != nil {
		if os.Getenv("TEST_SERVERS") == "required" {
			t.Fatal(err)
		}
		t.Skip("there is no helm; .ci/helm gives one")
	}
	chart, keys := t.TempDir(), t.TempDir()
	const template = `{{- $key := genPrivateKey "ed25519" }}
key: {{ $key | quote }}
certificate: {{ (genSelfSignedCertWithKey "stock" nil nil 3650 $key).Cert | quote }}
`
	err := errors.Join(
		os.Mkdir(filepath.Join(chart, "templates"), 0o700),
		os.WriteFile(filepath.Join(chart, "Chart.yaml"), []byte("{apiVersion: v2, name: keys, version: 0.0.1}\n"), 0o600),
		os.WriteFile(filepath.Join(chart, "templates", "keys.yaml"), []byte(template), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := exec.Command("helm", "template", "keys", chart).Output()
	if err != nil {
		t.Fatal(err)
	}
	var made struct{ Key, Certificate string }
	err = errors.Join(
		yaml.Unmarshal(rendered, &made),
		os.WriteFile(filepath.Join(keys, "stock.key"), []byte(made.Key), 0o600),
		os.WriteFile(filepath.Join(keys, "stock.crt"), []byte(made.Certificate), 0o600))
	if err != nil {
		t.Fatal(err)
	}
	stock, err := identity.Open("stock", identity.Config{Key: keys, Trust: keys}, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	bearer, err := stock.Bearer("stock")
	if err != nil {
		t.Fatal(err)
	}
	if caller, err := stock.Verify(bearer); err != nil || caller != "stock" {
		t.Errorf("its token is taken as %q, %v", caller, err)
	}
}
