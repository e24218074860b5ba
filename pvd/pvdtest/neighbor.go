package pvdtest

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// A neighbor is what a router knows about one address on a LAN.
type neighbor struct {
	known bool
	mac   mac
	heard time.Duration // when it was last heard from, or asked after for the first time
	tries int
	timer pvd.Timer // asks again, until known
	queue []*packet // waiting to be sent
}

func (n *neighbor) stop() {
	if n.timer != nil {
		n.timer.Stop()
	}
}

// resolve returns where a packet for next has to go. If that has to be asked first, it
// keeps a copy of p and reports false.
func (c *core) resolve(out *iface, next netip.Addr, p *packet) (mac, bool) {
	n := out.neigh[next]
	now := c.clock.Monotonic()
	if n != nil && n.known && now-n.heard <= neighborLife {
		return n.mac, true
	}
	if n == nil || n.known {
		n = &neighbor{heard: now}
		c.putNeighbor(out, next, n)
		c.ask(out, next, n)
	}
	if len(n.queue) == maxNeighborQueue {
		n.queue = append(n.queue[:0], n.queue[1:]...)
		c.drop(dropQueue)
	}
	n.queue = append(n.queue, p.clone())
	return mac{}, false
}

// clone returns a copy that outlives the buffer that the frame came in.
func (p *packet) clone() *packet {
	q := *p
	q.frame = append([]byte(nil), p.frame...)
	q.quote = append([]byte(nil), p.quote...)
	return &q
}

func (c *core) putNeighbor(ifc *iface, a netip.Addr, n *neighbor) {
	if ifc.neigh == nil {
		ifc.neigh = make(map[netip.Addr]*neighbor)
	}
	if _, there := ifc.neigh[a]; !there && len(ifc.neigh) >= maxNeighbors {
		c.forgetOldest(ifc)
	}
	ifc.neigh[a] = n
}

func (c *core) forgetOldest(ifc *iface) {
	var oldest netip.Addr
	for a, n := range ifc.neigh {
		if o := ifc.neigh[oldest]; o == nil || n.heard < o.heard {
			oldest = a
		}
	}
	if n := ifc.neigh[oldest]; n != nil {
		n.stop()
		for range n.queue {
			c.drop(dropQueue)
		}
	}
	delete(ifc.neigh, oldest)
}

// ask sends a request for a's hardware address and sees to it that it is repeated.
func (c *core) ask(ifc *iface, a netip.Addr, n *neighbor) {
	n.tries++
	if a.Is4() {
		c.sendARP(ifc, arpRequest, broadcastMAC, mac{}, a, ifc.addr(false))
	} else {
		c.sendNS(ifc, a)
	}
	n.timer = c.clock.AfterFunc(neighborRetry, func() {
		c.later(func() { c.askAgain(ifc, a, n) })
	})
}

func (c *core) askAgain(ifc *iface, a netip.Addr, n *neighbor) {
	if c.closed || n.known || ifc.neigh[a] != n {
		return
	}
	if n.tries < neighborTries {
		c.ask(ifc, a, n)
		return
	}
	delete(ifc.neigh, a)
	for _, p := range n.queue {
		c.drop(dropNeighbor)
		c.hostUnreachable(p)
	}
}

// learn notes where a neighbour is and sends what waited for it. Of one that nobody
// asked about only create makes an entry.
func (c *core) learn(ifc *iface, a netip.Addr, m mac, create bool) {
	if m[0]&1 != 0 || m == (mac{}) || !ifc.onLink(a) || ifc.owns(a) {
		return
	}
	n := ifc.neigh[a]
	if n == nil {
		if !create {
			return
		}
		n = &neighbor{}
		c.putNeighbor(ifc, a, n)
	}
	n.stop()
	n.known, n.mac, n.heard, n.tries = true, m, c.clock.Monotonic(), 0
	queue := n.queue
	n.queue = nil
	for _, p := range queue {
		copy(p.frame, m[:])
		c.outs = append(c.outs, output{ifc, p.frame, p.meta})
	}
}

// onLink reports whether a is a possible neighbour on ifc.
func (ifc *iface) onLink(a netip.Addr) bool {
	for _, p := range ifc.prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// ARP operations (RFC 826).
const (
	arpRequest = 1
	arpReply   = 2
	arpLen     = 28
)

func (c *core) inputARP(in *iface, b []byte) {
	if len(b) < arpLen || binary.BigEndian.Uint32(b) != 1<<16|etherIPv4 || b[4] != 6 || b[5] != 4 {
		c.drop(dropShort)
		return
	}
	op := binary.BigEndian.Uint16(b[6:])
	sha, spa := mac(b[8:14]), netip.AddrFrom4([4]byte(b[14:18]))
	tpa := netip.AddrFrom4([4]byte(b[24:28]))
	mine := in.owns(tpa)
	// A probe (RFC 5227) has no sender address and teaches nothing.
	if !spa.IsUnspecified() {
		c.learn(in, spa, sha, mine)
	}
	if op == arpRequest && mine {
		c.sendARP(in, arpReply, sha, sha, spa, tpa)
		c.counts[countAnswered]++
	}
}

// sendARP sends a message about target, from the interface's address sender.
func (c *core) sendARP(ifc *iface, op uint16, to, tha mac, target, sender netip.Addr) {
	if !sender.IsValid() {
		return
	}
	f := ifc.newFrame(to, etherARP, arpLen)
	b := f[tun.EthernetHeaderLen:]
	binary.BigEndian.PutUint32(b, 1<<16|etherIPv4)
	b[4], b[5] = 6, 4
	binary.BigEndian.PutUint16(b[6:], op)
	copy(b[8:], ifc.mac[:])
	copy(b[14:], sender.AsSlice())
	copy(b[18:], tha[:])
	copy(b[24:], target.AsSlice())
	c.outs = append(c.outs, output{ifc, f, tun.Meta{}})
}

// newFrame returns a frame with room for n octets behind its Ethernet header.
func (ifc *iface) newFrame(to mac, typ uint16, n int) []byte {
	f := make([]byte, tun.EthernetHeaderLen+n)
	copy(f, to[:])
	copy(f[6:], ifc.mac[:])
	binary.BigEndian.PutUint16(f[12:], typ)
	return f
}

// Neighbour discovery (RFC 4861 section 4).
const (
	routerSolicit = 133
	ndSolicit     = 135
	ndAdvertise   = 136
	ndHopLimit    = 255
	ndLen         = 24 // without options

	ndRouter    = 0x80 // flags of an advertisement
	ndSolicited = 0x40
	ndOverride  = 0x20

	optSourceLL = 1
	optTargetLL = 2
)

var allNodes = netip.MustParseAddr("ff02::1")

// inputND takes a solicitation or advertisement whose checksum is right.
func (c *core) inputND(in *iface, ip []byte, src, dst netip.Addr, l4 int) {
	b := ip[l4:]
	if len(b) < ndLen || ip[7] != ndHopLimit || b[1] != 0 || b[8] == 0xff {
		c.drop(dropShort)
		return
	}
	target := netip.AddrFrom16([16]byte(b[8:24]))
	if b[0] == ndAdvertise {
		c.inputNA(in, b, target)
		return
	}
	ll, has, ok := linkLayerOption(b[ndLen:], optSourceLL)
	switch {
	case !ok, src.IsUnspecified() && (has || !dst.IsMulticast()): // RFC 4861 section 7.1.1
		c.drop(dropShort)
		return
	case !in.owns(target):
		return // somebody else's
	}
	if has {
		c.learn(in, src, ll, true)
	}
	c.sendNA(in, target, src, ll, has)
	c.counts[countAnswered]++
}

func (c *core) inputNA(in *iface, b []byte, target netip.Addr) {
	ll, has, ok := linkLayerOption(b[ndLen:], optTargetLL)
	if !ok {
		c.drop(dropShort)
		return
	}
	n := in.neigh[target]
	if n == nil || !has {
		return
	}
	// RFC 4861 section 7.2.5: without the override flag a known address stays.
	if n.known && n.mac != ll && b[4]&ndOverride == 0 {
		return
	}
	c.learn(in, target, ll, false)
}

// linkLayerOption finds an option of type typ. It is not ok if the options are malformed.
func linkLayerOption(b []byte, typ byte) (m mac, has, ok bool) {
	for len(b) > 0 {
		if len(b) < 8 || b[1] == 0 || len(b) < int(b[1])*8 {
			return mac{}, false, false
		}
		if b[0] == typ && !has {
			m, has = mac(b[2:8]), true
		}
		b = b[int(b[1])*8:]
	}
	return m, has, true
}

// sendNA answers a solicitation for target that came from src. Duplicate address
// detection asks from the unspecified address, and all nodes get the answer.
func (c *core) sendNA(ifc *iface, target, src netip.Addr, ll mac, has bool) {
	dst, to, flags := src, ll, byte(ndRouter|ndSolicited|ndOverride)
	if src.IsUnspecified() {
		dst, to, flags = allNodes, multicastMAC(allNodes), ndRouter|ndOverride
	} else if !has {
		n := ifc.neigh[src]
		if n == nil || !n.known {
			// Whoever asks without saying where it is has to be asked in turn.
			p := ifc.ndPacket(ndAdvertise, flags, target, target, dst, mac{}, optTargetLL)
			c.transmit(&packet{frame: p}, ifc, src)
			return
		}
		to = n.mac
	}
	f := ifc.ndPacket(ndAdvertise, flags, target, target, dst, to, optTargetLL)
	c.outs = append(c.outs, output{ifc, f, tun.Meta{}})
}

// sendNS asks for target's hardware address.
func (c *core) sendNS(ifc *iface, target netip.Addr) {
	src := ifc.linkLocal()
	if !src.IsValid() {
		return
	}
	dst := solicitedNode(target)
	f := ifc.ndPacket(ndSolicit, 0, target, src, dst, multicastMAC(dst), optSourceLL)
	c.outs = append(c.outs, output{ifc, f, tun.Meta{}})
}

func (ifc *iface) ndPacket(typ, flags byte, target, src, dst netip.Addr, to mac, opt byte) []byte {
	f := ifc.newFrame(to, etherIPv6, ip6HeaderLen+ndLen+8)
	ip := f[tun.EthernetHeaderLen:]
	putIP6(ip, protoICMPv6, ndHopLimit, src, dst)
	b := ip[ip6HeaderLen:]
	b[0], b[4] = typ, flags
	copy(b[8:], target.AsSlice())
	b[24], b[25] = opt, 1
	copy(b[26:], ifc.mac[:])
	putICMP6Checksum(ip)
	return f
}

// solicitedNode is the group that whoever has a listens to (RFC 4291 section 2.7.1).
func solicitedNode(a netip.Addr) netip.Addr {
	b := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: b[13], 14: b[14], 15: b[15]})
}

// multicastMAC is where frames for a multicast address go (RFC 2464 section 7).
func multicastMAC(a netip.Addr) mac {
	b := a.As16()
	return mac{0x33, 0x33, b[12], b[13], b[14], b[15]}
}
