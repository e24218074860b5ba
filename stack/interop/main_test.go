package interop_test

import (
	"fmt"
	"os"
	"testing"
)

// TestMain gives the process proxies that do not exist: they are the host's, and what is
// done in a PvD is not to use them.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"} {
		if err := os.Setenv(name, "http://127.0.0.1:1"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}
