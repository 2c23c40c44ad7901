package e2e

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kiteshop/kiteshop/services/internal/apikey"
)

// BenchmarkGovernance compares what GET /items/{id} costs the gateway, item and
// stock, each a process, with all that rules a call, and nothing that happens: a
// token on each call, a key of the caller, limits of callers and a file of
// policies; with none of it configured; and, if BENCH_BASELINE names a checkout,
// with the programs there. One iteration is 3000 requests to each side; run it
// with -benchtime 20x or more.
func BenchmarkGovernance(b *testing.B) {
	dir := b.TempDir()
	identified(b, dir, "gateway", "item", "stock")
	policies := filepath.Join(dir, "policies.yaml")
	limits := "edge: {reads: {per_second: 1000000, burst: 1000000}, writes: {per_second: 1000, burst: 1000}}\n"
	if err := os.WriteFile(policies, []byte(limits), 0o600); err != nil {
		b.Fatal(err)
	}
	keys := filepath.Join(dir, "api-keys.yaml")
	key, _, err := apikey.File(keys).Create(b.Context(), "bench", []string{"write"}, time.Now(), rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	programs := buildServices(b, "..")
	names := []string{"all", "off"}
	sides := []*side{
		startSide(b, programs, sideOptions{
			flags:   []string{"-identity-key", dir, "-identity-trust", dir, "-policies", policies},
			gateway: []string{"-api-keys", keys}, key: key,
		}),
		startSide(b, programs, sideOptions{}),
	}
	if baseline := os.Getenv("BENCH_BASELINE"); baseline != "" {
		names = append(names, "baseline")
		sides = append(sides, startSide(b, buildServices(b, filepath.Join(baseline, "services")), sideOptions{}))
	}
	compareSides(b, names, sides)
}
