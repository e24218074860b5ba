package tun

import (
	"fmt"
	"io"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An fdReceiver makes reads of one frame each. It belongs to the goroutine in Recv, and
// exists so that a read allocates nothing.
type fdReceiver struct {
	vnet  bool // a virtio_net_hdr goes before each frame, both ways
	iov   []unix.Iovec
	hdr   [vnetHdrLen]byte
	spill [1]byte // what comes here had no place in the caller's memory
	n     int
	err   syscall.Errno
	read  func(fd uintptr) bool // reads once, and reports whether that was an end to it
	once  func(fd uintptr)      // the same
	fails int                   // in a row
}

func (r *fdReceiver) init(vnet bool) {
	r.vnet = vnet
	r.iov = make([]unix.Iovec, 0, 8)
	r.read = func(fd uintptr) bool {
		for {
			n, _, err := unix.Syscall(unix.SYS_READV, fd, uintptr(unsafe.Pointer(&r.iov[0])), uintptr(len(r.iov)))
			if err == unix.EINTR {
				continue
			}
			r.n, r.err = int(n), err
			return err != unix.EAGAIN
		}
	}
	r.once = func(fd uintptr) { r.read(fd) }
}

// load points the iovecs at bufs and returns how much they hold.
func (r *fdReceiver) load(bufs [][]byte) int {
	r.iov = r.iov[:0]
	if r.vnet {
		r.iov = append(r.iov, iovec(r.hdr[:]))
	}
	r.iov = appendIovecs(r.iov, bufs[:min(len(bufs), maxIovecs)])
	r.iov = append(r.iov, iovec(r.spill[:]))
	return frameLen(bufs[:min(len(bufs), maxIovecs)])
}

func (l *fdLink) Recv(bufs [][]byte, m *Meta) (int, error) {
	r := &l.rx
	room := r.load(bufs)
	defer clear(r.iov)
	for {
		if l.conn.Read(r.read) != nil {
			// The poller wants no more of a descriptor whose device was deleted, even
			// after it got another, until that one has something to say.
			l.conn.Control(r.once) // fails after Close
		}
		if l.closed.Load() {
			return 0, closedError("recv", l.name)
		}
		if r.err != 0 {
			if err := l.recvFailed(r.err); err != nil {
				return 0, err
			}
			continue
		}
		n := r.n
		if n == 0 {
			// An empty datagram, or the end of a socket: that one stays empty.
			if r.fails++; r.fails > recvErrors {
				return 0, fmt.Errorf("tun: recv on %s: %w", l.name, io.EOF)
			}
			continue
		}
		r.fails = 0
		meta, ok := Meta{}, true
		if r.vnet {
			n -= vnetHdrLen
			meta, ok = parseVnetHdr(&r.hdr)
		}
		switch {
		case n <= 0 || !ok:
			l.invalid.Add(1)
		case n > room:
			l.tooLong.Add(1)
		default:
			*m = meta
			return n, nil
		}
	}
}

// recvFailed rides out an error of reading, or returns what Recv has to.
func (l *fdLink) recvFailed(err syscall.Errno) error {
	switch {
	case err == unix.EAGAIN:
		if !l.pause(noPollerRetry) {
			return closedError("recv", l.name)
		}
		return nil
	case err == unix.EBADFD && l.dev != nil:
		// The device was deleted. Whoever looks at it next attaches another; a token
		// from an earlier look only costs one more attempt to read.
		select {
		case <-l.looked:
			return nil
		case <-l.done:
			return closedError("recv", l.name)
		}
	case err == unix.EBADFD:
		l.enter(Event{MTU: l.MTU(), Err: errDeleted})
		return fmt.Errorf("tun: recv on %s: %w", l.name, errDeleted)
	case err == unix.EINVAL:
		l.invalid.Add(1) // AF_PACKET: offload that a virtio_net_hdr can not express
	}
	// ENETDOWN is reported once when an interface goes down; others should not be.
	if l.rx.fails++; l.rx.fails > recvErrors && !l.pause(recvPause) {
		return closedError("recv", l.name)
	}
	return nil
}

var (
	// errDeleted is why a link is down whose device somebody deleted.
	errDeleted = fmt.Errorf("%w: the device was deleted", ErrDown)
	// errNoCarrier is why a link is down that has no peer.
	errNoCarrier = fmt.Errorf("%w: the interface has no carrier", ErrDown)
)

// linkState is the state of a link on an interface.
func linkState(i iface) Event {
	e := Event{Up: i.running, MTU: i.mtu}
	switch {
	case !i.admin:
		e.Err = errSetDown
	case !i.running:
		e.Err = errNoCarrier
	}
	return e
}
