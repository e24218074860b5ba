package tun_test

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/tun"
)

const (
	protoTCP = 6
	protoUDP = 17

	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagPSH = 0x08
	flagACK = 0x10
	flagCWR = 0x80
)

// A testPacket describes a packet that its method frame builds.
type testPacket struct {
	layer    tun.Layer
	vlan     bool
	src, dst string // 192.0.2.1 and 192.0.2.2, if empty
	proto    uint8  // TCP if 0
	flags    uint8  // of TCP
	options  int    // octets of TCP options, a multiple of 4
	ip4opts  int    // octets of IPv4 options, a multiple of 4
	destOpts bool   // an IPv6 destination options header
	id       uint16 // of IPv4
	seq      uint32 // of TCP
	payload  int
	salt     byte
}

func (p testPacket) addrs() (src, dst netip.Addr) {
	if p.src == "" {
		p.src, p.dst = "192.0.2.1", "192.0.2.2"
	}
	return netip.MustParseAddr(p.src), netip.MustParseAddr(p.dst)
}

// frame returns the packet, whose checksum is left to the receiver, and its Meta.
func (p testPacket) frame() ([]byte, tun.Meta) {
	src, dst := p.addrs()
	var f []byte
	if p.layer == tun.Ethernet {
		f = append(f, 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1)
		if p.vlan {
			f = append(f, 0x81, 0, 0, 10)
		}
		if src.Is4() {
			f = append(f, 8, 0)
		} else {
			f = append(f, 0x86, 0xdd)
		}
	}
	proto := p.proto
	if proto == 0 {
		proto = protoTCP
	}
	t := p.transport(proto)
	if src.Is4() {
		f = p.appendIPv4(f, proto, len(t))
	} else {
		f = p.appendIPv6(f, proto, len(t))
	}
	m := tun.Meta{Flags: tun.NeedsCsum, CsumStart: uint16(len(f)), CsumOffset: 16}
	if proto == protoUDP {
		m.CsumOffset = 6
	}
	m.HdrLen = m.CsumStart + uint16(len(t)-p.payload)
	pseudo := naiveSum(append(src.AsSlice(), dst.AsSlice()...), uint32(proto)+uint32(len(t)))
	binary.BigEndian.PutUint16(t[m.CsumOffset:], pseudo)
	return append(f, t...), m
}

func (p testPacket) transport(proto uint8) []byte {
	var t []byte
	if proto == protoUDP {
		t = binary.BigEndian.AppendUint32(t, 1234<<16|53)
		t = binary.BigEndian.AppendUint32(t, uint32(8+p.payload)<<16)
	} else {
		t = binary.BigEndian.AppendUint32(t, 1234<<16|80)
		t = binary.BigEndian.AppendUint32(t, p.seq)
		t = append(t, 1, 2, 3, 4, byte(5+p.options/4)<<4, p.flags, 1, 0, 0, 0, 0, 0)
		for range p.options {
			t = append(t, 1)
		}
	}
	for i := range p.payload {
		t = append(t, p.salt+byte(i*7>>3))
	}
	return t
}

func (p testPacket) appendIPv4(f []byte, proto uint8, length int) []byte {
	at := len(f)
	src, dst := p.addrs()
	hdr := 20 + p.ip4opts
	f = append(f, 0x40|byte(hdr/4), 0)
	f = binary.BigEndian.AppendUint16(f, uint16(hdr+length))
	f = binary.BigEndian.AppendUint16(f, p.id)
	f = append(f, 0x40, 0, 64, proto, 0, 0)
	f = append(append(f, src.AsSlice()...), dst.AsSlice()...)
	for range p.ip4opts {
		f = append(f, 1)
	}
	binary.BigEndian.PutUint16(f[at+10:], ^naiveSum(f[at:], 0))
	return f
}

func (p testPacket) appendIPv6(f []byte, proto uint8, length int) []byte {
	src, dst := p.addrs()
	next := proto
	if p.destOpts {
		next = 60
		length += 8
	}
	f = append(f, 0x60, 0, 0, 0)
	f = binary.BigEndian.AppendUint16(f, uint16(length))
	f = append(f, next, 64)
	f = append(append(f, src.AsSlice()...), dst.AsSlice()...)
	if p.destOpts {
		f = append(f, proto, 0, 1, 4, 0, 0, 0, 0)
	}
	return f
}

// naiveSum is RFC 1071's sum, written to be read.
func naiveSum(b []byte, s uint32) uint16 {
	for i, v := range b {
		if i%2 == 0 {
			s += uint32(v) << 8
		} else {
			s += uint32(v)
		}
		s = s&0xffff + s>>16
	}
	return uint16(s&0xffff + s>>16)
}

// A parsedPacket is what checkPacket has found.
type parsedPacket struct {
	id      uint16
	seq     uint32
	flags   uint8
	payload []byte
	link    []byte // the link-layer header
	ipLen   int
}

// checkPacket parses a TCP segment or UDP datagram, and fails the test unless all its
// lengths and checksums are right.
func checkPacket(t *testing.T, f []byte, layer tun.Layer) parsedPacket {
	t.Helper()
	var p parsedPacket
	at := 0
	if layer == tun.Ethernet {
		for at = 12; at < 20 && (f[at] == 0x81 && f[at+1] == 0 || f[at] == 0x88 && f[at+1] == 0xa8); {
			at += 4
		}
		at += 2
	}
	p.link, f = f[:at], f[at:]
	p.ipLen = len(f)
	var proto uint8
	var addrs []byte
	var seg []byte
	if f[0]>>4 == 4 {
		hdr := int(f[0]&15) * 4
		if got := naiveSum(f[:hdr], 0); got != 0xffff {
			t.Fatalf("IPv4 header sums to %#x", got)
		}
		if got := int(binary.BigEndian.Uint16(f[2:])); got != len(f) {
			t.Fatalf("IPv4 total length %d, want %d", got, len(f))
		}
		p.id, proto, addrs, seg = binary.BigEndian.Uint16(f[4:]), f[9], f[12:20], f[hdr:]
	} else {
		if got := int(binary.BigEndian.Uint16(f[4:])); got != len(f)-40 {
			t.Fatalf("IPv6 payload length %d, want %d", got, len(f)-40)
		}
		proto, addrs, seg = f[6], f[8:40], f[40:]
		for proto == 60 || proto == 0 || proto == 43 {
			proto, seg = seg[0], seg[8+8*int(seg[1]):]
		}
	}
	if got := naiveSum(seg, uint32(naiveSum(addrs, uint32(proto)+uint32(len(seg))))); got != 0xffff {
		t.Fatalf("protocol %d sums to %#x", proto, got)
	}
	if proto == protoUDP {
		if got := int(binary.BigEndian.Uint16(seg[4:])); got != len(seg) {
			t.Fatalf("UDP length %d, want %d", got, len(seg))
		}
		if seg[6] == 0 && seg[7] == 0 {
			t.Fatal("UDP without checksum")
		}
		p.payload = seg[8:]
		return p
	}
	p.seq, p.flags, p.payload = binary.BigEndian.Uint32(seg[4:]), seg[13], seg[int(seg[12]>>4)*4:]
	return p
}
