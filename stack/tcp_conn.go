package stack

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A TCPConn is a TCP connection in a PvD. It is a [net.Conn] with the methods of
// [net.TCPConn], apart from those that hand out a file descriptor: there is none. Its
// methods may be called concurrently.
//
// When the PvD, or the address or link that the connection stands on, goes away, the
// connection is reset and its methods fail with that reason.
type TCPConn struct {
	socket

	readMu    sync.Mutex // serializes readers
	reader    tcpip.SliceWriter
	unmetered int // octets read since the receive buffer had a chance to grow

	writeMu sync.Mutex // serializes writers
	writer  slicePayload
	stall   *stall // nil until a writer has waited; under writeMu

	broken error // what ended the connection from the other side; under mu
}

var (
	_ net.Conn      = (*TCPConn)(nil)
	_ io.ReaderFrom = (*TCPConn)(nil)
	_ io.WriterTo   = (*TCPConn)(nil)
)

// newTCPConn makes a connection of ep, with the options that package net sets.
func newTCPConn(d *domain, network string, ep tcpip.Endpoint, wq *waiter.Queue) *TCPConn {
	c := &TCPConn{}
	c.init(d, network, ep, wq)
	c.setKeepAlive(net.KeepAliveConfig{Enable: true, Count: -1}) // gVisor's is keepAliveCount
	return c
}

// A slicePayload is a tcpip.Payloader over octets that somebody else owns.
type slicePayload []byte

func (p *slicePayload) Len() int { return len(*p) }

func (p *slicePayload) Read(b []byte) (int, error) {
	n := copy(b, *p)
	*p = (*p)[n:]
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Read reads what has arrived, waiting if that is nothing; see [net.Conn]. The error is
// io.EOF, bare, at the end of what the peer sends.
func (c *TCPConn) Read(b []byte) (int, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	n, err := c.read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = c.opError(opRead, err)
	}
	return n, err
}

// read is Read for those who hold readMu.
func (c *TCPConn) read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, c.failed()
	}
	for {
		if err := c.check(&c.readUntil); err != nil {
			return 0, err
		}
		n, err := c.readNow(b)
		if !errors.Is(err, errWouldBlock) {
			return n, err
		}
		if err := c.wait(&c.in, &c.readUntil); err != nil {
			return 0, err
		}
	}
}

// errWouldBlock is what the functions that never wait return instead.
var errWouldBlock = errors.New("would block")

// readNow reads what is there. The caller holds readMu.
func (c *TCPConn) readNow(b []byte) (int, error) {
	c.reader = b
	res, terr := c.ep.Read(&c.reader, tcpip.ReadOptions{})
	c.reader = nil
	switch terr.(type) {
	case nil:
		if c.unmetered += res.Count; c.unmetered >= moderateAfter {
			c.ep.ModerateRecvBuf(c.unmetered)
			c.unmetered = 0
		}
		return res.Count, nil
	case *tcpip.ErrWouldBlock:
		return 0, errWouldBlock
	case *tcpip.ErrClosedForReceive:
		if err := c.whyBroken(); err != nil {
			return 0, os.NewSyscallError("read", err)
		}
		return 0, io.EOF
	}
	return 0, c.breaks("read", terr)
}

// breaks notes an error that ends the connection. gVisor reports each once only, and to
// whoever comes first: a reader would take a reset that a writer was told of for the
// orderly end.
func (c *TCPConn) breaks(call string, terr tcpip.Error) error {
	// What ended from this side has its reason already; gVisor's would be our own abort.
	if err := c.failed(); err != nil {
		return err
	}
	err := errnoOf(terr)
	switch terr.(type) {
	case *tcpip.ErrConnectionReset, *tcpip.ErrConnectionAborted, *tcpip.ErrTimeout, *tcpip.ErrHostUnreachable, *tcpip.ErrNetworkUnreachable:
		c.mu.Lock()
		c.broken = err
		c.mu.Unlock()
	}
	return os.NewSyscallError(call, err)
}

func (c *TCPConn) whyBroken() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.broken
}

// Write writes all of b, waiting for room in the send buffer; see [net.Conn].
func (c *TCPConn) Write(b []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	n, err := c.write(b)
	if err != nil {
		err = c.opError(opWrite, err)
	}
	return n, err
}

// write is Write for those who hold writeMu.
func (c *TCPConn) write(b []byte) (sent int, err error) {
	if err := c.check(&c.writeUntil); err != nil {
		return 0, err
	}
	for {
		n, err := c.writeNow(b[sent:])
		sent += n
		if !errors.Is(err, errWouldBlock) {
			return sent, err
		}
		if err := c.wait(c.writable(), &c.writeUntil); err != nil {
			return sent, err
		}
	}
}

// writeNow writes what there is room for: errWouldBlock if that is not all. The caller
// holds writeMu.
func (c *TCPConn) writeNow(b []byte) (sent int, err error) {
	for sent < len(b) {
		c.writer = b[sent:]
		n, terr := c.ep.Write(&c.writer, tcpip.WriteOptions{})
		c.writer = nil
		sent += int(n)
		switch terr.(type) {
		case nil:
		case *tcpip.ErrWouldBlock:
			c.watch()
			return sent, errWouldBlock
		case *tcpip.ErrClosedForSend:
			return sent, c.whyUnwritable()
		default:
			return sent, c.breaks("write", terr)
		}
	}
	return sent, nil
}

// whyUnwritable says why nothing can be written any more: EPIPE after CloseWrite.
func (c *TCPConn) whyUnwritable() error {
	if err := c.failed(); err != nil {
		return err
	}
	if err := c.whyBroken(); err != nil {
		return os.NewSyscallError("write", err)
	}
	return os.NewSyscallError("write", syscall.EPIPE)
}

// Close closes the connection. What has been written is still sent, in the background,
// unless SetLinger(0) was called or something that arrived has not been read: then the
// connection is reset.
func (c *TCPConn) Close() error {
	if err := c.close(); err != nil {
		return c.opError(opClose, err)
	}
	return nil
}

// CloseRead ends the reading side. What the peer sends is no longer read by anybody.
func (c *TCPConn) CloseRead() error { return c.shutdown(tcpip.ShutdownRead) }

// CloseWrite ends the writing side: the peer reads what has been written and then io.EOF.
func (c *TCPConn) CloseWrite() error { return c.shutdown(tcpip.ShutdownWrite) }

func (c *TCPConn) shutdown(how tcpip.ShutdownFlags) error {
	if err := c.failed(); err != nil {
		return c.opError(opClose, err)
	}
	if terr := c.ep.Shutdown(how); terr != nil {
		return c.opError(opClose, stackError("shutdown", terr))
	}
	return nil
}

// SetNoDelay says whether small segments are sent at once, which is the default, or
// gathered (RFC 896).
func (c *TCPConn) SetNoDelay(noDelay bool) error {
	return c.set(func() { c.ep.SocketOptions().SetDelayOption(!noDelay) })
}

// SetLinger says what becomes of data not yet sent when the connection is closed: with 0
// they are dropped and the connection is reset. Any other value is the default, which is
// to send them in the background.
func (c *TCPConn) SetLinger(sec int) error {
	return c.set(func() { c.ep.SocketOptions().SetLinger(tcpip.LingerOption{Enabled: sec == 0}) })
}

// SetKeepAlive says whether an idle connection is probed, so that it ends when the peer
// is gone. It is by default.
func (c *TCPConn) SetKeepAlive(keepAlive bool) error {
	return c.set(func() { c.ep.SocketOptions().SetKeepAlive(keepAlive) })
}

// SetKeepAlivePeriod sets how long a connection is idle before it is probed, and how long
// it is from one probe to the next.
func (c *TCPConn) SetKeepAlivePeriod(d time.Duration) error {
	return c.set(func() {
		c.setKeepAlive(net.KeepAliveConfig{Enable: c.ep.SocketOptions().GetKeepAlive(), Idle: d, Interval: d, Count: -1})
	})
}

// SetKeepAliveConfig sets all about keep-alive probes. A zero field means 15 s, 15 s and
// 9 probes, a negative one leaves what there is.
func (c *TCPConn) SetKeepAliveConfig(config net.KeepAliveConfig) error {
	return c.set(func() { c.setKeepAlive(config) })
}

func (c *TCPConn) setKeepAlive(k net.KeepAliveConfig) {
	if k.Idle == 0 {
		k.Idle = keepAliveIdle
	}
	if k.Interval == 0 {
		k.Interval = keepAliveInterval
	}
	if k.Count == 0 {
		k.Count = keepAliveCount
	}
	if k.Idle > 0 {
		idle := tcpip.KeepaliveIdleOption(k.Idle)
		_ = c.ep.SetSockOpt(&idle) // TCP knows the option
	}
	if k.Interval > 0 {
		interval := tcpip.KeepaliveIntervalOption(k.Interval)
		_ = c.ep.SetSockOpt(&interval) // likewise
	}
	if k.Count > 0 {
		_ = c.ep.SetSockOptInt(tcpip.KeepaliveCountOption, k.Count) // likewise
	}
	c.ep.SocketOptions().SetKeepAlive(k.Enable)
}

// set sets an option unless the connection has failed.
func (c *TCPConn) set(option func()) error {
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	option()
	return nil
}

// connected reports whether the handshake is over, and what became of it.
func (c *TCPConn) connected() (bool, error) {
	switch tcp.EndpointState(c.ep.State()) {
	case tcp.StateInitial, tcp.StateBound, tcp.StateConnecting, tcp.StateSynSent, tcp.StateSynRecv:
		return false, nil
	case tcp.StateError, tcp.StateClose:
		if err := c.failed(); err != nil {
			return true, err
		}
		terr := c.ep.LastError()
		if terr == nil {
			terr = &tcpip.ErrConnectionAborted{}
		}
		return true, stackError("connect", terr)
	default:
		return true, nil
	}
}

// settle fills in the addresses of a connection that has both, and stands on a NIC.
func (c *TCPConn) settle(nic tcpip.NICID, peer tcpip.FullAddress) {
	local, _ := c.ep.GetLocalAddress() // gVisor's never fails
	c.nic, c.addr = nic, fromAddr(local.Addr).Unmap()
	peer.NIC = local.NIC
	ends := new([2]tcpEnd)
	c.local = ends[0].at(netip.AddrPortFrom(c.d.withZone(c.addr, local.NIC), local.Port))
	c.remote = ends[1].at(c.d.addrPort(peer))
}

// acceptedOn returns the NIC that an accepted connection stands on. Between two of the
// PvD's own addresses packets cross from one NIC to another: what counts is who has the
// address.
func (c *TCPConn) acceptedOn(peer tcpip.FullAddress) tcpip.NICID {
	local, _ := c.ep.GetLocalAddress() // gVisor's never fails
	if p := c.d.plan.Load(); p.has(fromAddr(peer.Addr).Unmap()) {
		return p.nicWith(fromAddr(local.Addr).Unmap(), local.NIC)
	}
	return local.NIC
}
