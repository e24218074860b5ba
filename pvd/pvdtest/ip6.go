package pvdtest

import (
	"encoding/binary"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/tun"
)

const (
	ip6HeaderLen = 40
	hopByHop     = 0 // next header: hop-by-hop options, which MLD carries

	// defaultTTL is what the router's own packets start with (RFC 1340).
	defaultTTL = 64
)

// trim6 is trim4's counterpart. Jumbograms do not exist here.
func trim6(b []byte) ([]byte, string) {
	if len(b) < ip6HeaderLen || b[0]>>4 != 6 {
		return nil, dropShort
	}
	total := ip6HeaderLen + int(binary.BigEndian.Uint16(b[4:]))
	if total > len(b) {
		return nil, dropShort
	}
	return b[:total], ""
}

func src6(ip []byte) netip.Addr { return netip.AddrFrom16([16]byte(ip[8:24])) }
func dst6(ip []byte) netip.Addr { return netip.AddrFrom16([16]byte(ip[24:40])) }

// input6 takes a frame with an IPv6 packet.
func (c *core) input6(in *iface, frame []byte, m tun.Meta) {
	ip, why := trim6(frame[tun.EthernetHeaderLen:])
	if why != "" {
		c.drop(why)
		return
	}
	src, dst := src6(ip), dst6(ip)
	p := &packet{in: in, frame: frame[:tun.EthernetHeaderLen+len(ip)], meta: m}
	p.quote = quoteOf(ip, maxQuote6-ip6HeaderLen-icmpHeaderLen)
	switch {
	case src.IsMulticast(), src.IsLoopback(), dst.IsLoopback(), dst.IsUnspecified(), src.Is4In6(), dst.Is4In6():
		c.drop(dropSource)
	case dst.IsMulticast():
		if !in.inGroup(dst) && (c.dhcp6 == nil || dst != dhcp6.Servers()) {
			c.drop(dropMulticast)
			return
		}
		c.local6(p)
	case frame[0]&1 != 0:
		c.drop(dropMulticast)
	case dst.IsLinkLocalUnicast():
		if !in.owns(dst) {
			c.drop(dropNotMine)
			return
		}
		c.local6(p)
	case c.owns(dst):
		c.local6(p)
	default:
		c.forward6(p)
	}
}

// inGroup reports whether the router listens to a group on this interface.
func (ifc *iface) inGroup(g netip.Addr) bool {
	if g == allNodes || g == ra.AllRouters {
		return true
	}
	for _, p := range ifc.prefixes {
		if a := p.Addr(); a.Is6() && solicitedNode(a) == g {
			return true
		}
	}
	return false
}

// forward6 sends a packet on its way. Nothing rewrites its addresses.
func (c *core) forward6(p *packet) {
	ip := p.ip()
	src, dst := src6(ip), dst6(ip)
	if src.IsUnspecified() {
		c.drop(dropSource)
		return
	}
	if src.IsLinkLocalUnicast() {
		c.drop(dropSource)
		c.icmp6(p, icmp6Unreachable, code6Scope, 0)
		return
	}
	if ip[7] <= 1 {
		c.drop(dropTTL)
		c.icmp6(p, icmp6TimeExceeded, 0, 0)
		return
	}
	if c.nat64.IsValid() && c.nat64.Contains(dst) {
		c.nat64Out(p)
		return
	}
	out, next, ok := c.lookup(dst)
	if !ok {
		c.drop(dropNoRoute)
		c.icmp6(p, icmp6Unreachable, code6NoRoute, 0)
		return
	}
	if p.segmentLen(ip6HeaderLen) > out.mtu {
		c.drop(dropTooBig)
		c.icmp6(p, icmp6TooBig, 0, uint32(out.mtu))
		return
	}
	ip[7]--
	c.counts[countForwarded]++
	c.transmit(p, out, next)
}

// local6 takes a packet for the router itself.
func (c *core) local6(p *packet) {
	ip := p.ip()
	proto, l4 := ip[6], ip6HeaderLen
	if proto == hopByHop && len(ip) >= l4+8 {
		proto, l4 = ip[l4], l4+int(ip[l4+1]+1)*8
	}
	if l4 > len(ip) {
		c.drop(dropShort)
		return
	}
	if !complete(p.frame, &p.meta) || p.meta.GSO != tun.GSONone {
		c.drop(dropMeta)
		return
	}
	body := ip[l4:]
	switch proto {
	case protoICMPv6:
		c.inputICMP6(p, body, l4)
	case protoUDP:
		if c.inputDHCP6(p, body) {
			return
		}
		c.drop(dropUnsupported)
		c.icmp6(p, icmp6Unreachable, code6Port, 0)
	case protoTCP:
		c.drop(dropUnsupported)
		if reset, ok := resetFor(body); ok && !dst6(ip).IsMulticast() {
			c.originate6(p.in, protoTCP, dst6(ip), src6(ip), reset)
		}
	default:
		c.drop(dropUnsupported)
	}
}

func (c *core) inputICMP6(p *packet, body []byte, l4 int) {
	ip := p.ip()
	if len(body) < icmpHeaderLen || fold(sum(pseudo(ip[8:24], ip[24:40], protoICMPv6, len(body)), body)) != 0xffff {
		c.drop(dropChecksum)
		return
	}
	src, dst := src6(ip), dst6(ip)
	switch body[0] {
	case routerSolicit:
		c.inputRS(p.in, ip, l4)
	case ndSolicit, ndAdvertise:
		c.inputND(p.in, ip, src, dst, l4)
	case icmp6Echo:
		if dst.IsMulticast() {
			dst = p.in.linkLocal()
		}
		if src.IsUnspecified() || !dst.IsValid() {
			c.drop(dropSource)
			return
		}
		reply := append([]byte(nil), body...)
		reply[0] = icmp6EchoReply
		c.counts[countAnswered]++
		c.originate6(p.in, protoICMPv6, dst, src, reply)
	default:
		c.drop(dropUnsupported)
	}
}

// originate6 sends a packet of the router's own and fills in its checksum. A link-local
// destination is on the link from.
func (c *core) originate6(from *iface, proto uint8, src, dst netip.Addr, body []byte) {
	out, next := from, dst
	if !dst.IsLinkLocalUnicast() {
		var ok bool
		if out, next, ok = c.lookup(dst); !ok {
			c.drop(dropNoRoute)
			return
		}
	}
	f := out.newFrame(mac{}, etherIPv6, ip6HeaderLen+len(body))
	ip := f[tun.EthernetHeaderLen:]
	putIP6(ip, proto, defaultTTL, src, dst)
	copy(ip[ip6HeaderLen:], body)
	if proto == protoICMPv6 {
		putICMP6Checksum(ip)
	} else {
		s := pseudo(ip[8:24], ip[24:40], proto, len(body))
		binary.BigEndian.PutUint16(ip[ip6HeaderLen+16:], ^fold(sum(s, body)))
	}
	c.counts[countOriginate]++
	if len(ip) > out.mtu {
		c.drop(dropTooBig)
		return
	}
	c.transmit(&packet{frame: f}, out, next)
}

// putIP6 writes a header for a packet as long as ip.
func putIP6(ip []byte, proto, hops uint8, src, dst netip.Addr) {
	ip[0] = 0x60
	binary.BigEndian.PutUint16(ip[4:], uint16(len(ip)-ip6HeaderLen))
	ip[6], ip[7] = proto, hops
	copy(ip[8:], src.AsSlice())
	copy(ip[24:], dst.AsSlice())
}

func putICMP6Checksum(ip []byte) {
	body := ip[ip6HeaderLen:]
	body[2], body[3] = 0, 0
	s := pseudo(ip[8:24], ip[24:40], protoICMPv6, len(body))
	binary.BigEndian.PutUint16(body[2:], ^fold(sum(s, body)))
}
