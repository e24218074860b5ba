package pvdtest

import (
	"encoding/binary"
)

// ICMP types and codes (RFC 792, RFC 1191, RFC 4443).
const (
	icmpHeaderLen = 8

	icmpEchoReply    = 0
	icmpUnreachable  = 3
	icmpEcho         = 8
	icmpTimeExceeded = 11
	icmpParameter    = 12

	codeNet        = 0
	codeHost       = 1
	codeProtocol   = 2
	codePort       = 3
	codeFragNeeded = 4

	icmp6Unreachable  = 1
	icmp6TooBig       = 2
	icmp6TimeExceeded = 3
	icmp6Echo         = 128
	icmp6EchoReply    = 129

	code6NoRoute = 0
	code6Scope   = 2
	code6Addr    = 3
	code6Port    = 4
)

// quoteOf copies what an ICMP error would quote of a packet, before it is rewritten.
func quoteOf(ip []byte, most int) []byte {
	return append([]byte(nil), ip[:min(len(ip), most)]...)
}

// hostUnreachable tells the sender of a packet that waited for a neighbour in vain.
func (c *core) hostUnreachable(p *packet) {
	if p.in == nil || len(p.quote) == 0 {
		return
	}
	if p.quote[0]>>4 == 4 {
		c.icmp4(p, icmpUnreachable, codeHost, 0)
		return
	}
	c.icmp6(p, icmp6Unreachable, code6Addr, 0)
}

// icmp4 answers p with an error, unless there must be none (RFC 1812 section 4.3.2.7).
// rest is the second word of the ICMP header.
func (c *core) icmp4(p *packet, typ, code byte, rest uint32) {
	q := p.quote
	if p.in == nil || isLaterPiece4(q) || frameIsMulticast(p) {
		return
	}
	if l4 := hlen4(q); q[9] == protoICMP && (len(q) <= l4 || isICMPError(q[l4])) {
		return
	}
	src := p.in.addr(false)
	if !src.IsValid() {
		return
	}
	c.originate4(p.in, protoICMP, src, src4(q), icmpError(typ, code, rest, q))
}

// isICMPError reports whether an ICMP type is that of an error.
func isICMPError(typ byte) bool {
	switch typ {
	case icmpUnreachable, 4, 5, icmpTimeExceeded, icmpParameter:
		return true
	}
	return false
}

// icmpError makes a message with its checksum, as ICMP for IPv4 wants it.
func icmpError(typ, code byte, rest uint32, quote []byte) []byte {
	b := make([]byte, icmpHeaderLen, icmpHeaderLen+len(quote))
	b[0], b[1] = typ, code
	binary.BigEndian.PutUint32(b[4:], rest)
	b = append(b, quote...)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// icmp6 answers p with an error, unless there must be none (RFC 4443 section 2.4 (e)).
func (c *core) icmp6(p *packet, typ, code byte, rest uint32) {
	q := p.quote
	if p.in == nil || src6(q).IsUnspecified() || src6(q).IsMulticast() {
		return
	}
	if typ != icmp6TooBig && (dst6(q).IsMulticast() || frameIsMulticast(p)) {
		return
	}
	if isError6(q) {
		return
	}
	src := p.in.addr(true)
	if src6(q).IsLinkLocalUnicast() {
		src = p.in.linkLocal()
	}
	if !src.IsValid() {
		return
	}
	b := icmpError(typ, code, rest, q) // originate6 replaces the checksum
	c.originate6(p.in, protoICMPv6, src, src6(q), b)
}

// isError6 reports whether a quoted packet is itself an ICMPv6 error, or a fragment that
// might be part of one.
func isError6(q []byte) bool {
	proto, at := q[6], ip6HeaderLen
	for {
		switch proto {
		case hopByHop, 43, 60: // routing and destination options
			if len(q) < at+8 {
				return true
			}
			proto, at = q[at], at+int(q[at+1])*8+8
		case 44:
			if len(q) < at+8 || binary.BigEndian.Uint16(q[at+2:])&^7 != 0 {
				return true
			}
			proto, at = q[at], at+8
		case protoICMPv6:
			return len(q) <= at || q[at] < 128
		default:
			return false
		}
	}
}

func frameIsMulticast(p *packet) bool { return p.frame[0]&1 != 0 }

// resetFor makes the reset that answers a TCP segment to a closed port, with the
// checksum left to fill in (RFC 9293 section 3.10.7.1).
func resetFor(seg []byte) ([]byte, bool) {
	const (
		fin, syn, rst, ack = 1, 2, 4, 16
		headerLen          = 20
	)
	if len(seg) < headerLen || seg[13]&rst != 0 {
		return nil, false
	}
	data := int(seg[12]>>4) * 4
	if data < headerLen || data > len(seg) {
		return nil, false
	}
	b := make([]byte, headerLen)
	copy(b, seg[2:4])
	copy(b[2:], seg[:2])
	b[12] = headerLen / 4 << 4
	if seg[13]&ack != 0 {
		copy(b[4:8], seg[8:12])
		b[13] = rst
		return b, true
	}
	n := binary.BigEndian.Uint32(seg[4:]) + uint32(len(seg)-data)
	if seg[13]&syn != 0 {
		n++
	}
	if seg[13]&fin != 0 {
		n++
	}
	binary.BigEndian.PutUint32(b[8:], n)
	b[13] = rst | ack
	return b, true
}
