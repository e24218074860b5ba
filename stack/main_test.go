package stack

import (
	"fmt"
	"os"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/refs"
)

// TestMain fails the run if a test leaves a reference to one of gVisor's packet buffers,
// views or address endpoints: what a PvD's removal forgets shows up here.
func TestMain(m *testing.M) {
	refs.SetLeakMode(refs.LeaksPanic)
	code := m.Run()
	if code == 0 {
		code = checkReferences()
	}
	os.Exit(code)
}

// checkReferences gives what has just been closed the time to end.
func checkReferences() (code int) {
	time.Sleep(100 * time.Millisecond)
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintln(os.Stderr, r)
			code = 1
		}
	}()
	refs.DoLeakCheck()
	return 0
}
