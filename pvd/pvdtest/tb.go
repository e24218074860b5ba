package pvdtest

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"sync"
)

// A TB is what the lab needs of a test. *testing.T, *testing.B and *testing.F have it;
// [Main] makes one for programs that are no tests. A TB that also has a method
// ArtifactDir() string, as those of package testing do, says where a failed test's
// captures go; without one, and without the option [Artifacts], there are none.
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
	Cleanup(func())                    // the last one registered runs first
	Failed() bool
}

// Main runs f with a TB that needs no package testing, then what f registered for
// cleanup, and reports whether all came through without Errorf, Fatalf or panic. What is
// logged goes to w, one line each.
func Main(name string, w io.Writer, f func(TB)) bool {
	tb := &mainTB{name: name, w: w}
	tb.guard(func() { f(tb) })
	for {
		last := tb.popCleanup()
		if last == nil {
			break
		}
		tb.guard(last)
	}
	return !tb.Failed()
}

type mainTB struct {
	name string

	mu       sync.Mutex
	w        io.Writer
	failed   bool
	cleanups []func()
}

// guard runs f in a goroutine, which Fatalf can then end, and waits for it.
func (tb *mainTB) guard(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if r := recover(); r != nil {
				tb.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		f()
	}()
	<-done
}

func (tb *mainTB) popCleanup() func() {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	n := len(tb.cleanups)
	if n == 0 {
		return nil
	}
	f := tb.cleanups[n-1]
	tb.cleanups = tb.cleanups[:n-1]
	return f
}

func (tb *mainTB) Helper()      {}
func (tb *mainTB) Name() string { return tb.name }

func (tb *mainTB) Logf(format string, args ...any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	// Nobody could be told that the log can not be written.
	_, _ = fmt.Fprintf(tb.w, format+"\n", args...)
}

func (tb *mainTB) Errorf(format string, args ...any) {
	tb.Logf(format, args...)
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.failed = true
}

func (tb *mainTB) Fatalf(format string, args ...any) {
	tb.Errorf(format, args...)
	runtime.Goexit()
}

func (tb *mainTB) Cleanup(f func()) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	tb.cleanups = append(tb.cleanups, f)
}

func (tb *mainTB) Failed() bool {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	return tb.failed
}
