package stack

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/refs"
)

// atOnce is how many of the tests that wait for the network's timers, and hardly compute, run
// at the same time, also where there are fewer processors.
const atOnce = 20

// TestMain fails the run if a test leaves a reference to one of gVisor's packet buffers,
// views or address endpoints: what a PvD's removal forgets shows up here.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", strconv.Itoa(max(atOnce, runtime.GOMAXPROCS(0)))); err != nil {
		panic(err)
	}
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
