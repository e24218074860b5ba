package tun

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Offsets of the checksum in the transport header.
const (
	tcpCsumOffset = 16
	udpCsumOffset = 6
)

// Complete finishes, in place, the checksum that the sender of frame left to the
// receiver, and takes NeedsCsum out of m; it does nothing where m has no NeedsCsum.
// A frame with GSO gets the checksum that it would have if it were sent whole, which is
// what a capture wants; [Segment] is for the rest.
//
// The error says what m claims that frame does not bear out, and frame and m are then
// unchanged.
func Complete(frame []byte, layer Layer, m *Meta) error {
	if m.Flags&NeedsCsum == 0 {
		return nil
	}
	h, err := parseHeaders(frame, layer)
	if err != nil {
		return fmt.Errorf("tun: complete checksum: %w", err)
	}
	start, end := int(m.CsumStart), h.end
	at := start + int(m.CsumOffset)
	switch {
	case h.fragment:
		return fmt.Errorf("tun: complete checksum: %w: a fragment has none of its own", errMalformed)
	case start < h.transport:
		return fmt.Errorf("tun: complete checksum: %w: start %d is inside the headers, which end at %d", errMalformed, start, h.transport)
	case at+2 > end:
		return fmt.Errorf("tun: complete checksum: %w: its place, %d, is past the packet's end, %d", errMalformed, at, end)
	}
	// The sum of the pseudo header stands in the field, so it is summed along.
	c := ^fold(sum(frame[start:end], 0))
	if c == 0 && m.CsumOffset == udpCsumOffset {
		c = 0xffff // 0 says that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(frame[at:], c)
	m.Flags &^= NeedsCsum
	m.CsumStart, m.CsumOffset = 0, 0
	return nil
}

// sum adds b, as a sequence of 16-bit words, to acc in ones' complement (RFC 1071).
// All but the last of several b have to be of even length.
func sum(b []byte, acc uint64) uint64 {
	var carry uint64
	for len(b) >= 32 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b[24:]), carry)
		b = b[32:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(b), carry)
		b = b[8:]
	}
	if len(b) > 0 {
		var tail [8]byte
		copy(tail[:], b)
		acc, carry = bits.Add64(acc, binary.BigEndian.Uint64(tail[:]), carry)
	}
	acc, carry = bits.Add64(acc, carry, 0)
	return acc + carry
}

// fold reduces a sum to 16 bits.
func fold(acc uint64) uint16 {
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>32 + acc&0xffffffff
	acc = acc>>16 + acc&0xffff
	acc = acc>>16 + acc&0xffff
	return uint16(acc>>16 + acc&0xffff)
}

// pseudoSum sums the pseudo header of a packet of length octets from its transport
// header on (RFC 9293 section 3.1, RFC 8200 section 8.1).
func pseudoSum(frame []byte, h *headers, length int) uint64 {
	addrs := frame[h.net+12 : h.net+20]
	if h.version == 6 {
		addrs = frame[h.net+8 : h.net+40]
	}
	return sum(addrs, uint64(h.proto)+uint64(length))
}
