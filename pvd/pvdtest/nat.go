package pvdtest

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// A natTable maps what hosts inside use to ports outside: one mapping for each inside
// address and port, whatever the destination, and open to all who answer
// (endpoint-independent mapping and filtering, RFC 4787 REQ-1 and REQ-8).
type natTable struct {
	inside  map[natKey]*mapping
	outside map[natPort]*mapping
}

// A natKey is one end of a conversation: a TCP or UDP port or an ICMP identifier.
type natKey struct {
	proto uint8
	addr  netip.Addr // of IPv6 where NAT64 is the way
	port  uint16
}

type natPort struct {
	out   *iface
	proto uint8
	port  uint16
}

type mapping struct {
	inside  natKey
	outside natPort
	used    time.Duration
	closing bool // TCP: a FIN or RST has passed, and no SYN since
}

func (t *natTable) init() {
	t.inside = make(map[natKey]*mapping)
	t.outside = make(map[natPort]*mapping)
}

// expired reports whether a mapping has been idle for too long.
func (m *mapping) expired(now time.Duration) bool {
	life := natICMPTimeout
	switch m.inside.proto {
	case protoUDP:
		life = natUDPTimeout
	case protoTCP:
		life = natTCPTimeout
		if m.closing {
			life = natTCPClosing
		}
	}
	return now-m.used > life
}

func (t *natTable) remove(m *mapping) {
	delete(t.inside, m.inside)
	delete(t.outside, m.outside)
}

// mapOut finds or makes the mapping for an inside end. It is nil when the table is full.
func (c *core) mapOut(key natKey, out *iface) *mapping {
	t, now := &c.nat, c.clock.Monotonic()
	if m := t.inside[key]; m != nil {
		if m.outside.out == out && !m.expired(now) {
			m.used = now
			return m
		}
		t.remove(m)
	}
	if len(t.inside) >= maxMappings {
		for _, m := range t.inside {
			if m.expired(now) {
				t.remove(m)
			}
		}
	}
	if len(t.inside) >= maxMappings {
		return nil
	}
	m := &mapping{inside: key, outside: natPort{out, key.proto, key.port}, used: now}
	// The port stays as it is where that is possible (RFC 4787 section 4.2.1).
	for m.outside.port < firstNATPort || t.outside[m.outside] != nil {
		m.outside.port = uint16(firstNATPort + c.rnd.IntN(1<<16-firstNATPort))
	}
	t.inside[key], t.outside[m.outside] = m, m
	return m
}

// mapIn finds the mapping for an outside port.
func (c *core) mapIn(in *iface, proto uint8, port uint16) *mapping {
	m := c.nat.outside[natPort{in, proto, port}]
	if m == nil {
		return nil
	}
	if now := c.clock.Monotonic(); m.expired(now) {
		c.nat.remove(m)
		return nil
	}
	return m
}

// natOut gives a packet that leaves by out the address and a port of out. It is false
// if the packet was dropped.
func (c *core) natOut(p *packet, out *iface) bool {
	ip := p.ip()
	l4 := ip[hlen4(ip):]
	if ip[9] == protoICMP && len(l4) >= icmpHeaderLen && isICMPError(l4[0]) {
		return c.natError(p, out, nil)
	}
	port, ok := c.natPort(p, 0)
	if !ok {
		return false
	}
	m := c.mapOut(natKey{ip[9], src4(ip), port}, out)
	if m == nil {
		c.drop(dropNATFull)
		return false
	}
	m.track(ip, l4)
	rewrite4(p, 12, out.addr(false).As4(), 0, m.outside.port)
	return true
}

// natIn takes a packet for a NAT interface's own address and, if somebody inside is
// waiting for it, sends it there. It is false if the packet is the router's.
func (c *core) natIn(p *packet) bool {
	ip := p.ip()
	l4 := ip[hlen4(ip):]
	if dst4(ip) != p.in.addr(false) {
		return false
	}
	if ip[9] == protoICMP && len(l4) >= icmpHeaderLen {
		if isICMPError(l4[0]) {
			if c.nat64.IsValid() && c.nat64Error(p) {
				return true
			}
			if c.natError(p, nil, p.in) {
				c.forward4(p)
			}
			return true
		}
		if l4[0] == icmpEcho {
			return false
		}
	}
	port, ok := c.natPort(p, 2)
	if !ok {
		return true
	}
	m := c.mapIn(p.in, ip[9], port)
	if m == nil {
		return false
	}
	if m.inside.addr.Is6() {
		c.nat64In(p, m)
		return true
	}
	m.track(ip, l4)
	rewrite4(p, 16, m.inside.addr.As4(), 2, m.inside.port)
	c.forward4(p)
	return true
}

// natPort reads the port at offset at of the transport header, or the identifier of an
// ICMP echo. It is not ok, and the packet is dropped, where there is none.
func (c *core) natPort(p *packet, at int) (uint16, bool) {
	ip := p.ip()
	l4 := hlen4(ip)
	if err := p.sane(l4, ip[9]); err != nil {
		c.drop(dropMeta)
		return 0, false
	}
	body := ip[l4:]
	need := map[uint8]int{protoTCP: 20, protoUDP: 8, protoICMP: icmpHeaderLen}[ip[9]]
	switch {
	case need == 0:
		c.drop(dropNATProto)
		return 0, false
	case len(body) < need:
		c.drop(dropShort)
		return 0, false
	case ip[9] == protoICMP && body[0] != icmpEcho && body[0] != icmpEchoReply:
		c.drop(dropNATProto)
		return 0, false
	case ip[9] == protoICMP:
		at = 4
	}
	return binary.BigEndian.Uint16(body[at:]), true
}

// track notes what a TCP segment says about the connection's life.
func (m *mapping) track(ip, l4 []byte) {
	if ip[9] != protoTCP {
		return
	}
	const fin, syn, rst = 1, 2, 4
	switch {
	case l4[13]&syn != 0:
		m.closing = false
	case l4[13]&(fin|rst) != 0:
		m.closing = true
	}
}

// rewrite4 replaces the address at offset addrAt of the IP header and the port at
// portAt of the transport header, or the ICMP identifier, with all checksums.
func rewrite4(p *packet, addrAt int, addr [4]byte, portAt int, port uint16) {
	ip := p.ip()
	rewriteHeaders(ip, ip[hlen4(ip):], p.partial(), addrAt, addr, portAt, port)
}

// rewriteHeaders is rewrite4 for an IP header and as much of a transport header as there
// is, eight octets at least: ICMP errors quote no more.
func rewriteHeaders(ip, l4 []byte, partial bool, addrAt int, addr [4]byte, portAt int, port uint16) {
	fromAddr := [4]byte(ip[addrAt : addrAt+4])
	copy(ip[addrAt:], addr[:])
	patchSum(ip[10:12], fromAddr[:], addr[:])
	if ip[9] == protoICMP {
		portAt = 4
	}
	fromPort := [2]byte(l4[portAt : portAt+2])
	binary.BigEndian.PutUint16(l4[portAt:], port)
	toPort := l4[portAt : portAt+2]
	switch {
	case ip[9] == protoICMP:
		patchSum(l4[2:4], fromPort[:], toPort)
	case ip[9] == protoUDP:
		patchL4(l4, 6, true, partial, fromAddr[:], addr[:], fromPort[:], toPort)
	case len(l4) >= 18:
		patchL4(l4, 16, false, partial, fromAddr[:], addr[:], fromPort[:], toPort)
	}
}

// natError translates an ICMP error together with the packet that it quotes (RFC 5508
// section 4). An error that goes out quotes what came in to a mapping, and one that came
// in at in quotes what went out. It is false if the error was dropped.
func (c *core) natError(p *packet, out, in *iface) bool {
	ip := p.ip()
	l4 := ip[hlen4(ip):]
	if p.partial() || checksum(l4) != 0 {
		c.drop(dropChecksum)
		return false
	}
	q := l4[icmpHeaderLen:]
	if len(q) < ip4HeaderLen || q[0]>>4 != 4 || hlen4(q) < ip4HeaderLen || len(q) < hlen4(q)+8 ||
		isLaterPiece4(q) {
		c.drop(dropNATNone)
		return false
	}
	ql4 := q[hlen4(q):]
	switch q[9] {
	case protoTCP, protoUDP, protoICMP:
	default:
		c.drop(dropNATProto)
		return false
	}
	var m *mapping
	if in != nil {
		if m = c.mapIn(in, q[9], quotedPort(q, ql4, 0)); m != nil && src4(q) == in.addr(false) {
			rewriteHeaders(q, ql4, false, 12, m.inside.addr.As4(), 0, m.inside.port)
			c.rewriteOuter(ip, 16, m.inside.addr.As4())
		} else {
			m = nil
		}
	} else {
		m = c.nat.inside[natKey{q[9], dst4(q), quotedPort(q, ql4, 2)}]
		if m != nil {
			ext := out.addr(false).As4()
			rewriteHeaders(q, ql4, false, 16, ext, 2, m.outside.port)
			c.rewriteOuter(ip, 12, ext)
		}
	}
	if m == nil {
		c.drop(dropNATNone)
		return false
	}
	l4[2], l4[3] = 0, 0
	binary.BigEndian.PutUint16(l4[2:], checksum(l4))
	return true
}

func quotedPort(q, l4 []byte, at int) uint16 {
	if q[9] == protoICMP {
		at = 4
	}
	return binary.BigEndian.Uint16(l4[at:])
}

// rewriteOuter replaces the address of an ICMP error itself, whose checksum does not
// cover it.
func (c *core) rewriteOuter(ip []byte, at int, addr [4]byte) {
	from := [4]byte(ip[at : at+4])
	copy(ip[at:], addr[:])
	patchSum(ip[10:12], from[:], addr[:])
}
