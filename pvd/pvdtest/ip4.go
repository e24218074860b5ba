package pvdtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/pvdstack/pvdstack/tun"
)

const (
	ip4HeaderLen = 20

	flagDF = 0x4000
	flagMF = 0x2000
	// offsetMask takes the fragment offset, in units of 8 octets.
	offsetMask = 0x1fff
)

// trim4 checks an IPv4 header (RFC 1812 section 5.2.2) and returns the packet without
// what Ethernet padded it with, or why it is dropped.
func trim4(b []byte) ([]byte, string) {
	if len(b) < ip4HeaderLen || b[0]>>4 != 4 {
		return nil, dropShort
	}
	hlen, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	if hlen < ip4HeaderLen || total < hlen || total > len(b) {
		return nil, dropShort
	}
	if checksum(b[:hlen]) != 0 {
		return nil, dropChecksum
	}
	return b[:total], ""
}

func hlen4(ip []byte) int          { return int(ip[0]&15) * 4 }
func src4(ip []byte) netip.Addr    { return netip.AddrFrom4([4]byte(ip[12:16])) }
func dst4(ip []byte) netip.Addr    { return netip.AddrFrom4([4]byte(ip[16:20])) }
func fragBits4(ip []byte) uint16   { return binary.BigEndian.Uint16(ip[6:]) }
func isFragment4(ip []byte) bool   { return fragBits4(ip)&(flagMF|offsetMask) != 0 }
func isLaterPiece4(ip []byte) bool { return fragBits4(ip)&offsetMask != 0 }

// input4 takes a frame with an IPv4 packet.
func (c *core) input4(in *iface, frame []byte, m tun.Meta) {
	ip, why := trim4(frame[tun.EthernetHeaderLen:])
	if why != "" {
		c.drop(why)
		return
	}
	if m.GSO == tun.GSONone && c.inputDHCP4(in, frame[:tun.EthernetHeaderLen+len(ip)], m) {
		return
	}
	src, dst := src4(ip), dst4(ip)
	switch {
	case !isHost4(src):
		c.drop(dropSource)
		return
	case !isHost4(dst), frame[0]&1 != 0, c.isDirectedBroadcast(dst):
		c.drop(dropMulticast)
		return
	}
	p := &packet{in: in, frame: frame[:tun.EthernetHeaderLen+len(ip)], meta: m}
	p.quote = quoteOf(ip, maxQuote4-ip4HeaderLen-icmpHeaderLen)
	if isFragment4(ip) && (m.GSO != tun.GSONone || p.partial()) {
		c.drop(dropMeta)
		return
	}
	if !c.owns(dst) {
		c.forward4(p)
		return
	}
	if isFragment4(ip) {
		if p = c.reassemble(p); p == nil {
			return
		}
	}
	if in.nat && c.natIn(p) {
		return
	}
	c.local4(p)
}

// isHost4 reports whether a can be the address of one host (RFC 1122 section 3.2.1.3).
func isHost4(a netip.Addr) bool {
	b := a.As4()
	return b[0] != 0 && b[0] != 127 && b[0] < 224
}

func (c *core) isDirectedBroadcast(a netip.Addr) bool {
	for _, ifc := range c.ifaces {
		for _, p := range ifc.prefixes {
			if p.Bits() < 31 && p.Contains(a) && p.Addr().Is4() && lastOf(p) == a {
				return true
			}
		}
	}
	return false
}

// lastOf returns the last address of an IPv4 prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().As4()
	v := binary.BigEndian.Uint32(b[:]) | uint32(1<<(32-p.Bits())-1)
	binary.BigEndian.PutUint32(b[:], v)
	return netip.AddrFrom4(b)
}

// forward4 sends a packet on its way (RFC 1812 section 5.2.1).
func (c *core) forward4(p *packet) {
	ip := p.ip()
	if ip[8] <= 1 {
		c.drop(dropTTL)
		c.icmp4(p, icmpTimeExceeded, 0, 0)
		return
	}
	out, next, ok := c.lookup(dst4(ip))
	if !ok {
		c.drop(dropNoRoute)
		c.icmp4(p, icmpUnreachable, codeNet, 0)
		return
	}
	if p.tooBig4(out.mtu) {
		c.drop(dropTooBig)
		c.icmp4(p, icmpUnreachable, codeFragNeeded, uint32(out.mtu))
		return
	}
	if out.nat && !p.in.nat {
		if isFragment4(ip) {
			if p = c.reassemble(p); p == nil {
				return
			}
			// Hosts inside may number their datagrams alike.
			ip = p.ip()
			c.ident++
			binary.BigEndian.PutUint16(ip[4:], c.ident)
			putIP4Checksum(ip)
		}
		if !c.natOut(p, out) {
			return
		}
	}
	ttl := [2]byte{ip[8], ip[9]}
	ip[8]--
	patchSum(ip[10:12], ttl[:], ip[8:10])
	c.counts[countForwarded]++
	c.send4(p, out, next)
}

// tooBig4 reports that p exceeds mtu and must not be fragmented. What would have to be
// cut into segments and these into fragments is not fragmented either.
func (p *packet) tooBig4(mtu int) bool {
	ip := p.ip()
	return p.segmentLen(hlen4(ip)) > mtu &&
		(fragBits4(ip)&flagDF != 0 || p.meta.GSO != tun.GSONone)
}

// send4 transmits a packet in as many pieces as it takes.
func (c *core) send4(p *packet, out *iface, next netip.Addr) {
	if p.meta.GSO != tun.GSONone || len(p.ip()) <= out.mtu {
		c.transmit(p, out, next)
		return
	}
	if !complete(p.frame, &p.meta) {
		c.drop(dropMeta)
		return
	}
	ip := p.ip()
	head, rest := ip[:hlen4(ip)], ip[hlen4(ip):]
	bits := fragBits4(ip)
	for room := (out.mtu - len(head)) &^ 7; len(rest) > 0; {
		n, more := len(rest), bits&flagMF
		if n > room {
			n, more = room, flagMF
		}
		f := out.newFrame(mac{}, etherIPv4, len(head)+n)
		q := f[tun.EthernetHeaderLen:]
		copy(q, head)
		copy(q[len(head):], rest[:n])
		binary.BigEndian.PutUint16(q[2:], uint16(len(q)))
		binary.BigEndian.PutUint16(q[6:], more|bits&offsetMask)
		putIP4Checksum(q)
		c.transmit(&packet{in: p.in, frame: f, quote: p.quote}, out, next)
		bits += uint16(n / 8)
		rest = rest[n:]
	}
}

// local4 takes a packet for the router itself.
func (c *core) local4(p *packet) {
	ip := p.ip()
	l4 := hlen4(ip)
	if !complete(p.frame, &p.meta) || p.meta.GSO != tun.GSONone {
		c.drop(dropMeta)
		return
	}
	body := ip[l4:]
	switch ip[9] {
	case protoICMP:
		c.echo4(p, body)
	case protoUDP:
		c.drop(dropUnsupported)
		c.icmp4(p, icmpUnreachable, codePort, 0)
	case protoTCP:
		c.drop(dropUnsupported)
		if reset, ok := resetFor(body); ok {
			c.originate4(p.in, protoTCP, dst4(ip), src4(ip), reset)
		}
	default:
		c.drop(dropUnsupported)
		c.icmp4(p, icmpUnreachable, codeProtocol, 0)
	}
}

// echo4 answers an echo request, in place.
func (c *core) echo4(p *packet, body []byte) {
	if len(body) < icmpHeaderLen || checksum(body) != 0 {
		c.drop(dropChecksum)
		return
	}
	if body[0] != icmpEcho {
		c.drop(dropUnsupported)
		return
	}
	ip := p.ip()
	src, dst := src4(ip), dst4(ip)
	body[0] = icmpEchoReply
	patchSum(body[2:4], []byte{icmpEcho, 0}, []byte{icmpEchoReply, 0})
	copy(ip[12:], dst.AsSlice())
	copy(ip[16:], src.AsSlice())
	ip[8] = defaultTTL
	binary.BigEndian.PutUint16(ip[6:], 0)
	putIP4Checksum(ip)
	c.counts[countAnswered]++
	c.sendTo4(p, src)
}

// sendTo4 routes a packet of the router's own.
func (c *core) sendTo4(p *packet, dst netip.Addr) {
	out, next, ok := c.lookup(dst)
	if !ok {
		c.drop(dropNoRoute)
		return
	}
	p.in, p.quote = nil, nil
	c.send4(p, out, next)
}

// originate4 sends a packet of the router's own. For TCP it fills in the checksum.
func (c *core) originate4(from *iface, proto uint8, src, dst netip.Addr, body []byte) {
	f := from.newFrame(mac{}, etherIPv4, ip4HeaderLen+len(body))
	ip := f[tun.EthernetHeaderLen:]
	c.ident++
	ip[0] = 0x45
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
	binary.BigEndian.PutUint16(ip[4:], c.ident)
	ip[8], ip[9] = defaultTTL, proto
	copy(ip[12:], src.AsSlice())
	copy(ip[16:], dst.AsSlice())
	copy(ip[ip4HeaderLen:], body)
	putIP4Checksum(ip)
	if proto == protoTCP {
		s := pseudo(ip[12:16], ip[16:20], proto, len(body))
		binary.BigEndian.PutUint16(ip[ip4HeaderLen+16:], ^fold(sum(s, body)))
	}
	c.counts[countOriginate]++
	c.sendTo4(&packet{frame: f}, dst)
}

func putIP4Checksum(ip []byte) {
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], checksum(ip[:hlen4(ip)]))
}
