package stack

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// leased is an address that PvDs share, in the prefix of theirs.
const leased = "10.0.0.1"

func leaseOf(name string) pvd.Config {
	c := pvd.Config{Name: name, Links: []string{"lab"}, Addresses: addresses(leased + "/24")}
	c.Addresses[0].Shared = true
	return c
}

// share attaches n PvDs that share an address and returns their ports on the wire.
func (w *wire) share(n int) ports {
	w.t.Helper()
	var ps ports
	for range n {
		ps = append(ps, w.add(leaseOf(fmt.Sprintf("pvd%d", len(ps)))))
	}
	return ps
}

// drain takes what is sent off the wire.
func (w *wire) drain() { w.each(func([]byte) {}) }

// each shows what is sent, one frame at a time, until the wire goes.
func (w *wire) each(see func(frame []byte)) {
	go func() {
		buf := make([]byte, tun.MaxFrame)
		for {
			n, err := w.far.Recv([][]byte{buf}, new(tun.Meta))
			if err != nil {
				return
			}
			see(buf[:n])
		}
	}()
}

func (w *wire) in(p *port) *Network { return w.host.In(p.domain.ref) }

// listenUDP opens a socket at a port of the shared address.
func (w *wire) listenUDP(p *port, at string) *UDPConn {
	w.t.Helper()
	c, err := w.in(p).ListenPacket(w.t.Context(), "udp4", at)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c.(*UDPConn)
}

func (w *wire) dialUDP(p *port, from, to string) *UDPConn {
	w.t.Helper()
	c, err := w.in(p).DialFrom(w.t.Context(), "udp4", from, to)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	return c.(*UDPConn)
}

func portOf(c net.PacketConn) uint16 { return addrPortOf(c.LocalAddr()).Port() }

// All who have the address on the link have to say so, else it is a conflict as ever; and
// to say so no longer is one too.
func TestSharedByAllOrNone(t *testing.T) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		w := newWire(t, layer)
		p := w.add(leaseOf("a"))
		alone := leaseOf("b")
		alone.Addresses[0].Shared = false
		if _, err := w.host.Add(t.Context(), alone); err == nil || !strings.Contains(err.Error(), "PvDs b and a both have 10.0.0.1") && !strings.Contains(err.Error(), "PvDs a and b both have 10.0.0.1") {
			t.Errorf("%v: %v", layer, err)
		}
		w.add(leaseOf("b"))
		alone.Name = "a"
		if err := w.host.Update(t.Context(), p.domain.ref, alone); err == nil {
			t.Errorf("%v: an Update that no longer shares", layer)
		}
		if got := rangeOf(p); got != "16000-40767" {
			t.Errorf("%v: then %s", layer, got)
		}
	}
}

// udpTo, tcpTo and icmpTo return packets to the shared address.
func udpTo(port uint16, from string) []byte {
	return udpPacket(addrPort(from), netip.AddrPortFrom(ip(leased), port), "x")
}

func tcpTo(port uint16, from string) []byte {
	h := make(header.TCP, header.TCPMinimumSize)
	h.Encode(&header.TCPFields{SrcPort: addrPort(from).Port(), DstPort: port, DataOffset: header.TCPMinimumSize, Flags: header.TCPFlagSyn})
	return ipPacket(uint8(header.TCPProtocolNumber), addrPort(from).Addr(), ip(leased), h)
}

func icmpTo(typ header.ICMPv4Type, ident uint16, from string, quoted []byte) []byte {
	h := make(header.ICMPv4, header.ICMPv4MinimumSize, header.ICMPv4MinimumSize+len(quoted))
	h.SetType(typ)
	h.SetIdent(ident)
	return ipPacket(uint8(header.ICMPv4ProtocolNumber), ip(from), ip(leased), append(h, quoted...))
}

// quote returns the beginning of a packet from the shared address, as an error has it.
func quote(packet []byte) []byte { return packet[:header.IPv4MinimumSize+8] }

// fragment returns the piece of an IPv4 packet with the given payload that begins at offset.
func fragment(id uint16, offset int, more bool, packet []byte) []byte {
	b := append([]byte(nil), packet...)
	h := header.IPv4(b)
	h.SetID(id)
	var flags uint8
	if more {
		flags = header.IPv4FlagMoreFragments
	}
	h.SetFlagsFragmentOffset(flags, uint16(offset))
	h.SetChecksum(0)
	h.SetChecksum(^h.CalculateChecksum())
	return b
}

// whoGets returns the indexes of the ports that get a packet, among ps.
func (w *wire) whoGets(ps ports, packet []byte) string {
	frame := packet
	if w.link.link.Layer() == tun.Ethernet {
		frame = ethFrame(stranger, ps[0].macOf(), ipv4.ProtocolNumber, packet)
	}
	return given(ps, w.classify(frame))
}

func given(ps ports, v verdict) string {
	switch v.why {
	case delivered:
		return fmt.Sprint([]int{slices.Index(ps, v.to)})
	case deliveredCopies:
		var all []int
		for _, p := range v.group {
			all = append(all, slices.Index(ps, p))
		}
		slices.Sort(all)
		return fmt.Sprint(all)
	default:
		return v.why.String()
	}
}

// Whose a packet to a shared address is, by each of the rules.
func TestClassifyShared(t *testing.T) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		t.Run(fmt.Sprint(layer), func(t *testing.T) {
			w := newWire(t, layer)
			w.drain()
			ps := w.share(3) // 16000-32511, 32512-49023, 49024-65535
			const peer, peer2, nobody = "10.0.0.9:53", "10.0.0.9:54", "10.0.0.8:53"
			w.dialUDP(ps[1], ":500", peer)
			w.listenUDP(ps[2], ":500")
			w.listenUDP(ps[1], ":600")
			w.listenUDP(ps[2], ":600")
			w.listenUDP(ps[0], ":50000") // among those of the third
			w.listenUDP(ps[0], ":50001")
			w.listenUDP(ps[2], ":50001")
			w.dialUDP(ps[0], ":50002", peer)
			listener, err := w.in(ps[1]).Listen(t.Context(), "tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			from := func(port uint16, to string) []byte {
				return udpPacket(netip.AddrPortFrom(ip(leased), port), addrPort(to), "")
			}
			for _, tt := range []struct {
				name   string
				packet []byte
				want   string
			}{
				{"a connection", udpTo(500, peer), "[1]"},
				{"not the connection's peer", udpTo(500, peer2), "[2]"},
				{"not the connection's peer either", udpTo(500, nobody), "[2]"},
				{"two sockets at one port", udpTo(600, peer), "[1]"},
				{"nobody's port", udpTo(700, peer), "[0]"},
				{"the first's range", udpTo(16000, peer), "[0]"},
				{"the second's range", udpTo(32512, peer), "[1]"},
				{"the third's range", udpTo(65535, peer), "[2]"},
				{"a socket at a port of another one's range", udpTo(50000, peer), "[0]"},
				{"and one at its own", udpTo(50001, peer), "[2]"},
				{"a connection at a port of another one's range", udpTo(50002, peer), "[0]"},
				{"not that connection's peer", udpTo(50002, peer2), "[2]"},
				{"a TCP listener", tcpTo(80, peer), "[1]"},
				{"that port of UDP", udpTo(80, peer), "[0]"},
				{"TCP to the third's range", tcpTo(60000, peer), "[2]"},
				{"a connection's error", icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.7", quote(from(500, peer))), "[1]"},
				{"the error of a port", icmpTo(header.ICMPv4TimeExceeded, 0, "10.0.0.7", quote(from(40000, nobody))), "[1]"},
				{"an error without ports", icmpTo(header.ICMPv4TimeExceeded, 0, "10.0.0.7", quote(from(40000, nobody))[:24]), "[0]"},
				{"an error about a later fragment", icmpTo(header.ICMPv4TimeExceeded, 0, "10.0.0.7", quote(fragment(1, 800, false, from(40000, nobody)))), "[0]"},
				{"an echo request", icmpTo(header.ICMPv4Echo, 40000, "10.0.0.9", nil), "[0]"},
				{"an echo reply", icmpTo(header.ICMPv4EchoReply, 40000, "10.0.0.9", nil), "[1]"},
				{"the error of an echo request", icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.7",
					quote(ipPacket(1, ip(leased), ip("10.0.0.9"), []byte{8, 0, 0, 0, 0xf0, 0, 0, 1}))), "[2]"},
				{"another protocol", ipPacket(47, ip("10.0.0.9"), ip(leased), make([]byte, 8)), "[0]"},
				{"cut short", udpTo(40000, peer)[:24], "[0]"},
				{"from itself", udpPacket(addrPort(leased+":1"), addrPort(leased+":40000"), ""), "martian"},
			} {
				if got := w.whoGets(ps, tt.packet); got != tt.want {
					t.Errorf("%s: to %s, want %s", tt.name, got, tt.want)
				}
			}
		})
	}
}

// Later fragments go where the first one went, and to all while that has not been seen.
func TestSharedFragments(t *testing.T) {
	w := newWire(t, tun.IP)
	ps := w.share(2)
	first := func(id, port uint16) []byte { return fragment(id, 0, true, udpTo(port, "10.0.0.9:53")) }
	later := func(id uint16, more bool) []byte { return fragment(id, 800, more, udpTo(7, "10.0.0.9:7")) }
	for _, tt := range []struct {
		name   string
		packet []byte
		want   string
	}{
		{"the last one of the first's", later(1, false), "[0 1]"},
		{"the first one", first(1, 50000), "[1]"},
		{"one between", later(1, true), "[1]"},
		{"the last one again", later(1, false), "[1]"},
		{"another datagram's", later(2, true), "[0 1]"},
		{"its first one", first(2, 17000), "[0]"},
		{"and its last", later(2, false), "[0]"},
		{"another's from elsewhere", fragment(2, 800, false, udpTo(7, "10.0.0.8:7")), "[0 1]"},
		{"the number once more", first(1, 17000), "[0]"},
		{"and its last one", later(1, false), "[0]"},
	} {
		if got := w.whoGets(ps, tt.packet); got != tt.want {
			t.Errorf("%s: to %s, want %s", tt.name, got, tt.want)
		}
	}
	for id := range maxSharedFragments + 10 {
		w.whoGets(ps, first(uint16(10+id), 50000))
	}
	m := &w.link.table.Load().shared[ip(leased)].memory.fragments
	if n := len(m.now) + len(m.before); n > maxSharedFragments || n < maxSharedFragments/2 {
		t.Errorf("%d are remembered", n)
	}
	if got := w.whoGets(ps, later(uint16(maxSharedFragments), true)); got != "[1]" {
		t.Errorf("one of the latest: to %s", got)
	}
	if got := w.whoGets(ps, later(1, true)); got != "[0 1]" {
		t.Errorf("the oldest one: to %s", got)
	}
}

// What is remembered is forgotten in time.
func TestSharedMemoryAges(t *testing.T) {
	m := new(sharedMemory)
	p := &port{domain: &domain{ref: 7}}
	k := fragmentKey{id: 1}
	m.noteFragment(k, p, time.Hour)
	if m.fragmentOf(k, time.Hour+sharedFragmentLife) != 7 || m.fragmentOf(k, time.Hour+sharedFragmentLife+1) != pvd.Unspecified {
		t.Error("fragments live another time")
	}
	f := flow{port: 1}
	m.flows.put(f, noted{7, time.Hour}, maxSharedFlows)
	if m.flowOf(f, time.Hour+sharedFlowLife) != 7 || m.flowOf(f, time.Hour+sharedFlowLife+1) != pvd.Unspecified {
		t.Error("flows live another time")
	}
	for i := range 2 * maxSharedFlows {
		m.flows.put(flow{port: uint16(i), remotePort: 9}, noted{7, time.Hour}, maxSharedFlows)
		if n := len(m.flows.now) + len(m.flows.before); n > maxSharedFlows {
			t.Fatalf("%d flows are remembered", n)
		}
	}
	if n := len(m.flows.now) + len(m.flows.before); n < maxSharedFlows/2 {
		t.Errorf("only %d are", n)
	}
}

// The datagrams of unconnected sockets at one port find back to the PvD that has sent to
// their sender, and two PvDs do not use the same ends at the same time.
func TestSharedFlows(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(2)
	a, b := w.listenUDP(ps[0], ":500"), w.listenUDP(ps[1], ":500")
	send := func(c *UDPConn, to string) error {
		_, err := c.WriteToUDPAddrPort([]byte("x"), addrPort(to))
		return err
	}
	if err := errors.Join(send(a, "10.0.0.9:500"), send(b, "10.0.0.8:500"), send(b, "10.0.0.9:501"), send(a, "10.0.0.9:500")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ from, want string }{
		{"10.0.0.9:500", "[0]"}, {"10.0.0.8:500", "[1]"}, {"10.0.0.9:501", "[1]"}, {"10.0.0.9:502", "[0]"},
	} {
		if got := w.whoGets(ps, udpTo(500, tt.from)); got != tt.want {
			t.Errorf("from %s: to %s, want %s", tt.from, got, tt.want)
		}
	}
	if err := send(b, "10.0.0.9:500"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the other one sends: %v", err)
	}
	if ps[1].counted(dropSharedFlow) != 1 {
		t.Error("not counted")
	}
	// To everybody both may send.
	if err := errors.Join(send(a, "224.0.0.251:5353"), send(b, "224.0.0.251:5353")); err != nil {
		t.Error(err)
	}
	// What is closed holds nothing.
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := send(b, "10.0.0.9:500"); err != nil {
		t.Error(err)
	}
	if got := w.whoGets(ps, udpTo(500, "10.0.0.9:500")); got != "[1]" {
		t.Errorf("then the answer goes to %s", got)
	}
	// One that is connected goes before all.
	w.dialUDP(ps[0], ":500", "10.0.0.7:500")
	if err := send(b, "10.0.0.7:500"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("to where the other is connected: %v", err)
	}
	if _, err := w.in(ps[1]).DialFrom(t.Context(), "udp4", ":500", "10.0.0.7:500"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("connecting with the same ends: %v", err)
	}
}

// Requests for a shared address are answered by one, whatever the stations; replies reach
// all.
func TestSharedARP(t *testing.T) {
	wires := map[string]*wire{
		"stations of their own": newWire(t, tun.Ethernet),
		"one station":           newWireOf(t, tun.Ethernet, func(l tun.Link) tun.Link { return oneStation{l} }),
	}
	for name, w := range wires {
		t.Run(name, func(t *testing.T) {
			ps := w.share(3)
			other := w.add(pvd.Config{Name: "other", Addresses: addresses("10.0.0.5/24")})
			all := append(slices.Clone(ps), other)
			request := func(to mac, sender, target string) []byte {
				return ethFrame(stranger, to, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, ip(sender), ip(target)))
			}
			reply := func(to mac, target string) []byte {
				return ethFrame(stranger, to, arp.ProtocolNumber, arpPacket(header.ARPReply, stranger, ip("10.0.0.9"), ip(target)))
			}
			for _, tt := range []struct {
				name  string
				frame []byte
				want  string
			}{
				{"request", request(allStations, "10.0.0.9", leased), "[0]"},
				{"probe", request(allStations, "0.0.0.0", leased), "[0]"},
				{"request to the second", request(ps[1].macOf(), "10.0.0.9", leased), "[0]"},
				{"request to another", request(allStations, "10.0.0.9", "10.0.0.5"), "[3]"},
				{"another's announcement", request(allStations, leased, leased), "[0]"},
				{"another's request", request(allStations, leased, "10.0.0.9"), "[0 1 2]"},
				{"reply to the second", reply(ps[1].macOf(), leased), "[0 1 2]"},
				{"reply to another", reply(other.macOf(), "10.0.0.5"), "[3]"},
				{"announcement", reply(allStations, "10.0.0.9"), "[0 1 2 3]"},
			} {
				if got := given(all, w.classify(tt.frame)); got != tt.want {
					t.Errorf("%s: to %s, want %s", tt.name, got, tt.want)
				}
			}
			w.send(request(allStations, "10.0.0.9", leased))
			if !w.hears(func(f []byte) bool {
				a := header.ARP(f[tun.EthernetHeaderLen:])
				return a.IsValid() && a.Op() == header.ARPReply && tcpip.LinkAddress(a.HardwareAddressSender()) == ps[0].macStr
			}) {
				t.Error("there is no answer")
			}
		})
	}
}

// A claim is an ARP request that tells where the shared address is.
type claim struct {
	station   mac
	announces bool // and asks for nothing else
}

// claims tells the claims that leave.
func (w *wire) claims() <-chan claim {
	claims := make(chan claim, 1000)
	w.each(func(frame []byte) {
		a := header.ARP(frame[tun.EthernetHeaderLen:])
		if a.IsValid() && a.Op() == header.ARPRequest && addr4(a.ProtocolAddressSender()) == ip(leased) {
			claims <- claim{mac(a.HardwareAddressSender()), addr4(a.ProtocolAddressTarget()) == ip(leased)}
		}
	})
	return claims
}

// However often others come and go, only the last announcement is repeated.
func TestSharedAddressMovesOften(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	p := w.share(1)[0]
	claims := w.claims()
	const often = 20
	for range often {
		ref, err := w.host.Add(t.Context(), leaseOf("guest"))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.host.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	late := time.After(announceInterval + time.Second)
	for n := 0; ; {
		select {
		case c := <-claims:
			if c.station != p.macOf() {
				t.Errorf("%v has it", c.station)
			}
			if c.announces {
				n++
			}
		case <-late:
			if n != often+1 {
				t.Errorf("%d announcements of %d departures", n, often)
			}
			return
		}
	}
}

// Once the address has been announced by one who keeps it, the one who goes no longer claims it,
// whatever of its was just being resolved.
func TestSharerThatGoesIsSilent(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	p := w.share(1)[0]
	claims := w.claims()
	const often = 100
	gone := make(map[mac]int) // the announcement with which a station goes
	for i := range often {
		ref, err := w.host.Add(t.Context(), leaseOf(fmt.Sprintf("guest%d", i)))
		if err != nil {
			t.Fatal(err)
		}
		d, _ := w.host.domain(ref)
		gone[d.portOn("lab").macOf()] = i + 1
		c, err := w.host.In(ref).DialContext(t.Context(), "udp", "10.0.0.9:9")
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write([]byte("x")) // asks for the neighbour's station
		if err := w.host.Remove(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	announcements := 0
	for announcements < often {
		select {
		case c := <-claims:
			if c.station == p.macOf() && c.announces {
				announcements++
			}
			if n := gone[c.station]; n != 0 && n <= announcements {
				t.Errorf("the station that announcement %d is about claims the address after number %d", n, announcements)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d announcements", announcements)
		}
	}
}

// When the PvD is gone that has answered for the address, the next one announces it.
func TestSharedAddressMoves(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	ps := w.share(2)
	claims := w.claims()
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		select {
		case c := <-claims:
			if c.station != ps[1].macOf() || !c.announces {
				t.Errorf("%+v", c)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d announcements", i)
		}
	}
	if err := w.host.Remove(t.Context(), ps[1].domain.ref); err != nil {
		t.Fatal(err)
	}
	if len(claims) > 0 {
		t.Error("the last one is announced when it goes")
	}
}

// Weak hosts that share an address are told apart on the link too that it is not on.
func TestSharedByWeakHosts(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	w.drain()
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	defer far.Close()
	if err := w.host.AddLink("other", near); err != nil {
		t.Fatal(err)
	}
	other, _ := w.host.link("other")
	var ds []*domain
	for i := range 2 {
		c := leaseOf(fmt.Sprintf("weak%d", i))
		c.Links = []string{"lab", "other"}
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: prefix(fmt.Sprintf("10.9.0.%d/24", 1+i)), Link: "other"})
		c.Elements = []pvd.Element{pvd.WeakHost.With(true)}
		ref, err := w.host.Add(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		d, _ := w.host.domain(ref)
		ds = append(ds, d)
	}
	w.dialUDP(ds[0].portOn("lab"), ":50000", "10.0.0.9:53")
	w.listenUDP(ds[1].portOn("lab"), ":53")
	for _, tt := range []struct {
		port uint16
		to   int
	}{{50000, 0}, {50001, 1}, {53, 1}, {54, 0}} {
		for _, l := range []*hostLink{w.link, other} {
			own := ds[0].portOn(l.name)
			v := l.table.Load().classify(ethFrame(stranger, own.macOf(), ipv4.ProtocolNumber, udpTo(tt.port, "10.0.0.9:53")))
			into := ds[tt.to].portOn("lab")
			if got := cmp.Or(v.into, v.to); v.why != delivered || got != into {
				t.Errorf("port %d, by %s: %v", tt.port, l.name, v.why)
			}
		}
	}
	v := other.table.Load().classify(ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, ip("10.9.0.9"), ip(leased))))
	if v.why != delivered || v.asked != ds[0].portOn("other") {
		t.Errorf("the request for it: %v", v.why)
	}
}

func BenchmarkClassifyShared(b *testing.B) {
	for _, n := range []int{1, 2, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWire(b, tun.IP)
			w.drain()
			ps := w.share(n)
			c := w.dialUDP(ps[n-1], "", "10.0.0.9:53")
			table, packet := w.link.table.Load(), udpTo(portOf(c), "10.0.0.9:53")
			b.ReportAllocs()
			for b.Loop() {
				table.classify(packet)
			}
		})
	}
}
