package pvdtest

import (
	"encoding/binary"
	"slices"

	"github.com/pvdstack/pvdstack/tun"
)

// sum adds the 16-bit words of b to s, which is not folded (RFC 1071).
func sum(s uint64, b []byte) uint64 {
	for len(b) >= 4 {
		s += uint64(binary.BigEndian.Uint32(b))
		b = b[4:]
	}
	switch len(b) {
	case 3:
		s += uint64(b[0])<<24 | uint64(b[1])<<16 | uint64(b[2])<<8
	case 2:
		s += uint64(b[0])<<24 | uint64(b[1])<<16
	case 1:
		s += uint64(b[0]) << 24
	}
	return s
}

// fold brings a sum down to 16 bits.
func fold(s uint64) uint16 {
	s = s>>32 + s&0xffffffff
	s = s>>32 + s&0xffffffff
	s = s>>16 + s&0xffff
	s = s>>16 + s&0xffff
	return uint16(s)
}

// checksum is the Internet checksum of parts, of which all but the last have an even
// length.
func checksum(parts ...[]byte) uint16 {
	var s uint64
	for _, b := range parts {
		s = sum(s, b)
	}
	return ^fold(s)
}

// pseudo is the sum of a pseudo header (RFC 9293 section 3.1, RFC 8200 section 8.1).
func pseudo(src, dst []byte, proto uint8, length int) uint64 {
	s := sum(sum(0, src), dst)
	return s + uint64(proto) + uint64(length)
}

// patchSum corrects the checksum in field for words of from that became to (RFC 1624
// equation 3). Both have the same even length.
func patchSum(field, from, to []byte) {
	hc := ^binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, ^replaceWords(hc, from, to))
}

// patchPartial does the same for a sum that has not been complemented, as a frame with
// tun.NeedsCsum carries it.
func patchPartial(field, from, to []byte) {
	s := binary.BigEndian.Uint16(field)
	binary.BigEndian.PutUint16(field, replaceWords(s, from, to))
}

func replaceWords(s uint16, from, to []byte) uint16 {
	t := uint64(s)
	for i := 0; i+1 < len(from); i += 2 {
		t += uint64(^binary.BigEndian.Uint16(from[i:]))
		t += uint64(binary.BigEndian.Uint16(to[i:]))
	}
	return fold(t)
}

// patchL4 corrects a TCP or UDP checksum at l4[off:] after addr, which the pseudo header
// covers, and port were rewritten. A partial sum covers the pseudo header alone: the
// port is summed by whoever completes it.
func patchL4(l4 []byte, off int, udp, partial bool, fromAddr, toAddr, fromPort, toPort []byte) {
	field := l4[off : off+2]
	if partial {
		patchPartial(field, fromAddr, toAddr)
		return
	}
	if udp && field[0] == 0 && field[1] == 0 {
		return // the sender computed none (RFC 768)
	}
	patchSum(field, slices.Concat(fromAddr, fromPort), slices.Concat(toAddr, toPort))
	if udp && field[0] == 0 && field[1] == 0 {
		field[0], field[1] = 0xff, 0xff
	}
}

// complete does the sum that the frame's sender left to its receiver, and reports
// whether there was one that makes sense. It is not for frames with GSO.
func complete(frame []byte, m *tun.Meta) bool {
	if m.Flags&tun.NeedsCsum == 0 {
		return true
	}
	start, at := int(m.CsumStart), int(m.CsumStart)+int(m.CsumOffset)
	if start < tun.EthernetHeaderLen || at+2 > len(frame) {
		return false
	}
	c := checksum(frame[start:])
	if c == 0 {
		c = 0xffff // the same number, and not UDP's "none"
	}
	binary.BigEndian.PutUint16(frame[at:], c)
	m.Flags &^= tun.NeedsCsum
	m.CsumStart, m.CsumOffset = 0, 0
	return true
}
