package dns

import (
	"slices"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
)

// A crew are the goroutines that have asked and wait for more to ask. One that has just been
// at work has a stack that is large enough for a query already; to make it grow is an eighth of
// what a query costs.
type crew struct {
	mu     sync.Mutex
	idle   []chan func() // of those that wait, the one that has worked last at the end
	unused int           // how many of them have waited since the last muster
	muster pvd.Timer     // ends the waiting; nil until somebody waits
	due    bool          // whether it will go off
	closed bool
}

// work has f called in another goroutine.
func (r *Resolver) work(f func()) {
	if own := r.crew.take(); own != nil {
		own <- f
		return
	}
	go r.worker(f) // ends when there is no more for a while, or with the resolver
}

func (r *Resolver) worker(f func()) {
	own := make(chan func(), 1) // who has work does not wait
	for f != nil {
		f()
		if !r.crew.rest(own, r.conf.Clock) {
			return
		}
		f = <-own // nil when it is closed
	}
}

// take returns how to reach a worker that waits, nil if none does. Those that have waited
// longest are the last to be taken, so that they end when there is less to do.
func (c *crew) take() chan func() {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := len(c.idle) - 1
	if last < 0 {
		return nil
	}
	own := c.idle[last]
	c.idle = c.idle[:last]
	c.unused = min(c.unused, last)
	return own
}

// rest has a worker wait. It is false after the end.
func (c *crew) rest(own chan func(), clock pvd.Clock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.idle = append(c.idle, own)
	if !c.due {
		c.due = true
		if c.muster == nil {
			c.muster = clock.AfterFunc(workerIdle/2, c.dismiss)
		} else {
			c.muster.Reset(workerIdle / 2)
		}
	}
	return true
}

// dismiss ends those that have waited since the last time.
func (c *crew) dismiss() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	for _, own := range c.idle[:c.unused] {
		close(own)
	}
	c.idle = slices.Delete(c.idle, 0, c.unused)
	c.unused = len(c.idle)
	if c.due = len(c.idle) > 0; c.due {
		c.muster.Reset(workerIdle / 2)
	}
}

// close ends those that wait, and the others when they have done their work.
func (c *crew) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.closed = true
	if c.muster != nil {
		c.muster.Stop()
	}
	for _, own := range c.idle {
		close(own)
	}
	c.idle = nil
}
