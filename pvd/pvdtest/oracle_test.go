package pvdtest

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// arpFrame is an ARP message from a station about addresses.
func arpFrame(from, sha mac, sender, target string) []byte {
	ifc := &iface{mac: from}
	f := ifc.newFrame(broadcastMAC, etherARP, arpLen)
	b := f[14:]
	copy(b, []byte{0, 1, 8, 0, 6, 4, 0, arpRequest})
	copy(b[8:], sha[:])
	copy(b[14:], netip.MustParseAddr(sender).AsSlice())
	copy(b[24:], netip.MustParseAddr(target).AsSlice())
	return f
}

// TestSenders is the oracle by itself: which frames it objects to.
func TestSenders(t *testing.T) {
	const x, y = pvd.Ref(16), pvd.Ref(17)
	macX, macY := mac{2, 0, 0, 0, 0, 0xa}, mac{2, 0, 0, 0, 0, 0xb}
	addr := netip.MustParseAddr
	owned := map[pvd.Ref]map[netip.Addr]bool{
		x: {addr("192.168.1.2"): true, addr("2001:db8::2"): true, addr("fe80::a"): true},
		y: {addr("192.168.1.3"): true, addr("fe80::b"): true},
	}
	router := &iface{mac: mac{2, 0, 0, 0, 0, 1}}
	pkt := func(from mac, proto uint8, src, dst string, l4 []byte) []byte {
		return packetTo(router, from, proto, addr(src), addr(dst), l4)
	}
	nd := func(from mac, typ, flags byte, target, src, dst string) []byte {
		ifc := &iface{mac: from}
		return ifc.ndPacket(typ, flags, addr(target), addr(src), addr(dst), router.mac, optTargetLL)
	}
	ours := []([]byte){
		pkt(macX, protoTCP, "192.168.1.2", "10.0.0.1", tcp(1, 2, 2, "")),
		pkt(macX, protoTCP, "2001:db8::2", "2001:db8:9::1", tcp(1, 2, 2, "")),
		pkt(macY, protoUDP, "192.168.1.3", "255.255.255.255", udp(1, 2, "")),
		pkt(macX, protoUDP, "0.0.0.0", "255.255.255.255", udp(68, 67, "discover")),
		pkt(macX, 2, "0.0.0.0", "224.0.0.22", []byte("a membership report")),
		arpFrame(macX, macX, "0.0.0.0", "192.168.1.2"),
		arpFrame(macX, macX, "192.168.1.2", "192.168.1.1"),
		nd(macX, ndSolicit, 0, "2001:db8::2", "::", "ff02::1:ff00:2"),
		nd(macX, ndSolicit, 0, "2001:db8::1", "fe80::a", "ff02::1:ff00:1"),
		nd(macX, ndAdvertise, ndSolicited, "2001:db8::2", "2001:db8::2", "2001:db8::1"),
		pkt(macY, protoICMPv6, "::", "ff02::2", echo(133, 0, "")),
		pkt(macY, protoICMPv6, "::", "ff02::16", echo(143, 0, "")),
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  string
	}{
		{"foreign IPv4", pkt(macX, protoUDP, "10.9.9.9", "10.0.0.1", udp(1, 2, "")), "IPv4 from 10.9.9.9"},
		{"foreign IPv6", pkt(macX, protoUDP, "2001:db8:bad::1", "2001:db8::1", udp(1, 2, "")), "IPv6 from 2001:db8:bad::1"},
		{"another PvD's", pkt(macX, protoUDP, "192.168.1.3", "10.0.0.1", udp(1, 2, "")), "different PvDs"},
		{"from loopback", pkt(macX, protoUDP, "127.0.0.1", "10.0.0.1", udp(1, 2, "")), "IPv4 from 127.0.0.1"},
		{"to loopback", pkt(macX, protoUDP, "192.168.1.2", "127.0.0.1", udp(1, 2, "")), "a packet to 127.0.0.1"},
		{"to loopback 6", pkt(macX, protoUDP, "2001:db8::2", "::1", udp(1, 2, "")), "a packet to ::1"},
		{"to this network", pkt(macX, protoUDP, "192.168.1.2", "0.0.0.0", udp(1, 2, "")), "a packet to 0.0.0.0"},
		{"no source", pkt(macX, protoUDP, "0.0.0.0", "10.0.0.1", udp(1, 2, "")), "needs a source"},
		{"no source 6", pkt(macX, protoUDP, "::", "ff02::1", udp(1, 2, "")), "needs a source"},
		{"ARP sender", arpFrame(macX, macX, "10.9.9.9", "192.168.1.1"), "ARP from 10.9.9.9"},
		{"ARP probe", arpFrame(macX, macX, "0.0.0.0", "10.9.9.9"), "ARP from 10.9.9.9"},
		{"ARP loopback", arpFrame(macX, macX, "192.168.1.2", "127.0.0.1"), "about 127.0.0.1"},
		{"ARP station", arpFrame(macX, macY, "192.168.1.2", "192.168.1.1"), "another station"},
		{"NA", nd(macX, ndAdvertise, 0, "2001:db8::77", "2001:db8::2", "ff02::1"), "NA from 2001:db8::77"},
		{"DAD", nd(macX, ndSolicit, 0, "2001:db8::77", "::", "ff02::1:ff00:77"), "NA from 2001:db8::77"},
		{"type", (&iface{mac: macX}).newFrame(broadcastMAC, 0x88cc, 40), "type 0x88cc"},
		{"short", []byte("short"), "too short"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSenders()
			for _, f := range ours {
				s.observe(tun.Out, [][]byte{f}, tun.Meta{})
			}
			if bad := s.violations(owned); len(bad) != 0 {
				t.Fatalf("objects to what is right: %s", strings.Join(bad, "\n"))
			}
			// In pieces, as a stack sends them.
			s.observe(tun.Out, [][]byte{tt.frame[:2], tt.frame[2:]}, tun.Meta{})
			bad := s.violations(owned)
			if len(bad) != 1 || !strings.Contains(bad[0], tt.want) {
				t.Errorf("%q, want one with %q", bad, tt.want)
			}
		})
	}
}

func TestSendersLimit(t *testing.T) {
	s := newSenders()
	for i := range maxSources + 1 {
		f := arpFrame(mac{2, 0, 0, 0, byte(i >> 8), byte(i)}, mac{}, "0.0.0.0", "10.0.0.1")
		s.observe(tun.Out, [][]byte{f}, tun.Meta{})
	}
	if bad := s.violations(nil); len(s.seen) != maxSources || !strings.Contains(bad[0], "too many") {
		t.Errorf("%d senders, %q", len(s.seen), bad[0])
	}
}
