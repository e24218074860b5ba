package stack

import (
	"sync/atomic"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A stall is looked for while a connection's writer waits. gVisor rounds the window that it
// advertises down, so that the last octets which the peer was allowed to send may come when
// the window is said to be zero. It drops them, and from then on each acknowledgment of the
// peer's as well, since their sequence number lies beyond that window: where the application
// reads no more before it has written, as one that echoes, both ends would wait for good.
// RFC 9293 section 3.10.7.4 has a zero window make "special allowance" for valid ACKs. A
// receive buffer that grows a little ends it: the window opens, and the octets come again.
type stall struct {
	conn    *TCPConn
	watched atomic.Bool // there is a timer
	zeros   uint64      // how often the window had been zero when it was set
	grown   int         // how often the buffer has grown for it
}

const (
	// stallCheck is how long a writer waits before it is looked for a stall: by then the
	// peer has probed a window of zero once at least.
	stallCheck = time.Second

	// stallRoom is by how much the receive buffer grows. Half of it is window, which opens
	// when there is room for a segment of the largest MSS.
	stallRoom = 2 << 16

	// maxStalls is how often it grows: a peer may as well not read for a reason of its own.
	maxStalls = 32
)

// watch looks for a stall from time to time as long as nothing can be written. The caller
// holds writeMu.
func (c *TCPConn) watch() {
	if c.stall == nil {
		c.stall = &stall{conn: c}
	}
	if c.stall.watched.CompareAndSwap(false, true) {
		c.stall.setTimer()
	}
}

func (s *stall) setTimer() {
	s.zeros = s.zeroWindows()
	s.conn.d.host.clock.AfterFunc(stallCheck, s.look) // the last one finds a socket that has failed
}

// look ends a stall, if there is one.
func (s *stall) look() {
	c := s.conn
	ready := c.ep.Readiness(waiter.ReadableEvents | waiter.WritableEvents)
	if c.failed() != nil || ready&waiter.WritableEvents != 0 || s.grown == maxStalls {
		s.watched.Store(false)
		c.wakeWriter() // gVisor tells writers of room when half of the buffer is free
		return
	}
	if ready&waiter.ReadableEvents != 0 && s.zeroWindows() != s.zeros {
		s.grown++
		o := c.ep.SocketOptions()
		o.SetReceiveBufferSize(o.GetReceiveBufferSize()+stallRoom, true)
	}
	s.setTimer()
}

// wakeWriter has a writer that waits look again.
func (c *TCPConn) wakeWriter() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out.ready != nil {
		c.out.wake()
	}
}

// zeroWindows counts how often the peer was told that the window is zero.
func (s *stall) zeroWindows() uint64 {
	stats, ok := s.conn.ep.Stats().(*tcp.Stats)
	if !ok {
		return 0
	}
	return stats.ReceiveErrors.ZeroRcvWindowState.Value()
}
