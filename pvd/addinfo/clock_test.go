package addinfo

import (
	"slices"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// testClock is a clock that stands still until it is advanced.
type testClock struct {
	mu     sync.Mutex
	mono   time.Duration
	wall   time.Time
	timers []*testTimer
}

type testTimer struct {
	clock *testClock
	at    time.Duration
	f     func()
}

func newClock() *testClock { return &testClock{mono: time.Hour, wall: now} }

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.wall
}

func (c *testClock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono
}

func (c *testClock) AfterFunc(d time.Duration, f func()) pvd.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &testTimer{c, c.mono + d, f}
	c.timers = append(c.timers, t)
	return t
}

func (t *testTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	n := len(t.clock.timers)
	t.clock.timers = slices.DeleteFunc(t.clock.timers, func(o *testTimer) bool { return o == t })
	return len(t.clock.timers) < n
}

func (t *testTimer) Reset(d time.Duration) {
	t.Stop()
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	t.at = t.clock.mono + d
	t.clock.timers = append(t.clock.timers, t)
}

// advance lets d go by on both clocks and calls what is due.
func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	c.mono += d
	c.wall = c.wall.Add(d)
	var due []*testTimer
	for _, t := range c.timers {
		if t.at <= c.mono {
			due = append(due, t)
		}
	}
	c.timers = slices.DeleteFunc(c.timers, func(t *testTimer) bool { return t.at <= c.mono })
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

// waiting returns how many timers there are.
func (c *testClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}
