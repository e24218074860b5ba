package pvdtest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
)

var _ TB = (*testing.T)(nil)

// A fakeTB is a test that is watched while it fails.
type fakeTB struct {
	testing.TB
	mu     sync.Mutex
	errors []string
}

func (f *fakeTB) Helper() {}

func (f *fakeTB) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Sprintf(format, args...))
}

func (f *fakeTB) Failed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.errors) > 0 || f.TB.Failed()
}

// take returns the errors so far and forgets them.
func (f *fakeTB) take() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := strings.Join(f.errors, "\n")
	f.errors = nil
	return s
}

func TestMainRuns(t *testing.T) {
	for _, tt := range []struct {
		name string
		f    func(TB)
		ok   bool
		log  string
	}{
		{"passes", func(tb TB) { tb.Logf("hello from %s", tb.Name()) }, true, "hello from demo\nclean\n"},
		{"errs", func(tb TB) { tb.Errorf("wrong"); tb.Logf("goes on") }, false, "wrong\ngoes on\nclean\n"},
		{"ends", func(tb TB) { tb.Fatalf("over"); tb.Logf("not reached") }, false, "over\nclean\n"},
		{"panics", func(TB) { panic("ouch") }, false, "panic: ouch"},
		{"fails in cleanup", func(tb TB) { tb.Cleanup(func() { tb.Fatalf("late") }) }, false, "late\nclean\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			ok := Main("demo", &log, func(tb TB) {
				tb.Cleanup(func() { tb.Logf("clean") })
				tt.f(tb)
			})
			if ok != tt.ok || !strings.HasPrefix(log.String(), tt.log) || !strings.HasSuffix(log.String(), "clean\n") {
				t.Errorf("%v, log %q", ok, log.String())
			}
		})
	}
}
