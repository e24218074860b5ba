package tun

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A device is what an fdLink's descriptor is attached to. One goroutine at a time calls
// its methods.
type device interface {
	// state describes the device, and says whether the descriptor has lost it: it was
	// deleted.
	state() (e Event, lost bool)
	// revive attaches the descriptor to another in the place of a lost device.
	revive() error
}

// An fdLink is a link on a descriptor of which each read and write is one frame. The
// descriptor stays the same for the link's life: a device that was deleted and made anew
// is attached to the old one, so that Recv and Send know nothing of it.
//
// Its goroutines are the writer of what was held back, and the watcher of the device if
// there is one. Close ends both.
type fdLink struct {
	name    string
	layer   Layer
	offload Offload
	file    *os.File
	conn    syscall.RawConn
	closer  func() error // closes file and what belongs to it

	mtu atomic.Int64
	up  atomic.Bool

	rx      fdReceiver
	ring    *frameQueue
	backlog atomic.Int64 // frames in the ring or the writer's hand: later ones go behind

	dev    device // nil: its state is unknown
	watch  *linkWatch
	looked chan struct{} // a token after each look at dev
	events *eventBox

	closed   atomic.Bool
	done     chan struct{} // closed by Close
	writing  sync.WaitGroup
	watching sync.WaitGroup

	tooLong, invalid, lost atomic.Uint64
}

var (
	_ Link        = (*fdLink)(nil)
	_ LossCounter = (*fdLink)(nil)
)

// An fdConfig is what makes an fdLink.
type fdConfig struct {
	name    string
	layer   Layer
	mtu     int // ignored if there is a device
	vnet    bool
	offload Offload
	file    *os.File
	conn    syscall.RawConn // of file
	closer  func() error
	dev     device     // may be nil
	watch   *linkWatch // not nil if dev is not; the link's own from now on
}

func newFDLink(c fdConfig) *fdLink {
	l := &fdLink{
		name: c.name, layer: c.layer, offload: c.offload,
		file: c.file, conn: c.conn, closer: c.closer,
		ring: newFrameQueue(SendRing), dev: c.dev, watch: c.watch,
		looked: make(chan struct{}, 1), done: make(chan struct{}),
	}
	l.rx.init(c.vnet)
	state := Event{Up: true, MTU: c.mtu}
	if l.dev != nil {
		state, _ = l.dev.state()
	}
	l.mtu.Store(int64(state.MTU))
	l.up.Store(state.Up)
	l.events = newEventBox(state)
	l.writing.Go(l.runWriter)
	if l.dev != nil {
		l.watching.Go(l.runWatcher)
	}
	return l
}

func (l *fdLink) Name() string                   { return l.name }
func (l *fdLink) Layer() Layer                   { return l.layer }
func (l *fdLink) MTU() int                       { return int(l.mtu.Load()) }
func (l *fdLink) HardwareAddr() net.HardwareAddr { return nil }
func (l *fdLink) Offload() Offload               { return l.offload }
func (l *fdLink) Events() <-chan Event           { return l.events.ch }

func (l *fdLink) Losses() Losses {
	return Losses{TooLong: l.tooLong.Load(), Invalid: l.invalid.Load(), Down: l.lost.Load()}
}

func (l *fdLink) WaitSend(d time.Duration, cancel <-chan struct{}) bool {
	return l.ring.wait(d, cancel)
}

func (l *fdLink) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	close(l.done)
	var err error
	if l.watch != nil { // first, since it would take what follows for a deletion
		err = l.watch.close()
		l.watching.Wait()
	}
	l.lost.Add(uint64(l.ring.closeRead()))
	err = errors.Join(err, l.closer())
	l.writing.Wait()
	l.events.close()
	if err != nil {
		return fmt.Errorf("tun: close %s: %w", l.name, err)
	}
	return nil
}

// runWatcher looks at the device whenever an interface changed, until Close. The first
// look is for what changed while the link was made.
func (l *fdLink) runWatcher() {
	for {
		var d time.Duration
		if lost := l.look(); lost {
			d = reviveRetry
		}
		if !l.watch.wait(d) {
			return
		}
	}
}

// look brings the link into the state of its device, which it replaces if it is lost. It
// reports whether it still is.
func (l *fdLink) look() bool {
	state, lost := l.dev.state()
	if lost {
		l.enter(state)
		if err := l.dev.revive(); err != nil {
			state.Err = fmt.Errorf("%w: %w", state.Err, err)
		} else {
			state, lost = l.dev.state()
		}
	}
	l.enter(state)
	return lost
}

// enter brings the link into the state that its device is in.
func (l *fdLink) enter(state Event) {
	l.mtu.Store(int64(state.MTU))
	l.up.Store(state.Up)
	if state.Up {
		l.file.SetWriteDeadline(time.Time{}) // fails after Close, which has woken the writer
	} else {
		// What waits now is lost: it would come out of nowhere when the link is up again.
		l.file.SetWriteDeadline(time.Unix(1, 0)) // as above
		n := l.ring.drop()
		l.backlog.Add(int64(-n))
		l.lost.Add(uint64(n))
	}
	select {
	case l.looked <- struct{}{}:
	default:
	}
	l.events.publish(state)
}

// pause waits for d, and reports false if the link was closed.
func (l *fdLink) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.done:
		return false
	}
}

// control calls f with a connection's descriptor, and fails after Close.
func control(c syscall.RawConn, f func(fd int) error) error {
	var err error
	if closed := c.Control(func(fd uintptr) { err = f(int(fd)) }); closed != nil {
		return closed
	}
	return err
}

// isFull says whether an error of writing means that the kernel can take no more for now.
func isFull(err syscall.Errno) bool {
	return err == unix.EAGAIN || err == unix.ENOBUFS || err == unix.ENOMEM
}

// sendError returns Send's error for an error of writing.
func (l *fdLink) sendError(err syscall.Errno) error {
	switch err {
	case 0:
		return nil
	case unix.EIO, unix.EBADFD, unix.ENETDOWN, unix.ENXIO, unix.ENODEV:
		// TUN and TAP set down, or deleted; AF_PACKET likewise.
		return ErrDown
	case unix.EMSGSIZE:
		return ErrTooLong
	default:
		return fmt.Errorf("tun: send on %s: %w", l.name, err)
	}
}
