package stack

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/pvd"
)

// A TCPListener waits for TCP connections in a PvD. It is a [net.Listener] with the
// methods of [net.TCPListener], apart from those that hand out a file descriptor. Its
// methods may be called concurrently.
type TCPListener struct{ socket socket }

var _ net.Listener = (*TCPListener)(nil)

// newListener opens a listener in d. An address without a zone that is unspecified
// stands for all of the PvD's, of both families unless f says otherwise.
func (d *domain) newListener(o owner, network string, f family, at netip.AddrPort) (*TCPListener, error) {
	nic, err := d.local(at.Addr())
	if err != nil {
		return nil, callError("bind", err)
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	wq := new(waiter.Queue)
	ep, terr := d.stk.NewEndpoint(tcp.ProtocolNumber, listenProtocol(f, at.Addr()), wq)
	if terr != nil {
		return nil, stackError("socket", terr)
	}
	l := &TCPListener{}
	s := &l.socket
	s.init(d, network, ep, wq)
	s.own(o)
	if err := s.listen(f, nic, at); err != nil {
		_ = s.close() // it was never open
		return nil, err
	}
	return l, nil
}

// listenProtocol returns the protocol of an endpoint that listens at a. IPv6 serves both.
func listenProtocol(f family, a netip.Addr) tcpip.NetworkProtocolNumber {
	switch {
	case f == family4, a.IsValid() && !a.IsUnspecified() && a.Is4():
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

// listen binds the socket and begins to listen. The caller has entered the domain.
func (s *socket) listen(f family, nic tcpip.NICID, at netip.AddrPort) error {
	// As package net has it: a listener that is closed and opened anew finds connections
	// of its predecessor's in TIME-WAIT.
	s.ep.SocketOptions().SetReuseAddress(true)
	s.ep.SocketOptions().SetV6Only(f == family6 || !at.Addr().IsUnspecified())
	if err := s.bindPort(tcp.ProtocolNumber, nic, at); err != nil {
		return err
	}
	s.bound(tcp.ProtocolNumber, f, nic, at.Addr())
	s.listens = listening{port: s.local.(*net.TCPAddr).AddrPort().Port(), serves4: f != family6, serves6: f != family4}
	if a := at.Addr(); !a.IsUnspecified() {
		s.listens.serves4, s.listens.serves6 = a.Is4(), a.Is6()
	}
	if err := s.track(); err != nil {
		return callError("bind", err)
	}
	if terr := s.ep.Listen(listenBacklog); terr != nil {
		return stackError("listen", terr)
	}
	return nil
}

// listening says what a listener listens for. Other sockets have the zero value.
type listening struct {
	port             uint16
	serves4, serves6 bool
}

// rivals reports whether a connection could be for either of two listeners. gVisor lets
// one listen at an address and another at all addresses, if both reuse addresses.
func (s *socket) rivals(o *socket) bool {
	l, m := s.listens, o.listens
	return l.port != 0 && l.port == m.port && (l.serves4 && m.serves4 || l.serves6 && m.serves6) &&
		(s.nic == 0 || o.nic == 0 || s.nic == o.nic && s.addr == o.addr)
}

// bound fills in the local address of a socket that has been bound.
func (s *socket) bound(proto tcpip.TransportProtocolNumber, f family, nic tcpip.NICID, a netip.Addr) {
	local, _ := s.ep.GetLocalAddress() // gVisor's never fails
	if a.IsUnspecified() {
		a = netip.IPv6Unspecified()
		if f == family4 {
			a = netip.IPv4Unspecified()
		}
	} else {
		s.nic, s.addr = nic, a.WithZone("")
		a = s.d.withZone(s.addr, nic)
	}
	s.local = addrOf(proto, netip.AddrPortFrom(a, local.Port))
}

// PvD returns the PvD that the listener is in.
func (l *TCPListener) PvD() pvd.Ref { return l.socket.PvD() }

// Addr returns the address that the listener listens at, which the caller must not
// modify.
func (l *TCPListener) Addr() net.Addr { return l.socket.local }

// Accept waits for the next connection; see [net.Listener]. It is a *TCPConn.
func (l *TCPListener) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	return c, nil
}

// AcceptTCP waits for the next connection. The error is net.ErrClosed after Close.
func (l *TCPListener) AcceptTCP() (*TCPConn, error) {
	s := &l.socket
	for {
		err := s.check(&s.readUntil)
		if err == nil {
			var c *TCPConn
			if c, err = s.acceptNow(); err == nil {
				return c, nil
			}
		}
		if errors.Is(err, errWouldBlock) {
			err = s.wait(&s.in, &s.readUntil)
		}
		if err != nil {
			return nil, opError(opAccept, s.network, nil, s.local, err)
		}
	}
}

// acceptNow accepts a connection that has been made already.
func (s *socket) acceptNow() (*TCPConn, error) {
	if err := s.d.enter(); err != nil {
		return nil, err
	}
	defer s.d.leave()
	if s.d.endpoints.len() >= maxSockets {
		return nil, callError("accept", syscall.EMFILE)
	}
	var peer tcpip.FullAddress
	ep, wq, terr := s.ep.Accept(&peer)
	switch terr.(type) {
	case nil:
	case *tcpip.ErrWouldBlock:
		return nil, errWouldBlock
	default:
		if err := s.failed(); err != nil {
			return nil, err
		}
		return nil, stackError("accept", terr)
	}
	// Whoever else waits to accept may have missed the event that brought this one.
	s.in.wake()
	c := newTCPConn(s.d, s.network, ep, wq)
	c.own(s.owner)
	c.settle(c.acceptedOn(peer), peer)
	if err := c.trackAccepted(); err != nil {
		_ = c.Close()
		return nil, callError("accept", err)
	}
	return c, nil
}

// SetDeadline sets the deadline of Accept. The zero Time means none.
func (l *TCPListener) SetDeadline(t time.Time) error {
	return l.socket.setDeadline(t, &l.socket.readUntil)
}

// Close stops listening. Connections that wait to be accepted are reset; those that have
// been accepted live on.
func (l *TCPListener) Close() error {
	if err := l.socket.close(); err != nil {
		return opError(opClose, l.socket.network, nil, l.socket.local, err)
	}
	return nil
}
