package tun

import (
	"fmt"
	"sync"
)

// errSetDown is why a link is down that somebody set down.
var errSetDown = fmt.Errorf("%w: the interface is set down", ErrDown)

// eventBox is the channel behind Link.Events: it holds the last event that its reader
// has not seen, and no older one.
type eventBox struct {
	mu     sync.Mutex
	ch     chan Event
	last   Event
	closed bool
}

// newEventBox returns a box for a link in the state first, which the reader is told
// only if frames can not pass: a link is taken to be up.
func newEventBox(first Event) *eventBox {
	b := &eventBox{ch: make(chan Event, 1), last: first}
	if !first.Up {
		b.ch <- first
	}
	return b
}

// publish tells the reader a state, unless that is what it was told last.
func (b *eventBox) publish(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed || (e.Up == b.last.Up && e.MTU == b.last.MTU && reason(e) == reason(b.last)) {
		return
	}
	b.last = e
	// Only this method sends, under the lock: after the old event is out there is room.
	select {
	case <-b.ch:
	default:
	}
	b.ch <- e
}

// reason returns the text of an event's error: two that read alike are one to a reader.
func reason(e Event) string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (b *eventBox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		close(b.ch)
	}
}
