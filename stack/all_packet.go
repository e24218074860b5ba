package stack

import (
	"context"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// An AllPacketConn sends and receives datagrams in every PvD: those that there are and
// those that come later, as far as policy lets its App use them. A PvD in which its port is
// taken is refused. The addresses that it returns and takes are [*Addr], which name the PvD. Its methods may be called
// concurrently.
type AllPacketConn struct {
	network string
	all     everywhere[*UDPConn]
}

var _ net.PacketConn = (*AllPacketConn)(nil)

func (h *Host) listenPacketAll(ctx context.Context, o owner, network string, f family, at netip.AddrPort) (net.PacketConn, error) {
	c := &AllPacketConn{network: network}
	e := &c.all
	e.init(h, o)
	e.via = func(m *UDPConn) *socket { return &m.socket }
	e.shut = func(m *UDPConn) { _ = m.close() } // nobody else closes it
	e.open = func(d *domain) (*UDPConn, error) { return d.listenUDP(o, network, f, at) }
	if err := e.listenEverywhere(ctx, at, func(p uint16) { at = netip.AddrPortFrom(at.Addr(), p) }); err != nil {
		return nil, err
	}
	e.local = addrOf(udp.ProtocolNumber, unspecified(f, at.Port()))
	return c, nil
}

// PvD returns pvd.All.
func (c *AllPacketConn) PvD() pvd.Ref { return pvd.All }

// LocalAddr returns the unspecified address and the port, which is the same in every PvD.
func (c *AllPacketConn) LocalAddr() net.Addr { return c.all.local }

// ReadFrom reads a datagram and returns its sender, an [*Addr] that says which PvD the
// datagram arrived in. What does not fit in b is lost.
func (c *AllPacketConn) ReadFrom(b []byte) (int, net.Addr, error) {
	var n int
	var from *Addr
	err := c.all.fetch(func(m *UDPConn) error {
		m.readMu.Lock()
		defer m.readMu.Unlock()
		got, addr, err := m.receiveNow(b)
		if err == nil {
			n, from = got, NewAddr(m.d.ref, m.d.addrPort(addr))
		}
		return err
	})
	if err != nil {
		return 0, nil, opError(opRead, c.network, c.all.local, nil, err)
	}
	return n, from, nil
}

// WriteTo sends a datagram to addr, an [*Addr], in the PvD that it names. Any other
// address is EDESTADDRREQ: it does not say in which PvD it is.
func (c *AllPacketConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	n, err := c.writeTo(b, addr)
	if err != nil {
		return n, opError(opWrite, c.network, c.all.local, notNil(addr), err)
	}
	return n, nil
}

func (c *AllPacketConn) writeTo(b []byte, addr net.Addr) (int, error) {
	a, ok := addr.(*Addr)
	if !ok || a == nil {
		return 0, callError("sendto", syscall.EDESTADDRREQ)
	}
	d, err := c.all.host.domain(a.ref)
	if err != nil {
		return 0, err
	}
	c.all.mu.Lock()
	m, closed := c.all.members[d], c.all.closed
	c.all.mu.Unlock()
	switch {
	case closed:
		return 0, net.ErrClosed
	case m == nil:
		if err := c.all.owner.app.permit(d); err != nil {
			return 0, callError("sendto", err)
		}
		return 0, pvd.ErrNoPvD
	}
	n, err := m.socket.sendTo(b, a.AddrPort())
	if err != nil && d.isGone() {
		err = pvd.ErrNoPvD
	}
	return n, err
}

// Close closes the connection in every PvD.
func (c *AllPacketConn) Close() error {
	if err := c.all.close(); err != nil {
		return opError(opClose, c.network, c.all.local, nil, err)
	}
	return nil
}

// SetDeadline sets the deadline of both directions; see [net.PacketConn].
func (c *AllPacketConn) SetDeadline(t time.Time) error { return c.setDeadline(t, true, true) }

// SetReadDeadline sets the deadline of reading; see [net.PacketConn].
func (c *AllPacketConn) SetReadDeadline(t time.Time) error { return c.setDeadline(t, true, false) }

// SetWriteDeadline sets the deadline of writing; see [net.PacketConn].
func (c *AllPacketConn) SetWriteDeadline(t time.Time) error { return c.setDeadline(t, false, true) }

func (c *AllPacketConn) setDeadline(t time.Time, read, write bool) error {
	if err := c.all.setDeadline(t, read, write); err != nil {
		return opError(opSet, c.network, nil, c.all.local, err)
	}
	return nil
}

// SetReadBuffer sets the size in octets of the receive buffer in each PvD, those to come
// included.
func (c *AllPacketConn) SetReadBuffer(bytes int) error {
	return c.setBuffers(buffers{read: atLeastOne(bytes)})
}

// SetWriteBuffer sets the size in octets of the send buffer in each PvD, those to come
// included.
func (c *AllPacketConn) SetWriteBuffer(bytes int) error {
	return c.setBuffers(buffers{write: atLeastOne(bytes)})
}

// atLeastOne returns 1, which also becomes the least size that there is, for 0.
func atLeastOne(bytes int) int {
	if bytes == 0 {
		return 1
	}
	return bytes
}

func (c *AllPacketConn) setBuffers(b buffers) error {
	if err := c.all.setBuffers(b); err != nil {
		return opError(opSet, c.network, nil, c.all.local, err)
	}
	return nil
}
