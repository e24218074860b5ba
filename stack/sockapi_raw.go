package stack

import (
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gports "gvisor.dev/gvisor/pkg/tcpip/ports"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
)

// A visit is a datagram socket in a PvD that it is not in: it sends there, from its port,
// which it keeps from others, and receives nothing.
type visit struct {
	udp  *UDPConn
	port gports.Reservation
}

func (v *visit) close() {
	_ = v.udp.close() // nobody else closes it
	v.udp.d.stk.ReleasePort(v.port)
}

// visit returns what sends a datagram in a PvD that the socket, which has no source yet, is
// not in.
func (s *Socket) visit(d *domain, w whereabouts) (*UDPConn, error) {
	s.op.Lock()
	defer s.op.Unlock()
	now, _ := s.whereIs()
	if now.one != w.one {
		return nil, syscall.EISCONN // the socket has got an address in the meantime
	}
	if err := s.app.permit(d); err != nil {
		return nil, err
	}
	if v := now.visits[d]; v != nil && v.udp.failed() == nil {
		return v.udp, nil
	}
	v, err := s.newVisit(d, s.ownPort(w))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stateClosed {
		v.close()
		return nil, net.ErrClosed
	}
	if s.visits == nil {
		s.visits = make(map[*domain]*visit)
	}
	for old, v := range s.visits { // of PvDs that are gone
		if v.udp.failed() != nil {
			v.close()
			delete(s.visits, old)
		}
	}
	s.visits[d] = v
	return v.udp, nil
}

func (s *Socket) newVisit(d *domain, port uint16) (*visit, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	protos := []tcpip.NetworkProtocolNumber{ipv4.ProtocolNumber, ipv6.ProtocolNumber}
	switch s.ipFamily() {
	case family4:
		protos = protos[:1]
	case family6:
		protos = protos[1:]
	default:
	}
	v := &visit{port: gports.Reservation{Networks: protos, Transport: s.protocol(), Port: port}}
	if err := d.reserve(v.port); err != nil {
		return nil, err
	}
	p, err := s.newPresence(d, protos[len(protos)-1])
	if err == nil {
		v.udp = p.udp
		v.udp.visits, v.udp.port, v.udp.family = true, port, s.ipFamily()
		if err = callError("bind", v.udp.track()); err != nil {
			_ = v.udp.close() // it was never open
		}
	}
	if err != nil {
		d.stk.ReleasePort(v.port)
		return nil, err
	}
	return v, nil
}

// allows reports whether the socket's endpoint can send to dst.
func (c *UDPConn) allows(dst netip.Addr) bool {
	if c.peer.IsValid() {
		return c.peer.Addr().Is4() == dst.Is4()
	}
	return c.family.allows(dst)
}

// headerFor returns what a datagram's control messages say of its IP header.
func (c *UDPConn) headerFor(g *datagram) gstack.NetworkHeaderParams {
	h := gstack.NetworkHeaderParams{TOS: c.tos(g.to.addr)}
	if g.control.ToS != nil {
		h.TOS = *g.control.ToS
	}
	if g.control.HopLimit != nil {
		h.TTL = *g.control.HopLimit
	}
	return h
}

// isEchoRequest reports whether a message is an ICMP echo request with its header, as
// sockets for those want it. Identifier and checksum are the stack's to fill in.
func isEchoRequest(proto pvd.Protocol, b []byte) bool {
	if len(b) < header.ICMPv4MinimumSize || b[1] != 0 {
		return false
	}
	if proto == pvd.ICMP {
		return header.ICMPv4(b).Type() == header.ICMPv4Echo
	}
	return header.ICMPv6(b).Type() == header.ICMPv6EchoRequest
}

// encodeEcho fills in what is the stack's in an echo request, which is pkt's data and has
// been checked.
func (c *UDPConn) encodeEcho(pkt *gstack.PacketBuffer, r *gstack.Route) {
	b := pkt.TransportHeader().Push(header.ICMPv4MinimumSize)
	request, _ := pkt.Data().PullUp(header.ICMPv4MinimumSize)
	copy(b, request)
	pkt.Data().TrimFront(header.ICMPv4MinimumSize)
	if r.NetProto() == ipv4.ProtocolNumber {
		pkt.TransportProtocolNumber = header.ICMPv4ProtocolNumber
		h := header.ICMPv4(b)
		h.SetIdent(c.port)
		h.SetChecksum(0)
		h.SetChecksum(^checksum.Checksum(h, pkt.Data().Checksum()))
		return
	}
	pkt.TransportProtocolNumber = header.ICMPv6ProtocolNumber
	h := header.ICMPv6(b)
	h.SetIdent(c.port)
	h.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{
		Header: h, Src: r.LocalAddress(), Dst: r.RemoteAddress(),
		PayloadCsum: pkt.Data().Checksum(), PayloadLen: pkt.Data().Size(),
	}))
}
