package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/tun"
)

// A weak host (RFC 1122 section 3.3.4.2) is made here and in the demultiplexer, and gVisor
// knows nothing of it. What arrives on one link for an address on another one is delivered
// to the port of that other one, where gVisor has the address; what gVisor sends from there
// leaves by the PvD's best route, whichever link that is on; and questions for the address
// are answered on each link with the hardware address that the PvD has there.

// outlets returns all ports that packets from p can leave by: none but p itself, which is
// not among them, unless the PvD is a weak host.
func (p *port) outlets() []*port {
	if !p.egress.Load().weak {
		return nil
	}
	return *p.domain.nics.Load()
}

// forwardWeak sends a packet to where it has to go, by whichever link that is.
func (p *port) forwardWeak(pkt *gstack.PacketBuffer, f *facts) tcpip.Error {
	mac := pkt.EgressRoute.RemoteLinkAddress
	if needsLink(f.dst) || p.mac != nil && mac != anchorMAC {
		return p.send(pkt, mac, f.urgent) // it is for this link
	}
	out, hop, why := p.wayOut(f.src, f.dst)
	if why != sent {
		p.stats.add(why)
		return dropError(why)
	}
	if out.mac == nil {
		return out.send(pkt, "", f.urgent)
	}
	mac, ok := out.hops.lookup(hop)
	if !ok {
		src := f.src
		if out != p {
			src = netip.Addr{} // who asks there has to have an address there
		}
		return out.resolve(hop, src, pkt)
	}
	return out.send(pkt, mac, f.urgent)
}

// wayOut returns the port and the next hop for a packet of a weak host. Routers that have
// lately not answered are passed over while another one leads there.
func (p *port) wayOut(src, dst netip.Addr) (out *port, hop netip.Addr, why reason) {
	e := p.egress.Load()
	why = dropNoRoute
	for _, f := range []*fib{e.fib, e.was} {
		if f == nil || out != nil {
			break
		}
		for r := range f.routes(dst) {
			o := p.domain.portOn(r.link)
			if o == nil || !r.serves(src) || !o.link.up.Load() {
				continue
			}
			hopless := r.via.IsValid() && o.hopless(r.via)
			if hopless && out != nil {
				continue
			}
			if (o.mac == nil || !r.via.IsValid()) && o.link.table.Load().ownedByOther(dst, o) {
				return nil, hop, dropOtherPvD
			}
			out, hop, why = o, r.hop(dst), sent
			if !hopless {
				return out, hop, why
			}
		}
	}
	return out, hop, why
}

// portOn returns the port on a link, nil if there is none.
func (d *domain) portOn(link string) *port {
	for _, p := range *d.nics.Load() {
		if p.link.name == link {
			return p
		}
	}
	return nil
}

// classifyElsewhere completes the verdict on a packet that may be for an address which its
// PvD has on another link. What only has a meaning on the link can not be taken there.
func (t *linkTable) classifyElsewhere(v verdict, h []byte, src, dst netip.Addr) verdict {
	if t.owners[src].has(v.to) {
		return verdict{why: dropMartian} // our own address, from elsewhere
	}
	on := t.elsewhere[portAddr{v.to, dst}]
	switch {
	case on == nil:
	case isNS(h) && v.to.mac != nil:
		v.asked = t.asked(ports{v.to}, nsTarget(h))
	case src.IsLinkLocalUnicast():
		return verdict{why: dropNotOwned}
	default:
		v.into = on
	}
	return v
}

// asked returns the one of some ports that has to answer for an address of another one's.
func (t *linkTable) asked(among ports, a netip.Addr) *port {
	if t.elsewhere == nil {
		return nil
	}
	for _, p := range among {
		if t.elsewhere[portAddr{p, a}] != nil {
			return p
		}
	}
	return nil
}

// answer answers a question for the hardware address that belongs to an address: an ARP
// request (RFC 826) or a neighbour solicitation (RFC 4861 section 7.2.4).
func (p *port) answer(head []byte, v verdict) {
	var to mac
	copy(to[:], head[6:12])
	var packet []byte
	if v.proto == arp.ProtocolNumber {
		packet = p.arpReply(header.ARP(head[v.ip:]))
	} else {
		packet, to = p.advertisement(head[v.ip:], to)
	}
	if packet == nil {
		return
	}
	var ether [tun.EthernetHeaderLen]byte
	copy(ether[0:6], to[:])
	copy(ether[6:12], p.mac)
	binary.BigEndian.PutUint16(ether[12:14], uint16(v.proto))
	p.stats.add(p.transmit([][]byte{ether[:], packet}, tun.Meta{}, true))
}

func (p *port) arpReply(request header.ARP) []byte {
	reply := make(header.ARP, header.ARPSize)
	reply.SetIPv4OverEthernet()
	reply.SetOp(header.ARPReply)
	copy(reply.HardwareAddressSender(), p.mac)
	copy(reply.ProtocolAddressSender(), request.ProtocolAddressTarget())
	copy(reply.HardwareAddressTarget(), request.HardwareAddressSender())
	copy(reply.ProtocolAddressTarget(), request.ProtocolAddressSender())
	return reply
}

// advertisement returns the answer to a neighbour solicitation and the station it is for,
// nil if the solicitation is not a valid one (RFC 4861 section 7.1.1).
func (p *port) advertisement(solicitation []byte, from mac) ([]byte, mac) {
	const icmp, size = header.IPv6MinimumSize, header.ICMPv6NeighborAdvertMinimumSize + 8
	m, ok := validICMPv6(solicitation)
	ip := header.IPv6(solicitation)
	if !ok || len(m) < header.ICMPv6NeighborSolicitMinimumSize || ip.HopLimit() != header.NDPHopLimit || m.Code() != 0 {
		return nil, from
	}
	target := header.NDPNeighborSolicit(m.MessageBody()).TargetAddress()
	dst, solicited := ip.SourceAddress(), true
	if dst == header.IPv6Any {
		dst, solicited = header.IPv6AllNodesMulticastAddress, false
		from = mac{0x33, 0x33, 0, 0, 0, 1}
	}
	packet := make([]byte, icmp+size)
	header.IPv6(packet).Encode(&header.IPv6Fields{
		PayloadLength: size, TransportProtocol: header.ICMPv6ProtocolNumber, HopLimit: header.NDPHopLimit,
		SrcAddr: target, DstAddr: dst,
	})
	a := header.ICMPv6(packet[icmp:])
	a.SetType(header.ICMPv6NeighborAdvert)
	body := header.NDPNeighborAdvert(a.MessageBody())
	body.SetSolicitedFlag(solicited)
	body.SetOverrideFlag(true)
	body.SetTargetAddress(target)
	body.Options().Serialize(header.NDPOptionsSerializer{header.NDPTargetLinkLayerAddressOption(p.mac)})
	a.SetChecksum(header.ICMPv6Checksum(header.ICMPv6ChecksumParams{Header: a, Src: target, Dst: dst}))
	return packet, from
}
