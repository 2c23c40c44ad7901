package discovery_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

// TestMain runs the tests and demands that registries leave nothing running
// behind, or is the other process of a test that needs one.
func TestMain(m *testing.M) {
	if url, address, found := strings.Cut(os.Getenv("TEST_ANNOUNCE"), " "); found {
		fmt.Fprintln(os.Stderr, announceForever(url, address))
		os.Exit(1)
	}
	if os.Getenv("TEST_DRIVER") == "contrib" || os.Getenv("TEST_NACOS") != "" {
		os.Exit(m.Run()) // these SDKs leave goroutines behind
	}
	goleak.VerifyTestMain(m)
}
