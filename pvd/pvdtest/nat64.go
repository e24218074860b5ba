package pvdtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd/nat64"
	"github.com/pvdstack/pvdstack/tun"
)

// A NAT64 makes a router the way from IPv6 hosts to IPv4 ones behind its uplink: what goes
// to an address in Prefix goes to the IPv4 address in it (RFC 6052), from the router's
// address there (RFC 6146), for TCP, UDP, echo requests and what errors come of them. What
// IPv6 hosts send in fragments is dropped. Whoever shall find it needs an RA with
// ra.PREF64, or name servers that do [LAN.DNS64].
type NAT64 struct {
	// Prefix, empty: 2001:db8:64::/96. The well-known one is of no use in labs whose
	// addresses are not global (RFC 6052 section 3.1).
	Prefix string
}

// More of ICMP (RFC 7915 sections 4.2 and 4.3).
const (
	icmp6ParamProblem = 4
	fragmentHeader    = 44
	fragHeaderLen     = 8
	// growth is how much longer packets become on their way to IPv6.
	growth = ip6HeaderLen - ip4HeaderLen
)

var defaultNAT64 = netip.MustParsePrefix("2001:db8:64::/96")

func (x NAT64) apply(_ *LAN, r *Router) error {
	p, err := x.prefix()
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.core.nat64 = p
	r.mu.Unlock()
	r.reachable(p)
	return nil
}

func (x NAT64) prefix() (netip.Prefix, error) {
	if x.Prefix == "" {
		return defaultNAT64, nil
	}
	p, err := netip.ParsePrefix(x.Prefix)
	if err == nil && !nat64.Valid(p) {
		err = fmt.Errorf("NAT64 prefix %v: not one of RFC 6052", p)
	}
	return p, err
}

// DNS64 makes the LAN's name servers answer for names that have IPv4 addresses only with
// those by which NAT64 leads to them (RFC 6147), and tell of the prefix (RFC 7050).
func (n *LAN) DNS64(x NAT64) {
	n.lab.tb.Helper()
	p, err := x.prefix()
	if err != nil {
		n.lab.tb.Fatalf("pvdtest: LAN %s: DNS64: %v", n.name, err)
	}
	n.Names(Zone{nat64.Name: "192.0.0.170 192.0.0.171"})
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dns64 = p
}

// synthesized adds to addresses of IPv4 alone those of NAT64.
func (n *LAN) synthesized(addrs []netip.Addr) []netip.Addr {
	n.mu.Lock()
	p := n.dns64
	n.mu.Unlock()
	if !p.IsValid() || slices.ContainsFunc(addrs, netip.Addr.Is6) {
		return addrs
	}
	all := slices.Clone(addrs)
	for _, a := range addrs {
		if b, err := nat64.Synthesize(p, a); err == nil {
			all = append(all, b)
		}
	}
	return all
}

// pieces calls f with p, or with what it has to be cut into, with whole checksums.
func (c *core) pieces(p *packet, f func(ip []byte)) {
	err := tun.Segment(p.frame, tun.Ethernet, p.meta, tun.MaxMTU, func(b []byte) error {
		f(b[tun.EthernetHeaderLen:])
		return nil
	})
	if err != nil {
		c.drop(dropMeta)
	}
}

// nat64Out takes a packet to an address in the NAT64's prefix, whose hop limit is fine.
func (c *core) nat64Out(p *packet) {
	ip := p.ip()
	dst, ok := nat64.Extract(c.nat64, dst6(ip))
	if !ok || !isHost4(dst) {
		c.drop(dropSource)
		c.icmp6(p, icmp6Unreachable, code6Addr, 0)
		return
	}
	out, next, ok := c.lookup(dst)
	if !ok || !out.nat {
		c.drop(dropNoRoute)
		c.icmp6(p, icmp6Unreachable, code6NoRoute, 0)
		return
	}
	if p.segmentLen(ip6HeaderLen)-growth > out.mtu {
		c.drop(dropTooBig)
		c.icmp6(p, icmp6TooBig, 0, uint32(out.mtu+growth))
		return
	}
	if ip[6] == fragmentHeader {
		c.drop(dropFragment)
		return
	}
	c.pieces(p, func(ip []byte) {
		f, why := c.to4(ip, dst, out)
		if why != "" {
			c.drop(why)
			return
		}
		c.counts[countForwarded]++
		c.send4(&packet{in: p.in, frame: f, quote: p.quote}, out, next)
	})
}

// port64 is where in a transport header the inside's port is, or the identifier of an
// echo, as the sender's or as the receiver's, and where the checksum is.
func port64(proto byte, l4 []byte, source bool) (at, sum int, ok bool) {
	switch {
	case proto == protoTCP && len(l4) >= 20:
		sum = 16
	case proto == protoUDP && len(l4) >= udpHeaderLen:
		sum = 6
	case proto == protoICMP && len(l4) >= icmpHeaderLen && (l4[0] == icmpEcho || l4[0] == icmpEchoReply),
		proto == protoICMPv6 && len(l4) >= icmpHeaderLen && (l4[0] == icmp6Echo || l4[0] == icmp6EchoReply):
		return 4, 2, true
	default:
		return 0, 0, false
	}
	if !source {
		at = 2
	}
	return at, sum, true
}

// to4 makes a frame with the IPv4 packet that an IPv6 packet becomes (RFC 7915 section 5),
// or says why not.
func (c *core) to4(ip []byte, dst netip.Addr, out *iface) (frame []byte, why string) {
	l4 := ip[ip6HeaderLen:]
	at, sumAt, ok := port64(ip[6], l4, true)
	if !ok {
		return nil, dropNATProto
	}
	proto := ip[6]
	if proto == protoICMPv6 {
		proto = protoICMP
	}
	m := c.mapOut(natKey{proto, src6(ip), binary.BigEndian.Uint16(l4[at:])}, out)
	if m == nil {
		return nil, dropNATFull
	}
	f := out.newFrame(mac{}, etherIPv4, ip4HeaderLen+len(l4))
	q := f[tun.EthernetHeaderLen:]
	c.ident++
	q[0], q[1], q[8], q[9] = 0x45, ip[0]<<4|ip[1]>>4, ip[7]-1, proto
	binary.BigEndian.PutUint16(q[2:], uint16(len(q)))
	binary.BigEndian.PutUint16(q[4:], c.ident)
	if len(ip) > maxQuote6 { // RFC 7915 section 5.1: smaller ones may be fragmented
		binary.BigEndian.PutUint16(q[6:], flagDF)
	}
	copy(q[12:], out.addr(false).AsSlice())
	copy(q[16:], dst.AsSlice())
	putIP4Checksum(q)
	b := q[ip4HeaderLen:]
	copy(b, l4)
	binary.BigEndian.PutUint16(b[at:], m.outside.port)
	c.sum64(l4, b, sumAt, at, ip[8:40], q[12:20])
	m.track(q, b)
	return f, ""
}

// sum64 corrects the checksum of to, which was from until its addresses and the port at
// portAt were translated, and the type of an echo.
func (c *core) sum64(from, to []byte, at, portAt int, fromAddrs, toAddrs []byte) {
	if at == 2 { // ICMP, whose checksum covers addresses in IPv6 only
		types := map[byte]byte{icmp6Echo: icmpEcho, icmp6EchoReply: icmpEchoReply, icmpEcho: icmp6Echo, icmpEchoReply: icmp6EchoReply}
		to[0] = types[from[0]]
		pseudoOf := func(addrs []byte) []byte {
			if len(addrs) != 32 {
				return make([]byte, 32+6)
			}
			return append(append(slices.Clone(addrs), byte(len(from)>>8), byte(len(from))), 0, protoICMPv6, 0, 0)
		}
		patchSum(to[2:4], slices.Concat(pseudoOf(fromAddrs), from[:2], from[portAt:portAt+2]),
			slices.Concat(pseudoOf(toAddrs), to[:2], to[portAt:portAt+2]))
		return
	}
	pad := make([]byte, 32)
	was, is := append(slices.Clone(fromAddrs), pad...)[:32], append(slices.Clone(toAddrs), pad...)[:32]
	patchSum(to[at:at+2], append(was, from[portAt:portAt+2]...), append(is, to[portAt:portAt+2]...))
	if at == 6 && to[6]|to[7] == 0 {
		to[6], to[7] = 0xff, 0xff
	}
}

// nat64In takes a packet for somebody inside who speaks IPv6.
func (c *core) nat64In(p *packet, m *mapping) {
	ip := p.ip()
	if ip[8] <= 1 {
		c.drop(dropTTL)
		c.icmp4(p, icmpTimeExceeded, 0, 0)
		return
	}
	out, next, ok := c.lookup(m.inside.addr)
	if !ok {
		c.drop(dropNoRoute)
		return
	}
	if p.segmentLen(hlen4(ip))+ip6HeaderLen-hlen4(ip) > out.mtu && fragBits4(ip)&flagDF != 0 {
		c.drop(dropTooBig)
		c.icmp4(p, icmpUnreachable, codeFragNeeded, uint32(out.mtu-growth))
		return
	}
	c.pieces(p, func(ip []byte) {
		f, err := c.to6(ip, m, out)
		if err != nil {
			c.drop(dropNATProto)
			return
		}
		c.counts[countForwarded]++
		c.send6(&packet{in: p.in, frame: f, quote: p.quote}, out, next)
	})
}

var errNotTranslated = errors.New("not a packet that is translated")

// to6 makes a frame with the IPv6 packet that an IPv4 packet becomes (RFC 7915 section 4).
func (c *core) to6(ip []byte, m *mapping, out *iface) ([]byte, error) {
	l4 := ip[hlen4(ip):]
	at, sumAt, ok := port64(ip[9], l4, false)
	if !ok {
		return nil, errNotTranslated
	}
	src, err := nat64.Synthesize(c.nat64, src4(ip))
	if err != nil {
		return nil, err
	}
	proto := ip[9]
	if proto == protoICMP {
		proto = protoICMPv6
	}
	f := out.newFrame(mac{}, etherIPv6, ip6HeaderLen+len(l4))
	q := f[tun.EthernetHeaderLen:]
	putIP6(q, proto, ip[8]-1, src, m.inside.addr)
	q[0], q[1] = 0x60|ip[1]>>4, ip[1]<<4
	b := q[ip6HeaderLen:]
	copy(b, l4)
	binary.BigEndian.PutUint16(b[at:], m.inside.port)
	if proto == protoUDP && l4[6]|l4[7] == 0 {
		// IPv6 has no datagrams without a checksum.
		putUDP(b, binary.BigEndian.Uint16(b), m.inside.port, pseudo(q[8:24], q[24:40], protoUDP, len(b)))
	} else {
		c.sum64(l4, b, sumAt, at, ip[12:20], q[8:40])
	}
	m.track(ip, l4)
	return f, nil
}

// send6 transmits a packet of the translator's in as many pieces as it takes.
func (c *core) send6(p *packet, out *iface, next netip.Addr) {
	ip := p.ip()
	if len(ip) <= out.mtu {
		c.transmit(p, out, next)
		return
	}
	c.ident++
	rest := ip[ip6HeaderLen:]
	for at, room := 0, (out.mtu-ip6HeaderLen-fragHeaderLen)&^7; at < len(rest); at += room {
		piece, bits := rest[at:min(at+room, len(rest))], uint16(at)
		if at+room < len(rest) {
			bits |= 1
		}
		f := out.newFrame(mac{}, etherIPv6, ip6HeaderLen+fragHeaderLen+len(piece))
		q := f[tun.EthernetHeaderLen:]
		copy(q, ip[:ip6HeaderLen])
		binary.BigEndian.PutUint16(q[4:], uint16(len(q)-ip6HeaderLen))
		q[6] = fragmentHeader
		h := q[ip6HeaderLen:]
		h[0] = ip[6]
		binary.BigEndian.PutUint16(h[2:], bits)
		binary.BigEndian.PutUint32(h[4:], uint32(c.ident))
		copy(h[fragHeaderLen:], piece)
		c.transmit(&packet{in: p.in, frame: f, quote: p.quote}, out, next)
	}
}

// nat64Error translates an ICMP error about a packet that was translated on its way out
// (RFC 7915 section 4.2). It is false if the error is about none.
func (c *core) nat64Error(p *packet) bool {
	ip := p.ip()
	e := ip[hlen4(ip):]
	q := e[icmpHeaderLen:]
	if len(q) < ip4HeaderLen || q[0]>>4 != 4 || hlen4(q) < ip4HeaderLen || len(q) < hlen4(q)+8 || isLaterPiece4(q) {
		return false
	}
	ql4 := q[hlen4(q):]
	m := c.mapIn(p.in, q[9], quotedPort(q, ql4, 0))
	if m == nil || !m.inside.addr.Is6() || src4(q) != p.in.addr(false) {
		return false
	}
	typ, code, rest, ok := errorFor6(e)
	src, err := nat64.Synthesize(c.nat64, src4(ip))
	dst, err2 := nat64.Synthesize(c.nat64, dst4(q))
	if p.partial() || checksum(e) != 0 || !ok || errors.Join(err, err2) != nil || ip[8] <= 1 {
		c.drop(dropNATProto)
		return true
	}
	// The packet as the sender knows it.
	quote := make([]byte, ip6HeaderLen+len(ql4))
	proto := q[9]
	if proto == protoICMP {
		proto = protoICMPv6
	}
	putIP6(quote, proto, q[8], m.inside.addr, dst)
	binary.BigEndian.PutUint16(quote[4:], binary.BigEndian.Uint16(q[2:])-uint16(hlen4(q)))
	b := quote[ip6HeaderLen:]
	copy(b, ql4)
	at := 0
	if proto == protoICMPv6 {
		at = 4
		b[0] = icmp6Echo
	}
	binary.BigEndian.PutUint16(b[at:], m.inside.port)
	quote = quote[:min(len(quote), maxQuote6-ip6HeaderLen-icmpHeaderLen)]
	c.originate6(p.in, protoICMPv6, src, m.inside.addr, icmpError(typ, code, rest, quote))
	return true
}

// errorFor6 translates the header of an ICMP error.
func errorFor6(e []byte) (typ, code byte, rest uint32, ok bool) {
	switch e[0] {
	case icmpUnreachable:
		switch e[1] {
		case codeFragNeeded:
			mtu := max(uint32(binary.BigEndian.Uint16(e[6:]))+growth, maxQuote6)
			return icmp6TooBig, 0, mtu, true
		case codePort:
			return icmp6Unreachable, code6Port, 0, true
		case codeProtocol:
			return icmp6ParamProblem, 1, 6, true // at the next header
		}
		return icmp6Unreachable, code6NoRoute, 0, true
	case icmpTimeExceeded:
		return icmp6TimeExceeded, e[1], 0, true
	}
	return 0, 0, 0, false
}
