package pvdtest_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// A sealTB is a test that notes its failures.
type sealTB struct {
	testing.TB
	failures []string
	cleanups []func()
}

func (r *sealTB) Errorf(format string, args ...any) {
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *sealTB) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func TestSealHost(t *testing.T) {
	resolver, transport := net.DefaultResolver, http.DefaultTransport
	r := &sealTB{TB: t}
	pvdtest.SealHost(r)
	for what, f := range map[string]func() error{
		"lookup": func() error { _, err := net.LookupHost("www.example"); return err },
		"dial":   func() error { _, err := net.Dial("tcp", "www.example:80"); return err },
		"http":   func() error { _, err := http.Get("http://192.0.2.1/"); return err },
	} {
		before := len(r.failures)
		err := f()
		if err == nil || len(r.failures) == before {
			t.Errorf("%s: %v, and the test has not failed", what, err)
		}
		if what == "http" && !errors.Is(err, pvdtest.ErrSealed) {
			t.Error(err)
		}
	}
	if all := strings.Join(r.failures, "\n"); !strings.Contains(all, "http://192.0.2.1/") || !strings.Contains(all, "resolver") {
		t.Error(all)
	}
	for _, f := range r.cleanups {
		f()
	}
	if net.DefaultResolver != resolver || http.DefaultTransport != transport {
		t.Error("the host stays sealed")
	}
}
