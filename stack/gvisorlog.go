package stack

import (
	"fmt"
	"os"
	"sync"
	"time"

	"gvisor.dev/gvisor/pkg/log"
)

// gvisorLog passes on what gVisor has to say. Its log is one for the whole process, so that
// all hosts get it.
var gvisorLog logFork

// stderr is where gVisor's log goes at first. A program may replace os.Stderr later.
var stderr = os.Stderr

// A logFork hands each of gVisor's log lines to every host.
type logFork struct {
	mu    sync.Mutex
	lines map[*Host]chan string
}

// tap has h's logger told of gVisor's lines until untap. Unless the program has done
// something about gVisor's log itself, it no longer goes to the standard error.
func (f *logFork) tap(h *Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if e, ok := log.Log().Emitter.(log.GoogleEmitter); ok && e.Next == stderr {
		log.SetTarget(f)
	}
	if f.lines == nil {
		f.lines = make(map[*Host]chan string)
	}
	lines := make(chan string, gvisorLines)
	f.lines[h] = lines
	h.done.Go(func() {
		// A peer can cause most of them, as often as it likes.
		for line := range lines {
			h.log.Debug(line, "op", "gvisor")
		}
	})
}

func (f *logFork) untap(h *Host) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if lines, ok := f.lines[h]; ok {
		close(lines)
		delete(f.lines, h)
	}
}

// Emit makes f a log.Emitter. gVisor may hold any of its locks, so a logger's own code does
// not run here.
func (f *logFork) Emit(_ int, _ log.Level, _ time.Time, format string, v ...any) {
	line := fmt.Sprintf(format, v...)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, lines := range f.lines {
		select {
		case lines <- line:
		default: // the logger is slow, and the line is lost on it
		}
	}
}
