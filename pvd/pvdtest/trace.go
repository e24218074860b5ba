package pvdtest

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A trace keeps the last frames of a link.
type trace struct {
	clock pvd.Clock

	mu      sync.Mutex
	entries []traced // a ring once it is full
	next    int
	bytes   int
	seen    uint64
}

type traced struct {
	at   time.Time
	dir  tun.Direction
	data []byte
	meta tun.Meta
}

func newTrace(clock pvd.Clock) *trace { return &trace{clock: clock} }

func (t *trace) add(dir tun.Direction, bufs [][]byte, m tun.Meta) {
	e := traced{t.clock.Now(), dir, slices.Concat(bufs...), m}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen++
	t.bytes += len(e.data)
	if len(t.entries) < maxTraceFrames {
		t.entries = append(t.entries, e)
	} else {
		t.bytes -= len(t.entries[t.next].data)
		t.entries[t.next] = e
		t.next = (t.next + 1) % maxTraceFrames
	}
	// The oldest frames go first, whichever limit is reached.
	for i := t.next; t.bytes > maxTraceBytes; i = (i + 1) % len(t.entries) {
		t.bytes -= len(t.entries[i].data)
		t.entries[i].data = nil
	}
}

func (t *trace) frames() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.seen
}

// write makes a capture file of what is kept, under the link's name.
func (t *trace) write(w io.Writer, name string) error {
	t.mu.Lock()
	entries := slices.Concat(t.entries[t.next:], t.entries[:t.next])
	t.mu.Unlock()
	c := tun.NewCapture(w, tun.CaptureConfig{Now: t.clock.Now})
	id := c.Interface(name, tun.Ethernet)
	for _, e := range entries {
		if e.data != nil {
			c.Write(id, e.dir, e.at, [][]byte{e.data}, e.meta)
		}
	}
	return c.Close()
}

// A timeline keeps the last lines of what happened. It is what the lab's loggers write to.
type timeline struct {
	clock pvd.Clock

	mu    sync.Mutex
	lines []string // a ring once it is full
	next  int
}

func newTimeline(clock pvd.Clock) *timeline { return &timeline{clock: clock} }

// Write adds a line.
func (t *timeline) Write(b []byte) (int, error) {
	line := fmt.Sprintf("%12.6f %s", t.clock.Monotonic().Seconds(), b)
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < maxTimeline {
		t.lines = append(t.lines, line)
	} else {
		t.lines[t.next] = line
		t.next = (t.next + 1) % maxTimeline
	}
	return len(b), nil
}

func (t *timeline) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(slices.Concat(t.lines[t.next:], t.lines[:t.next]), "")
}

// leaveArtifacts writes what explains a failure into the directory for that: a
// capture of each link, the timeline, and what each host's PvDs consist of.
func (l *Lab) leaveArtifacts() {
	dir := l.artifacts
	if d, ok := l.tb.(interface{ ArtifactDir() string }); ok && dir == "" {
		dir = d.ArtifactDir()
	}
	if dir == "" {
		return
	}
	l.mu.Lock()
	cables, hosts := l.cables, l.hosts
	l.mu.Unlock()
	var errs []error
	for _, c := range cables {
		if c.trace.frames() == 0 {
			continue
		}
		errs = append(errs, writeFile(dir, c.name+".pcapng", func(w io.Writer) error { return c.trace.write(w, c.name) }))
	}
	errs = append(errs, writeFile(dir, "timeline.txt", func(w io.Writer) error {
		_, err := io.WriteString(w, l.timeline.String())
		return err
	}))
	for _, h := range hosts {
		errs = append(errs, writeFile(dir, h.name+".txt", h.describe))
	}
	if err := errors.Join(errs...); err != nil {
		l.tb.Logf("pvdtest: artifacts: %v", err)
		return
	}
	l.tb.Logf("pvdtest: captures and timeline are in %s", dir)
}

// writeFile makes a file whose name is made fit for one.
func writeFile(dir, name string, write func(io.Writer) error) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(dir, url.PathEscape(strings.NewReplacer("/", "-", " ", "-", ":", "_").Replace(name))))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	return errors.Join(write(w), w.Flush(), f.Close())
}
