package stack

import (
	"context"
	"net"
	"net/netip"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/pvdstack/pvdstack/pvd"
)

// An AllListener waits for TCP connections in every PvD: those that there are and those
// that come later, as far as policy lets its App use them. A PvD in which its port is taken
// is refused. Its methods may be called concurrently.
type AllListener struct {
	network string
	all     everywhere[*TCPListener]
}

var _ net.Listener = (*AllListener)(nil)

func (h *Host) listenAll(ctx context.Context, o owner, network string, f family, at netip.AddrPort) (net.Listener, error) {
	l := &AllListener{network: network}
	e := &l.all
	e.init(h, o)
	e.via = func(m *TCPListener) *socket { return &m.socket }
	e.shut = func(m *TCPListener) { _ = m.socket.close() } // nobody else closes it
	e.open = func(d *domain) (*TCPListener, error) { return d.newListener(o, network, f, at) }
	if err := e.listenEverywhere(ctx, at, func(p uint16) { at = netip.AddrPortFrom(at.Addr(), p) }); err != nil {
		return nil, err
	}
	e.local = addrOf(tcp.ProtocolNumber, unspecified(f, at.Port()))
	return l, nil
}

// unspecified returns the unspecified address of a family, the IPv6 one for both.
func unspecified(f family, port uint16) netip.AddrPort {
	if f == family4 {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), port)
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), port)
}

// PvD returns pvd.All.
func (l *AllListener) PvD() pvd.Ref { return pvd.All }

// Addr returns the unspecified address and the port, which is the same in every PvD.
func (l *AllListener) Addr() net.Addr { return l.all.local }

// Accept waits for the next connection in any PvD. It is a [*TCPConn], whose PvD is the
// one that it arrived in.
func (l *AllListener) Accept() (net.Conn, error) {
	var c *TCPConn
	err := l.all.fetch(func(m *TCPListener) (err error) {
		c, err = m.socket.acceptNow()
		return err
	})
	if err != nil {
		return nil, opError(opAccept, l.network, nil, l.all.local, err)
	}
	return c, nil
}

// SetDeadline sets the deadline of Accept. The zero Time means none.
func (l *AllListener) SetDeadline(t time.Time) error {
	if err := l.all.setDeadline(t, true, false); err != nil {
		return opError(opSet, l.network, nil, l.all.local, err)
	}
	return nil
}

// Close stops listening in every PvD.
func (l *AllListener) Close() error {
	if err := l.all.close(); err != nil {
		return opError(opClose, l.network, nil, l.all.local, err)
	}
	return nil
}
