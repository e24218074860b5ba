package stack_test

import (
	"runtime"
	"strings"
	"testing"
	"time"
)

// checkGoroutines fails the test if goroutines that it started are still there when
// everything that is registered for cleanup later has run.
func checkGoroutines(t *testing.T) {
	t.Helper()
	before := goroutines()
	t.Cleanup(func() {
		var left []string
		for range 500 {
			left = left[:0]
			for id, stack := range goroutines() {
				if _, ok := before[id]; !ok {
					left = append(left, stack)
				}
			}
			if len(left) == 0 {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("%d goroutines are left:\n\n%s", len(left), strings.Join(left, "\n\n"))
	})
}

// goroutines returns the stacks of all goroutines by what identifies them.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	n := runtime.Stack(buf, true)
	for n == len(buf) {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	all := make(map[string]string)
	for stack := range strings.SplitSeq(string(buf[:n]), "\n\n") {
		id, _, _ := strings.Cut(stack, " [") // "goroutine 7"
		all[id] = stack
	}
	return all
}
