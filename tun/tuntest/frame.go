package tuntest

import (
	"bytes"
	"encoding/binary"
	"net"

	"github.com/pvdstack/pvdstack/tun"
)

// Hardware addresses of the two ends of a pair in the suite, where the links have none.
var (
	macA = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xa}
	macB = net.HardwareAddr{0x02, 0, 0, 0, 0, 0xb}
)

const (
	etherTypeExperiment = 0x88b5 // IEEE 802: local experimental use
	etherTypeIPv4       = 0x0800
	protoExperiment     = 253 // RFC 3692
	protoTCP            = 6
	ipv4HeaderLen       = 20
	tcpHeaderLen        = 20
)

// magic marks the suite's frames among those that a kernel sends by itself.
var magic = []byte("pvdstack")

// bodyLen is the length of what every frame of the suite carries: magic, sender,
// sequence number.
const bodyLen = 8 + 4 + 4

// An end is one end of a pair under test, with the addresses to use.
type end struct {
	tun.Link
	mac, peerMAC net.HardwareAddr
}

// frame returns a frame from e of at least the given length, which carries the sender's
// and its own number and a pattern that depends on it.
func (e *end) frame(sender, seq uint32, length int) []byte {
	head := ipv4Header(protoExperiment)
	if e.Layer() == tun.Ethernet {
		head = e.etherHeader(etherTypeExperiment)
	}
	f := make([]byte, max(length, len(head)+bodyLen))
	body := f[copy(f, head):]
	fillBody(body, sender, seq)
	if e.Layer() == tun.IP {
		finishIPv4(f)
	}
	return f
}

// gsoFrame returns a TCP segment of n octets of payload to be cut into pieces of mss.
func (e *end) gsoFrame(seq uint32, n, mss int) ([]byte, tun.Meta) {
	var f []byte
	if e.Layer() == tun.Ethernet {
		f = e.etherHeader(etherTypeIPv4)
	}
	l3 := len(f)
	f = append(f, ipv4Header(protoTCP)...)
	l4 := len(f)
	tcp := make([]byte, tcpHeaderLen+n)
	binary.BigEndian.PutUint16(tcp[0:], 7) // ports
	binary.BigEndian.PutUint16(tcp[2:], 7)
	tcp[12], tcp[13] = tcpHeaderLen/4<<4, 0x10 // ACK
	fillBody(tcp[tcpHeaderLen:], 0, seq)
	f = append(f, tcp...)
	finishIPv4(f[l3:])
	binary.BigEndian.PutUint16(f[l4+16:], pseudoSum(f[l3:]))
	return f, tun.Meta{
		Flags: tun.NeedsCsum, GSO: tun.GSOTCP4,
		HdrLen: uint16(l4 + tcpHeaderLen), GSOSize: uint16(mss),
		CsumStart: uint16(l4), CsumOffset: 16,
	}
}

func (e *end) etherHeader(etherType uint16) []byte {
	h := append(bytes.Clone(e.peerMAC), e.mac...)
	return binary.BigEndian.AppendUint16(h, etherType)
}

func ipv4Header(proto byte) []byte {
	return []byte{0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, proto, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2}
}

// finishIPv4 sets the length and the header checksum of an IPv4 packet.
func finishIPv4(p []byte) {
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)))
	binary.BigEndian.PutUint16(p[10:], ^onesSum(p[:ipv4HeaderLen], 0))
}

// pseudoSum is the sum of an IPv4 packet's pseudo header for TCP (RFC 9293 section 3.1).
func pseudoSum(p []byte) uint16 {
	return onesSum(p[12:20], uint32(protoTCP)+uint32(len(p)-ipv4HeaderLen))
}

func onesSum(b []byte, sum uint32) uint16 {
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func fillBody(b []byte, sender, seq uint32) {
	n := copy(b, magic)
	binary.BigEndian.PutUint32(b[n:], sender)
	binary.BigEndian.PutUint32(b[n+4:], seq)
	for i := bodyLen; i < len(b); i++ {
		b[i] = byte(i*7) ^ byte(seq)
	}
}

// parse finds what a frame of the suite carries, and whether it is one.
func parse(frame []byte) (sender, seq uint32, ok bool) {
	i := bytes.Index(frame[:min(len(frame), 128)], magic)
	if i < 0 || len(frame) < i+bodyLen {
		return 0, 0, false
	}
	b := frame[i+len(magic):]
	return binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:]), true
}
