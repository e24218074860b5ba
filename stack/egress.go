package stack

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// anchorMAC is the hardware address of the anchors: the gateways, one per family, that
// gVisor's own routing table leads to. No station has it. A packet to it is one for which
// the port has to find the next hop.
const anchorMAC = tcpip.LinkAddress("\x02\x00\x00\x00\x00\x00")

// The anchors' addresses, both of a kind that is on no link: the IPv4 dummy address of
// RFC 7600 and one of the discard prefix of RFC 6666.
var (
	anchor4 = netip.MustParseAddr("192.0.0.8")
	anchor6 = netip.MustParseAddr("100::1")
)

// WritePackets checks and sends what the PvD's stack has made. It returns how many
// packets it took over.
func (p *port) WritePackets(pkts gstack.PacketBufferList) (int, tcpip.Error) {
	for i, pkt := range pkts.AsSlice() {
		if err := p.write(pkt); err != nil {
			return i, err
		}
	}
	return pkts.Len(), nil
}

// write sends one packet. An error means that it, or a piece of it, was dropped and
// counted.
func (p *port) write(pkt *gstack.PacketBuffer) tcpip.Error {
	var f facts
	if pkt.NetworkProtocolNumber == arp.ProtocolNumber {
		p.link.learned.mu.RLock() // until it has left no other table comes
		defer p.link.learned.mu.RUnlock()
	}
	if why := p.inspect(pkt, &f); why != sent {
		p.stats.add(why)
		return dropError(why)
	}
	if cut, err := p.fit(pkt, &f); cut {
		return err
	}
	return p.forward(pkt, &f)
}

// forward sends a packet that may leave to where it has to go, or queues it until its
// next hop is known.
func (p *port) forward(pkt *gstack.PacketBuffer, f *facts) tcpip.Error {
	if f.weak {
		return p.forwardWeak(pkt, f)
	}
	if p.mac == nil {
		return p.send(pkt, "", f.urgent)
	}
	mac := pkt.EgressRoute.RemoteLinkAddress
	if mac != anchorMAC {
		return p.send(pkt, mac, f.urgent)
	}
	hop, ok := p.nextHop(f.src, f.dst)
	if !ok {
		p.stats.add(dropNoRoute)
		return dropError(dropNoRoute)
	}
	if mac, ok = p.hops.lookup(hop); !ok {
		return p.resolve(hop, f.src, pkt)
	}
	return p.send(pkt, mac, f.urgent)
}

// facts are what a packet's headers say that matters for sending it.
type facts struct {
	src, dst netip.Addr
	urgent   bool // made by the link's reader, which must not wait
	weak     bool // of a weak host, whose routes over other links count too
}

// inspect fills in f and judges the packet by the rules for leaving: the source is the
// PvD's on this link, or unspecified where the protocol has it so, and the destination may
// be on a link at all. On an IP link it also looks for the route, since there is no next
// hop to find.
func (p *port) inspect(pkt *gstack.PacketBuffer, f *facts) reason {
	h := headers(pkt)
	e := p.egress.Load()
	f.weak = e.weak
	// Whether the protocol allows an unspecified source, and an unspecified destination.
	anonymous, aimless := false, false
	switch pkt.NetworkProtocolNumber {
	case ipv4.ProtocolNumber:
		if len(h) < header.IPv4MinimumSize {
			return dropMalformed
		}
		f.src, f.dst = addr4(h[12:]), addr4(h[16:])
		anonymous = h[9] == uint8(header.IGMPProtocolNumber)
		f.urgent = !mayWait(h[9], h[min(int(header.IPv4(h).HeaderLength()), len(h)):])
	case ipv6.ProtocolNumber:
		if len(h) < header.IPv6MinimumSize {
			return dropMalformed
		}
		f.src, f.dst = addr6(h[8:]), addr6(h[24:])
		anonymous = f.dst.IsLinkLocalMulticast() // DAD, RS and MLD all go there
		f.urgent = !mayWait(uint8(pkt.TransportProtocolNumber), pkt.TransportHeader().Slice())
	case arp.ProtocolNumber:
		a := header.ARP(h)
		if !a.IsValid() || tcpip.LinkAddress(a.HardwareAddressSender()) != p.macStr {
			return dropBadSource
		}
		f.src, f.dst = addr4(a.ProtocolAddressSender()), addr4(a.ProtocolAddressTarget())
		anonymous, f.urgent = true, true    // an RFC 5227 probe has no sender
		aimless = a.Op() == header.ARPReply // so that the answer to one has no target
		if !f.src.IsUnspecified() && !p.claims(f.src) {
			return dropBadSource
		}
	default:
		return dropProtocol
	}
	if _, own := e.own[f.src]; !own && !(anonymous && f.src.IsUnspecified()) {
		return dropBadSource
	}
	if neverLeaves(f.dst) && !(aimless && f.dst.IsUnspecified()) {
		return dropBadDest
	}
	if p.mac == nil && !f.dst.IsMulticast() && !f.weak {
		if why := p.inspectRoute(e, f); why != sent {
			return why
		}
	}
	if e.shared && pkt.NetworkProtocolNumber == ipv4.ProtocolNumber {
		return p.inspectShared(h, pkt, *f)
	}
	return sent
}

// claims reports whether p may tell by ARP that it has a. A PvD that is on its way out must not
// any more when those that share the address have announced that it is with them.
func (p *port) claims(a netip.Addr) bool { return p.link.table.Load().owners[a].has(p) }

// neverLeaves reports whether a destination is one that no packet on a link may have
// (RFC 1122 section 3.2.1.3, RFC 4291 sections 2.5.2, 2.5.3 and 2.7.1).
func neverLeaves(a netip.Addr) bool {
	return a.IsLoopback() || pvd.IsThisNetwork(a) || a.IsUnspecified() || a.IsInterfaceLocalMulticast()
}

// inspectRoute judges a packet on an IP link, where what the far end does with it is
// out of our hands.
func (p *port) inspectRoute(e *egress, f *facts) reason {
	if _, ok := e.next(p.link.name, f.src, f.dst); !ok && !needsLink(f.dst) {
		return dropNoRoute
	}
	if p.link.table.Load().ownedByOther(f.dst, p) {
		return dropOtherPvD
	}
	return sent
}

// next is fib.next, by the table that was before where the new one has no route.
func (e *egress) next(link string, src, dst netip.Addr) (netip.Addr, bool) {
	hop, ok := e.fib.next(link, src, dst)
	if !ok && e.was != nil {
		return e.was.next(link, src, dst)
	}
	return hop, ok
}

// mayWait reports whether the sender of a packet may wait for room on the link: it is an
// application, or TCP's own goroutine. Everything else, resets included, is an answer
// that the link's reader makes, and that one must go on reading.
func mayWait(proto uint8, transport []byte) bool {
	switch tcpip.TransportProtocolNumber(proto) {
	case header.TCPProtocolNumber:
		return len(transport) >= header.TCPMinimumSize && header.TCP(transport).Flags()&header.TCPFlagRst == 0
	case header.UDPProtocolNumber:
		return true
	}
	return false
}

// headers returns the beginning of a packet as far as it is in one piece. All headers are,
// of what gVisor's transports make, and to ask for them one by one takes longer.
func headers(pkt *gstack.PacketBuffer) []byte {
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip < len(b) {
			return b[skip:]
		}
		skip -= len(b)
	}
	return nil
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }
func addr6(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b[:16])) }

// A frame is the memory in which a packet is put together for its link.
type frame struct {
	ether [tun.EthernetHeaderLen]byte
	bufs  [maxViews + 1][]byte
}

var frames = sync.Pool{New: func() any { return new(frame) }}

// send sends a packet to a station, or on an IP link to the far end.
func (p *port) send(pkt *gstack.PacketBuffer, to tcpip.LinkAddress, urgent bool) tcpip.Error {
	f := frames.Get().(*frame)
	bufs := f.bufs[:0]
	if p.mac != nil {
		copy(f.ether[0:6], to)
		copy(f.ether[6:12], p.mac)
		binary.BigEndian.PutUint16(f.ether[12:14], uint16(pkt.NetworkProtocolNumber))
		bufs = append(bufs, f.ether[:])
	}
	views, skip := pkt.AsViewList()
	for v := views.Front(); v != nil; v = v.Next() {
		b := v.AsSlice()
		if skip >= len(b) {
			skip -= len(b)
			continue
		}
		if len(bufs) == maxViews {
			bufs = p.flatten(pkt, bufs)
			break
		}
		bufs = append(bufs, b[skip:])
		skip = 0
	}
	why := p.transmit(bufs, p.meta(pkt), urgent)
	clear(f.bufs[:len(bufs)])
	frames.Put(f)
	p.stats.add(why)
	return dropError(why)
}

// flatten puts a packet of too many pieces into one, behind the Ethernet header if bufs
// begins with one.
func (p *port) flatten(pkt *gstack.PacketBuffer, bufs [][]byte) [][]byte {
	whole := pkt.ToView()
	defer whole.Release()
	head := 0
	if p.mac != nil {
		head = 1
	}
	return append(bufs[:head], whole.ToSlice())
}

// meta says what was left to the link of a packet's checksum and segmentation.
func (p *port) meta(pkt *gstack.PacketBuffer) tun.Meta {
	g := &pkt.GSOOptions
	if g.Type == gstack.GSONone {
		return tun.Meta{}
	}
	link := uint16(0)
	if p.mac != nil {
		link = tun.EthernetHeaderLen
	}
	m := tun.Meta{HdrLen: link + uint16(pkt.HeaderSize())}
	if g.NeedsCsum {
		m.Flags = tun.NeedsCsum
		m.CsumStart = link + g.L3HdrLen
		m.CsumOffset = g.CsumOffset
	}
	if pkt.Data().Size() > int(g.MSS) {
		m.GSO, m.GSOSize = tun.GSOTCP4, g.MSS
		if g.Type == gstack.GSOTCPv6 {
			m.GSO = tun.GSOTCP6
		}
	}
	return m
}

// transmit hands a frame to the link, waiting for room if it may.
func (p *port) transmit(bufs [][]byte, m tun.Meta, urgent bool) reason {
	err := p.link.link.Send(bufs, m)
	if err != nil && errors.Is(err, tun.ErrFull) && !urgent {
		start := p.domain.host.clock.Monotonic()
		for errors.Is(err, tun.ErrFull) && p.waitForRoom(start) {
			err = p.link.link.Send(bufs, m)
		}
	}
	switch {
	case err == nil:
		p.capture(tun.Out, bufs, m)
		return sent
	case errors.Is(err, tun.ErrFull):
		return dropFull
	case errors.Is(err, tun.ErrDown):
		return dropDown
	}
	return dropSend
}

// dropError is what the sender of a dropped packet is told. A full link is none of its
// business: the packet might as well have been lost further on.
func dropError(r reason) tcpip.Error {
	switch r {
	case dropNoRoute:
		return &tcpip.ErrNetworkUnreachable{}
	case dropOtherPvD, dropNoNeighbor:
		return &tcpip.ErrHostUnreachable{}
	case dropBadSource:
		return &tcpip.ErrBadLocalAddress{}
	case dropSharedFlow:
		return &tcpip.ErrPortInUse{}
	case dropBadDest:
		return &tcpip.ErrNetworkUnreachable{}
	default:
		return nil
	}
}
