package stack

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/log"
)

// What gVisor logs goes to the loggers of the hosts that there are, and nowhere else.
func TestGvisorLog(t *testing.T) {
	var text lockedBuffer
	h, err := New(Config{Logger: slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := log.Log().Emitter.(*logFork); !ok {
		t.Error("gVisor writes to the standard error")
	}
	log.Warningf("the %s is taken", "port")
	if !eventually(func() bool { return strings.Contains(text.String(), `msg="the port is taken"`) }) {
		t.Errorf("log: %q", text.String())
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	before := text.String()
	log.Warningf("again")
	if text.String() != before {
		t.Error("a host that is closed is told")
	}
}

// A logger that does not come back holds nobody up, and the lines that it misses are lost.
func TestGvisorLogIsBounded(t *testing.T) {
	var fork logFork
	lines := make(chan string, gvisorLines)
	fork.lines = map[*Host]chan string{nil: lines}
	for range 2 * gvisorLines {
		fork.Emit(0, log.Warning, time.Time{}, "line")
	}
	if len(lines) != gvisorLines {
		t.Errorf("%d lines wait", len(lines))
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
