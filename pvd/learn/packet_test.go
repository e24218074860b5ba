package learn

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	server4 = netip.MustParseAddrPort("192.0.2.1:67")
	client4 = netip.MustParseAddrPort("192.0.2.9:68")
	server6 = netip.MustParseAddrPort("[fe80::1]:547")
	client6 = netip.MustParseAddrPort("[fe80::9]:546")
)

// ethernet puts a packet into a frame for everybody.
func ethernet(packet []byte) []byte {
	proto := uint16(etherIPv4)
	if packet[0]>>4 == 6 {
		proto = etherIPv6
	}
	f := append(bytes.Repeat([]byte{0xff}, 6), 2, 0, 0, 0, 0, 99)
	return append(binary.BigEndian.AppendUint16(f, proto), packet...)
}

// extend puts extension headers between an IPv6 header and what follows. Each begins with
// the type of the next, which is filled in.
func extend(packet []byte, types []byte, headers ...[]byte) []byte {
	p := slices.Clone(packet[:ipv6Len])
	last := p[6]
	p[6] = types[0]
	for i, h := range headers {
		h = slices.Clone(h)
		h[0] = last
		if i+1 < len(types) {
			h[0] = types[i+1]
		}
		p = append(p, h...)
	}
	p = append(p, packet[ipv6Len:]...)
	binary.BigEndian.PutUint16(p[4:], uint16(len(p)-ipv6Len))
	return p
}

func advertisement(t testing.TB) []byte {
	t.Helper()
	src, dst := netip.MustParseAddr("fe80::1"), netip.MustParseAddr("ff02::1")
	m, err := ra.Advertisement{}.Append(nil, src, dst)
	if err != nil {
		t.Fatal(err)
	}
	return append(appendIP(nil, src, dst, protoICMPv6, len(m)), m...)
}

func TestKindsOfFrames(t *testing.T) {
	v4 := packetOf(datagram{server4, client4, []byte("four")})
	v6 := packetOf(datagram{server6, client6, []byte("six")})
	options := make([]byte, 8)
	change := func(p []byte, at int, b ...byte) []byte {
		p = slices.Clone(p)
		copy(p[at:], b)
		return p
	}
	fragment := func(offset byte) []byte { return extend(v6, []byte{extFragment}, []byte{0, 0, 0, offset, 0, 0, 0, 1}) }
	tooMany := func() (types []byte, headers [][]byte) {
		for range maxExtensions + 1 {
			types, headers = append(types, extDestOpts), append(headers, options)
		}
		return types, headers
	}
	types, headers := tooMany()
	for _, c := range []struct {
		what   string
		packet []byte
		want   Kind
	}{
		{"DHCPv4", v4, DHCPv4},
		{"DHCPv4 to another port", change(v4, 22, 0, 67), Other},
		{"DHCPv4 by TCP", change(v4, 9, 6), Other},
		{"DHCPv4, the first fragment", change(v4, 6, 0x20), DHCPv4}, // nobody wants it
		{"DHCPv4, a later fragment", change(v4, 6, 0, 1), Other},
		{"DHCPv4 without a whole UDP header", v4[:ipv4Len+udpLen-1], Other},
		{"DHCPv4 with a header that is too short", change(v4, 0, 0x44), Other},
		{"DHCPv4 with options beyond its end", change(v4, 0, 0x4f), Other},
		{"DHCPv6", v6, DHCPv6},
		{"DHCPv6 to another port", change(v6, 42, 0x02, 0x23), Other},
		{"DHCPv6 behind options", extend(v6, []byte{extHopByHop, extDestOpts}, options, options), DHCPv6},
		{"DHCPv6 behind too many headers", extend(v6, types, headers...), Other},
		{"DHCPv6, the first fragment", fragment(1), DHCPv6},
		{"DHCPv6, a later fragment", fragment(8), Other},
		{"DHCPv6 without a whole UDP header", v6[:ipv6Len+udpLen-1], Other},
		{"an advertisement", advertisement(t), Advertisement},
		{"an advertisement behind options", extend(advertisement(t), []byte{extHopByHop}, options), Advertisement},
		{"a redirect", change(advertisement(t), ipv6Len, icmpRedirect), Redirect},
		{"an echo request", change(advertisement(t), ipv6Len, 128), Other},
		{"nothing behind the header", advertisement(t)[:ipv6Len], Other},
		{"a header cut short", v6[:ipv6Len-1], Other},
		{"an IPv4 header cut short", v4[:ipv4Len-1], Other},
		{"an option header cut short", extend(v6, []byte{extDestOpts}, options)[:ipv6Len+7], Other},
		{"a version that is none", change(v4, 0, 0x55), Other},
	} {
		if got := KindOf(false, c.packet); got != c.want {
			t.Errorf("%s: kind %d, want %d", c.what, got, c.want)
		}
		if got := KindOf(true, ethernet(c.packet)); got != c.want {
			t.Errorf("%s on Ethernet: kind %d, want %d", c.what, got, c.want)
		}
	}
	for what, f := range map[string][]byte{
		"nothing": nil, "a header cut short": ethernet(v4)[:13], "a header alone": ethernet(v4)[:etherLen],
		"IPv6 that says it is IPv4": change(ethernet(v6), 12, 8, 0), "IPv4 that says it is IPv6": change(ethernet(v4), 12, 0x86, 0xdd),
		"another protocol": change(ethernet(v4), 12, 0x88, 0xcc),
	} {
		if got := KindOf(true, f); got != Other {
			t.Errorf("%s: kind %d", what, got)
		}
	}
	if KindOf(true, change(ethernet(v4), 12, 8, 6)) != ARP {
		t.Error("ARP is not recognized")
	}
	for k := Other; k <= ARP; k++ {
		if want := k == Advertisement || k == DHCPv4 || k == DHCPv6; k.Consumed() != want {
			t.Errorf("kind %d consumed: %v", k, k.Consumed())
		}
	}
}

func TestDatagrams(t *testing.T) {
	payload := []byte("hello, of odd length!")
	v4 := packetOf(datagram{server4, client4, payload})
	v6 := packetOf(datagram{server6, client6, payload})
	good := func(what string, p []byte, want datagram) {
		t.Helper()
		if d, ok := udp(p); !ok || d.src != want.src || d.dst != want.dst || !bytes.Equal(d.payload, want.payload) {
			t.Errorf("%s: %v, %v", what, d, ok)
		}
	}
	good("IPv4", v4, datagram{server4, client4, payload})
	good("IPv6", v6, datagram{server6, client6, payload})
	good("IPv4 padded", append(slices.Clone(v4), 0, 0, 0), datagram{server4, client4, payload})
	good("IPv6 padded", append(slices.Clone(v6), 0, 0, 0), datagram{server6, client6, payload})
	good("nothing in it", packetOf(datagram{server6, client6, nil}), datagram{server6, client6, nil})
	options := make([]byte, 8)
	good("IPv6 with options", extend(v6, []byte{extHopByHop, extDestOpts}, options, options), datagram{server6, client6, payload})
	none := slices.Clone(v4)
	none[26], none[27] = 0, 0
	good("IPv4 without checksum", none, datagram{server4, client4, payload})

	// A checksum that comes out as 0 is sent as its other form (RFC 768).
	for n := range 1 << 16 {
		p := packetOf(datagram{server4, client4, []byte{byte(n >> 8), byte(n)}})
		if sum := binary.BigEndian.Uint16(p[26:]); sum == 0 {
			t.Fatal("a checksum of 0 stands for none")
		} else if sum == 0xffff {
			good("a checksum that comes out as 0", p, datagram{server4, client4, []byte{byte(n >> 8), byte(n)}})
			break
		}
	}

	bad := func(what string, p []byte) {
		t.Helper()
		if d, ok := udp(p); ok {
			t.Errorf("%s: taken for %v", what, d)
		}
	}
	for what, p := range map[string][]byte{"IPv4": v4, "IPv6": v6} {
		for n := range p {
			bad(what+" cut short", p[:n])
		}
		for at := range p {
			if what == "IPv6" && (at < 4 || at == 6 || at == 7) {
				continue // neither checksum covers it
			}
			flipped := slices.Clone(p)
			flipped[at] ^= 0x10
			bad(what+" damaged", flipped)
		}
	}
	change := func(p []byte, at int, b ...byte) []byte {
		p = slices.Clone(p)
		copy(p[at:], b)
		if p[0]>>4 == 4 {
			p[10], p[11] = 0, 0
			binary.BigEndian.PutUint16(p[10:], ^fold(sum(0, p[:ipv4Len])))
		}
		return p
	}
	bad("IPv4, more fragments", change(v4, 6, 0x20))
	bad("IPv4, a later fragment", change(v4, 6, 0, 1))
	bad("IPv4 by TCP", change(v4, 9, 6))
	bad("IPv4 of no length", change(v4, 2, 0, 0))
	bad("IPv4 with a length below its header's", change(v4, 2, 0, 19))
	bad("IPv4 with a UDP length beyond its end", change(v4, 24, 0, byte(len(v4)-ipv4Len+1)))
	bad("IPv4 with a UDP length below its header's", change(v4, 24, 0, 7))
	bad("IPv6 without checksum", change(v6, 46, 0, 0))
	bad("IPv6, an atomic fragment", extend(v6, []byte{extFragment}, options))
	bad("IPv6, a jumbogram", change(v6, 4, 0, 0))
	bad("a version that is none", change(v6, 0, 0x55))

	// A header that claims to be longer than the packet, in a frame that is long enough.
	long := extend(v6, []byte{extDestOpts}, append([]byte{0, 255}, make([]byte, 255*8+6)...))
	good("a long header", long, datagram{server6, client6, payload})
	bad("a header that ends beyond the packet", change(long, 4, 0, 64))
}

func TestICMPv6Packets(t *testing.T) {
	whole := advertisement(t)
	padded := append(slices.Clone(whole), 1, 2, 3)
	for what, p := range map[string][]byte{"whole": whole, "padded": padded} {
		got, ok := icmp6(p)
		if !ok || got.Src != netip.MustParseAddr("fe80::1") || got.HopLimit != 255 || got.Fragmented || !bytes.Equal(got.Message, whole[ipv6Len:]) {
			t.Errorf("%s: %+v, %v", what, got, ok)
		}
	}
	fragment := extend(whole, []byte{extFragment}, make([]byte, 8))
	if got, ok := icmp6(fragment); !ok || !got.Fragmented {
		t.Errorf("a fragment: %+v, %v", got, ok) // to be refused, with a remark
	}
	for n := range whole {
		if _, ok := icmp6(whole[:n]); ok {
			t.Errorf("cut to %d octets it is taken", n)
		}
	}
	long := extend(whole, []byte{extDestOpts}, append([]byte{0, 255}, make([]byte, 255*8+6)...))
	binary.BigEndian.PutUint16(long[4:], 64)
	if _, ok := icmp6(long); ok {
		t.Error("a header that ends beyond the packet")
	}
	if _, ok := icmp6(packetOf(datagram{server6, client6, nil})); ok {
		t.Error("UDP is taken for ICMPv6")
	}
	if _, ok := icmp6(packetOf(datagram{server4, client4, make([]byte, 64)})); ok {
		t.Error("IPv4 is taken for ICMPv6")
	}
}

func FuzzPackets(f *testing.F) {
	f.Add(true, ethernet(advertisement(f)))
	f.Add(true, ethernet(packetOf(datagram{server4, client4, []byte("x")})))
	f.Add(false, packetOf(datagram{server6, client6, []byte("x")}))
	long := extend(packetOf(datagram{server6, client6, nil}), []byte{extDestOpts}, append([]byte{0, 255}, make([]byte, 255*8+6)...))
	binary.BigEndian.PutUint16(long[4:], 64)
	f.Add(false, long)
	f.Add(false, extend(advertisement(f), []byte{extFragment}, make([]byte, 8)))
	f.Fuzz(func(t *testing.T, ether bool, frame []byte) {
		before := slices.Clone(frame)
		kind := KindOf(ether, frame)
		// What is told by the beginning does not depend on the rest.
		if head := frame[:min(256, len(frame))]; KindOf(ether, head) != kind && kind == Other {
			t.Errorf("the beginning is of kind %d, and all of it of none", KindOf(ether, head))
		}
		if d, ok := udp(frame); ok {
			if len(d.payload) > len(frame) || d.src.Addr().Is4() != d.dst.Addr().Is4() {
				t.Errorf("%v", d)
			}
			again, ok := udp(packetOf(d))
			if !ok || again.src != d.src || again.dst != d.dst || !bytes.Equal(again.payload, d.payload) {
				t.Errorf("%v became %v, %v", d, again, ok)
			}
		}
		if p, ok := icmp6(frame); ok && len(p.Message) > len(frame) {
			t.Errorf("%+v", p)
		}
		_, _ = ParseRedirect(ether, frame)
		if !bytes.Equal(before, frame) {
			t.Error("the frame has been changed")
		}
	})
}
