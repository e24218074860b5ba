package stack

import (
	"net"
	"strings"
	"testing"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// An address of one PvD that is the broadcast address of another's prefix is the one's on
// an Ethernet link, where frames tell the two uses apart, and refused on an IP link.
func TestAddressIsAnothersBroadcast(t *testing.T) {
	wide := pvd.Config{Name: "wide", Links: []string{"lab"}, Addresses: addresses("10.0.0.255/16")}
	narrow := pvd.Config{Name: "narrow", Addresses: addresses("10.0.0.2/24")}
	packet := udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.255:2"), "x")

	w := newWire(t, tun.Ethernet)
	b, a := w.add(wide), w.add(narrow)
	if v := w.classify(ethFrame(stranger, b.macOf(), ipv4.ProtocolNumber, packet)); v.why != delivered || v.to != b {
		t.Errorf("to its station: %v", v.why)
	}
	if v := w.classify(ethFrame(stranger, allStations, ipv4.ProtocolNumber, packet)); v.why != delivered || v.to != a {
		t.Errorf("to all stations: %v", v.why)
	}
	if v := w.classify(ethFrame(stranger, a.macOf(), ipv4.ProtocolNumber, packet)); v.why != delivered || v.to != a {
		t.Errorf("to the other's station: %v", v.why)
	}

	w = newWire(t, tun.IP)
	a = w.add(narrow)
	_, err := w.host.Add(t.Context(), wide)
	if err == nil || !strings.Contains(err.Error(), "wide") || !strings.Contains(err.Error(), "narrow") {
		t.Errorf("on an IP link: %v", err)
	}
	if v := w.classify(packet); v.why != delivered || v.to != a {
		t.Errorf("the broadcast: %v", v.why)
	}
}

// What comes from an IP link with the address of one of its PvDs has been reflected or
// made up, whichever PvD it is for.
func TestSourceOfAnotherPvDOnIPLink(t *testing.T) {
	w := newWire(t, tun.IP)
	w.add(pvd.Config{Name: "a", Addresses: addresses("10.0.0.2/24", "2001:db8:a::2/64")})
	w.add(pvd.Config{Name: "b", Addresses: addresses("10.0.0.3/24", "2001:db8:b::2/64")})
	for _, packet := range [][]byte{
		udpPacket(addrPort("10.0.0.2:1"), addrPort("10.0.0.3:2"), "x"),
		udpPacket(addrPort("10.0.0.2:1"), addrPort("10.0.0.255:2"), "x"),
		udpPacket(addrPort("10.0.0.2:1"), addrPort("224.0.0.1:2"), "x"),
		udpPacket(addrPort("[2001:db8:a::2]:1"), addrPort("[2001:db8:b::2]:2"), "x"),
		udpPacket(addrPort("[2001:db8:a::2]:1"), addrPort("[ff02::1]:2"), "x"),
	} {
		if v := w.classify(packet); v.why != dropMartian {
			t.Errorf("% x: %v", packet[:24], v.why)
		}
	}
}

// Addresses that mean nothing beyond a host, and stations that are none, are dropped both
// ways.
func TestNodeLocalStaysInside(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	p := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24", "2001:db8::2/64")})
	own := p.macOf()
	group := mac{3, 0, 0, 0, 0, 1}
	request := func(sender mac, from string) []byte {
		return ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, sender, ip(from), ip("10.0.0.2")))
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
	}{
		{"interface-local group", ethFrame(stranger, mac{0x33, 0x33, 0, 0, 0, 1}, ipv6.ProtocolNumber, udpPacket(addrPort("[fe80::9]:1"), addrPort("[ff01::1]:2"), "")), dropLoopbackDst},
		{"mapped source", ethFrame(stranger, own, ipv6.ProtocolNumber, udpPacket(addrPort("[::ffff:10.0.0.9]:1"), addrPort("[2001:db8::2]:2"), "")), dropMartian},
		{"mapped destination", ethFrame(stranger, own, ipv6.ProtocolNumber, udpPacket(addrPort("[2001:db8::9]:1"), addrPort("[::ffff:10.0.0.2]:2"), "")), dropLoopbackDst},
		{"broadcast source", ethFrame(stranger, own, ipv4.ProtocolNumber, udpPacket(addrPort("255.255.255.255:1"), addrPort("10.0.0.2:2"), "")), dropMartian},
		{"ARP from a group's station", request(group, "10.0.0.9"), dropMartian},
		{"ARP from 0/8", request(stranger, "0.1.2.3"), dropMartian},
		{"ARP from broadcast", request(stranger, "255.255.255.255"), dropMartian},
		{"ARP probe", request(stranger, "0.0.0.0"), delivered},
	} {
		if v := w.classify(tt.frame); v.why != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, v.why, tt.want)
		}
	}
	for _, dst := range []string{"127.0.0.1", "0.0.0.1"} {
		before := p.counted(dropBadDest)
		p.writeAndRelease(outgoing(dst))
		if p.counted(dropBadDest) != before+1 {
			t.Errorf("%s leaves", dst)
		}
	}
	for _, dst := range []string{"::1", "::", "ff01::1"} {
		if !neverLeaves(ip(dst)) {
			t.Errorf("%s leaves", dst)
		}
	}
}

// Where all PvDs have to use the link's own hardware address, addresses alone tell them
// apart, and nothing comes from ourselves.
func TestOneStationForAll(t *testing.T) {
	t.Parallel()
	w := newWireOf(t, tun.Ethernet, func(l tun.Link) tun.Link { return oneStation{l} })
	a := w.add(pvd.Config{Name: "a", Addresses: addresses("10.0.0.2/24", "2001:db8:a::2/64")})
	b := w.add(pvd.Config{Name: "b", Addresses: addresses("10.0.0.3/24", "2001:db8:b::2/64")})
	own := a.macOf()
	if own != mac(oneStation{}.HardwareAddr()) || b.macOf() != own {
		t.Fatalf("stations %v and %v", a.mac, b.mac)
	}
	both := ports{a, b}
	linkLocal := func(p *port) string {
		for _, i := range p.domain.plan.Load().addrs {
			if i.Automatic {
				return i.Prefix.Addr().String()
			}
		}
		return ""
	}
	request := func(sender, target string) []byte {
		return ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, ip(sender), ip(target)))
	}
	advert := func(dst, target string) []byte {
		m := header.ICMPv6(make([]byte, header.ICMPv6NeighborAdvertMinimumSize))
		m.SetType(header.ICMPv6NeighborAdvert)
		copy(m[8:], ip(target).AsSlice())
		return ethFrame(stranger, own, ipv6.ProtocolNumber, ipPacket(uint8(header.ICMPv6ProtocolNumber), ip("fe80::9"), ip(dst), m))
	}
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
		to    ports
	}{
		{"a's address", ethFrame(stranger, own, ipv4.ProtocolNumber, udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.2:2"), "")), delivered, ports{a}},
		{"b's address", ethFrame(stranger, own, ipv4.ProtocolNumber, udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.3:2"), "")), delivered, ports{b}},
		{"ourselves", ethFrame(own, own, ipv4.ProtocolNumber, udpPacket(addrPort("10.0.0.2:1"), addrPort("10.0.0.3:2"), "")), dropOwnMAC, nil},
		{"request for a", request("10.0.0.9", "10.0.0.2"), delivered, ports{a}},
		{"request of b's address for a", request("10.0.0.3", "10.0.0.2"), deliveredCopies, both},
		{"reply to b", ethFrame(stranger, own, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, ip("10.0.0.9"), ip("10.0.0.3"))), delivered, ports{b}},
		{"reply to nobody here", ethFrame(stranger, own, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, ip("10.0.0.9"), ip("10.0.0.4"))), dropNotOwned, nil},
		{"advertisement to a", advert(linkLocal(a), "fe80::9"), delivered, ports{a}},
		{"advertisement to b of a's address", advert(linkLocal(b), "2001:db8:a::2"), delivered, ports{b}},
	} {
		v := w.classify(tt.frame)
		got := ports(v.group)
		if v.to != nil {
			got = ports{v.to}
		}
		if v.why != tt.want || len(got) != len(tt.to) || len(got.filter(tt.to.has)) != len(tt.to) {
			t.Errorf("%s: %v to %d ports, want %v to %d", tt.name, v.why, len(got), tt.want, len(tt.to))
		}
	}
}

// oneStation is a link on which everybody uses one hardware address.
type oneStation struct{ tun.Link }

func (oneStation) HardwareAddr() net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 9, 9} }
