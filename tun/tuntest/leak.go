package tuntest

import (
	"os"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"
)

// leakGrace is how long goroutines and descriptors may take to go after a test.
const leakGrace = 3 * time.Second

// CheckLeaks lets the test fail if, at its end, after all cleanups registered later,
// it leaves goroutines or file descriptors. The test must not be parallel to others.
func CheckLeaks(t testing.TB) {
	t.Helper()
	openPoller()
	goroutines, fds := runtime.NumGoroutine(), openFDs()
	t.Cleanup(func() {
		deadline := time.Now().Add(leakGrace)
		for runtime.NumGoroutine() > goroutines || openFDs() > fds {
			if time.Now().After(deadline) {
				var stacks strings.Builder
				pprof.Lookup("goroutine").WriteTo(&stacks, 1) // a Builder takes all
				t.Errorf("left behind: goroutines %d, were %d; descriptors %d, were %d\n%s",
					runtime.NumGoroutine(), goroutines, openFDs(), fds, &stacks)
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// openPoller has the runtime open its poller, which takes descriptors with the first file
// that can be waited for.
func openPoller() {
	if r, w, err := os.Pipe(); err == nil {
		r.Close()
		w.Close()
	}
}

// openFDs counts this process's file descriptors, 0 where the system does not tell.
func openFDs() int {
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(d)
}
