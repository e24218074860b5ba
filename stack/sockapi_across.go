package stack

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
)

// stranger returns the PvD that a source is of if that is not d, nil if it is nobody's.
func (s *Socket) stranger(src netip.Addr, d *domain) *domain {
	if !src.IsValid() || src.IsLoopback() {
		return nil
	}
	if _, err := d.local(src); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		return nil
	}
	if holders := s.holders(src); len(holders) > 0 {
		return holders[0]
	}
	return nil
}

// crossing returns what sends a datagram with a source of one PvD, a, through another, d.
func (s *Socket) crossing(w whereabouts, a, d *domain, g *datagram) (*UDPConn, error) {
	if !s.app.maySendAcross() || s.echoes() {
		return nil, syscall.EACCES
	}
	g.across = d
	if w.one != nil && w.one.base().d == a {
		return w.one.udp, nil
	}
	if w.all != nil {
		if p, ok := w.all.in(a); ok {
			return p.udp, nil
		}
	}
	return nil, syscall.EACCES // the socket is not where the source is
}

// sendAcross sends a datagram with a source of c's PvD by the routes of another: from c's
// own interface on the link, to the other's next hop.
func (s *Socket) sendAcross(ctx context.Context, c *UDPConn, g *datagram) error {
	if !g.to.addr.IsValid() {
		g.to = target{literalOf(c.peer.Addr()), c.peer.Port()}
	}
	src, dst := g.src.WithZone(""), g.to.at()
	if !src.IsValid() {
		src = c.addr
	}
	if src.Is4() != dst.Is4() {
		return otherFamily(dst)
	}
	b := g.across
	p, err := s.await(ctx, b, func() (path, error) {
		p, err := b.findPath(netip.Addr{}, dst)
		return p, s.noFamily(b, netip.Addr{}, dst, err)
	})
	switch {
	case err != nil:
		return err
	case neverLeaves(dst) || isOwn(b.plan.Load(), dst):
		return syscall.EHOSTUNREACH // two PvDs do not reach each other inside the host
	case needsLink(dst):
		return syscall.EACCES // a zone of the other PvD's
	}
	link := b.zoneOf(p.nic)
	own, ok := c.d.plan.Load().link(link)
	if ok {
		_, err = c.d.givenSource(own, src)
	}
	if !ok || err != nil {
		return syscall.EACCES // the two do not share the link
	}
	hop, ok := b.portOf(p.nic).nextHop(p.src, dst)
	if !ok {
		return syscall.ENETUNREACH
	}
	pkt, err := c.packet(g, src, dst.WithZone(""), int(own.port.MTU()))
	if err != nil {
		return err
	}
	defer pkt.DecRef()
	if err := c.d.enter(); err != nil {
		return err
	}
	defer c.d.leave()
	if terr := own.port.writeTo(hop.WithZone(""), pkt); terr != nil {
		return stackError("sendto", terr)
	}
	return nil
}

// writeTo sends a packet, whose source is the PvD's, to a next hop that is another's.
func (p *port) writeTo(hop netip.Addr, pkt *gstack.PacketBuffer) tcpip.Error {
	if h := header.IPv4(pkt.NetworkHeader().Slice()); p.egress.Load().shared && pkt.NetworkProtocolNumber == ipv4.ProtocolNumber {
		if why := p.inspectShared(h, pkt, facts{src: addr4(h[12:]), dst: addr4(h[16:])}); why != sent {
			p.stats.add(why)
			return dropError(why)
		}
	}
	if p.mac == nil {
		return p.send(pkt, "", false)
	}
	if mac, ok := p.hops.lookup(hop); ok {
		return p.send(pkt, mac, false)
	}
	return p.resolve(hop, netip.Addr{}, pkt)
}

// packet makes a whole packet of a datagram: EMSGSIZE if it is longer than the MTU.
func (c *UDPConn) packet(g *datagram, src, dst netip.Addr, mtu int) (*gstack.PacketBuffer, error) {
	size := header.IPv6MinimumSize
	if dst.Is4() {
		size = header.IPv4MinimumSize
	}
	length := header.UDPMinimumSize + len(g.data)
	if size+length > mtu {
		return nil, syscall.EMSGSIZE
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		ReserveHeaderBytes: size + header.UDPMinimumSize,
		Payload:            buffer.MakeWithData(g.data),
	})
	h := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	pkt.TransportProtocolNumber = udp.ProtocolNumber
	h.Encode(&header.UDPFields{SrcPort: c.port, DstPort: g.to.port, Length: uint16(length)})
	sum := header.PseudoHeaderChecksum(udp.ProtocolNumber, toAddr(src), toAddr(dst), uint16(length))
	if sum = ^h.CalculateChecksum(checksum.Combine(sum, pkt.Data().Checksum())); sum == 0 {
		sum = 0xffff // 0 says that there is none (RFC 768)
	}
	h.SetChecksum(sum)
	ip := c.headerFor(g)
	if ip.TTL == 0 {
		ip.TTL = c.unicastHops(dst, defaultHopLimit)
	}
	if dst.Is4() {
		encode4(pkt, src, dst, ip)
	} else {
		encode6(pkt, src, dst, ip, length)
	}
	return pkt, nil
}

func encode4(pkt *gstack.PacketBuffer, src, dst netip.Addr, p gstack.NetworkHeaderParams) {
	h := header.IPv4(pkt.NetworkHeader().Push(header.IPv4MinimumSize))
	pkt.NetworkProtocolNumber = ipv4.ProtocolNumber
	h.Encode(&header.IPv4Fields{
		TOS: p.TOS, TotalLength: uint16(pkt.Size()), ID: uint16(rand.Uint32()), TTL: p.TTL,
		Protocol: uint8(udp.ProtocolNumber), SrcAddr: toAddr(src), DstAddr: toAddr(dst),
	})
	h.SetChecksum(^h.CalculateChecksum())
}

func encode6(pkt *gstack.PacketBuffer, src, dst netip.Addr, p gstack.NetworkHeaderParams, length int) {
	h := header.IPv6(pkt.NetworkHeader().Push(header.IPv6MinimumSize))
	pkt.NetworkProtocolNumber = ipv6.ProtocolNumber
	h.Encode(&header.IPv6Fields{
		TrafficClass: p.TOS, PayloadLength: uint16(length), TransportProtocol: udp.ProtocolNumber,
		HopLimit: p.TTL, SrcAddr: toAddr(src), DstAddr: toAddr(dst),
	})
}
