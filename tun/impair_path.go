package tun

import (
	"container/heap"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// ImpairCounters tell what has befallen the frames of one direction. At any time
// Frames + Duplicated = Sent + Dropped() + the frames that are held.
type ImpairCounters struct {
	Frames     uint64 // taken in, counted after a frame with GSO was split
	Sent       uint64 // passed on
	Duplicated uint64 // copies made
	Corrupted  uint64 // with a bit flipped
	Reordered  uint64 // held back

	// Dropped, by reason.
	DropMTU       uint64 // longer than Impairment.MTU
	DropPredicate uint64 // picked by Impairment.Drop
	DropLoss      uint64 // lost by a draw
	DropQueue     uint64 // the bottleneck's queue, or the room for held frames, was full
	DropError     uint64 // the link's Send failed, or the reader's buffers were too short
	DropMalformed uint64 // could not be split or completed
	DropClosed    uint64 // held when the link was closed
}

// Dropped returns the number of frames dropped, for whatever reason.
func (c ImpairCounters) Dropped() uint64 {
	return c.DropMTU + c.DropPredicate + c.DropLoss + c.DropQueue +
		c.DropError + c.DropMalformed + c.DropClosed
}

// An impairPath is one direction of an Impaired: it draws each frame's fate, and holds
// what is not to go at once in a heap, with one timer for its head.
type impairPath struct {
	name  string
	layer Layer
	clock Clock
	// put passes a frame on, which it does not keep, and counts it. It is called under
	// mu, so that frames keep their order.
	put  func(frame []byte) error
	emit func(frame []byte) error // take, for Segment

	mu     sync.Mutex
	set    Impairment
	rng    *rand.Rand
	n      ImpairCounters
	closed bool
	now    time.Duration // of the offer in progress
	failed error         // put's first, of the offer in progress
	buf    []byte        // the frame on offer, in one piece

	held   heldFrames
	octets int             // in held
	seq    uint64          // of the next to be held
	last   time.Duration   // when the latest frame that keeps its order is due
	busy   time.Duration   // until when the bottleneck is
	line   []time.Duration // when each frame in the bottleneck's queue has left it

	stop   func() bool // the timer's; nil: not armed
	wakeAt time.Duration
	timer  uint64        // number of the latest timer, so that an earlier one is known
	retry  time.Duration // until put is tried again, if it was full
}

func newImpairPath(l Link, clock Clock, seed uint64, dir Direction) *impairPath {
	p := &impairPath{name: l.Name(), layer: l.Layer(), clock: clock, rng: rand.New(rand.NewPCG(seed, uint64(dir)))}
	p.emit = p.take
	p.retry = impairRetry
	return p
}

func (p *impairPath) setTo(i Impairment) {
	if i.ReorderBy == 0 {
		i.ReorderBy = DefaultReorderBy
	}
	if i.Queue == 0 {
		i.Queue = DefaultQueue
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.set = i
}

// transparent reports whether frames may pass by.
func (p *impairPath) transparent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.set.isZero() && len(p.held) == 0 && !p.closed
}

// passed counts a frame that has passed by.
func (p *impairPath) passed(err error) {
	if errors.Is(err, ErrFull) {
		return // it will come again
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.n.Frames++
	if err != nil {
		p.n.DropError++
	} else {
		p.n.Sent++
	}
}

// offer takes a frame. ErrFull says that it has not: nothing was drawn. Any other error
// is about a frame that is lost.
func (p *impairPath) offer(bufs [][]byte, m Meta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return closedError("send", p.name)
	}
	p.now = p.clock.Now()
	p.release()
	defer p.arm()
	if p.stuck() {
		return ErrFull
	}
	p.buf = slices.Grow(p.buf[:0], frameLen(bufs))[:frameLen(bufs)]
	gather(p.buf, bufs)
	p.failed = nil
	if err := Segment(p.buf, p.layer, m, len(p.buf), p.emit); err != nil {
		p.n.Frames++
		p.n.DropMalformed++
		return err
	}
	return p.failed
}

// fate is what the draws decide. They are always all made, so that one Impairment's field
// does not change what another one's draws are.
type fate struct {
	lost, corrupted, reordered, duplicated bool
	jitter                                 time.Duration
	bit                                    uint64
}

func (p *impairPath) draw() fate {
	return fate{
		lost:       p.rng.Float64() < p.set.Loss,
		corrupted:  p.rng.Float64() < p.set.Corrupt,
		reordered:  p.rng.Float64() < p.set.Reorder,
		duplicated: p.rng.Float64() < p.set.Duplicate,
		jitter:     time.Duration(p.rng.Float64() * float64(p.set.Jitter)),
		bit:        p.rng.Uint64(),
	}
}

// take lets one packet meet its fate. It never fails.
func (p *impairPath) take(frame []byte) error {
	p.n.Frames++
	f := p.draw()
	switch {
	case p.set.MTU > 0 && packetLen(frame, p.layer) > p.set.MTU:
		p.n.DropMTU++
		return nil
	case p.set.Drop != nil && p.set.Drop(NewFrame(frame, p.layer)):
		p.n.DropPredicate++
		return nil
	case f.lost:
		p.n.DropLoss++
		return nil
	}
	due, ok := p.bottleneck(len(frame))
	if !ok {
		p.n.DropQueue++
		return nil
	}
	if f.corrupted && p.flip(frame, f.bit) {
		p.n.Corrupted++
	}
	due += p.set.Delay + f.jitter
	if f.reordered {
		p.n.Reordered++
		due += p.set.ReorderBy
	} else {
		due = max(due, p.last)
		p.last = due
	}
	p.pass(due, frame)
	if f.duplicated {
		p.n.Duplicated++
		p.pass(due, frame)
	}
	return nil
}

// bottleneck returns when a frame of n octets has left the bottleneck, and whether there
// is room for it.
func (p *impairPath) bottleneck(n int) (time.Duration, bool) {
	if p.set.Rate == 0 {
		return p.now, true
	}
	for len(p.line) > 0 && p.line[0] <= p.now {
		p.line = p.line[1:]
	}
	if len(p.line) >= p.set.Queue {
		return 0, false
	}
	p.busy = max(p.busy, p.now) + time.Duration(int64(n)*8*int64(time.Second)/p.set.Rate)
	p.line = append(p.line, p.busy)
	return p.busy, true
}

// flip flips one bit of the packet in frame. It spares the Ethernet header, which on a
// wire has a check of its own, so that no frame reaches whom it was never meant for.
func (p *impairPath) flip(frame []byte, bit uint64) bool {
	packet := frame
	if p.layer == Ethernet {
		packet = frame[min(EthernetHeaderLen, len(frame)):]
	}
	if len(packet) == 0 {
		return false
	}
	bit %= uint64(len(packet)) * 8
	packet[bit/8] ^= 1 << (bit % 8)
	return true
}

// pass hands frame on if it is due and nothing is ahead of it, or else holds a copy.
func (p *impairPath) pass(due time.Duration, frame []byte) {
	if due <= p.now && !p.stuck() && p.hand(frame) {
		return
	}
	if len(p.held) >= ImpairMaxFrames || p.octets+len(frame) > ImpairMaxOctets {
		p.n.DropQueue++
		return
	}
	f := &heldFrame{due: due, seq: p.seq, buf: newBuffer(len(frame))}
	copy(f.buf.b, frame)
	heap.Push(&p.held, f)
	p.seq++
	p.octets += len(frame)
}

// hand puts frame and reports whether that is done with, which it is not if put is full.
func (p *impairPath) hand(frame []byte) bool {
	err := p.put(frame)
	if errors.Is(err, ErrFull) {
		return false
	}
	if err != nil {
		p.n.DropError++
		if p.failed == nil {
			p.failed = err
		}
	}
	return true
}

// stuck reports whether frames are held that should have gone.
func (p *impairPath) stuck() bool {
	return len(p.held) > 0 && p.held[0].due <= p.now
}

// release hands on all that is due.
func (p *impairPath) release() {
	for p.stuck() {
		f := p.held[0]
		if !p.hand(f.buf.b) {
			return
		}
		heap.Pop(&p.held)
		p.octets -= len(f.buf.b)
		f.buf.free()
		p.retry = impairRetry
	}
}

// arm sees to it that the timer fires when the head of held is due, or is worth another
// try, and not when there is none.
func (p *impairPath) arm() {
	at := p.now + p.retry
	if len(p.held) > 0 && !p.stuck() {
		at = p.held[0].due
	}
	if p.stop != nil {
		if len(p.held) > 0 && p.now < p.wakeAt && p.wakeAt <= at {
			return
		}
		p.stop()
		p.stop = nil
	}
	if len(p.held) == 0 {
		return
	}
	p.timer++
	p.wakeAt = at
	number := p.timer
	p.stop = p.clock.AfterFunc(at-p.now, func() { p.fire(number) })
}

// fire is the timer's call.
func (p *impairPath) fire(number uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || number != p.timer {
		return
	}
	p.stop = nil
	p.retry = min(2*p.retry, impairRetryMax)
	p.advance()
}

// poke tries again what put was too full for.
func (p *impairPath) poke() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.closed && len(p.held) > 0 {
		p.advance()
	}
}

func (p *impairPath) advance() {
	p.now = p.clock.Now()
	p.release()
	p.arm()
}

func (p *impairPath) delayed() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.held)
}

func (p *impairPath) counters() ImpairCounters {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *impairPath) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closeLocked()
}

func (p *impairPath) closeLocked() {
	p.closed = true
	p.n.DropClosed += uint64(len(p.held))
	for _, f := range p.held {
		f.buf.free()
	}
	p.held, p.octets = nil, 0
	p.arm()
}

// A heldFrame is a frame that waits until it is due.
type heldFrame struct {
	due time.Duration
	seq uint64
	buf *buffer
}

// heldFrames are ordered by when they are due, then as they came.
type heldFrames []*heldFrame

func (h heldFrames) Len() int { return len(h) }
func (h heldFrames) Less(i, j int) bool {
	if h[i].due != h[j].due {
		return h[i].due < h[j].due
	}
	return h[i].seq < h[j].seq
}
func (h heldFrames) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *heldFrames) Push(x any)   { *h = append(*h, x.(*heldFrame)) }
func (h *heldFrames) Pop() any {
	old := *h
	f := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return f
}
