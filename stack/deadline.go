package stack

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A deadline is the moment after which a kind of operation on an endpoint fails, by the
// host's clock. The zero deadline, with a clock, never passes. It may be set at any time,
// also while operations wait for it.
type deadline struct {
	clock pvd.Clock
	past  atomic.Bool // whether it has passed

	mu     sync.Mutex
	at     time.Duration // on the monotonic clock; 0 is none
	timer  pvd.Timer
	passes chan struct{} // closed when it passes; nil until somebody waits
	wakes  *readiness    // who waits for something else too, has that woken; may be nil
}

// set moves the deadline to t, a time of day. The zero Time means none.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopLocked()
	if d.past.Swap(false) {
		d.passes = nil
	}
	if t.IsZero() {
		return
	}
	left := t.Sub(d.clock.Now())
	if left <= 0 {
		d.passLocked()
		return
	}
	d.at = d.clock.Monotonic() + left
	if d.timer == nil {
		d.timer = d.clock.AfterFunc(left, d.fire)
	} else {
		d.timer.Reset(left)
	}
}

// fire is the timer's call.
func (d *deadline) fire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	// A call that was under way when the deadline was moved comes too early.
	if d.at != 0 && d.clock.Monotonic() >= d.at {
		d.passLocked()
	}
}

func (d *deadline) passLocked() {
	d.at = 0
	if d.past.Swap(true) {
		return
	}
	if d.passes != nil {
		close(d.passes)
	}
	if d.wakes != nil {
		d.wakes.wake()
	}
}

// passed returns a channel that is closed when the deadline passes.
func (d *deadline) passed() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.passes == nil {
		d.passes = make(chan struct{})
		if d.past.Load() {
			close(d.passes)
		}
	}
	return d.passes
}

// stop forgets the deadline, so that no timer keeps its endpoint in memory.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopLocked()
}

func (d *deadline) stopLocked() {
	d.at = 0
	if d.timer != nil {
		d.timer.Stop()
	}
}
