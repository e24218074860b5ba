package tun

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// PipeConfig describes a Pipe. The zero value is an Ethernet segment of the usual MTU.
type PipeConfig struct {
	// Layer is what frames begin with; 0 is Ethernet.
	Layer Layer
	// MTU is in octets, from MinMTU to MaxMTU; 0 is DefaultMTU.
	MTU int
	// Names are what the ends' Name returns; empty ones are "pipe-a" and "pipe-b".
	Names [2]string
	// Queue is how many frames wait in each direction, at most MaxPipeQueue; 0 is
	// DefaultPipeQueue.
	Queue int
}

// Pipe returns the two ends of a link in memory: what one sends, the other receives,
// in order, with its Meta. It takes every offload. Numbers out of range are brought
// into it. Closing one end takes the other down, after which that one can still receive
// what was sent before. A pipe has no goroutine.
func Pipe(c PipeConfig) (a, b Link) {
	if c.Layer == 0 {
		c.Layer = Ethernet
	}
	c.MTU = clamp(c.MTU, DefaultMTU, MinMTU, MaxMTU)
	c.Queue = clamp(c.Queue, DefaultPipeQueue, 1, MaxPipeQueue)
	ab, ba := newFrameQueue(c.Queue), newFrameQueue(c.Queue)
	ea := newPipeEnd(c, c.Names[0], "pipe-a", ba, ab)
	eb := newPipeEnd(c, c.Names[1], "pipe-b", ab, ba)
	ea.peer, eb.peer = eb, ea
	return ea, eb
}

// clamp returns v within [least, most], or zero's stand-in.
func clamp(v, zero, least, most int) int {
	if v == 0 {
		return zero
	}
	return min(max(v, least), most)
}

// Pending returns how many frames sent to the link have not been dealt with: those
// that wait for its Recv, and the one that Recv returned last until it is called again,
// so that 0 says that the receiver has nothing left to do. Of links other than
// those in memory and their decorators it knows nothing and returns 0.
func Pending(l Link) int {
	if p, ok := l.(interface{ Pending() int }); ok {
		return p.Pending()
	}
	return 0
}

var (
	_ Link        = (*pipeEnd)(nil)
	_ LossCounter = (*pipeEnd)(nil)
)

// errPeerClosed is why an end of a pipe is down.
var errPeerClosed = fmt.Errorf("%w: the other end is closed", ErrDown)

// errEmpty reports a frame of no octets.
var errEmpty = errors.New("tun: empty frame")

type pipeEnd struct {
	name    string
	layer   Layer
	mtu     int
	in, out *frameQueue
	peer    *pipeEnd
	events  *eventBox
	closed  atomic.Bool
	tooLong atomic.Uint64
	lost    atomic.Uint64
}

func newPipeEnd(c PipeConfig, name, fallback string, in, out *frameQueue) *pipeEnd {
	if name == "" {
		name = fallback
	}
	return &pipeEnd{
		name: name, layer: c.Layer, mtu: c.MTU, in: in, out: out,
		events: newEventBox(Event{Up: true, MTU: c.MTU}),
	}
}

func (e *pipeEnd) Name() string                   { return e.name }
func (e *pipeEnd) Layer() Layer                   { return e.layer }
func (e *pipeEnd) MTU() int                       { return e.mtu }
func (e *pipeEnd) HardwareAddr() net.HardwareAddr { return nil }
func (e *pipeEnd) Events() <-chan Event           { return e.events.ch }
func (e *pipeEnd) Pending() int                   { return e.in.pending() }

func (e *pipeEnd) Offload() Offload {
	return OffloadCsum | OffloadTCP4 | OffloadTCP6 | OffloadUDP
}

func (e *pipeEnd) Losses() Losses {
	return Losses{TooLong: e.tooLong.Load(), Down: e.lost.Load()}
}

func (e *pipeEnd) Recv(bufs [][]byte, m *Meta) (int, error) {
	for {
		f, ok := e.in.get()
		if !ok {
			return 0, closedError("recv", e.name)
		}
		n := len(f.buf.b)
		fits := scatter(bufs, f.buf.b)
		f.buf.free()
		if fits {
			*m = f.meta
			return n, nil
		}
		e.tooLong.Add(1)
	}
}

func (e *pipeEnd) Send(bufs [][]byte, m Meta) error {
	if e.closed.Load() {
		return closedError("send", e.name)
	}
	n := frameLen(bufs)
	if err := checkFrame(n, m, e.layer, e.mtu, e.Offload()); err != nil {
		return err
	}
	err := e.out.put(bufs, n, m)
	switch {
	case !errors.Is(err, ErrDown):
		return err
	case e.closed.Load():
		return closedError("send", e.name)
	}
	return errPeerClosed
}

func (e *pipeEnd) WaitSend(d time.Duration, cancel <-chan struct{}) bool {
	return e.out.wait(d, cancel)
}

func (e *pipeEnd) Close() error {
	if e.closed.Swap(true) {
		return nil
	}
	e.out.closeWrite()
	// The frames that nobody reads any more were accepted by the peer's Send.
	e.peer.lost.Add(uint64(e.in.closeRead()))
	e.peer.events.publish(Event{MTU: e.mtu, Err: errPeerClosed})
	e.events.close()
	return nil
}

// closedError reports the use of a closed link.
func closedError(op, name string) error {
	return fmt.Errorf("tun: %s on %s: %w", op, name, net.ErrClosed)
}

// checkFrame says whether a link of this layer, MTU and offload carries a frame of n
// octets. A frame to be segmented may be as long as any.
func checkFrame(n int, m Meta, layer Layer, mtu int, offload Offload) error {
	most := mtu
	if m.GSO != GSONone {
		most = MaxMTU
	}
	if layer == Ethernet {
		most += EthernetHeaderLen
	}
	switch {
	case n == 0:
		return errEmpty
	case n > most:
		return ErrTooLong
	case !offload.accepts(m):
		return errOffload
	}
	return nil
}

// errOffload reports a frame that leaves more to the link than its Offload says.
var errOffload = errors.New("tun: the link does not take frames with this offload")

// accepts reports whether a link with this offload takes frames with m.
func (o Offload) accepts(m Meta) bool {
	switch m.GSO {
	case GSONone:
		return m.Flags&NeedsCsum == 0 || o&(OffloadCsum|OffloadTCP4|OffloadTCP6) != 0
	case GSOTCP4:
		return o&OffloadTCP4 != 0
	case GSOTCP6:
		return o&OffloadTCP6 != 0
	case GSOUDP:
		return o&OffloadUDP != 0
	default:
		return false
	}
}
