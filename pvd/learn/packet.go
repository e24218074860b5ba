package learn

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// Numbers on the wire.
const (
	etherLen = 14

	etherIPv4 = 0x0800
	etherARP  = 0x0806
	etherIPv6 = 0x86dd

	ipv4Len = 20
	ipv6Len = 40
	udpLen  = 8

	protoUDP     = 17
	protoICMPv6  = 58
	extHopByHop  = 0
	extRouting   = 43
	extFragment  = 44
	extDestOpts  = 60
	icmpRA       = 134
	icmpRedirect = 137

	portDHCPv4Client = 68
)

// A Kind says what a frame is to a [Machine].
type Kind uint8

const (
	Other         Kind = iota // nothing
	Advertisement             // a router advertisement
	Redirect                  // an ICMPv6 redirect
	DHCPv4                    // a datagram to a DHCPv4 client
	DHCPv6                    // a datagram to a DHCPv6 client
	ARP
)

// Consumed reports whether a frame of the kind is for nobody but a [Machine].
func (k Kind) Consumed() bool { return k == Advertisement || k == DHCPv4 || k == DHCPv6 }

// KindOf tells what a frame is by its beginning, of which it wants 256 octets or all there
// is. It does not look at whom the frame was sent to.
func KindOf(ethernet bool, head []byte) Kind {
	if !ethernet {
		return kindOfIP(head)
	}
	if len(head) < etherLen {
		return Other
	}
	packet := head[etherLen:]
	switch proto := binary.BigEndian.Uint16(head[12:]); {
	case proto == etherARP:
		return ARP
	case len(packet) > 0 && (proto == etherIPv4 && packet[0]>>4 == 4 || proto == etherIPv6 && packet[0]>>4 == 6):
		return kindOfIP(packet)
	}
	return Other
}

func kindOfIP(b []byte) Kind {
	switch {
	case len(b) >= ipv4Len && b[0]>>4 == 4:
		n := int(b[0]&15) * 4
		if b[9] == protoUDP && binary.BigEndian.Uint16(b[6:])&0x1fff == 0 && n >= ipv4Len && len(b) >= n+udpLen &&
			binary.BigEndian.Uint16(b[n+2:]) == portDHCPv4Client {
			return DHCPv4
		}
	case len(b) >= ipv6Len && b[0]>>4 == 6:
		proto, at, _ := upper6(b)
		switch {
		case proto == protoICMPv6 && len(b) > at && b[at] == icmpRA:
			return Advertisement
		case proto == protoICMPv6 && len(b) > at && b[at] == icmpRedirect:
			return Redirect
		case proto == protoUDP && len(b) >= at+udpLen && binary.BigEndian.Uint16(b[at+2:]) == dhcp6.ClientPort:
			return DHCPv6
		}
	}
	return Other
}

// upper6 walks over the extension headers of an IPv6 packet, to what they are in front of.
// A fragment that does not begin its packet is followed by nothing that is known.
func upper6(b []byte) (proto byte, at int, fragmented bool) {
	proto, at = b[6], ipv6Len
	for range maxExtensions {
		switch proto {
		case extHopByHop, extRouting, extDestOpts:
			if len(b) < at+8 {
				return 0, len(b), fragmented
			}
			proto, at = b[at], at+8+int(b[at+1])*8
		case extFragment:
			if len(b) < at+8 || binary.BigEndian.Uint16(b[at+2:])&^7 != 0 {
				return 0, len(b), true
			}
			proto, at, fragmented = b[at], at+8, true
		default:
			return proto, at, fragmented
		}
	}
	return 0, len(b), fragmented
}

// icmp6 takes a packet with an ICMPv6 message apart; ok is false if it is none.
func icmp6(b []byte) (p ra.Packet, ok bool) {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return p, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if len(b) < ipv6Len+n {
		return p, false
	}
	b = b[:ipv6Len+n] // what is beyond is padding of the frame
	proto, at, fragmented := upper6(b)
	if proto != protoICMPv6 || at > len(b) {
		return p, false
	}
	return ra.Packet{
		Src: netip.AddrFrom16([16]byte(b[8:])), Dst: netip.AddrFrom16([16]byte(b[24:])),
		HopLimit: b[7], Fragmented: fragmented, Message: b[at:],
	}, true
}

// ParseRedirect decodes a frame of the kind [Redirect]; see [ra.ParseRedirect].
func ParseRedirect(ethernet bool, frame []byte) (ra.Redirect, error) {
	if ethernet {
		frame = frame[min(etherLen, len(frame)):]
	}
	p, ok := icmp6(frame)
	if !ok {
		return ra.Redirect{}, fmt.Errorf("learn: redirect: %w", ra.ErrInvalid)
	}
	return ra.ParseRedirect(p)
}

// A datagram is one of UDP.
type datagram struct {
	src, dst netip.AddrPort
	payload  []byte
}

// udp takes a packet with a whole datagram apart. ok is false if it is none, or damaged.
func udp(b []byte) (d datagram, ok bool) {
	var src, dst netip.Addr
	switch {
	case len(b) >= ipv4Len && b[0]>>4 == 4:
		n, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
		if b[9] != protoUDP || n < ipv4Len || total < n || len(b) < total ||
			binary.BigEndian.Uint16(b[6:])&0x3fff != 0 || ^fold(sum(0, b[:n])) != 0 {
			return d, false
		}
		src, dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
		b = b[n:total]
	case len(b) >= ipv6Len && b[0]>>4 == 6:
		n := int(binary.BigEndian.Uint16(b[4:]))
		if len(b) < ipv6Len+n {
			return d, false
		}
		proto, at, fragmented := upper6(b[:ipv6Len+n])
		if proto != protoUDP || fragmented || at > ipv6Len+n {
			return d, false
		}
		src, dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
		b = b[at : ipv6Len+n]
	default:
		return d, false
	}
	if len(b) < udpLen {
		return d, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < udpLen || n > len(b) {
		return d, false
	}
	b = b[:n]
	// No checksum is an IPv4 sender's right (RFC 768).
	if has := binary.BigEndian.Uint16(b[6:]); (has != 0 || src.Is6()) && ^fold(sum(pseudo(src, dst, protoUDP, n), b)) != 0 {
		return d, false
	}
	return datagram{
		netip.AddrPortFrom(src, binary.BigEndian.Uint16(b[0:])),
		netip.AddrPortFrom(dst, binary.BigEndian.Uint16(b[2:])), b[udpLen:],
	}, true
}

// hopLimit is that of what a machine sends to neighbours only: 255 lets a receiver know
// that no router has passed it on (RFC 4861 section 4.1).
const hopLimit = 255

// packetOf returns the IP packet with a datagram.
func packetOf(d datagram) []byte {
	src, dst := d.src.Addr().WithZone(""), d.dst.Addr().WithZone("")
	n := udpLen + len(d.payload)
	b := appendIP(make([]byte, 0, ipv6Len+n), src, dst, protoUDP, n)
	at := len(b)
	b = binary.BigEndian.AppendUint16(b, d.src.Port())
	b = binary.BigEndian.AppendUint16(b, d.dst.Port())
	b = binary.BigEndian.AppendUint16(b, uint16(n))
	b = append(b, 0, 0)
	b = append(b, d.payload...)
	check := ^fold(sum(pseudo(src, dst, protoUDP, n), b[at:]))
	if check == 0 {
		check = 0xffff
	}
	binary.BigEndian.PutUint16(b[at+6:], check)
	return b
}

// appendIP appends an IP header for a payload of n octets to b.
func appendIP(b []byte, src, dst netip.Addr, proto byte, n int) []byte {
	if src.Is6() {
		b = append(b, 0x60, 0, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(n))
		b = append(b, proto, hopLimit)
		b = append(b, src.AsSlice()...)
		return append(b, dst.AsSlice()...)
	}
	at := len(b)
	b = append(b, 0x45, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(ipv4Len+n))
	b = append(b, 0, 0, 0x40, 0, 64, proto, 0, 0)
	b = append(b, src.AsSlice()...)
	b = append(b, dst.AsSlice()...)
	binary.BigEndian.PutUint16(b[at+10:], ^fold(sum(0, b[at:])))
	return b
}

// pseudo is the sum of a pseudo header (RFC 768, RFC 8200 section 8.1).
func pseudo(src, dst netip.Addr, proto byte, n int) uint32 {
	s := sum(0, src.AsSlice())
	s = sum(s, dst.AsSlice())
	return s + uint32(proto) + uint32(n)
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) >= 2; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}

// frame puts a packet into an Ethernet frame, or leaves it as it is on an IP link.
func (m *Machine) frame(to [6]byte, proto uint16, packet []byte) []byte {
	if !m.ethernet() {
		return packet
	}
	f := make([]byte, 0, etherLen+len(packet))
	f = append(f, to[:]...)
	f = append(f, m.mac[:]...)
	f = binary.BigEndian.AppendUint16(f, proto)
	return append(f, packet...)
}

// groupMAC is the Ethernet address of an IPv6 group (RFC 2464 section 7).
func groupMAC(group netip.Addr) [6]byte {
	a := group.As16()
	return [6]byte{0x33, 0x33, a[12], a[13], a[14], a[15]}
}

var broadcastMAC = [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// solicitation is the frame of a router solicitation. Its source is unspecified, so that
// it needs no address yet, and the answer goes to everybody (RFC 4861 section 4.1).
func (m *Machine) solicitation() []byte {
	src := netip.IPv6Unspecified()
	message := ra.AppendSolicitation(nil, src, nil)
	packet := append(appendIP(nil, src, ra.AllRouters, protoICMPv6, len(message)), message...)
	return m.frame(groupMAC(ra.AllRouters), etherIPv6, packet)
}

// arpFrame is the frame of an ARP packet.
func (m *Machine) arpFrame(a acd.ARP) []byte { return m.frame(broadcastMAC, etherARP, a.Append(nil)) }
