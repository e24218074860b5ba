package tun

import (
	"errors"
	"sync"
	"time"
)

// A queuedFrame is a frame in memory of the queue's.
type queuedFrame struct {
	buf  *buffer
	meta Meta
}

// A frameQueue is a bounded queue of frames, copied in. One goroutine at a time takes
// frames out; any number puts frames in.
type frameQueue struct {
	mu      sync.Mutex
	ring    []queuedFrame
	head, n int
	inHand  bool          // the reader has not come back since it took a frame
	noRead  bool          // nobody takes frames any more
	noWrite bool          // nobody puts frames any more
	ready   chan struct{} // a token: the reader should look again
	room    chan struct{} // closed when a frame leaves; nil unless somebody waits for that
}

func newFrameQueue(size int) *frameQueue {
	return &frameQueue{ring: make([]queuedFrame, size), ready: make(chan struct{}, 1)}
}

// put copies a frame of n octets in. It returns ErrFull when there is no room, and
// ErrDown when nobody would take the frame.
func (q *frameQueue) put(bufs [][]byte, n int, m Meta) error {
	if err := q.acceptance(); err != nil {
		return err
	}
	// The copy is made without the lock; the slot may be gone afterwards.
	f := queuedFrame{newBuffer(n), m}
	gather(f.buf.b, bufs)

	q.mu.Lock()
	defer q.mu.Unlock()
	if err := q.acceptanceLocked(); err != nil {
		f.buf.free()
		return err
	}
	q.ring[(q.head+q.n)%len(q.ring)] = f
	q.n++
	q.wake()
	return nil
}

func (q *frameQueue) acceptance() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.acceptanceLocked()
}

func (q *frameQueue) acceptanceLocked() error {
	switch {
	case q.noRead || q.noWrite:
		return ErrDown
	case q.n == len(q.ring):
		return ErrFull
	}
	return nil
}

// wake leaves a token for the reader.
func (q *frameQueue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// get takes the oldest frame out, waiting for one. It reports false when the queue
// was closed for reading. The frame is the caller's to free, and counts as pending
// until the next call.
func (q *frameQueue) get() (queuedFrame, bool) {
	for {
		q.mu.Lock()
		q.inHand = false
		if q.noRead {
			q.mu.Unlock()
			return queuedFrame{}, false
		}
		if q.n > 0 {
			f := q.pop()
			q.inHand = true
			q.mu.Unlock()
			return f, true
		}
		q.mu.Unlock()
		<-q.ready
	}
}

// pop removes the oldest frame. The caller holds the lock and knows that there is one.
func (q *frameQueue) pop() queuedFrame {
	f := q.ring[q.head]
	q.ring[q.head] = queuedFrame{}
	q.head = (q.head + 1) % len(q.ring)
	q.n--
	q.wakeWriters()
	return f
}

func (q *frameQueue) wakeWriters() {
	if q.room != nil {
		close(q.room)
		q.room = nil
	}
}

// pending returns how many frames were put and not yet dealt with: those in the queue
// and the one in the reader's hand.
func (q *frameQueue) pending() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.inHand {
		return q.n + 1
	}
	return q.n
}

// wait waits for room, for at most d or until cancel is closed.
func (q *frameQueue) wait(d time.Duration, cancel <-chan struct{}) bool {
	var timeout <-chan time.Time
	for {
		q.mu.Lock()
		if err := q.acceptanceLocked(); !errors.Is(err, ErrFull) {
			q.mu.Unlock()
			return err == nil
		}
		if q.room == nil {
			q.room = make(chan struct{})
		}
		room := q.room
		q.mu.Unlock()

		if timeout == nil {
			t := time.NewTimer(d)
			defer t.Stop()
			timeout = t.C
		}
		select {
		case <-room:
		case <-timeout:
			return false
		case <-cancel:
			return false
		}
	}
}

// drop empties the queue and returns how many frames were lost.
func (q *frameQueue) drop() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropLocked()
}

func (q *frameQueue) dropLocked() int {
	lost := q.n
	for q.n > 0 {
		q.pop().buf.free()
	}
	return lost
}

// closeRead ends reading: what is queued is lost, and counted in the result; all who
// wait are woken.
func (q *frameQueue) closeRead() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.noRead, q.inHand = true, false
	lost := q.dropLocked()
	q.wakeWriters()
	q.wake()
	return lost
}

// closeWrite ends writing: what is queued can still be read.
func (q *frameQueue) closeWrite() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.noWrite = true
	q.wakeWriters()
}
