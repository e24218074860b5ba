package tun

import (
	"errors"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An fdSender makes one write of a frame in pieces. It exists so that this allocates
// nothing: what a system call's closure needs can not be on the stack.
type fdSender struct {
	iov   []unix.Iovec
	hdr   [vnetHdrLen]byte
	err   syscall.Errno
	once  func(fd uintptr)      // tries to write
	until func(fd uintptr) bool // the same, and reports whether that was an end to it
}

var fdSenders = sync.Pool{New: func() any {
	s := &fdSender{iov: make([]unix.Iovec, 0, 8)}
	s.once = func(fd uintptr) { s.err = s.write(fd) }
	s.until = func(fd uintptr) bool {
		s.once(fd)
		return s.err != unix.EAGAIN
	}
	return s
}}

// load points the iovecs at a frame.
func (s *fdSender) load(vnet bool, bufs [][]byte, m Meta) {
	s.iov = s.iov[:0]
	if vnet {
		putVnetHdr(&s.hdr, m)
		s.iov = append(s.iov, iovec(s.hdr[:]))
	}
	s.iov = appendIovecs(s.iov, bufs)
}

// free gives the sender back, without holding on to the caller's memory.
func (s *fdSender) free() {
	clear(s.iov)
	fdSenders.Put(s)
}

func (s *fdSender) write(fd uintptr) syscall.Errno {
	for {
		_, _, err := unix.Syscall(unix.SYS_WRITEV, fd, uintptr(unsafe.Pointer(&s.iov[0])), uintptr(len(s.iov)))
		if err != unix.EINTR {
			return err
		}
	}
}

// iovec describes memory, of which there has to be some, to the kernel.
func iovec(b []byte) unix.Iovec {
	v := unix.Iovec{Base: &b[0]}
	v.SetLen(len(b))
	return v
}

// appendIovecs appends what is not empty of bufs.
func appendIovecs(iov []unix.Iovec, bufs [][]byte) []unix.Iovec {
	for _, b := range bufs {
		if len(b) > 0 {
			iov = append(iov, iovec(b))
		}
	}
	return iov
}

func (l *fdLink) Send(bufs [][]byte, m Meta) error {
	n := frameLen(bufs)
	if err := checkFrame(n, m, l.layer, l.MTU(), l.offload); err != nil {
		return err
	}
	switch {
	case l.closed.Load():
		return closedError("send", l.name)
	case !l.up.Load():
		return ErrDown
	case l.backlog.Load() > 0 || len(bufs) > maxIovecs:
		return l.hold(bufs, n, m)
	}
	s := fdSenders.Get().(*fdSender)
	s.load(l.rx.vnet, bufs, m)
	closed := l.conn.Control(s.once) != nil
	err := s.err
	s.free()
	switch {
	case closed:
		return closedError("send", l.name)
	case isFull(err):
		return l.hold(bufs, n, m)
	}
	return l.sendError(err)
}

// hold puts a frame behind those that wait for the kernel.
func (l *fdLink) hold(bufs [][]byte, n int, m Meta) error {
	l.backlog.Add(1) // before the frame: who sends next has to see it
	err := l.ring.put(bufs, n, m)
	if err != nil {
		l.backlog.Add(-1)
	}
	if errors.Is(err, ErrDown) { // the ring is closed with the link
		return closedError("send", l.name)
	}
	return err
}

// runWriter sends what was held back, until Close.
func (l *fdLink) runWriter() {
	s := fdSenders.Get().(*fdSender)
	defer s.free()
	pieces := make([][]byte, 1)
	for {
		f, ok := l.ring.get()
		if !ok {
			return
		}
		pieces[0] = f.buf.b
		s.load(l.rx.vnet, pieces, f.meta)
		if !l.writeHeld(s) {
			l.lost.Add(1)
		}
		f.buf.free()
		l.backlog.Add(-1)
	}
}

// writeHeld writes what s is loaded with, as soon as the kernel takes it, and reports
// whether it did.
func (l *fdLink) writeHeld(s *fdSender) bool {
	for l.conn.Write(s.until) == nil { // fails when the link is down or closed
		if !isFull(s.err) {
			return s.err == 0
		}
		if !l.pause(noBufferRetry) {
			break
		}
	}
	return false
}
