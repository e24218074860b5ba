package pvdtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/pvdstack/pvdstack/tun"
)

const udpHeaderLen = 8

// udpBody returns the payload of a UDP datagram whose pseudo header sums up to s, or false
// if it is not whole.
func udpBody(b []byte, s uint64) ([]byte, bool) {
	if len(b) < udpHeaderLen {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(b[4:]))
	if n < udpHeaderLen || n > len(b) {
		return nil, false
	}
	b = b[:n]
	if b[6]|b[7] != 0 && fold(sum(s, b)) != 0xffff {
		return nil, false
	}
	return b[udpHeaderLen:], true
}

// putUDP writes a header for a datagram as long as b and its checksum, whose pseudo header
// sums up to s.
func putUDP(b []byte, from, to uint16, s uint64) {
	binary.BigEndian.PutUint16(b, from)
	binary.BigEndian.PutUint16(b[2:], to)
	binary.BigEndian.PutUint16(b[4:], uint16(len(b)))
	b[6], b[7] = 0, 0
	c := ^fold(sum(s, b))
	if c == 0 {
		c = 0xffff
	}
	binary.BigEndian.PutUint16(b[6:], c)
}

// udp4 makes a frame with a UDP datagram.
func (ifc *iface) udp4(to mac, src, dst netip.AddrPort, payload []byte) []byte {
	f := ifc.newFrame(to, etherIPv4, ip4HeaderLen+udpHeaderLen+len(payload))
	ip := f[tun.EthernetHeaderLen:]
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	ip[8], ip[9] = defaultTTL, protoUDP
	copy(ip[12:], src.Addr().AsSlice())
	copy(ip[16:], dst.Addr().AsSlice())
	putIP4Checksum(ip)
	b := ip[ip4HeaderLen:]
	copy(b[udpHeaderLen:], payload)
	putUDP(b, src.Port(), dst.Port(), pseudo(ip[12:16], ip[16:20], protoUDP, len(b)))
	return f
}

// udp6 makes a frame with a UDP datagram.
func (ifc *iface) udp6(to mac, src, dst netip.AddrPort, payload []byte) []byte {
	f := ifc.newFrame(to, etherIPv6, ip6HeaderLen+udpHeaderLen+len(payload))
	ip := f[tun.EthernetHeaderLen:]
	putIP6(ip, protoUDP, defaultTTL, src.Addr(), dst.Addr())
	b := ip[ip6HeaderLen:]
	copy(b[udpHeaderLen:], payload)
	putUDP(b, src.Port(), dst.Port(), pseudo(ip[8:24], ip[24:40], protoUDP, len(b)))
	return f
}
