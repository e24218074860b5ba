package pvdtest

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// only6 makes a LAN without IPv4 whose router leads to an internet without IPv6.
func only6(lab *Lab, x NAT64, mtu int) *Router {
	internet := lab.LAN("internet", "198.51.100.0/24")
	internet.Web("198.51.100.80", "the old internet")
	internet.Echo("198.51.100.7")
	lan := lab.LAN("six", "2001:db8:6::/64")
	lan.DNS("2001:db8:6::53", Zone{"www.example.net": "198.51.100.80", "both": "2001:db8:6::80 198.51.100.80"})
	lan.DNS64(x)
	p, err := x.prefix()
	if err != nil {
		lab.tb.Fatalf("%v", err)
	}
	return lan.Router("2001:db8:6::1", x, Uplink{LAN: internet, Addrs: "198.51.100.6", MTU: mtu},
		RA{PvD: "six.example", Options: []ra.Option{ra.PREF64{Prefix: p, Lifetime: time.Hour}}})
}

func TestNAT64(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "2001:db8:65::/48"} {
		lab := quickLab(t)
		x := NAT64{Prefix: prefix}
		r := only6(lab, x, 0)
		p := must(x.prefix())
		h := lab.Host()
		h.Discover("six")
		n := h.Await("six.example", pvd.HasDNS)
		lab.Run(func() { testNAT64(t, n, p) })
		s := r.Stats()
		if s[dropChecksum]+s[dropMeta]+s[dropNATNone]+s[dropNATProto] != 0 {
			t.Errorf("router counts %v", s)
		}
		lab.AssertIsolated()
	}
}

func testNAT64(t *testing.T, n *stack.Network, p netip.Prefix) {
	t.Helper()
	Get(t, n, "http://www.example.net/").Is("the old internet")
	to := func(v4 string) string { return n64(t, p, v4).String() }
	if as, err := n.LookupNetIP(t.Context(), "ip6", "both"); err != nil || len(as) != 1 || as[0].String() != "2001:db8:6::80" {
		t.Errorf("a name with both: %v %v", as, err)
	}
	if _, err := n.Ping(t.Context(), n64(t, p, "198.51.100.7")); err != nil {
		t.Errorf("ping: %v", err)
	}
	for _, size := range []int{1, 10, 1400} {
		if err := echoUDP(t, n, "["+to("198.51.100.7")+"]:7", size); err != nil {
			t.Errorf("echo of %d octets: %v", size, err)
		}
	}
	if err := echoTCP(t, n, "["+to("198.51.100.7")+"]:7", 2<<20); err != nil {
		t.Errorf("echo: %v", err)
	}
	for target, want := range map[string]error{
		"[" + to("198.51.100.7") + "]:9":  syscall.ECONNREFUSED, // a reset
		"[" + to("198.51.100.99") + "]:9": syscall.EHOSTUNREACH, // nobody there
		"[" + to("203.0.113.1") + "]:9":   syscall.ENETUNREACH,  // no route there
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		_, err := n.DialContext(ctx, "tcp", target)
		cancel()
		if !errors.Is(err, want) {
			t.Errorf("dial %s: %v, want %v", target, err, want)
		}
	}
}

// TestNAT64PathMTU has a narrow place behind the translator, of which only ICMP tells.
func TestNAT64PathMTU(t *testing.T) {
	t.Parallel()
	lab := New(t)
	r := only6(lab, NAT64{}, 1300)
	h := lab.Host()
	h.Discover("six")
	n := h.Await("six.example")
	if err := echoTCP(t, n, "[2001:db8:64::c633:6407]:7", 1<<20); err != nil {
		t.Errorf("echo: %v", err)
	}
	if r.Stats()[dropTooBig] == 0 {
		t.Error("nothing was too big: the test tests nothing")
	}
	lab.AssertIsolated()
}

func n64(t *testing.T, p netip.Prefix, v4 string) netip.Addr {
	t.Helper()
	a, b := p.Addr().As16(), netip.MustParseAddr(v4).As4()
	switch p.Bits() {
	case 96:
		copy(a[12:], b[:])
	case 48:
		copy(a[6:], b[:2])
		copy(a[9:], b[2:])
	default:
		t.Errorf("NAT64 prefix %v: not written down", p)
	}
	return netip.AddrFrom16(a)
}

// bench64 is a bench that translates.
func bench64(t *testing.T) *bench {
	b := newBench(t)
	b.core.nat64 = defaultNAT64
	return b
}

var far64 = netip.MustParseAddr("2001:db8:64::c633:6450") // outside4

// udp64 makes a datagram of n octets from inside.
func (b *bench) udp64(n int) []byte {
	station := iface{mac: insideMAC}
	return station.udp6(b.in.mac, netip.AddrPortFrom(inside6, 5000), netip.AddrPortFrom(far64, 53), make([]byte, n))
}

func TestNAT64Datagram(t *testing.T) {
	t.Parallel()
	b := bench64(t)
	o := b.one(b.in, b.udp64(100), tun.Meta{}, b.out)
	ip := o.frame[tun.EthernetHeaderLen:]
	if src4(ip) != natted4 || dst4(ip) != outside4 || ip[8] != defaultTTL-1 || fragBits4(ip) != 0 || len(ip) != 128 {
		t.Errorf("%x", ip)
	}
	port := binary.BigEndian.Uint16(ip[20:])
	answer := func(n int, zero bool) []byte {
		station := iface{mac: outsideMAC}
		f := station.udp4(b.out.mac, netip.AddrPortFrom(outside4, 53), netip.AddrPortFrom(natted4, port), make([]byte, n))
		if zero {
			f[len(f)-n-2], f[len(f)-n-1] = 0, 0
		}
		return f
	}
	for _, zero := range []bool{false, true} {
		o = b.one(b.out, answer(200, zero), tun.Meta{}, b.in)
		ip = o.frame[tun.EthernetHeaderLen:]
		if src6(ip) != far64 || dst6(ip) != inside6 || ip[7] != defaultTTL-1 || binary.BigEndian.Uint16(ip[42:]) != 5000 {
			t.Errorf("%x", ip)
		}
	}
	// A long one is put into fragments, unless it must not.
	outs := b.feed(b.out, answer(1472, false), tun.Meta{})
	if len(outs) != 2 || outs[0].frame[20] != fragmentHeader {
		t.Fatalf("%d frames", len(outs))
	}
	total := 0
	for _, o := range outs {
		total += len(o.frame) - tun.EthernetHeaderLen - ip6HeaderLen - fragHeaderLen
	}
	if total != 1480 {
		t.Errorf("fragments of %d octets", total)
	}
	f := answer(1472, false)
	f[tun.EthernetHeaderLen+6] = flagDF >> 8
	putIP4Checksum(f[tun.EthernetHeaderLen:])
	o = b.one(b.out, f, tun.Meta{}, b.out)
	if e := o.frame[tun.EthernetHeaderLen+ip4HeaderLen:]; e[0] != icmpUnreachable || e[1] != codeFragNeeded || binary.BigEndian.Uint16(e[6:]) != 1480 {
		t.Errorf("%x", e[:8])
	}
	// What is too long for IPv4's side is told in IPv6's terms.
	b.out.mtu = 1280
	o = b.one(b.in, b.udp64(1300), tun.Meta{}, b.in)
	if e := o.frame[tun.EthernetHeaderLen+ip6HeaderLen:]; e[0] != icmp6TooBig || binary.BigEndian.Uint32(e[4:]) != 1300 {
		t.Errorf("%x", e[:8])
	}
}

func TestNAT64Errors(t *testing.T) {
	t.Parallel()
	b := bench64(t)
	sent := b.one(b.in, b.udp64(100), tun.Meta{}, b.out).frame[tun.EthernetHeaderLen:]
	station := iface{mac: outsideMAC}
	report := func(typ, code byte, rest uint32) []byte {
		body := icmpError(typ, code, rest, sent[:28])
		f := station.newFrame(b.out.mac, etherIPv4, ip4HeaderLen+len(body))
		ip := f[tun.EthernetHeaderLen:]
		ip[0], ip[8], ip[9] = 0x45, 64, protoICMP
		binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)))
		copy(ip[12:], outside4.AsSlice())
		copy(ip[16:], natted4.AsSlice())
		copy(ip[ip4HeaderLen:], body)
		putIP4Checksum(ip)
		return f
	}
	for _, tt := range []struct {
		typ, code byte
		rest      uint32
		want      [2]byte
		word      uint32
	}{
		{icmpUnreachable, codePort, 0, [2]byte{icmp6Unreachable, code6Port}, 0},
		{icmpUnreachable, codeHost, 0, [2]byte{icmp6Unreachable, code6NoRoute}, 0},
		{icmpUnreachable, codeProtocol, 0, [2]byte{icmp6ParamProblem, 1}, 6},
		{icmpUnreachable, codeFragNeeded, 1400, [2]byte{icmp6TooBig, 0}, 1420},
		{icmpUnreachable, codeFragNeeded, 500, [2]byte{icmp6TooBig, 0}, 1280},
		{icmpTimeExceeded, 0, 0, [2]byte{icmp6TimeExceeded, 0}, 0},
	} {
		o := b.one(b.out, report(tt.typ, tt.code, tt.rest), tun.Meta{}, b.in)
		e := o.frame[tun.EthernetHeaderLen+ip6HeaderLen:]
		q := e[icmpHeaderLen:]
		if [2]byte(e) != tt.want || binary.BigEndian.Uint32(e[4:]) != tt.word || src6(q) != inside6 || dst6(q) != far64 ||
			q[6] != protoUDP || binary.BigEndian.Uint16(q[ip6HeaderLen:]) != 5000 || binary.BigEndian.Uint16(q[4:]) != 108 {
			t.Errorf("%+v: %x", tt, e)
		}
	}
	b.none(b.out, report(12, 0, 0), tun.Meta{}, dropNATProto)
}

func TestNAT64Refuses(t *testing.T) {
	t.Parallel()
	b := bench64(t)
	f := b.udp64(10)
	f[tun.EthernetHeaderLen+6] = 132 // SCTP
	b.none(b.in, f, tun.Meta{}, dropNATProto)
	f[tun.EthernetHeaderLen+6] = fragmentHeader
	b.none(b.in, f, tun.Meta{}, dropFragment)
	f = b.udp64(10)
	copy(f[tun.EthernetHeaderLen+36:], []byte{127, 0, 0, 1})
	if outs := b.feed(b.in, f, tun.Meta{}); len(outs) != 1 || outs[0].via != b.in {
		t.Errorf("%d frames", len(outs))
	}
	for i := range maxMappings {
		if b.core.mapOut(natKey{protoUDP, inside6, uint16(i + 6000)}, b.out) == nil {
			t.Fatal(i)
		}
	}
	b.none(b.in, b.udp64(10), tun.Meta{}, dropNATFull)
	var got string
	Main("errors", writer(func(b []byte) { got += string(b) }), func(tb TB) {
		New(tb).LAN("home", "2001:db8:1::/64").Router("2001:db8:1::1", NAT64{Prefix: "2001:db8::/60"})
	})
	if !strings.Contains(got, "not one of RFC 6052") {
		t.Error(got)
	}
}

// FuzzNAT64 gives the translator packets from both sides. What comes out has to be well
// formed.
func FuzzNAT64(f *testing.F) {
	f.Add(make([]byte, 60), true)
	b := newBench(f)
	f.Add(b.udp64(20)[tun.EthernetHeaderLen:], true)
	station := iface{mac: outsideMAC}
	f.Add(station.udp4(b.out.mac, netip.AddrPortFrom(outside4, 53), netip.AddrPortFrom(natted4, 5000), make([]byte, 30))[tun.EthernetHeaderLen:], false)
	f.Fuzz(func(t *testing.T, ip []byte, inside bool) {
		if len(ip) > 1500 {
			return
		}
		b := bench64(t)
		b.feed(b.in, b.udp64(20), tun.Meta{})
		in, typ := b.out, uint16(etherIPv4)
		if inside {
			in, typ = b.in, etherIPv6
			if len(ip) >= ip6HeaderLen {
				copy(ip[24:36], far64.AsSlice())
			}
		}
		frame := (&iface{mac: insideMAC}).newFrame(in.mac, typ, len(ip))
		copy(frame[tun.EthernetHeaderLen:], ip)
		if !inside && len(ip) >= ip4HeaderLen && hlen4(ip) <= len(ip) {
			copy(frame[tun.EthernetHeaderLen+16:], natted4.AsSlice())
			putIP4Checksum(frame[tun.EthernetHeaderLen:][:max(hlen4(ip), ip4HeaderLen)])
		}
		for _, o := range b.feed(in, frame, tun.Meta{}) {
			if len(o.frame)-tun.EthernetHeaderLen > o.via.mtu {
				t.Fatalf("a packet of %d octets", len(o.frame))
			}
		}
	})
}
