package pvdtest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/tun"
)

func TestNATRoundTrip(t *testing.T) {
	const ack = 16
	for _, tt := range []struct {
		name    string
		proto   uint8
		out, in func(port uint16) []byte
		port    func(l4 []byte) uint16
	}{
		{
			"udp", protoUDP,
			func(uint16) []byte { return udp(5000, 53, "question") },
			func(p uint16) []byte { return udp(53, p, "answer") },
			func(l4 []byte) uint16 { p, _ := ports(l4); return p },
		},
		{
			"tcp", protoTCP,
			func(uint16) []byte { return tcp(5000, 80, ack, "question") },
			func(p uint16) []byte { return tcp(80, p, ack, "answer") },
			func(l4 []byte) uint16 { p, _ := ports(l4); return p },
		},
		{
			"echo", protoICMP,
			func(uint16) []byte { return echo(icmpEcho, 5000, "ping") },
			func(p uint16) []byte { return echo(icmpEchoReply, p, "ping") },
			func(l4 []byte) uint16 { return binary.BigEndian.Uint16(l4[4:]) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			// A second host uses the same port first, so that ours gets another.
			second := netip.MustParseAddr("192.168.1.101")
			b.core.learn(b.in, second, insideMAC, true)
			b.one(b.in, packetTo(b.in, insideMAC, tt.proto, second, outside4, tt.out(0)), tun.Meta{}, b.out)

			o := b.one(b.in, packetTo(b.in, insideMAC, tt.proto, inside4, outside4, tt.out(0)), tun.Meta{}, b.out)
			port := tt.port(l4Of(o))
			if src4(ipOf(o)) != natted4 || port == 5000 || port < firstNATPort || ipOf(o)[8] != 63 {
				t.Fatalf("outside: from %v port %d ttl %d", src4(ipOf(o)), port, ipOf(o)[8])
			}
			o = b.one(b.out, packetTo(b.out, outsideMAC, tt.proto, outside4, natted4, tt.in(port)), tun.Meta{}, b.in)
			got := binary.BigEndian.Uint16(l4Of(o)[2:])
			if tt.proto == protoICMP {
				got = tt.port(l4Of(o))
			}
			if dst4(ipOf(o)) != inside4 || got != 5000 || src4(ipOf(o)) != outside4 {
				t.Errorf("inside: to %v port %d", dst4(ipOf(o)), got)
			}
		})
	}
}

// TestNATOffload has checksums that are still partial, on their own and on a large
// segment: only the pseudo header's sum may change.
func TestNATOffload(t *testing.T) {
	for _, tt := range []struct {
		name  string
		proto uint8
		l4    []byte
		at    int
		gso   tun.GSO
	}{
		{"tcp", protoTCP, tcp(5000, 80, 16, "data"), 16, tun.GSONone},
		{"udp", protoUDP, udp(5000, 80, "data"), 6, tun.GSONone},
		{"tcp segment", protoTCP, tcp(5000, 80, 16, strings.Repeat("d", 60000)), 16, tun.GSOTCP4},
		{"udp segment", protoUDP, udp(5000, 80, strings.Repeat("d", 60000)), 6, tun.GSOUDP},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.out.prefixes = prefixes("198.51.100.200/24") // so that the sum changes much
			f := packetTo(b.in, insideMAC, tt.proto, inside4, outside4, tt.l4)
			l4 := f[14+ip4HeaderLen:]
			ps := pseudo(inside4.AsSlice(), outside4.AsSlice(), tt.proto, len(l4))
			binary.BigEndian.PutUint16(l4[tt.at:], fold(ps))
			m := tun.Meta{
				Flags: tun.NeedsCsum, CsumStart: 14 + ip4HeaderLen, CsumOffset: uint16(tt.at),
				GSO: tt.gso,
			}
			if tt.gso != tun.GSONone {
				m.GSOSize = 1000
			}
			o := b.one(b.in, f, m, b.out)
			if o.meta != m || len(o.frame) != len(f) {
				t.Errorf("meta %+v, want %+v", o.meta, m)
			}
			// What a receiver makes of it is right as well.
			n := 0
			err := tun.Segment(bytes.Clone(o.frame), tun.Ethernet, o.meta, 1500, func(seg []byte) error {
				n++
				checkFrame(t, output{b.out, seg, tun.Meta{}})
				return nil
			})
			if err != nil || tt.gso != tun.GSONone && n != 60 {
				t.Errorf("%d segments, %v", n, err)
			}
			// The same frame with a port that the MTU does not let through.
			if tt.gso != tun.GSONone {
				b.out.mtu = 900
				e := b.one(b.in, f, m, b.in)
				if l4 := l4Of(e); l4[0] != icmpUnreachable || l4[1] != codeFragNeeded {
					t.Errorf("too big: %x", l4[:8])
				}
			}
		})
	}
}

func TestNATUDPWithoutChecksum(t *testing.T) {
	b := newBench(t)
	f := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(5000, 53, "x"))
	f[14+26], f[14+27] = 0, 0
	if o := b.one(b.in, f, tun.Meta{}, b.out); l4Of(o)[6] != 0 || l4Of(o)[7] != 0 {
		t.Error("a checksum was made up")
	}
}

func TestNATMetaIsChecked(t *testing.T) {
	b := newBench(t)
	f := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(5000, 53, "x"))
	for _, m := range []tun.Meta{
		{Flags: tun.NeedsCsum, CsumStart: 14, CsumOffset: 6},
		{Flags: tun.NeedsCsum, CsumStart: 34, CsumOffset: 16},
		{Flags: tun.NeedsCsum, CsumStart: 34, CsumOffset: 60000},
		{GSO: tun.GSOUDP, GSOSize: 100},
		{GSO: tun.GSOUDP, Flags: tun.NeedsCsum, CsumStart: 34, CsumOffset: 6},
	} {
		b.none(b.in, f, m, dropMeta)
	}
}

// TestNATErrors translates errors about what went out and about what came in.
func TestNATErrors(t *testing.T) {
	for _, proto := range []uint8{protoUDP, protoTCP, protoICMP} {
		body := map[uint8][]byte{protoUDP: udp(500, 53, "q"), protoTCP: tcp(500, 80, 2, ""), protoICMP: echo(icmpEcho, 500, "p")}[proto]
		for _, short := range []bool{false, true} {
			t.Run(fmt.Sprint(proto, short), func(t *testing.T) {
				b := newBench(t)
				sent := packetTo(b.in, insideMAC, proto, inside4, outside4, body)
				o := b.one(b.in, sent, tun.Meta{}, b.out)

				quote := bytes.Clone(ipOf(o))
				if short {
					quote = quote[:ip4HeaderLen+8]
				}
				e := icmpError(icmpUnreachable, codeFragNeeded, 1280, quote)
				middle := netip.MustParseAddr("198.51.100.254")
				o = b.one(b.out, packetTo(b.out, outsideMAC, protoICMP, middle, natted4, e), tun.Meta{}, b.in)
				if dst4(ipOf(o)) != inside4 || src4(ipOf(o)) != middle {
					t.Fatalf("error to %v from %v", dst4(ipOf(o)), src4(ipOf(o)))
				}
				got, want := l4Of(o)[8:], bytes.Clone(sent[14:])
				want[8]-- // the hop limit at the place that complained
				putIP4Checksum(want)
				if !bytes.Equal(got, want[:len(got)]) {
					t.Errorf("quotes\n%x, want\n%x", got, want[:len(got)])
				}
				// A host inside complains about an answer.
				if proto == protoICMP {
					return
				}
				ext := quotedPort(quote, quote[ip4HeaderLen:], 0)
				reply := map[uint8][]byte{protoUDP: udp(53, ext, "a"), protoTCP: tcp(80, ext, 16, "a")}[proto]
				came := packetTo(b.out, outsideMAC, proto, outside4, natted4, reply)
				o = b.one(b.out, came, tun.Meta{}, b.in)
				e = icmpError(icmpUnreachable, codePort, 0, ipOf(o))
				o = b.one(b.in, packetTo(b.in, insideMAC, protoICMP, inside4, outside4, e), tun.Meta{}, b.out)
				want = bytes.Clone(came[14:])
				want[8]--
				putIP4Checksum(want)
				if src4(ipOf(o)) != natted4 || !bytes.Equal(l4Of(o)[8:], want) {
					t.Errorf("outward error from %v quotes\n%x, want\n%x", src4(ipOf(o)), l4Of(o)[8:], want)
				}
			})
		}
	}
}

func TestNATUnasked(t *testing.T) {
	b := newBench(t)
	// Nobody inside talks to this port: the router itself refuses.
	o := b.one(b.out, packetTo(b.out, outsideMAC, protoTCP, outside4, natted4, tcp(80, 4444, 2, "")), tun.Meta{}, b.out)
	if l4Of(o)[13]&4 == 0 {
		t.Error("no reset")
	}
	// Errors about nothing that was sent are dropped, also those with a wrong checksum.
	quote := packetTo(b.out, outsideMAC, protoUDP, natted4, outside4, udp(500, 53, "q"))[14:]
	e := icmpError(icmpUnreachable, codePort, 0, quote)
	f := packetTo(b.out, outsideMAC, protoICMP, outside4, natted4, e)
	b.none(b.out, f, tun.Meta{}, dropNATNone)
	f[len(f)-1] ^= 1
	b.none(b.out, f, tun.Meta{}, dropChecksum)
	// What NAT can not translate does not get out with its private source.
	b.none(b.in, packetTo(b.in, insideMAC, 47, inside4, outside4, []byte("GRE")), tun.Meta{}, dropNATProto)
}

func TestNATTable(t *testing.T) {
	b := newBench(t)
	send := func(port int) []output {
		return b.feed(b.in, packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(uint16(port), 53, "x")), tun.Meta{})
	}
	seen := make(map[uint16]bool)
	for i := range maxMappings {
		outs := send(i)
		if len(outs) != 1 {
			t.Fatalf("mapping %d: dropped", i)
		}
		src, _ := ports(l4Of(outs[0]))
		if seen[src] || src < firstNATPort {
			t.Fatalf("mapping %d: outside port %d", i, src)
		}
		seen[src] = true
	}
	if len(send(60000)) != 0 || b.core.counts[dropNATFull] != 1 {
		t.Errorf("one more than %d mappings", maxMappings)
	}
	b.clock.Advance(natUDPTimeout + 1)
	if len(send(60000)) != 1 || len(b.core.nat.inside) != 1 || len(b.core.nat.outside) != 1 {
		t.Errorf("%d mappings after all have expired", len(b.core.nat.inside))
	}
}

func TestNATTimeouts(t *testing.T) {
	const fin, syn, ack = 1, 2, 16
	for _, tt := range []struct {
		name  string
		proto uint8
		l4    []byte
		reply func(port uint16) []byte
		life  time.Duration
	}{
		{"udp", protoUDP, udp(5000, 53, "x"), func(p uint16) []byte { return udp(53, p, "") }, natUDPTimeout},
		{"tcp", protoTCP, tcp(5000, 53, syn, ""), func(p uint16) []byte { return tcp(53, p, ack, "") }, natTCPTimeout},
		{"tcp closing", protoTCP, tcp(5000, 53, fin|ack, ""), func(p uint16) []byte { return tcp(53, p, ack, "") }, natTCPClosing},
		{"echo", protoICMP, echo(icmpEcho, 5000, "x"), func(p uint16) []byte { return echo(icmpEchoReply, p, "") }, natICMPTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			o := b.one(b.in, packetTo(b.in, insideMAC, tt.proto, inside4, outside4, tt.l4), tun.Meta{}, b.out)
			port := quotedPort(ipOf(o), l4Of(o), 0)
			reply := packetTo(b.out, outsideMAC, tt.proto, outside4, natted4, tt.reply(port))
			b.clock.Advance(tt.life)
			b.core.learn(b.in, inside4, insideMAC, true)
			b.core.learn(b.out, outside4, outsideMAC, true)
			b.one(b.out, reply, tun.Meta{}, b.in)
			b.clock.Advance(1)
			before := b.core.counts[countForwarded]
			b.feed(b.out, reply, tun.Meta{})
			if b.core.counts[countForwarded] != before {
				t.Errorf("still open %v after the last packet from inside", tt.life+1)
			}
		})
	}
}

func fragmentsOf(f []byte, size int) [][]byte {
	ip := f[14:]
	payload := ip[ip4HeaderLen:]
	var frags [][]byte
	for at := 0; at < len(payload); at += size {
		end := min(at+size, len(payload))
		g := append(bytes.Clone(f[:14+ip4HeaderLen]), payload[at:end]...)
		binary.BigEndian.PutUint16(g[16:], uint16(len(g)-14))
		bits := uint16(at / 8)
		if end < len(payload) {
			bits |= flagMF
		}
		binary.BigEndian.PutUint16(g[20:], bits)
		putIP4Checksum(g[14:])
		frags = append(frags, g)
	}
	return frags
}

// TestNATFragments sends fragments out of order, which have to leave translated and in
// fragments again, and answers in fragments.
func TestNATFragments(t *testing.T) {
	b := newBench(t)
	payload := strings.Repeat("0123456789abcdef", 300)
	frags := fragmentsOf(packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(500, 53, payload)), 1480)
	frags[0], frags[2] = frags[2], frags[0]
	var outs []output
	for i, f := range frags {
		outs = b.feed(b.in, f, tun.Meta{})
		if i < len(frags)-1 && len(outs) != 0 {
			t.Fatalf("fragment %d went out by itself", i)
		}
	}
	if len(outs) != len(frags) {
		t.Fatalf("%d fragments out, want %d", len(outs), len(frags))
	}
	far := newBench(t) // puts together what came out
	far.out.prefixes = prefixes("198.51.100.80/24")
	var whole *packet
	for _, o := range outs {
		checkFrame(t, o)
		whole = far.core.reassemble(&packet{in: far.out, frame: o.frame})
	}
	if whole == nil {
		t.Fatal("the fragments make no datagram")
	}
	checkFrame(t, output{via: &iface{mac: b.out.mac, mtu: 65535}, frame: whole.frame})
	l4 := whole.ip()[ip4HeaderLen:]
	port, _ := ports(l4)
	if src4(whole.ip()) != natted4 || port == 500 || string(l4[8:]) != payload {
		t.Errorf("from %v port %d, %d octets", src4(whole.ip()), port, len(l4))
	}
	for i, f := range fragmentsOf(packetTo(b.out, outsideMAC, protoUDP, outside4, natted4, udp(53, port, payload)), 1480) {
		outs = b.feed(b.out, f, tun.Meta{})
		if i < len(frags)-1 && len(outs) != 0 {
			t.Fatalf("fragment %d came in by itself", i)
		}
	}
	if len(outs) != len(frags) || dst4(ipOf(outs[0])) != inside4 {
		t.Errorf("%d fragments in, want %d", len(outs), len(frags))
	}
}

func TestReassemblyLimits(t *testing.T) {
	b := newBench(t)
	piece := func(id, at, n int, more bool) []byte {
		f := packetTo(b.in, insideMAC, protoUDP, inside4, outside4, make([]byte, n))
		binary.BigEndian.PutUint16(f[18:], uint16(id))
		bits := uint16(at / 8)
		if more {
			bits |= flagMF
		}
		binary.BigEndian.PutUint16(f[20:], bits)
		putIP4Checksum(f[14:])
		return f
	}
	for id := range maxReassemblies + 5 {
		b.feed(b.in, piece(id, 0, 64, true), tun.Meta{})
		b.clock.Advance(time.Millisecond)
	}
	if n := len(b.core.frags.pending); n != maxReassemblies || b.core.counts[dropFragment] != 5 {
		t.Errorf("%d datagrams in the works, %d dropped", n, b.core.counts[dropFragment])
	}
	b.clock.Advance(reassemblyTimeout + 1)
	b.core.learn(b.out, outside4, outsideMAC, true)
	b.feed(b.in, piece(9999, 0, 64, true), tun.Meta{})
	if n := len(b.core.frags.pending); n != 1 {
		t.Errorf("%d datagrams after the time is up, want 1", n)
	}
	for i := range maxFragments - 1 {
		b.feed(b.in, piece(9999, 64+i*8, 8, true), tun.Meta{})
	}
	b.none(b.in, piece(9999, 64+maxFragments*8, 8, true), tun.Meta{}, dropFragment)
	b.feed(b.in, piece(1, 0, 64, true), tun.Meta{})
	b.none(b.in, piece(1, 56, 64, true), tun.Meta{}, dropFragment) // overlap
	b.feed(b.in, piece(2, 64, 8, false), tun.Meta{})
	b.none(b.in, piece(2, 128, 8, true), tun.Meta{}, dropFragment) // past the end
	b.none(b.in, piece(3, 65528, 64, false), tun.Meta{}, dropFragment)
	b.none(b.in, piece(4, 0, 60, true), tun.Meta{}, dropFragment) // not a multiple of 8
}

// TestRouterFragments forwards, without NAT, what the next link is too narrow for.
func TestRouterFragments(t *testing.T) {
	b := newBench(t)
	b.out.nat = false
	b.out.mtu = 600
	payload := strings.Repeat("x", 1400)
	outs := b.feed(b.in, packetTo(b.in, insideMAC, protoUDP, inside4, outside4, udp(500, 53, payload)), tun.Meta{})
	if len(outs) != 3 {
		t.Fatalf("%d fragments, want 3", len(outs))
	}
	n := 0
	for _, o := range outs {
		checkFrame(t, o)
		n += len(l4Of(o))
	}
	if n != 8+len(payload) {
		t.Errorf("%d octets in all", n)
	}
}

// TestRouterIPv6 forwards as it came, but for the hop limit.
func TestRouterIPv6(t *testing.T) {
	b := newBench(t)
	f := packetTo(b.in, insideMAC, protoTCP, inside6, outside6, tcp(500, 80, 2, ""))
	o := b.one(b.in, f, tun.Meta{}, b.out)
	want := bytes.Clone(f[14:])
	want[7]--
	if !bytes.Equal(ipOf(o), want) || mac(o.frame) != outsideMAC {
		t.Errorf("got %x, want %x", ipOf(o), want)
	}
}
