package probe

import (
	"encoding/binary"

	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/tun"
)

// What is needed of IPv4 (RFC 791) and UDP (RFC 768).
const (
	etherIPv4 = 0x0800
	ipv4Len   = 20
	udpLen    = 8
	protoUDP  = 17
	ttl       = 64
)

// station returns who a frame on an Ethernet link was sent by.
func station(f []byte) [6]byte { return [6]byte(f[6:12]) }

// datagram sends a datagram to the station that DHCPv4 answers came from: the server, or the
// router on the way to it. There are no routes here that could say so.
func (p *prober) datagram(d learn.Datagram) {
	src, dst := d.Src.Addr(), d.Dst.Addr()
	if p.server == [6]byte{} || !src.Is4() || !dst.Is4() || len(d.Payload) > p.Link.MTU()-ipv4Len-udpLen {
		return
	}
	length := ipv4Len + udpLen + len(d.Payload)
	f := append(append([]byte(nil), p.server[:]...), p.mac...)
	f = binary.BigEndian.AppendUint16(f, etherIPv4)
	f = append(f, 0x45, 0, byte(length>>8), byte(length), 0, 0, 0, 0, ttl, protoUDP, 0, 0)
	f = append(append(f, src.AsSlice()...), dst.AsSlice()...)
	ip := f[etherLen:]
	binary.BigEndian.PutUint16(ip[10:], ^sum(ip))
	f = binary.BigEndian.AppendUint16(f, d.Src.Port())
	f = binary.BigEndian.AppendUint16(f, d.Dst.Port())
	f = append(f, byte((length-ipv4Len)>>8), byte(length-ipv4Len), 0, 0) // without checksum, as IPv4 allows
	f = append(f, d.Payload...)
	_ = p.Link.Send([][]byte{f}, tun.Meta{}) // a lease that is not given back ends by itself
}

// sum adds the 16-bit words of b, an even number of octets, in ones' complement (RFC 1071).
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return uint16(s)
}
