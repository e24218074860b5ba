package pvdtest

import (
	"container/heap"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A ManualClock is a [pvd.Clock] that stands still until it is told to go on. It goes
// from timer to timer, and before each it lets whatever uses it come to rest: a stack
// whose packets are still under way when their retransmission timer fires sends them
// twice. It is for tests that need minutes of a network's time and have none of their
// own. Its methods may be called concurrently.
//
// What is at rest is seen from outside, by the functions given to Watch and by the
// scheduler having nothing to run, so events happen in the right order but packets are
// not always the same in number: tests do not count them.
type ManualClock struct {
	start time.Time

	mu      sync.Mutex
	now     time.Duration
	timers  timerHeap
	seq     uint64
	running int
	fired   uint64
	watched []func() Activity

	stepping sync.Mutex // one Advance at a time
}

// An Activity is how busy something is at a moment.
type Activity struct {
	Pending int    // things waiting to be done: not at rest unless 0
	Count   uint64 // things done: not at rest while it grows
}

// NewManualClock returns a clock that shows start.
func NewManualClock(start time.Time) *ManualClock { return &ManualClock{start: start} }

// Now returns the time of day that the clock shows.
func (c *ManualClock) Now() time.Time { return c.start.Add(c.Monotonic()) }

// Monotonic returns the time since the clock was made.
func (c *ManualClock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc calls f in a goroutine of its own when the clock has been advanced by d.
// Where d is not positive that is at once.
func (c *ManualClock) AfterFunc(d time.Duration, f func()) pvd.Timer {
	t := &manualTimer{clock: c, f: f, index: -1}
	t.Reset(d)
	return t
}

// Watch makes the clock wait, before each step, until what activity tells of is at rest.
func (c *ManualClock) Watch(activity func() Activity) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.watched = append(c.watched, activity)
}

// Advance lets d go by, timer by timer, and returns when all is at rest at the end. It
// reports false if something never came to rest and Advance went on regardless.
func (c *ManualClock) Advance(d time.Duration) bool {
	c.stepping.Lock()
	defer c.stepping.Unlock()
	c.mu.Lock()
	end := c.now + max(d, 0)
	c.mu.Unlock()
	calm := c.settle()
	for c.step(end) {
		calm = c.settle() && calm
	}
	return calm
}

// Run calls f in a goroutine and, until it returns, lets the clock jump to the next timer
// whenever all is at rest. It is how a call that blocks, a dial or a transfer, is made.
func (c *ManualClock) Run(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	for {
		c.settle()
		select {
		case <-done:
			return
		default:
		}
		c.stepping.Lock()
		moved := c.step(1<<63 - 1)
		c.stepping.Unlock()
		if !moved {
			// Nothing is due ever: f waits for something else.
			time.Sleep(settlePause)
		}
	}
}

// step goes to the next moment that has timers, no later than end, and fires them. It
// goes to end and reports false when there are none.
func (c *ManualClock) step(end time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 || c.timers[0].when > end {
		if end < 1<<63-1 {
			c.now = max(c.now, end)
		}
		return false
	}
	c.now = max(c.now, c.timers[0].when)
	for len(c.timers) > 0 && c.timers[0].when <= c.now {
		c.fire(heap.Pop(&c.timers).(*manualTimer))
	}
	return true
}

// fire starts a timer's call. The caller holds the lock.
func (c *ManualClock) fire(t *manualTimer) {
	c.running++
	c.fired++
	f := t.f
	// Ends with f.
	go func() {
		defer func() {
			c.mu.Lock()
			c.running--
			c.mu.Unlock()
		}()
		f()
	}()
}

// activity is what the clock itself and all that is watched are at. The functions are
// called without the lock: they may ask for the time.
func (c *ManualClock) activity() Activity {
	c.mu.Lock()
	watched := c.watched
	// Timers that were set or stopped count too: somebody did that.
	a := Activity{Pending: c.running, Count: c.fired + c.seq}
	c.mu.Unlock()
	for _, f := range watched {
		b := f()
		a.Pending += b.Pending
		a.Count += b.Count
	}
	return a
}

// settle waits for rest.
func (c *ManualClock) settle() bool { return settle(c.activity, settleTimeout) }

// A manualTimer is one call that a ManualClock was asked for.
type manualTimer struct {
	clock *ManualClock
	f     func()
	when  time.Duration
	seq   uint64
	index int // in the heap, -1 when not there
}

// Stop implements pvd.Timer.
func (t *manualTimer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.stop()
}

func (t *manualTimer) stop() bool {
	if t.index < 0 {
		return false
	}
	heap.Remove(&t.clock.timers, t.index)
	t.clock.seq++
	return true
}

// Reset implements pvd.Timer.
func (t *manualTimer) Reset(d time.Duration) {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	t.stop()
	c.seq++
	t.when, t.seq = c.now+d, c.seq
	if d <= 0 {
		c.fire(t)
		return
	}
	heap.Push(&c.timers, t)
}

// A timerHeap has the next timer first; of those due together, the one set first.
type timerHeap []*manualTimer

func (h timerHeap) Len() int { return len(h) }
func (h timerHeap) Less(i, j int) bool {
	if h[i].when != h[j].when {
		return h[i].when < h[j].when
	}
	return h[i].seq < h[j].seq
}

func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push and Pop are for package heap.
func (h *timerHeap) Push(x any) {
	t := x.(*manualTimer)
	t.index = len(*h)
	*h = append(*h, t)
}

// Pop is described with Push.
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
