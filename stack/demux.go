package stack

import (
	"encoding/binary"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A verdict is what the demultiplexer has found out about a frame, before any packet
// buffer exists for it.
type verdict struct {
	why   reason
	to    *port   // who gets the frame, when that is one
	into  *port   // the port of the same PvD that it is delivered to instead, where that is a weak host
	asked *port   // a weak host's port that has to answer for an address of another one's
	group []*port // who gets a copy each, otherwise
	proto tcpip.NetworkProtocolNumber
	cast  tcpip.PacketType
	ip    int // where the network header begins
}

// headLen is how much of a frame is kept in one piece for classify to look at. It needs
// an Ethernet header, an IPv6 header and of a neighbour solicitation the target, 78
// octets; the rest is for gVisor, which wants whole headers in one piece too.
const headLen = 256

// classify decides whose a frame is. head is its beginning, headLen octets or all there
// is.
func (t *linkTable) classify(head []byte) verdict {
	if t.layer == tun.IP {
		return t.classifyIP(head, verdict{cast: tcpip.PacketHost}, station{})
	}
	if len(head) < tun.EthernetHeaderLen {
		return verdict{why: dropMalformed}
	}
	s := station{dst: mac(head[0:6]), src: mac(head[6:12]), ethernet: true}
	v := verdict{ip: tun.EthernetHeaderLen, cast: s.cast()}
	if _, own := t.stations[s.src]; own {
		return verdict{why: dropOwnMAC}
	}
	if s.src[0]&1 != 0 {
		return verdict{why: dropMartian} // no frame comes from a group
	}
	if v.cast == tcpip.PacketHost {
		if _, ok := t.stations[s.dst]; !ok {
			return verdict{why: dropOtherMAC}
		}
	}
	switch binary.BigEndian.Uint16(head[12:14]) {
	case 0x8100, 0x88a8:
		return verdict{why: dropVLAN}
	case uint16(arp.ProtocolNumber):
		return t.classifyARP(head, v, s)
	case uint16(ipv4.ProtocolNumber), uint16(ipv6.ProtocolNumber):
		return t.classifyIP(head, v, s)
	}
	return verdict{why: dropProtocol}
}

// lately is what has been found out about the last IPv4 packet to one PvD's address.
type lately struct {
	ether   [tun.EthernetHeaderLen]byte // zero on an IP link
	ends    [8]byte                     // source and destination
	verdict verdict                     // why is delivered; the zero verdict has no port
}

// classifyNext is classify for the link's reader, which often has several packets in a row
// that are from one host to another. All that counts of such a packet is that, unless PvDs
// have an address in common or are weak hosts. A group's may have lost its members.
func (t *linkTable) classifyNext(head []byte) verdict {
	ip := 0
	if t.layer == tun.Ethernet {
		ip = tun.EthernetHeaderLen
	}
	if len(head) < ip+header.IPv4MinimumSize || head[ip]>>4 != 4 {
		return t.classify(head)
	}
	next := lately{ends: [8]byte(head[ip+12:])}
	copy(next.ether[:], head[:ip])
	if last := &t.last; last.verdict.to != nil && last.ends == next.ends && last.ether == next.ether {
		return last.verdict
	}
	v := t.classify(head)
	if v.why == delivered && v.proto == ipv4.ProtocolNumber && v.to.owns(addr4(next.ends[4:])) &&
		len(t.rivals) == 0 && len(t.shared) == 0 && t.elsewhere == nil {
		next.verdict = v
		t.last = next
	}
	return v
}

// mac is an Ethernet address.
type mac [6]byte

// A station is where a frame came from and went to on an Ethernet link.
type station struct {
	src, dst mac
	ethernet bool
}

func (s station) cast() tcpip.PacketType {
	switch {
	case s.dst == broadcastMAC:
		return tcpip.PacketBroadcast
	case s.dst[0]&1 != 0:
		return tcpip.PacketMulticast
	}
	return tcpip.PacketHost
}

// classifyARP finds whom an ARP packet concerns: the owner of the target, who has to
// answer a request or gets the reply, and the owner of the sender's address, who is in
// conflict.
func (t *linkTable) classifyARP(head []byte, v verdict, s station) verdict {
	a := header.ARP(head[v.ip:])
	if !a.IsValid() {
		return verdict{why: dropMalformed}
	}
	v.proto = arp.ProtocolNumber
	sender, target := addr4(a.ProtocolAddressSender()), addr4(a.ProtocolAddressTarget())
	if !possibleSource(sender) || target.IsLoopback() || a.HardwareAddressSender()[0]&1 != 0 {
		return verdict{why: dropMartian} // RFC 1812 section 3.3.2: no station is a group
	}
	var concerned ports
	shared := t.sharing(target)
	switch {
	case v.cast == tcpip.PacketHost:
		// To one station: to those PvDs that have the target there or have asked without a
		// sender (RFC 5227).
		if concerned = t.ownersAt(target, s.dst); target.IsUnspecified() {
			concerned = t.at(s)
		}
		if p := t.behind(sender, concerned); p != nil && a.Op() == header.ARPReply && shared == nil {
			v.group = ports{p}
			return v.done(concerned, dropNotOwned)
		}
	case a.Op() == header.ARPReply:
		concerned = t.ports // an announcement: everybody's cache
	default:
		concerned = t.owners[target].and(t.owners[sender])
	}
	v.group = concerned.hearing(t, s.src)
	if shared != nil && a.Op() == header.ARPRequest {
		v.group = shared.oneAnswers(v.group)
	}
	if a.Op() == header.ARPRequest {
		v.asked = t.asked(v.group, target)
	}
	return v.done(concerned, dropNotOwned)
}

// classifyIP finds whose an IP packet is.
func (t *linkTable) classifyIP(head []byte, v verdict, s station) verdict {
	h := head[v.ip:]
	if len(h) == 0 {
		return verdict{why: dropMalformed}
	}
	var src, dst netip.Addr
	switch version := h[0] >> 4; {
	case version == 4 && len(h) >= header.IPv4MinimumSize:
		v.proto = ipv4.ProtocolNumber
		src, dst = addr4(h[12:]), addr4(h[16:])
	case version == 6 && len(h) >= header.IPv6MinimumSize:
		v.proto = ipv6.ProtocolNumber
		src, dst = addr6(h[8:]), addr6(h[24:])
	default:
		return verdict{why: dropMalformed}
	}
	if s.ethernet && binary.BigEndian.Uint16(head[12:14]) != uint16(v.proto) {
		return verdict{why: dropMalformed}
	}
	switch {
	case dst.IsLoopback(), pvd.IsThisNetwork(dst), dst.Is4In6(), dst.IsInterfaceLocalMulticast():
		return verdict{why: dropLoopbackDst}
	case !possibleSource(src), !s.ethernet && len(t.owners[src]) > 0:
		return verdict{why: dropMartian}
	}
	if dst.IsMulticast() || dst == limitedBroadcast || t.isBroadcast(dst, v, s) {
		return t.classifyGroup(h, v, s, src, dst)
	}
	return t.classifyUnicast(h, v, s, src, dst)
}

// possibleSource reports whether a packet on a link may come from a, or from nobody.
func possibleSource(a netip.Addr) bool {
	return a.IsUnspecified() || !a.IsLoopback() && !a.IsMulticast() && !a.Is4In6() && !pvd.IsThisNetwork(a) && a != limitedBroadcast
}

// isBroadcast reports whether dst is a directed broadcast address here. One PvD's may be
// the address of another, whose prefix is another: then the station decides.
func (t *linkTable) isBroadcast(dst netip.Addr, v verdict, s station) bool {
	return t.broadcasts[dst] != nil && (v.cast != tcpip.PacketHost || len(t.ownersAt(dst, s.dst)) == 0)
}

// classifyUnicast gives a packet to the one PvD that has its destination here. Where
// several have, the station that it came from decides, unless they share it.
func (t *linkTable) classifyUnicast(h []byte, v verdict, s station, src, dst netip.Addr) verdict {
	if v.cast != tcpip.PacketHost {
		return verdict{why: dropCastMismatch} // RFC 1122 section 3.3.6
	}
	if src.IsUnspecified() {
		return verdict{why: dropMartian}
	}
	owners := t.owners[dst]
	if len(owners) == 0 {
		return verdict{why: dropNotOwned}
	}
	if s.ethernet {
		if owners = t.ownersAt(dst, s.dst); len(owners) == 0 {
			return verdict{why: dropOtherMAC}
		}
	}
	if sh := t.sharing(dst); sh != nil {
		return t.classifyShared(sh, v, h, s, src)
	}
	if s.ethernet && len(owners) > 1 {
		if owners = t.hearers(owners, h, s.src); len(owners) == 0 {
			return verdict{why: dropUnknownMAC}
		}
	}
	v.to = owners[0]
	if s.ethernet && v.to.owns(src) {
		return verdict{why: dropMartian} // our own address, from elsewhere
	}
	v.why = delivered
	if t.elsewhere != nil {
		return t.classifyElsewhere(v, h, src, dst)
	}
	return v
}

// hearers returns those of several owners of an address that may hear the station src,
// or the one whose router it is that advertises itself.
func (t *linkTable) hearers(owners ports, h []byte, src mac) ports {
	if isND(h) && !isNS(h) {
		if p := t.behind(addr6(h[header.IPv6MinimumSize+8:]), owners); p != nil {
			return ports{p}
		}
	}
	return owners.hearing(t, src)
}

// classifyGroup finds whom a multicast or broadcast packet concerns. A group's packet in a
// unicast frame is for that station alone.
func (t *linkTable) classifyGroup(h []byte, v verdict, s station, src, dst netip.Addr) verdict {
	all := t.ports
	if s.ethernet && v.cast == tcpip.PacketHost {
		all = t.at(s)
	}
	concerned := all.filter(func(p *port) bool { return t.concerns(p, h, src, dst) })
	v.group = concerned
	if s.ethernet {
		v.group = concerned.hearing(t, s.src)
	}
	if t.elsewhere != nil && s.ethernet && isNS(h) {
		v.asked = t.asked(v.group, nsTarget(h))
	}
	return v.done(concerned, dropNotJoined)
}

// concerns reports whether a group packet is for p. Whether p's stack has joined the
// group is for the stack to know in detail; here it is enough not to bother those who
// can not have.
func (t *linkTable) concerns(p *port, h []byte, src, dst netip.Addr) bool {
	if p.owns(src) && !src.IsUnspecified() && !isND(h) {
		return false
	}
	switch {
	case dst.Is4():
		return p.has4() && (dst == limitedBroadcast || t.broadcasts[dst].has(p) || dst == allSystems4 || p.joined(dst))
	case isNS(h):
		target := nsTarget(h)
		return p.owns(target) || t.elsewhere[portAddr{p, target}] != nil
	case dst == allNodes6:
		return p.has6()
	}
	return p.has6() && p.joined(dst)
}

var (
	allSystems4 = netip.MustParseAddr("224.0.0.1")
	allNodes6   = netip.MustParseAddr("ff02::1")
)

// isND reports whether an IPv6 packet is a neighbour solicitation or advertisement
// (RFC 4861 section 4), in which a station may well claim our address.
func isND(h []byte) bool {
	return len(h) >= header.IPv6MinimumSize+24 && h[0]>>4 == 6 && h[6] == uint8(header.ICMPv6ProtocolNumber) &&
		(h[header.IPv6MinimumSize] == uint8(header.ICMPv6NeighborSolicit) || h[header.IPv6MinimumSize] == uint8(header.ICMPv6NeighborAdvert))
}

func nsTarget(h []byte) netip.Addr { return addr6(h[header.IPv6MinimumSize+8:]) }

func isNS(h []byte) bool {
	return isND(h) && h[header.IPv6MinimumSize] == uint8(header.ICMPv6NeighborSolicit)
}

// done completes the verdict on a frame that concerns some ports, of which those in
// v.group may hear it.
func (v verdict) done(concerned ports, nobody reason) verdict {
	switch len(v.group) {
	case 0:
		if len(concerned) > 0 {
			nobody = dropUnknownMAC
		}
		return verdict{why: nobody}
	case 1:
		v.to, v.group = v.group[0], nil
		v.why = delivered
	default:
		v.why = deliveredCopies
	}
	return v
}
