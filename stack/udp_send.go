package stack

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"gvisor.dev/gvisor/pkg/buffer"
	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/checksum"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// sentTo remembers the path of the last datagram, for the next one to the same place. It
// holds as long as nothing in the PvD changes, and no longer than pathLife, since a
// router that does not answer changes no plan.
type sentTo struct {
	dst   netip.Addr
	plan  *plan
	path  path
	until time.Duration
}

// Write sends a datagram to the peer; see [net.Conn]. An unconnected socket has none:
// EDESTADDRREQ.
func (c *UDPConn) Write(b []byte) (int, error) {
	err := syscall.EDESTADDRREQ
	if !c.peer.IsValid() {
		return 0, c.opError(opWrite, os.NewSyscallError("write", err))
	}
	n, werr := c.sendLocked(b, netip.AddrPort{})
	if werr != nil {
		werr = c.opError(opWrite, werr)
	}
	return n, werr
}

// WriteTo sends a datagram to addr, a *net.UDPAddr or an [*Addr] of the same PvD; see
// [net.PacketConn]. An address of another PvD is EACCES.
func (c *UDPConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	to, err := c.destination(addr)
	if err != nil {
		return 0, opError(opWrite, c.network, c.local, notNil(addr), err)
	}
	return c.WriteToUDPAddrPort(b, to)
}

// WriteToUDP is WriteTo with the address's type.
func (c *UDPConn) WriteToUDP(b []byte, addr *net.UDPAddr) (int, error) {
	if addr == nil {
		return c.WriteTo(b, nil)
	}
	return c.WriteTo(b, addr)
}

// WriteToUDPAddrPort is WriteTo for an address that takes no memory.
func (c *UDPConn) WriteToUDPAddrPort(b []byte, to netip.AddrPort) (int, error) {
	n, err := c.sendTo(b, to)
	if err != nil {
		return n, opError(opWrite, c.network, c.local, addrOf(udp.ProtocolNumber, to), err)
	}
	return n, nil
}

// destination returns the address to send to.
func (c *UDPConn) destination(addr net.Addr) (netip.AddrPort, error) {
	switch a := addr.(type) {
	case *net.UDPAddr:
		if a != nil && a.Zone != "" && a.IP.To4() != nil {
			return c.stripped(target{literal{a.AddrPort().Addr().Unmap(), a.Zone}, uint16(a.Port)})
		}
		if a != nil {
			return a.AddrPort(), nil
		}
	case *Addr:
		if a != nil {
			return a.in(c.d.ref)
		}
	}
	return netip.AddrPort{}, os.NewSyscallError("sendto", syscall.EINVAL)
}

// notNil returns addr, without the type if it is a nil pointer.
func notNil(addr net.Addr) net.Addr {
	switch a := addr.(type) {
	case *net.UDPAddr:
		if a == nil {
			return nil
		}
	case *Addr:
		if a == nil {
			return nil
		}
	}
	return addr
}

// in returns the address for use in a PvD, which has to be its own.
func (a *Addr) in(ref pvd.Ref) (netip.AddrPort, error) {
	if a.ref != ref {
		return netip.AddrPort{}, os.NewSyscallError("sendto", syscall.EACCES)
	}
	return a.AddrPort(), nil
}

func (c *UDPConn) sendTo(b []byte, to netip.AddrPort) (int, error) {
	if c.peer.IsValid() {
		return 0, net.ErrWriteToConnected
	}
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if !to.Addr().IsValid() || to.Port() == 0 || !c.family.allows(to.Addr()) {
		return 0, os.NewSyscallError("sendto", syscall.EINVAL)
	}
	if to.Addr().Zone() != "" {
		var err error
		if to, err = c.stripped(target{literalOf(to.Addr()), to.Port()}); err != nil {
			return 0, err
		}
	}
	if to.Addr().IsUnspecified() {
		to = netip.AddrPortFrom(loopbackOf(to.Addr()), to.Port())
	}
	return c.sendLocked(b, to)
}

// loopbackOf returns the loopback address of the same family.
func loopbackOf(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	return netip.IPv6Loopback()
}

// sendLocked sends a datagram, waiting for room as long as the deadline allows. An
// invalid to means the peer.
func (c *UDPConn) sendLocked(b []byte, to netip.AddrPort) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if err := c.check(&c.writeUntil); err != nil {
		return 0, err
	}
	target := to
	if !to.IsValid() {
		target = c.peer
	}
	if len(b) > maxDatagram6 || (target.Addr().Is4() && len(b) > maxDatagram4) {
		return 0, os.NewSyscallError("sendto", syscall.EMSGSIZE)
	}
	var p path
	var err error
	if to.IsValid() {
		if p, err = c.pathTo(to.Addr()); err != nil {
			return 0, callError("sendto", err)
		}
	}
	for {
		terr := c.sendNow(b, to, p)
		switch terr.(type) {
		case nil:
			return len(b), nil
		case *tcpip.ErrWouldBlock:
			if err := c.wait(c.writable(), &c.writeUntil); err != nil {
				return 0, err
			}
		default:
			if err := c.failed(); err != nil {
				return 0, err
			}
			if !to.IsValid() || c.last.plan == c.d.plan.Load() {
				return 0, stackError("sendto", terr)
			}
			// The PvD has changed in the meantime.
			if p, err = c.pathTo(to.Addr()); err != nil {
				return 0, callError("sendto", err)
			}
		}
	}
}

// pathTo chooses link and source for a destination. It waits for addresses that are
// still tentative, as long as the write deadline allows.
func (c *UDPConn) pathTo(dst netip.Addr) (path, error) {
	for {
		changed := c.d.addressesChanged()
		p, err := c.pathNow(dst)
		if !errors.Is(err, errTentative) {
			return p, err
		}
		select {
		case <-changed:
		case <-c.ended():
			return path{}, c.failed()
		case <-c.writeUntil.passed():
			return path{}, os.ErrDeadlineExceeded
		}
	}
}

// pathNow is pathTo for one who does not wait; the error may be errTentative. The caller
// holds writeMu.
func (c *UDPConn) pathNow(dst netip.Addr) (path, error) {
	now := c.d.host.clock.Monotonic()
	plan := c.d.plan.Load()
	if l := &c.last; l.dst == dst && l.plan == plan && now < l.until && !dst.IsMulticast() {
		return l.path, nil
	}
	p, err := c.findPath(plan, dst)
	if err == nil {
		c.last = sentTo{dst: dst, plan: plan, path: p, until: now + pathLife}
	}
	return p, err
}

func (c *UDPConn) findPath(p *plan, dst netip.Addr) (path, error) {
	src := c.d.withZone(c.addr, c.nic)
	if dst.IsMulticast() && dst.Zone() == "" {
		return c.d.linkPath(p, src, dst, c.multicast.via())
	}
	return c.d.findPath(src, dst)
}

// sendNow sends a datagram by p if there is room. The caller holds writeMu.
func (c *UDPConn) sendNow(b []byte, to netip.AddrPort, p path) tcpip.Error {
	var o tcpip.WriteOptions
	if to.IsValid() {
		c.to = fullAddress(p.nic, to.Addr(), to.Port())
		o.To = &c.to
		// A socket with an address of its own sends from that; else gVisor chooses, and
		// has to be told where it would choose another source than the rules do.
		if !c.addr.IsValid() && !p.natural {
			if to.Addr().Is4() {
				return c.sendFrom4(b, to, p)
			}
			o.ControlMessages.HasIPv6PacketInfo = true
			o.ControlMessages.IPv6PacketInfo = tcpip.IPv6PacketInfo{NIC: p.nic, Addr: toAddr(p.src)}
		}
	}
	c.writer = b
	_, terr := c.ep.Write(&c.writer, o)
	c.writer = nil
	return terr
}

// sendFrom4 makes the datagram here, since gVisor has no way to be told the source of one
// IPv4 datagram.
func (c *UDPConn) sendFrom4(b []byte, to netip.AddrPort, p path) tcpip.Error {
	return c.sendRaw(b, to, p, gstack.NetworkHeaderParams{TOS: c.tos(to.Addr())})
}

// tos returns the type of service or traffic class of datagrams to dst.
func (c *UDPConn) tos(dst netip.Addr) uint8 {
	option := tcpip.IPv6TrafficClassOption
	if dst.Is4() {
		option = tcpip.IPv4TOSOption
	}
	v, _ := c.ep.GetSockOptInt(option) // datagram sockets know it
	return uint8(v)
}

// unicastHops returns the hop limit of datagrams to dst, the default where the socket has
// none of its own.
func (c *UDPConn) unicastHops(dst netip.Addr, otherwise uint8) uint8 {
	option := tcpip.IPv6HopLimitOption
	if dst.Is4() {
		option = tcpip.IPv4TTLOption
	}
	if v, _ := c.ep.GetSockOptInt(option); v > 0 { // likewise
		return uint8(v)
	}
	return otherwise
}

// sendRaw makes a datagram and sends it by p, from the socket's port and with the type of
// service and, where that is not 0, the hop limit in h.
func (c *UDPConn) sendRaw(b []byte, to netip.AddrPort, p path, h gstack.NetworkHeaderParams) tcpip.Error {
	r, terr := c.d.stk.FindRoute(p.nic, toAddr(p.src), toAddr(to.Addr()), protocolOf(to.Addr()), c.multicast.loops())
	if terr != nil {
		return terr
	}
	defer r.Release()
	if r.IsOutboundBroadcast() && !c.broadcast.Load() {
		return &tcpip.ErrBroadcastDisabled{}
	}
	pkt := gstack.NewPacketBuffer(gstack.PacketBufferOptions{
		ReserveHeaderBytes: header.UDPMinimumSize + int(r.MaxHeaderLength()),
		Payload:            buffer.MakeWithData(b),
	})
	defer pkt.DecRef()
	if c.echo {
		c.encodeEcho(pkt, r)
	} else {
		c.encode(pkt, r, to.Port())
	}
	if h.TTL == 0 {
		h.TTL = c.multicast.hopLimit(to.Addr(), c.unicastHops(to.Addr(), r.DefaultTTL()))
	}
	h.Protocol = pkt.TransportProtocolNumber
	return r.WritePacket(h, pkt)
}

// encode puts the UDP header before a datagram.
func (c *UDPConn) encode(pkt *gstack.PacketBuffer, r *gstack.Route, to uint16) {
	pkt.TransportProtocolNumber = udp.ProtocolNumber
	h := header.UDP(pkt.TransportHeader().Push(header.UDPMinimumSize))
	length := uint16(pkt.Size())
	h.Encode(&header.UDPFields{SrcPort: c.port, DstPort: to, Length: length})
	if r.RequiresTXTransportChecksum() {
		sum := ^h.CalculateChecksum(checksum.Combine(r.PseudoHeaderChecksum(udp.ProtocolNumber, length), pkt.Data().Checksum()))
		if sum == 0 {
			sum = 0xffff // 0 says that there is none (RFC 768)
		}
		h.SetChecksum(sum)
	}
}
