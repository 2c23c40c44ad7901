package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kiteshop/kiteshop/services/internal/sqldb/sqldbtest"
)

// What .ci/contract sets: the folder of the tools, and how many requests of
// each kind they make up.
const (
	envContractTools    = "CONTRACT_TOOLS"
	envContractExamples = "CONTRACT_EXAMPLES"
)

func TestToolsThatKnowOnlyTheDocumentFindTheShopAsItSays(t *testing.T) {
	t.Parallel()
	tools := os.Getenv(envContractTools)
	if tools == "" {
		t.Skip(".ci/contract brings the tools")
	}
	here, err := filepath.Abs("../../.ci")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("a client made from it buys something", func(t *testing.T) {
		t.Parallel()
		s, made := open(t, config(t.TempDir())), t.TempDir()
		runTool(t, made, filepath.Join(tools, "openapi-python-client"), "generate", "--url", s.base+"/openapi.json", "--meta", "none",
			"--config", filepath.Join(here, "contract.openapi-python-client.yaml"), "--output-path", "kiteshop_client", "--fail-on-warning")
		runTool(t, made, "env", "PYTHONPATH="+made, filepath.Join(tools, "python"), filepath.Join(here, "contract.client.py"), s.base)
	})
	for _, store := range []string{"sqlite", "postgresql"} {
		t.Run("what it allows and forbids is answered as it says, on "+store, func(t *testing.T) {
			t.Parallel()
			data := t.TempDir()
			if store == "postgresql" {
				data = sqldbtest.StartPostgres(t).Database()
			}
			s := open(t, config(data))
			// Of an address it would leave out that address itself.
			document := filepath.Join(here, "../services/gateway/internal/http/openapi.json")
			runTool(t, t.TempDir(), "env", "SCHEMATHESIS_HOOKS="+filepath.Join(here, "contract.rules.py"),
				filepath.Join(tools, "schemathesis"), "--config-file", filepath.Join(here, "contract.toml"),
				"run", document, "--url", s.base, "--checks", "all", "--max-examples", os.Getenv(envContractExamples), "--no-color")
		})
	}
}

// runTool runs a program in dir, and fails the test when that does.
func runTool(t *testing.T, dir, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir = dir
	output, err := cmd.CombinedOutput()
	t.Logf("%s\n%s", cmd, output)
	if err != nil {
		t.Fatal(err)
	}
}
