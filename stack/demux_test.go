package stack

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// wire is a host under test with one link, whose far end is the test's.
type wire struct {
	t    testing.TB
	host *Host
	far  tun.Link
	link *hostLink
}

func newWire(t testing.TB, layer tun.Layer) *wire {
	t.Helper()
	return newWireOf(t, layer, func(l tun.Link) tun.Link { return l })
}

// newWireOf is newWire with a link that is more than a pipe.
func newWireOf(t testing.TB, layer tun.Layer, wrap func(tun.Link) tun.Link) *wire {
	t.Helper()
	near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
	h, err := New(Config{Secret: []byte("for the test")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
		far.Close()
	})
	if err := h.AddLink("lab", wrap(near)); err != nil {
		t.Fatal(err)
	}
	l, _ := h.link("lab")
	return &wire{t: t, host: h, far: far, link: l}
}

// add attaches a PvD, ready for use, and returns its port on the wire.
func (w *wire) add(c pvd.Config) *port {
	w.t.Helper()
	return w.addAll(c)[0]
}

// addAll is add of several PvDs, whose addresses are found unique at the same time.
func (w *wire) addAll(cs ...pvd.Config) ports {
	w.t.Helper()
	refs := make([]pvd.Ref, len(cs))
	for i, c := range cs {
		c.Links = []string{"lab"}
		var err error
		if refs[i], err = w.host.Add(w.t.Context(), c); err != nil {
			w.t.Fatal(err)
		}
	}
	ps := make(ports, len(cs))
	for i, ref := range refs {
		if err := w.host.WaitReady(w.t.Context(), ref); err != nil {
			w.t.Fatal(err)
		}
		d, err := w.host.domain(ref)
		if err != nil {
			w.t.Fatal(err)
		}
		ps[i] = (*d.nics.Load())[0]
	}
	return ps
}

func (w *wire) classify(frame []byte) verdict { return w.link.table.Load().classify(frame) }

// answerARP answers requests for the given addresses, until the wire goes.
func (w *wire) answerARP(stations map[netip.Addr]mac) {
	go func() {
		buf := make([]byte, tun.MaxFrame)
		var m tun.Meta
		for {
			n, err := w.far.Recv([][]byte{buf}, &m)
			if err != nil {
				return
			}
			a := header.ARP(buf[tun.EthernetHeaderLen:n])
			if n < tun.EthernetHeaderLen+header.ARPSize || !a.IsValid() || a.Op() != header.ARPRequest {
				continue
			}
			if s, ok := stations[addr4(a.ProtocolAddressTarget())]; ok {
				reply := arpPacket(header.ARPReply, s, addr4(a.ProtocolAddressTarget()), addr4(a.ProtocolAddressSender()))
				_ = w.far.Send([][]byte{ethFrame(s, mac(buf[6:12]), arp.ProtocolNumber, reply)}, tun.Meta{})
			}
		}
	}()
}

// eventually waits for what another goroutine is about to bring about.
func eventually(holds func() bool) bool {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if holds() {
			return true
		}
	}
	return holds()
}

func addresses(prefixes ...string) []pvd.Address {
	as := make([]pvd.Address, len(prefixes))
	for i, p := range prefixes {
		as[i].Prefix = netip.MustParsePrefix(p)
	}
	return as
}

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

var (
	ip          = netip.MustParseAddr
	stranger    = mac{2, 0, 0, 0, 0, 0x66}
	allStations = mac{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

func TestClassifyEthernet(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	corp := w.add(pvd.Config{Name: "corp", Addresses: addresses("10.0.0.2/24", "2001:db8:a::2/64")})
	home := w.add(pvd.Config{Name: "home", Addresses: addresses("10.0.1.2/24", "2001:db8:b::2/64")})
	c, h := corp.macOf(), home.macOf()
	if c == h {
		t.Fatal("two PvDs share a hardware address")
	}
	peer, cip, hip := ip("10.0.0.9"), ip("10.0.0.2"), ip("10.0.1.2")
	solicited := func(s string) netip.Addr {
		return fromAddr(header.SolicitedNodeAddr(toAddr(ip(s))))
	}
	group := func(a netip.Addr) mac { return mac([]byte(header.EthernetAddressFromMulticastIPv6Address(toAddr(a)))) }
	udp := func(src, dst string) []byte { return udpPacket(addrPort(src), addrPort(dst), "x") }
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
		to    []*port
	}{
		{"own address", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.0.2:2")), delivered, []*port{corp}},
		{"own IPv6 address", ethFrame(stranger, h, ipv6.ProtocolNumber, udp("[2001:db8:b::9]:1", "[2001:db8:b::2]:2")), delivered, []*port{home}},
		{"another PvD's address at this station", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.1.2:2")), dropOtherMAC, nil},
		{"nobody's address", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.0.3:2")), dropNotOwned, nil},
		{"another station", ethFrame(stranger, mac{2, 1, 1, 1, 1, 1}, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.0.2:2")), dropOtherMAC, nil},
		{"one of our own stations", ethFrame(h, c, ipv4.ProtocolNumber, udp("10.0.1.2:1", "10.0.0.2:2")), dropOwnMAC, nil},
		{"loopback source", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("127.0.0.1:1", "10.0.0.2:2")), dropMartian, nil},
		{"loopback IPv6 source", ethFrame(stranger, c, ipv6.ProtocolNumber, udp("[::1]:1", "[2001:db8:a::2]:2")), dropMartian, nil},
		{"own source", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("10.0.0.2:1", "10.0.0.2:2")), dropMartian, nil},
		{"unspecified source", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("0.0.0.0:1", "10.0.0.2:2")), dropMartian, nil},
		{"source in 0/8", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("0.1.2.3:1", "10.0.0.2:2")), dropMartian, nil},
		{"multicast source", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("224.1.2.3:1", "10.0.0.2:2")), dropMartian, nil},
		{"loopback destination", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("10.0.0.9:1", "127.0.0.1:2")), dropLoopbackDst, nil},
		{"destination ::1", ethFrame(stranger, c, ipv6.ProtocolNumber, udp("[2001:db8:a::9]:1", "[::1]:2")), dropLoopbackDst, nil},
		{"unicast in a broadcast frame", ethFrame(stranger, allStations, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.0.2:2")), dropCastMismatch, nil},
		{"limited broadcast", ethFrame(stranger, allStations, ipv4.ProtocolNumber, udp("10.0.0.9:1", "255.255.255.255:2")), deliveredCopies, []*port{corp, home}},
		{"directed broadcast", ethFrame(stranger, allStations, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.1.255:2")), delivered, []*port{home}},
		{"all nodes", ethFrame(stranger, group(allNodes6), ipv6.ProtocolNumber, udp("[fe80::9]:1", "[ff02::1]:2")), deliveredCopies, []*port{corp, home}},
		{"a group nobody joined", ethFrame(stranger, group(ip("ff02::1234")), ipv6.ProtocolNumber, udp("[fe80::9]:1", "[ff02::1234]:2")), dropNotJoined, nil},
		{"solicitation of one", ethFrame(stranger, group(solicited("2001:db8:a::2")), ipv6.ProtocolNumber, solicitation(ip("fe80::9"), solicited("2001:db8:a::2"), ip("2001:db8:a::2"))), delivered, []*port{corp}},
		{"solicitation of nobody", ethFrame(stranger, group(solicited("2001:db8:a::2")), ipv6.ProtocolNumber, solicitation(ip("fe80::9"), solicited("2001:db8:a::2"), ip("2001:db8:c::2"))), dropNotJoined, nil},
		{"ARP request for one", ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, peer, cip)), delivered, []*port{corp}},
		{"ARP request for nobody", ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, peer, ip("10.0.0.3"))), dropNotOwned, nil},
		{"ARP reply to one station", ethFrame(stranger, h, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, ip("10.0.1.9"), hip)), delivered, []*port{home}},
		{"ARP reply for the other's address", ethFrame(stranger, h, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, peer, cip)), dropNotOwned, nil},
		{"ARP announcement", ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, peer, peer)), deliveredCopies, []*port{corp, home}},
		{"ARP for loopback", ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, peer, ip("127.0.0.1"))), dropMartian, nil},
		{"a group as the station", ethFrame(mac{3, 0, 0, 0, 0, 1}, c, ipv4.ProtocolNumber, udp("10.0.0.9:1", "10.0.0.2:2")), dropMartian, nil},
		{"VLAN", ethFrame(stranger, c, 0x8100, append([]byte{0, 10, 8, 0}, udp("10.0.0.9:1", "10.0.0.2:2")...)), dropVLAN, nil},
		{"another protocol", ethFrame(stranger, c, 0x88cc, make([]byte, 46)), dropProtocol, nil},
		{"IPv6 under IPv4's type", ethFrame(stranger, c, ipv4.ProtocolNumber, udp("[2001:db8:a::9]:1", "[2001:db8:a::2]:2")), dropMalformed, nil},
		{"short", []byte{1, 2, 3}, dropMalformed, nil},
		{"header only", ethFrame(stranger, c, ipv4.ProtocolNumber, nil), dropMalformed, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := w.classify(tt.frame)
			got := ports(v.group)
			if v.to != nil {
				got = ports{v.to}
			}
			same := len(got) == len(tt.to)
			for _, p := range tt.to {
				same = same && got.has(p)
			}
			if v.why != tt.want || !same {
				t.Errorf("%v to %d ports, want %v to %d", v.why, len(got), tt.want, len(tt.to))
			}
		})
	}
}

func TestClassifyIP(t *testing.T) {
	w := newWire(t, tun.IP)
	p := w.add(pvd.Config{Name: "corp", Addresses: addresses("10.0.0.2/24", "2001:db8::2/64")})
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
	}{
		{"own address", udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.2:2"), ""), delivered},
		{"own IPv6 address", udpPacket(addrPort("[2001:db8::9]:1"), addrPort("[2001:db8::2]:2"), ""), delivered},
		{"nobody's address", udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.3:2"), ""), dropNotOwned},
		{"martian", udpPacket(addrPort("127.0.0.1:1"), addrPort("10.0.0.2:2"), ""), dropMartian},
		{"empty", nil, dropMalformed},
		{"version 5", []byte{0x50, 0, 0, 0}, dropMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if v := w.classify(tt.frame); v.why != tt.want || v.why == delivered && v.to != p {
				t.Errorf("%v, want %v", v.why, tt.want)
			}
		})
	}
}

// Two PvDs with the same address on one Ethernet link hear their own router only.
func TestClassifyEqualAddresses(t *testing.T) {
	macA, macB := mac{2, 0, 0, 0, 0, 0xa}, mac{2, 0, 0, 0, 0, 0xb}
	route := func(via string) []pvd.Route {
		return []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: ip(via)}}
	}
	t.Run("configured", func(t *testing.T) {
		w := newWire(t, tun.Ethernet)
		neighbor := func(m mac) []pvd.Neighbor {
			return []pvd.Neighbor{{Addr: ip("192.168.1.1"), MAC: m[:]}}
		}
		a := w.add(pvd.Config{Name: "a", Addresses: addresses("192.168.1.2/24"), Routes: route("192.168.1.1"), Neighbors: neighbor(macA)})
		b := w.add(pvd.Config{Name: "b", Addresses: addresses("192.168.1.2/24"), Routes: route("192.168.1.1"), Neighbors: neighbor(macB)})
		checkApart(t, w, a, b, macA, macB, "192.168.1.1")
	})
	t.Run("learned", func(t *testing.T) {
		w := newWire(t, tun.Ethernet)
		a := w.add(pvd.Config{Name: "a", Addresses: addresses("192.168.1.2/24"), Routes: route("192.168.1.1")})
		b := w.add(pvd.Config{Name: "b", Addresses: addresses("192.168.1.2/24"), Routes: route("192.168.1.254")})
		w.answerARP(map[netip.Addr]mac{ip("192.168.1.1"): macA, ip("192.168.1.254"): macB})
		for m, p := range map[mac]*port{macA: a, macB: b} {
			if !eventually(func() bool { return w.link.table.Load().hears(p, m) }) {
				t.Errorf("station %v has not been learned", m)
			}
		}
		checkApart(t, w, a, b, macA, macB, "192.168.1.1")
		// A station that is both PvDs' router tells nothing any more.
		w.link.learn(b, ip("192.168.1.254"), macA)
		if v := w.classify(ethFrame(macA, a.macOf(), ipv4.ProtocolNumber, udpPacket(addrPort("8.8.8.8:1"), addrPort("192.168.1.2:2"), ""))); v.why != dropUnknownMAC {
			t.Errorf("from a station of two PvDs: %v", v.why)
		}
	})
}

func checkApart(t *testing.T, w *wire, a, b *port, macA, macB mac, router string) {
	t.Helper()
	packet := udpPacket(addrPort("8.8.8.8:53"), addrPort("192.168.1.2:4000"), "")
	request := func(m mac) []byte { return arpPacket(header.ARPRequest, m, ip(router), ip("192.168.1.2")) }
	for _, tt := range []struct {
		name  string
		frame []byte
		want  reason
		to    *port
	}{
		{"from a's router", ethFrame(macA, a.macOf(), ipv4.ProtocolNumber, packet), delivered, a},
		{"from b's router", ethFrame(macB, b.macOf(), ipv4.ProtocolNumber, packet), delivered, b},
		// It has heard a's requests, and taken a's station for that of the address.
		{"from b's router to a's station", ethFrame(macB, a.macOf(), ipv4.ProtocolNumber, packet), delivered, b},
		{"probe of b's router to a's station", ethFrame(macB, a.macOf(), arp.ProtocolNumber, request(macB)), delivered, b},
		{"from b's router to a stranger's station", ethFrame(macB, stranger, ipv4.ProtocolNumber, packet), dropOtherMAC, nil},
		{"from a stranger", ethFrame(stranger, a.macOf(), ipv4.ProtocolNumber, packet), dropUnknownMAC, nil},
		{"request of a's router", ethFrame(macA, allStations, arp.ProtocolNumber, request(macA)), delivered, a},
		{"request of b's router", ethFrame(macB, allStations, arp.ProtocolNumber, request(macB)), delivered, b},
		{"request of a stranger", ethFrame(stranger, allStations, arp.ProtocolNumber, request(stranger)), dropUnknownMAC, nil},
	} {
		if v := w.classify(tt.frame); v.why != tt.want || v.to != tt.to {
			t.Errorf("%s: %v, to the right one %v; want %v", tt.name, v.why, v.to == tt.to, tt.want)
		}
	}
}

// What can not be told apart is refused, both PvDs are named, and nothing of the second
// one remains.
func TestIndistinctPvDsAreRefused(t *testing.T) {
	one := []pvd.Neighbor{{Addr: ip("192.168.1.1"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0xa}}}
	via := func(s string) []pvd.Route {
		return []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: ip(s)}}
	}
	for _, tt := range []struct {
		name          string
		layer         tun.Layer
		first, second pvd.Config
		want          string
	}{
		{"IP link", tun.IP, pvd.Config{}, pvd.Config{}, "IP link"},
		{"no router", tun.Ethernet, pvd.Config{}, pvd.Config{}, "router of its own"},
		{"one router", tun.Ethernet, pvd.Config{Routes: via("192.168.1.1")}, pvd.Config{Routes: via("192.168.1.1")}, "router of its own"},
		{"one station", tun.Ethernet, pvd.Config{Neighbors: one}, pvd.Config{Neighbors: one}, "both have the neighbour"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWire(t, tt.layer)
			for _, c := range []*pvd.Config{&tt.first, &tt.second} {
				c.Links, c.Addresses = []string{"lab"}, addresses("192.168.1.2/24")
			}
			tt.first.Name, tt.second.Name = "corp", "home"
			if _, err := w.host.Add(t.Context(), tt.first); err != nil {
				t.Fatal(err)
			}
			_, err := w.host.Add(t.Context(), tt.second)
			if err == nil {
				t.Fatal("accepted")
			}
			for _, s := range []string{"corp", "home", "192.168.1.2", tt.want} {
				if !strings.Contains(err.Error(), s) {
					t.Errorf("%q does not say %q", err, s)
				}
			}
			if n := len(w.host.List()); n != 1 {
				t.Errorf("%d PvDs remain", n)
			}
			if n := len(w.link.table.Load().ports); n != 1 {
				t.Errorf("%d ports remain", n)
			}
		})
	}
}

func FuzzClassify(f *testing.F) {
	for _, frame := range [][]byte{
		ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, ip("10.0.0.9"), ip("10.0.0.2"))),
		ethFrame(stranger, allStations, ipv4.ProtocolNumber, udpPacket(addrPort("10.0.0.9:1"), addrPort("10.0.0.255:2"), "x")),
		ethFrame(stranger, mac{0x33, 0x33, 0, 0, 0, 1}, ipv6.ProtocolNumber, solicitation(ip("fe80::9"), ip("ff02::1:ff00:2"), ip("2001:db8::2"))),
	} {
		f.Add(uint8(tun.Ethernet), frame)
		f.Add(uint8(tun.IP), frame[tun.EthernetHeaderLen:])
	}
	links := map[tun.Layer]*wire{}
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		w := newWire(f, layer)
		w.addAll(
			pvd.Config{Name: "a", Addresses: addresses("10.0.0.2/24", "2001:db8::2/64")},
			pvd.Config{Name: "b", Addresses: addresses("10.0.1.2/24", "2001:db8:1::2/64")},
		)
		links[layer] = w
	}
	f.Fuzz(func(t *testing.T, layer uint8, frame []byte) {
		w, ok := links[tun.Layer(layer%2+1)]
		if !ok || len(frame) > tun.MaxFrame {
			return
		}
		v := w.classify(frame[:min(len(frame), headLen)])
		if (v.why == delivered) != (v.to != nil) || (v.why == deliveredCopies) != (len(v.group) > 1) {
			t.Errorf("verdict contradicts itself: %+v", v)
		}
		if dst, ok := destination(frame, w.link.table.Load().layer); ok && v.to != nil && v.proto != arp.ProtocolNumber &&
			!dst.IsMulticast() && dst != limitedBroadcast && w.link.table.Load().broadcasts[dst] == nil && !v.to.owns(dst) {
			t.Errorf("a packet to %v for a PvD that does not have it", dst)
		}
		// The whole way, through both stacks, with and without the link's word for the
		// checksums.
		for _, m := range []tun.Meta{{}, {Flags: tun.DataValid}, {Flags: tun.NeedsCsum, CsumStart: 34, CsumOffset: 6}} {
			if err := w.far.Send([][]byte{frame}, m); err != nil && !errors.Is(err, tun.ErrFull) && len(frame) > 0 {
				return // longer than the link carries
			}
		}
	})
}

// destination reads where a packet goes to without the code under test.
func destination(frame []byte, layer tun.Layer) (netip.Addr, bool) {
	if layer == tun.Ethernet {
		frame = frame[min(len(frame), tun.EthernetHeaderLen):]
	}
	switch {
	case len(frame) >= header.IPv4MinimumSize && frame[0]>>4 == 4:
		return netip.AddrFromSlice(frame[16:20])
	case len(frame) >= header.IPv6MinimumSize && frame[0]>>4 == 6:
		return netip.AddrFromSlice(frame[24:40])
	}
	return netip.Addr{}, false
}

// What is remembered of a packet is true of the next one, or not used.
func TestClassifyNext(t *testing.T) {
	t.Parallel()
	for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
		w := newWire(t, layer)
		a := w.add(pvd.Config{Name: "a", Addresses: addresses("10.0.0.2/24", "2001:db8::2/64")})
		b := w.add(pvd.Config{Name: "b", Addresses: addresses("10.0.1.2/24", "2001:db8:1::2/64")})
		group := ip("239.1.2.3")
		frames := w.mixture(group, a.macOf(), b.macOf())
		now := w.link.table.Load
		weak, shared, rivals := *now(), *now(), *now()
		weak.elsewhere = map[portAddr]*port{{a, ip("10.0.9.2")}: b}
		shared.shared = map[netip.Addr]*sharing{ip("10.0.9.2"): {}}
		rivals.rivals = map[*port]ports{a: nil}
		for name, table := range map[string]linkTable{"": *now(), "a weak host": weak, "a shared address": shared, "rivals": rivals} {
			rng := rand.New(rand.NewPCG(0, 0))
			joined := false
			for i := range 20_000 {
				if i%100 == 0 {
					change := a.domain.stk.JoinGroup
					if joined {
						change = a.domain.stk.LeaveGroup
					}
					if err := change(ipv4.ProtocolNumber, a.nic, toAddr(group)); err != nil {
						t.Fatal(err)
					}
					joined = !joined
				}
				frame := frames[rng.IntN(len(frames))]
				for range 1 + rng.IntN(2) {
					got, want := table.classifyNext(frame), table.classify(frame)
					if got.why != want.why || got.to != want.to || got.proto != want.proto || got.cast != want.cast || got.ip != want.ip ||
						!slices.Equal(got.group, want.group) {
						t.Fatalf("%v, %s: %x: %+v, want %+v", layer, name, frame, got, want)
					}
				}
			}
			if used := table.last.verdict.to != nil; used != (name == "") {
				t.Errorf("%v, %s: it is remembered: %v", layer, name, used)
			}
		}
	}
}

// mixture returns packets of all kinds, on Ethernet between strangers, stations of the
// host's and groups.
func (w *wire) mixture(group netip.Addr, stations ...mac) (frames [][]byte) {
	ends := []netip.Addr{
		ip("10.0.0.2"), ip("10.0.1.2"), ip("10.0.0.255"), ip("10.0.0.77"), ip("8.8.8.8"), ip("127.0.0.1"), group, ip("0.0.0.0"),
		ip("2001:db8::2"), ip("2001:db8:1::2"), ip("2001:db8::9"), ip("ff02::1"),
	}
	stations = append(stations, stranger, allStations)
	for _, src := range ends {
		for _, dst := range ends {
			if src.Is4() != dst.Is4() {
				continue
			}
			packet := udpPacket(netip.AddrPortFrom(src, 1), netip.AddrPortFrom(dst, 2), "x")
			if w.link.link.Layer() == tun.IP {
				frames = append(frames, packet)
				continue
			}
			for _, to := range stations {
				frames = append(frames, ethFrame(stranger, to, protocolOf(dst), packet), ethFrame(to, stations[0], protocolOf(dst), packet))
			}
		}
	}
	question := arpPacket(header.ARPRequest, stranger, ip("10.0.0.9"), ip("10.0.0.2"))
	return append(frames, nil, []byte{0x45}, frames[0][:19], ethFrame(stranger, allStations, arp.ProtocolNumber, question), ethFrame(stranger, stations[0], 0x8100, question))
}
