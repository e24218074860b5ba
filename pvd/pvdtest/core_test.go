package pvdtest

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

// A bench is a core with an interface inside, one outside with NAT, and a station on
// each, without links.
type bench struct {
	t     testing.TB
	core  *core
	clock *ManualClock
	in    *iface
	out   *iface
}

var (
	insideMAC  = mac{2, 0, 0, 0, 0, 0x10}
	outsideMAC = mac{2, 0, 0, 0, 0, 0x20}

	inside4  = netip.MustParseAddr("192.168.1.100")
	outside4 = netip.MustParseAddr("198.51.100.80")
	natted4  = netip.MustParseAddr("198.51.100.1")
	inside6  = netip.MustParseAddr("2001:db8:1::100")
	outside6 = netip.MustParseAddr("2001:db8:ff::80")
)

func prefixes(ss ...string) []netip.Prefix {
	var ps []netip.Prefix
	for _, s := range ss {
		ps = append(ps, netip.MustParsePrefix(s))
	}
	return ps
}

func newBench(t testing.TB) *bench {
	b := &bench{t: t, clock: NewManualClock(epoch)}
	b.core = newCore(b.clock, 1)
	b.core.later = func(f func()) { f() }
	b.in = &iface{
		lan: "in", mac: mac{2, 0, 0, 0, 0, 1}, mtu: 1500,
		prefixes: prefixes("192.168.1.1/24", "2001:db8:1::1/64", "fe80::1/64"),
	}
	b.out = &iface{
		lan: "out", mac: mac{2, 0, 0, 0, 0, 2}, mtu: 1500, nat: true,
		prefixes: prefixes("198.51.100.1/24", "2001:db8:ff::1/64", "fe80::2/64"),
	}
	b.core.ifaces = []*iface{b.in, b.out}
	for _, a := range []netip.Addr{inside4, inside6} {
		b.core.learn(b.in, a, insideMAC, true)
	}
	for _, a := range []netip.Addr{outside4, outside6} {
		b.core.learn(b.out, a, outsideMAC, true)
	}
	return b
}

// feed gives the router a frame that arrived at ifc and returns what it sends.
func (b *bench) feed(ifc *iface, frame []byte, m tun.Meta) []output {
	b.core.outs = nil
	b.core.input(ifc, bytes.Clone(frame), m)
	outs := b.core.outs
	b.core.outs = nil
	return outs
}

// one is feed where a single frame has to leave by ifc.
func (b *bench) one(from *iface, frame []byte, m tun.Meta, via *iface) output {
	b.t.Helper()
	outs := b.feed(from, frame, m)
	if len(outs) != 1 || outs[0].via != via {
		b.t.Fatalf("%d frames out, want one by %s; counts %v", len(outs), via.lan, b.core.counts)
	}
	checkFrame(b.t, outs[0])
	return outs[0]
}

// none is feed where nothing may leave, for the reason given.
func (b *bench) none(from *iface, frame []byte, m tun.Meta, reason string) {
	b.t.Helper()
	before := b.core.counts[reason]
	if outs := b.feed(from, frame, m); len(outs) != 0 {
		b.t.Fatalf("%d frames out, want none", len(outs))
	}
	if b.core.counts[reason] != before+1 {
		b.t.Fatalf("not counted as %q: %v", reason, b.core.counts)
	}
}

// checkFrame verifies lengths and all checksums of a frame from scratch.
func checkFrame(t testing.TB, o output) {
	t.Helper()
	if len(o.frame) < tun.EthernetHeaderLen {
		t.Fatalf("frame of %d octets", len(o.frame))
	}
	if mac(o.frame[6:12]) != o.via.mac {
		t.Fatalf("sent from %x", o.frame[6:12])
	}
	ip := o.frame[tun.EthernetHeaderLen:]
	var l4 []byte
	var ps uint64
	var proto uint8
	switch binary.BigEndian.Uint16(o.frame[12:]) {
	case etherARP:
		return
	case etherIPv4:
		got, why := trim4(ip)
		if why != "" || len(got) != len(ip) || ip[8] == 0 {
			t.Fatalf("IPv4 header %x: %s", ip[:20], why)
		}
		if isFragment4(ip) {
			return
		}
		proto, l4 = ip[9], ip[hlen4(ip):]
		ps = pseudo(ip[12:16], ip[16:20], proto, len(l4))
		if proto == protoICMP {
			ps = 0
		}
	case etherIPv6:
		got, why := trim6(ip)
		if why != "" || len(got) != len(ip) || ip[7] == 0 {
			t.Fatalf("IPv6 header %x: %s", ip[:40], why)
		}
		proto, l4 = ip[6], ip[ip6HeaderLen:]
		ps = pseudo(ip[8:24], ip[24:40], proto, len(l4))
	}
	if o.meta.GSO == tun.GSONone && len(ip) > o.via.mtu {
		t.Fatalf("%d octets by %s with MTU %d", len(ip), o.via.lan, o.via.mtu)
	}
	switch proto {
	case protoTCP, protoUDP, protoICMP, protoICMPv6:
	default:
		return
	}
	if o.meta.Flags&tun.NeedsCsum != 0 {
		// The field has to hold the sum of the pseudo header.
		at := int(o.meta.CsumStart) + int(o.meta.CsumOffset)
		if got := binary.BigEndian.Uint16(o.frame[at:]); got != fold(ps) && got^fold(ps) != 0xffff {
			t.Fatalf("partial checksum %#x, want %#x", got, fold(ps))
		}
		return
	}
	if proto == protoUDP && l4[6] == 0 && l4[7] == 0 {
		return
	}
	if fold(sum(ps, l4)) != 0xffff {
		t.Fatalf("checksum of protocol %d is wrong", proto)
	}
}

// packetTo makes a frame for the router with a transport header and payload whose
// checksum is whole.
func packetTo(ifc *iface, from mac, proto uint8, src, dst netip.Addr, l4 []byte) []byte {
	l4 = bytes.Clone(l4)
	n, typ := ip4HeaderLen, uint16(etherIPv4)
	if src.Is6() {
		n, typ = ip6HeaderLen, etherIPv6
	}
	f := ifc.newFrame(ifc.mac, typ, n+len(l4))
	copy(f[6:], from[:])
	ip := f[tun.EthernetHeaderLen:]
	if src.Is6() {
		putIP6(ip, proto, 64, src, dst)
	} else {
		ip[0], ip[8], ip[9] = 0x45, 64, proto
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], src.AsSlice())
		copy(ip[16:], dst.AsSlice())
		putIP4Checksum(ip)
	}
	ps := pseudo(src.AsSlice(), dst.AsSlice(), proto, len(l4))
	at, ok := map[uint8]int{protoTCP: 16, protoUDP: 6, protoICMP: 2, protoICMPv6: 2}[proto]
	if proto == protoICMP {
		ps = 0
	}
	if ok {
		l4[at], l4[at+1] = 0, 0
		binary.BigEndian.PutUint16(l4[at:], ^fold(sum(ps, l4)))
	}
	copy(ip[n:], l4)
	return f
}

func udp(src, dst uint16, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func tcp(src, dst uint16, flags byte, payload string) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint32(b[4:], 1000)
	b[12], b[13] = 5<<4, flags
	return append(b, payload...)
}

func echo(typ byte, id uint16, payload string) []byte {
	b := make([]byte, 8, 8+len(payload))
	b[0] = typ
	binary.BigEndian.PutUint16(b[4:], id)
	return append(b, payload...)
}

func ipOf(o output) []byte { return o.frame[tun.EthernetHeaderLen:] }
func l4Of(o output) []byte { return ipOf(o)[hlen4(ipOf(o)):] }
func ports(l4 []byte) (uint16, uint16) {
	return binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
}

func TestRouterAnswersARP(t *testing.T) {
	b := newBench(t)
	ask := func(op uint16, sender, target string) []byte {
		f := b.in.newFrame(broadcastMAC, etherARP, arpLen)
		copy(f[6:], insideMAC[:])
		a := f[14:]
		copy(a, []byte{0, 1, 8, 0, 6, 4, 0, byte(op)})
		copy(a[8:], insideMAC[:])
		copy(a[14:], netip.MustParseAddr(sender).AsSlice())
		copy(a[24:], netip.MustParseAddr(target).AsSlice())
		return f
	}
	o := b.one(b.in, ask(arpRequest, "192.168.1.7", "192.168.1.1"), tun.Meta{}, b.in)
	if mac(o.frame) != insideMAC || mac(o.frame[22:]) != b.in.mac || o.frame[21] != arpReply {
		t.Errorf("reply %x", o.frame)
	}
	if n := b.in.neigh[netip.MustParseAddr("192.168.1.7")]; n == nil || n.mac != insideMAC {
		t.Error("the asker was not learned")
	}
	// A probe for the router's address is answered, and teaches nothing (RFC 5227).
	b.one(b.in, ask(arpRequest, "0.0.0.0", "192.168.1.1"), tun.Meta{}, b.in)
	for _, target := range []string{"192.168.1.2", "198.51.100.1"} {
		if outs := b.feed(b.in, ask(arpRequest, "192.168.1.8", target), tun.Meta{}); len(outs) != 0 {
			t.Errorf("answered for %s", target)
		}
	}
	if b.in.neigh[netip.MustParseAddr("192.168.1.8")] != nil {
		t.Error("learned who asked for another")
	}
}

func TestRouterAnswersND(t *testing.T) {
	b := newBench(t)
	target := netip.MustParseAddr("2001:db8:1::1")
	group := solicitedNode(target)
	solicit := func(src netip.Addr, option bool) []byte {
		st := &iface{mac: insideMAC}
		f := st.ndPacket(ndSolicit, 0, target, src, group, multicastMAC(group), optSourceLL)
		if !option {
			f = f[:len(f)-8]
			f[14+5] -= 8
			putICMP6Checksum(f[14:])
		}
		return f
	}
	o := b.one(b.in, solicit(inside6, true), tun.Meta{}, b.in)
	na := ipOf(o)[ip6HeaderLen:]
	if mac(o.frame) != insideMAC || na[0] != ndAdvertise || na[4] != ndRouter|ndSolicited|ndOverride ||
		!bytes.Equal(na[26:32], b.in.mac[:]) || dst6(ipOf(o)) != inside6 {
		t.Errorf("advertisement %x", o.frame)
	}
	// Duplicate address detection: all nodes learn that the address is taken.
	o = b.one(b.in, solicit(netip.IPv6Unspecified(), false), tun.Meta{}, b.in)
	if dst6(ipOf(o)) != allNodes || ipOf(o)[ip6HeaderLen+4]&ndSolicited != 0 {
		t.Errorf("answer to DAD %x", o.frame)
	}
	bad := solicit(inside6, true)
	bad[14+7] = 254
	b.none(b.in, bad, tun.Meta{}, dropShort)
	bad = solicit(inside6, true)
	bad[14+ip6HeaderLen+25] = 0 // an option without length
	putICMP6Checksum(bad[14:])
	b.none(b.in, bad, tun.Meta{}, dropShort)
}

func TestRouterResolves(t *testing.T) {
	for _, dst := range []string{"198.51.100.99", "2001:db8:ff::99"} {
		b := newBench(t)
		to, from := netip.MustParseAddr(dst), inside4
		if to.Is6() {
			from = inside6
		}
		f := packetTo(b.in, insideMAC, protoUDP, from, to, udp(5000, 53, "hello"))
		b.one(b.in, f, tun.Meta{}, b.out) // the question
		for range maxNeighborQueue {
			if outs := b.feed(b.in, f, tun.Meta{}); len(outs) != 0 {
				t.Fatalf("%s: asked again at once", dst)
			}
		}
		if b.core.counts[dropQueue] != 1 {
			t.Errorf("%s: %d dropped from the queue, want 1", dst, b.core.counts[dropQueue])
		}
		b.core.outs = nil
		b.core.learn(b.out, to, outsideMAC, false)
		if len(b.core.outs) != maxNeighborQueue {
			t.Errorf("%s: %d packets sent when the answer came, want %d", dst, len(b.core.outs), maxNeighborQueue)
		}
		for _, o := range b.core.outs {
			checkFrame(t, o)
			if mac(o.frame) != outsideMAC {
				t.Errorf("%s: sent to %x", dst, o.frame[:6])
			}
		}
	}
}

func TestRouterGivesUpOnNeighbor(t *testing.T) {
	for _, dst := range []string{"198.51.100.99", "2001:db8:ff::99"} {
		b := newBench(t)
		to, from := netip.MustParseAddr(dst), inside4
		if to.Is6() {
			from = inside6
		}
		f := packetTo(b.in, insideMAC, protoUDP, from, to, udp(5000, 53, "hello"))
		b.one(b.in, f, tun.Meta{}, b.out)
		b.clock.Advance(neighborTries*neighborRetry - 1)
		if n := len(b.core.outs); n != neighborTries-1 {
			t.Errorf("%s: asked %d times more, want %d", dst, n, neighborTries-1)
		}
		b.core.outs = nil
		b.clock.Advance(time.Second)
		if len(b.core.outs) != 1 || b.core.outs[0].via != b.in {
			t.Fatalf("%s: %d frames when it gave up, want one error inside", dst, len(b.core.outs))
		}
		o := b.core.outs[0]
		checkFrame(t, o)
		ip := ipOf(o)
		if to.Is4() {
			if l4 := l4Of(o); l4[0] != icmpUnreachable || l4[1] != codeHost || src4(l4[8:]) != inside4 || dst4(l4[8:]) != to {
				t.Errorf("error %x", l4)
			}
		} else if l4 := ip[ip6HeaderLen:]; l4[0] != icmp6Unreachable || l4[1] != code6Addr || dst6(l4[8:]) != to {
			t.Errorf("error %x", l4)
		}
	}
}

func TestRouterNeighborLimit(t *testing.T) {
	b := newBench(t)
	wide := &iface{lan: "wide", mac: mac{2, 0, 0, 0, 0, 9}, mtu: 1500, prefixes: prefixes("10.0.0.1/8")}
	for i := range maxNeighbors + 10 {
		a := netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})
		b.core.learn(wide, a, insideMAC, true)
		b.clock.Advance(time.Millisecond)
	}
	if len(wide.neigh) != maxNeighbors {
		t.Errorf("%d neighbours, want %d", len(wide.neigh), maxNeighbors)
	}
	if wide.neigh[netip.MustParseAddr("10.1.0.0")] != nil {
		t.Error("the oldest is still there")
	}
}

func TestRouterErrors(t *testing.T) {
	b := newBench(t)
	far4, far6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:dead::1")
	ttl := func(f []byte, n byte) []byte {
		if f[14]>>4 == 6 {
			f[14+7] = n
		} else {
			f[14+8] = n
			putIP4Checksum(f[14:])
		}
		return f
	}
	big := string(make([]byte, 1400))
	b.out.mtu = 1300
	df := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(1, 2, big))
	df[14+6] = flagDF >> 8
	putIP4Checksum(df[14:])
	for _, tt := range []struct {
		name      string
		frame     []byte
		typ, code byte
		rest      uint32
	}{
		{"time exceeded", ttl(packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(1, 2, "x")), 1), 11, 0, 0},
		{"no route", packetTo(b.in, insideMAC, protoUDP, inside4, far4, udp(1, 2, "x")), 3, 0, 0},
		{"frag needed", df, 3, 4, 1300},
		{"port", packetTo(b.in, insideMAC, protoUDP, inside4, netip.MustParseAddr("192.168.1.1"), udp(1, 2, "x")), 3, 3, 0},
		{"protocol", packetTo(b.in, insideMAC, 47, inside4, netip.MustParseAddr("192.168.1.1"), []byte("greetings")), 3, 2, 0},
		{"hop limit", ttl(packetTo(b.in, insideMAC, protoUDP, inside6, outside6, udp(1, 2, "x")), 1), 3, 0, 0},
		{"no route 6", packetTo(b.in, insideMAC, protoUDP, inside6, far6, udp(1, 2, "x")), 1, 0, 0},
		{"too big", packetTo(b.in, insideMAC, protoUDP, inside6, outside6, udp(1, 2, big)), 2, 0, 1300},
		{"port 6", packetTo(b.in, insideMAC, protoUDP, inside6, netip.MustParseAddr("2001:db8:1::1"), udp(1, 2, "x")), 1, 4, 0},
	} {
		o := b.one(b.in, tt.frame, tun.Meta{}, b.in)
		ip, hdr := ipOf(o), ip4HeaderLen
		if ip[0]>>4 == 6 {
			hdr = ip6HeaderLen
		}
		e := ip[hdr:]
		if e[0] != tt.typ || e[1] != tt.code || binary.BigEndian.Uint32(e[4:]) != tt.rest {
			t.Errorf("%s: type %d code %d rest %d", tt.name, e[0], e[1], binary.BigEndian.Uint32(e[4:]))
		}
		if quote := e[8:]; !bytes.HasPrefix(tt.frame[14:], quote) || len(quote) < hdr+8 {
			t.Errorf("%s: quotes %x", tt.name, quote)
		}
	}
}

func TestRouterStaysSilent(t *testing.T) {
	b := newBench(t)
	far := netip.MustParseAddr("203.0.113.1")
	gone := icmpError(icmpUnreachable, codePort, 0, packetTo(b.out, outsideMAC, protoUDP, far, inside4, udp(1, 2, "x"))[14:])
	later := packetTo(b.in, insideMAC, protoUDP, inside4, far, udp(1, 2, "12345678"))
	later[14+7] = 1
	putIP4Checksum(later[14:])
	bcast := packetTo(b.in, insideMAC, protoUDP, inside4, far, udp(1, 2, "x"))
	copy(bcast, broadcastMAC[:])
	badsum := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(1, 2, "x"))
	badsum[14+10]++
	other := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(1, 2, "x"))
	copy(other, insideMAC[:])
	ll := packetTo(b.in, insideMAC, protoUDP, netip.MustParseAddr("fe80::5"), netip.MustParseAddr("fe80::99"), udp(1, 2, "x"))
	for _, tt := range []struct {
		name, reason string
		frame        []byte
	}{
		{"error about an error", dropNoRoute, packetTo(b.in, insideMAC, protoICMP, inside4, far, gone)},
		{"error about a later fragment", dropNoRoute, later},
		{"frame to all", dropMulticast, bcast},
		{"directed broadcast", dropMulticast, packetTo(b.in, insideMAC, protoUDP, inside4, netip.MustParseAddr("198.51.100.255"), udp(1, 2, "x"))},
		{"from loopback", dropSource, packetTo(b.in, insideMAC, protoUDP, netip.MustParseAddr("127.0.0.1"), outside4, udp(1, 2, "x"))},
		{"to loopback", dropMulticast, packetTo(b.in, insideMAC, protoUDP, inside4, netip.MustParseAddr("127.0.0.1"), udp(1, 2, "x"))},
		{"bad checksum", dropChecksum, badsum},
		{"another's frame", dropNotMine, other},
		{"short", dropShort, []byte{1, 2, 3}},
		{"link-local", dropNotMine, ll},
		{"mapped address", dropSource, packetTo(b.in, insideMAC, protoUDP, netip.MustParseAddr("::ffff:1.2.3.4"), outside6, udp(1, 2, "x"))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b.t = t
			b.none(b.in, tt.frame, tun.Meta{}, tt.reason)
		})
	}
}

func TestRouterEcho(t *testing.T) {
	b := newBench(t)
	for _, r := range []string{"192.168.1.1", "198.51.100.1"} {
		o := b.one(b.in, packetTo(b.in, insideMAC, protoICMP, inside4, netip.MustParseAddr(r), echo(icmpEcho, 7, "abc")), tun.Meta{}, b.in)
		if l4 := l4Of(o); l4[0] != icmpEchoReply || string(l4[8:]) != "abc" || src4(ipOf(o)) != netip.MustParseAddr(r) {
			t.Errorf("reply %x", ipOf(o))
		}
	}
	o := b.one(b.in, packetTo(b.in, insideMAC, protoICMPv6, inside6, netip.MustParseAddr("2001:db8:1::1"), echo(icmp6Echo, 7, "abc")), tun.Meta{}, b.in)
	if l4 := ipOf(o)[ip6HeaderLen:]; l4[0] != icmp6EchoReply || string(l4[8:]) != "abc" {
		t.Errorf("reply %x", ipOf(o))
	}
}

func TestRouterResets(t *testing.T) {
	b := newBench(t)
	o := b.one(b.in, packetTo(b.in, insideMAC, protoTCP, inside4, netip.MustParseAddr("192.168.1.1"), tcp(4000, 80, 2, "")), tun.Meta{}, b.in)
	l4 := l4Of(o)
	if src, dst := ports(l4); src != 80 || dst != 4000 || l4[13] != 4|16 || binary.BigEndian.Uint32(l4[8:]) != 1001 {
		t.Errorf("reset %x", l4)
	}
	b.none(b.in, packetTo(b.in, insideMAC, protoTCP, inside4, netip.MustParseAddr("192.168.1.1"), tcp(4000, 80, 4, "")), tun.Meta{}, dropUnsupported)
}
