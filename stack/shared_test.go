package stack

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
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
func (w *wire) drain() {
	go func() { // until the wire goes
		buf := make([]byte, tun.MaxFrame)
		for {
			if _, err := w.far.Recv([][]byte{buf}, new(tun.Meta)); err != nil {
				return
			}
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

func rangeOf(p *port) string {
	low, high := p.domain.stk.PortRange()
	return fmt.Sprintf("%d-%d", low, high)
}

// The ephemeral ports are divided among those that share an address, equally and in the
// order of their age, and divided anew when one comes or goes. Who shares no more has all.
func TestSharedPortsAreDivided(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	loner := w.add(pvd.Config{Name: "loner", Addresses: addresses("10.0.0.7/24")})
	ps := w.share(1)
	expect := func(want ...string) {
		t.Helper()
		got := make([]string, len(ps))
		for i, p := range ps {
			got[i] = rangeOf(p)
		}
		if !slices.Equal(got, want) || rangeOf(loner) != "16000-65535" || loner.domain.share.Load() != nil {
			t.Errorf("%v, want %v", got, want)
		}
	}
	expect("16000-65535")
	ps = append(ps, w.add(leaseOf("second")))
	expect("16000-40767", "40768-65535")
	ps = append(ps, w.add(leaseOf("third")))
	expect("16000-32511", "32512-49023", "49024-65535")
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	ps = ps[1:]
	expect("16000-40767", "40768-65535")
	// An Update takes the address away.
	c := leaseOf("second")
	c.Addresses = addresses("10.0.0.8/24")
	if err := w.host.Update(t.Context(), ps[0].domain.ref, c); err != nil {
		t.Fatal(err)
	}
	expect("16000-65535", "16000-65535")
	if ps[0].domain.share.Load() != nil || ps[1].domain.share.Load() != nil || len(w.host.ports.now) != 0 {
		t.Error("somebody still has a share")
	}
	// And gives it back: the older one goes first.
	if err := w.host.Update(t.Context(), ps[0].domain.ref, leaseOf("second")); err != nil {
		t.Fatal(err)
	}
	expect("16000-40767", "40768-65535")
}

// PvDs that have to do with each other by way of a third one have different ports too.
func TestSharedPortsOfAChain(t *testing.T) {
	w := newWire(t, tun.IP)
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	defer far.Close()
	if err := w.host.AddLink("other", near); err != nil {
		t.Fatal(err)
	}
	a := w.add(leaseOf("a"))
	chain := leaseOf("chain")
	chain.Links = []string{"lab", "other"}
	chain.Addresses = append(chain.Addresses, pvd.Address{Prefix: prefix("10.9.0.1/24"), Link: "other", Shared: true})
	end := pvd.Config{Name: "end", Links: []string{"other"}, Addresses: []pvd.Address{{Prefix: prefix("10.9.0.1/24"), Shared: true}}}
	var ds []*domain
	for _, c := range []pvd.Config{chain, end} {
		ref, err := w.host.Add(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.host.domain(ref)
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
	ds = append([]*domain{a.domain}, ds...)
	for i, want := range []string{"16000-32511", "32512-49023", "49024-65535"} {
		low, high := ds[i].stk.PortRange()
		if got := fmt.Sprintf("%d-%d", low, high); got != want {
			t.Errorf("%s: %s, want %s", ds[i].name(), got, want)
		}
	}
	if err := w.host.RemoveLink("other"); err != nil {
		t.Fatal(err)
	}
	if low, high := ds[2].stk.PortRange(); low != firstEphemeral || high != lastEphemeral {
		t.Errorf("the end has %d-%d when its link is gone", low, high)
	}
}

func TestSharersAreBounded(t *testing.T) {
	w := newWire(t, tun.IP)
	ps := w.share(maxSharers)
	seen := make(map[uint16]bool)
	for _, p := range ps {
		s := p.domain.share.Load()
		for port := s.low; ; port++ {
			if seen[port] {
				t.Fatalf("port %d is in two ranges", port)
			}
			if seen[port] = true; port == s.high {
				break
			}
		}
	}
	if len(seen) != 49536/64*64 {
		t.Errorf("%d ports are somebody's", len(seen))
	}
	_, err := w.host.Add(t.Context(), leaseOf("one more"))
	if err == nil || !strings.Contains(err.Error(), "one more") || !strings.Contains(err.Error(), "limit is 64") {
		t.Errorf("one more: %v", err)
	}
	if err := w.host.Remove(t.Context(), ps[5].domain.ref); err != nil {
		t.Fatal(err)
	}
	w.add(leaseOf("one more"))
}

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

// When the PvD is gone that has answered for the address, the next one announces it.
func TestSharedAddressMoves(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	ps := w.share(2)
	announced := make(chan mac, 10)
	go func() { // until the wire goes
		buf := make([]byte, tun.MaxFrame)
		for {
			n, err := w.far.Recv([][]byte{buf}, new(tun.Meta))
			if err != nil {
				return
			}
			a := header.ARP(buf[tun.EthernetHeaderLen:n])
			if a.IsValid() && a.Op() == header.ARPRequest && addr4(a.ProtocolAddressTarget()) == ip(leased) && addr4(a.ProtocolAddressSender()) == ip(leased) {
				announced <- mac(a.HardwareAddressSender())
			}
		}
	}()
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	for i := range 2 {
		select {
		case m := <-announced:
			if m != ps[1].macOf() {
				t.Errorf("%v is announced", m)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%d announcements", i)
		}
	}
	if err := w.host.Remove(t.Context(), ps[1].domain.ref); err != nil {
		t.Fatal(err)
	}
	if len(announced) > 0 {
		t.Error("the last one is announced when it goes")
	}
}

// Ports that the stack chooses are in the PvD's range, and none at which another one has
// something open, from before the ports were divided or by choice.
func TestSharedPortsAreChosenInRange(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	a := w.add(leaseOf("a"))
	before := make(map[uint16]bool) // open in a before there is b, all over the place
	for range 2000 {
		before[portOf(w.listenUDP(a, ":0"))] = true
	}
	b := w.add(leaseOf("b"))
	n := 0
	for port := range before {
		if port >= 40768 {
			n++
		}
		if got := w.whoGets(ports{a, b}, udpTo(port, "10.0.0.9:53")); got != "[0]" {
			t.Fatalf("port %d, open since before: to %s", port, got)
		}
	}
	if n < 500 {
		t.Fatalf("only %d of them are in the other's range", n)
	}
	check := func(what string, c net.Addr, low, high uint16) {
		t.Helper()
		if p := addrPortOf(c).Port(); p < low || p > high || before[p] {
			t.Errorf("%s: port %d, before %v", what, p, before[p])
		}
	}
	for range 300 {
		check("a's dial", w.dialUDP(a, "", "10.0.0.9:53").LocalAddr(), 16000, 40767)
		check("b's dial", w.dialUDP(b, "", "10.0.0.9:53").LocalAddr(), 40768, 65535)
		check("b's socket", w.listenUDP(b, ":0").LocalAddr(), 40768, 65535)
		check("b's bound socket", w.listenUDP(b, leased+":0").LocalAddr(), 40768, 65535)
		l, err := w.in(b).Listen(t.Context(), "tcp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		if p := addrPortOf(l.Addr()).Port(); p < 40768 {
			t.Errorf("b's listener: port %d", p)
		}
		_ = l.Close()
	}
}

// However PvDs come and go, no two have one port at a time that neither has asked for.
func TestSharedPortsStayApart(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(2)
	stop := make(chan struct{})
	var busy sync.WaitGroup
	var mu sync.Mutex
	held := make(map[uint16]*port)
	for _, p := range ps {
		for range 2 {
			busy.Go(func() {
				for open := []*UDPConn(nil); ; {
					select {
					case <-stop:
						return
					default:
					}
					c := w.listenUDP(p, ":0")
					mu.Lock()
					if by := held[portOf(c)]; by != nil {
						t.Errorf("port %d is %v's, and %v's", portOf(c), by.domain.name(), p.domain.name())
					}
					held[portOf(c)] = p
					mu.Unlock()
					if open = append(open, c); len(open) < 100 {
						continue
					}
					mu.Lock()
					delete(held, portOf(open[0]))
					mu.Unlock()
					_ = open[0].Close()
					open = open[1:]
				}
			})
		}
	}
	for range 100 {
		guest := w.add(leaseOf("guest"))
		w.dialUDP(guest, "", "10.0.0.9:53")
		if err := w.host.Remove(t.Context(), guest.domain.ref); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	busy.Wait()
}

// A PvD that has used up its own ports has no more, while the others have theirs.
func TestSharedRangeIsUsedUp(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(maxSharers) // 774 each
	open := make(map[uint16]bool)
	for range 774 {
		open[portOf(w.dialUDP(ps[3], "", "10.0.0.9:53"))] = true
	}
	if len(open) != 774 {
		t.Errorf("%d ports", len(open))
	}
	for _, network := range []string{"udp4", "tcp4"} {
		c, err := w.in(ps[3]).ListenPacket(t.Context(), "udp4", ":0")
		if !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s: %v, %v", network, c, err)
		}
	}
	if _, err := w.in(ps[3]).DialContext(t.Context(), "udp4", "10.0.0.9:54"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("dialling: %v", err)
	}
	w.dialUDP(ps[4], "", "10.0.0.9:53")
	w.listenUDP(ps[3], ":700") // by choice there is more
	if err := w.host.Remove(t.Context(), ps[0].domain.ref); err != nil {
		t.Fatal(err)
	}
	w.dialUDP(ps[3], "", "10.0.0.9:53") // 12 ports more
}

// Connections by choice of the same port are one PvD's only.
func TestSharedConnectionsByChoice(t *testing.T) {
	w := newWire(t, tun.IP)
	w.drain()
	ps := w.share(2)
	dial := func(p *port, to string) error {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		c, err := w.in(p).DialFrom(ctx, "tcp4", ":5000", to)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	begun := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, err := w.in(ps[0]).DialFrom(ctx, "tcp4", ":5000", "10.0.0.9:80")
		begun <- err
	}()
	f := flow{header.TCPProtocolNumber, 5000, ip("10.0.0.9"), 80}
	if !eventually(func() bool { return ps[0].holds(f, ip(leased)) == holdsFlow }) {
		t.Fatal("no handshake begins")
	}
	if err := dial(ps[1], "10.0.0.9:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("the same ends: %v", err)
	}
	if err := dial(ps[1], "10.0.0.9:81"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("another port there: %v", err)
	}
	if got := w.whoGets(ps, tcpTo(5000, "10.0.0.9:80")); got != "[0]" {
		t.Errorf("the answer goes to %s", got)
	}
	cancel()
	if err := <-begun; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if err := dial(ps[1], "10.0.0.9:80"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the same ends when the other one has given up: %v", err)
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

// A division gives all who have to do with each other different ports, whoever shares with
// whom, and nobody who shares with no one has any.
func TestDivide(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		ds := make([]*domain, 2+rng.IntN(20))
		for i := range ds {
			ds[i] = &domain{ref: pvd.Ref(1 + i)}
		}
		tables := make([]*linkTable, 1+rng.IntN(3))
		var pairs [][2]*domain
		for i := range tables {
			tables[i] = &linkTable{}
			for a := range rng.IntN(4) {
				sh := &sharing{addr: netip.AddrFrom4([4]byte{10, byte(i), 0, byte(a + 1)})}
				for _, d := range rng.Perm(len(ds))[:2+rng.IntN(min(4, len(ds)-1))] {
					for _, p := range sh.by {
						pairs = append(pairs, [2]*domain{p.domain, ds[d]})
					}
					sh.by = append(sh.by, &port{domain: ds[d]})
				}
				if tables[i].shared == nil {
					tables[i].shared = make(map[netip.Addr]*sharing)
				}
				tables[i].shared[sh.addr] = sh
			}
		}
		shares := divide(tables)
		in := make(map[*domain]bool)
		for _, p := range pairs {
			in[p[0]], in[p[1]] = true, true
			a, b := shares[p[0]], shares[p[1]]
			if a == nil || b == nil || a.low <= b.high && b.low <= a.high || !slices.Contains(a.others, p[1]) || len(a.others) != len(b.others) {
				t.Fatalf("%v and %v have %+v and %+v", p[0].ref, p[1].ref, a, b)
			}
		}
		if len(shares) != len(in) {
			t.Fatalf("%d have a part, %d share", len(shares), len(in))
		}
		for d, s := range shares {
			if n := int(s.high) - int(s.low) + 1; s.low < firstEphemeral || n != (lastEphemeral-firstEphemeral+1)/(len(s.others)+1) || slices.Contains(s.others, d) {
				t.Fatalf("%v has %+v", d.ref, s)
			}
		}
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

// FuzzSharedPacket gives a shared address packets of any content. Each is for one of those
// who have it, or all.
func FuzzSharedPacket(f *testing.F) {
	f.Add(uint8(17), uint16(0), []byte{0, 53, 0x80, 0, 0, 8, 0, 0})
	f.Add(uint8(6), uint16(0x2000), tcpTo(80, "10.0.0.9:80")[20:])
	f.Add(uint8(1), uint16(0), icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.9", quote(udpTo(1, "10.0.0.9:1")))[20:])
	f.Add(uint8(17), uint16(0x2001), []byte{1})
	w := newWire(f, tun.IP)
	ps := w.share(3)
	f.Fuzz(func(t *testing.T, proto uint8, fragment uint16, payload []byte) {
		packet := ipPacket(proto, ip("10.0.0.9"), ip(leased), payload)
		binary.BigEndian.PutUint16(packet[6:], fragment)
		got := w.whoGets(ps, packet[:min(len(packet), headLen)])
		if !slices.Contains([]string{"[0]", "[1]", "[2]", "[0 1 2]"}, got) || got == "[0 1 2]" && fragment&0x1fff == 0 {
			t.Errorf("to %s", got)
		}
	})
}

// While PvDs with one address use the network in every way at once, none is given anything
// that it has not asked for: a packet that went to the wrong one would be refused there.
func TestSharedNothingStrays(t *testing.T) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		t.Run(fmt.Sprint(layer), func(t *testing.T) {
			near, far := tun.Pipe(tun.PipeConfig{Layer: layer})
			hosts := make([]*Host, 2)
			for i, l := range []tun.Link{near, far} {
				h, err := New(Config{})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := h.Close(); err != nil {
						t.Error(err)
					}
				})
				if err := h.AddLink("lab", l); err != nil {
					t.Fatal(err)
				}
				hosts[i] = h
			}
			var by []*domain
			add := func(h *Host, c pvd.Config) *domain {
				t.Helper()
				ref, err := h.Add(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				d, _ := h.domain(ref)
				return d
			}
			peer := hosts[1].In(add(hosts[1], pvd.Config{Name: "peer", Links: []string{"lab"}, Addresses: addresses("10.0.0.9/24")}).ref)
			for i := range 4 {
				by = append(by, add(hosts[0], leaseOf(fmt.Sprintf("pvd%d", i))))
			}
			echo := func(l net.Listener) {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { // until the peer closes
						defer c.Close()
						_, _ = io.Copy(c, c)
					}()
				}
			}
			server, err := peer.Listen(t.Context(), "tcp", ":80")
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go echo(server)
			datagrams, err := peer.ListenPacket(t.Context(), "udp", ":53")
			if err != nil {
				t.Fatal(err)
			}
			defer datagrams.Close()
			go func() {
				b := make([]byte, 9000)
				for {
					n, from, err := datagrams.ReadFrom(b)
					if err != nil {
						return
					}
					_, _ = datagrams.WriteTo(b[:n], from)
				}
			}()
			exchange := func(n *Network, network, address string, size int) {
				c, err := n.DialContext(t.Context(), network, address)
				if err != nil {
					t.Error(err)
					return
				}
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				b := bytes.Repeat([]byte{byte(n.ref)}, size)
				if _, err := c.Write(b); err != nil {
					t.Error(err)
				}
				got := make([]byte, size)
				if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(b, got) {
					t.Errorf("%s %s: %v, or another one's", network, address, err)
				}
			}
			var all sync.WaitGroup
			for i, d := range by {
				n := hosts[0].In(d.ref)
				l, err := n.Listen(t.Context(), "tcp", fmt.Sprintf(":%d", 40000+i))
				if err != nil {
					t.Fatal(err)
				}
				defer l.Close()
				go echo(l)
				for range 5 {
					all.Go(func() {
						for range 10 {
							exchange(n, "tcp", "10.0.0.9:80", 5000)
							exchange(n, "udp", "10.0.0.9:53", 100)
							exchange(n, "udp", "10.0.0.9:53", 5000)
							exchange(peer, "tcp", fmt.Sprintf("%s:%d", leased, 40000+i), 1000)
							if _, err := n.Ping(t.Context(), ip("10.0.0.9")); err != nil {
								t.Error(err)
							}
						}
					})
				}
			}
			all.Wait()
			for _, d := range by {
				s := d.stk.Stats()
				for what, n := range map[string]uint64{
					"datagrams to no socket": s.UDP.UnknownPortErrors.Value(),
					"segments refused":       s.TCP.ResetsSent.Value(),
					"errors sent":            s.ICMP.V4.PacketsSent.DstUnreachable.Value(),
					"packets to others":      s.IP.InvalidDestinationAddressesReceived.Value(),
				} {
					if n != 0 {
						t.Errorf("%s: %d %s", d.name(), n, what)
					}
				}
			}
		})
	}
}

// FuzzShared has PvDs that share an address do things with ports, and compares who gets a
// packet with what a model says.
func FuzzShared(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
	f.Add([]byte{0x11, 0, 0x12, 0, 0x21, 0, 0x83, 1, 0xc0, 2, 0xc1, 3, 0x91, 0})
	w := newWire(f, tun.IP)
	w.drain()
	ps := w.share(3)
	f.Fuzz(func(t *testing.T, script []byte) {
		m := newSharedModel(ps)
		defer m.close()
		m.memory = w.link.table.Load().shared[ip(leased)].memory
		for len(script) >= 2 {
			m.step(t, w, script[0], script[1])
			script = script[2:]
		}
		for _, port := range m.ports {
			for _, r := range m.remotes {
				if got, want := w.whoGets(ps, udpTo(port, r.String())), fmt.Sprintf("[%d]", m.whose(port, r)); got != want {
					t.Errorf("%v to port %d: to %s, want %s", r, port, got, want)
				}
				quoted := quote(udpPacket(netip.AddrPortFrom(ip(leased), port), r, ""))
				if got, want := w.whoGets(ps, icmpTo(header.ICMPv4DstUnreachable, 0, "10.0.0.77", quoted)), fmt.Sprintf("[%d]", m.whose(port, r)); got != want {
					t.Errorf("the error of %v and port %d: to %s, want %s", r, port, got, want)
				}
			}
		}
	})
}

// A sharedModel is what PvDs have open, in the plainest form.
type sharedModel struct {
	ps      ports
	ports   []uint16
	remotes []netip.AddrPort
	listens []map[uint16]*UDPConn
	flows   []map[modelFlow]*UDPConn
	sent    map[modelFlow]int
	memory  *sharedMemory
}

type modelFlow struct {
	port   uint16
	remote netip.AddrPort
}

func newSharedModel(ps ports) *sharedModel {
	m := &sharedModel{
		ps: ps, sent: make(map[modelFlow]int),
		ports:   []uint16{53, 500, 16000, 32511, 32512, 49024, 65535},
		remotes: []netip.AddrPort{addrPort("10.0.0.8:500"), addrPort("10.0.0.9:500"), addrPort("10.0.0.9:501")},
	}
	for range ps {
		m.listens = append(m.listens, make(map[uint16]*UDPConn))
		m.flows = append(m.flows, make(map[modelFlow]*UDPConn))
	}
	return m
}

func (m *sharedModel) close() {
	for i := range m.ps {
		for _, c := range m.listens[i] {
			_ = c.Close()
		}
		for _, c := range m.flows[i] {
			_ = c.Close()
		}
	}
	m.memory.mu.Lock()
	defer m.memory.mu.Unlock()
	m.memory.flows = recent[flow]{}
}

func (m *sharedModel) step(t *testing.T, w *wire, what, where byte) {
	i := int(what) % len(m.ps)
	f := modelFlow{m.ports[int(where&0xf)%len(m.ports)], m.remotes[int(where>>4)%len(m.remotes)]}
	own, listening := m.listens[i], m.listens[i][f.port]
	connected := false
	for g := range m.flows[i] {
		connected = connected || g.port == f.port
	}
	switch what >> 6 {
	case 0: // listen
		c, err := w.in(m.ps[i]).ListenPacket(t.Context(), "udp4", fmt.Sprintf(":%d", f.port))
		if (err == nil) != (listening == nil && !connected) {
			t.Errorf("%d listens at %d: %v", i, f.port, err)
		}
		if err == nil {
			own[f.port] = c.(*UDPConn)
		}
	case 1: // connect
		taken := false
		for j := range m.ps {
			by, sent := m.sent[f]
			taken = taken || j != i && (m.flows[j][f] != nil || sent && by == j && m.listens[j][f.port] != nil)
		}
		c, err := w.in(m.ps[i]).DialFrom(t.Context(), "udp4", fmt.Sprintf(":%d", f.port), f.remote.String())
		if (err == nil) != (listening == nil && !connected && !taken) {
			t.Errorf("%d connects %v: %v", i, f, err)
		}
		if err == nil {
			m.flows[i][f], m.sent[f] = c.(*UDPConn), i
		}
	case 2: // send
		if listening == nil {
			return
		}
		refused := false
		for j := range m.ps {
			by, noted := m.sent[f]
			refused = refused || j != i && (m.flows[j][f] != nil || noted && by == j && m.listens[j][f.port] != nil)
		}
		_, err := listening.WriteToUDPAddrPort([]byte("x"), f.remote)
		if refused != errors.Is(err, syscall.EADDRINUSE) || !refused && err != nil {
			t.Errorf("%d sends from %v: %v, want refused %v", i, f, err, refused)
		}
		if !refused {
			m.sent[f] = i
		}
	case 3: // close
		if listening != nil {
			_ = listening.Close()
			delete(own, f.port)
		}
		if c := m.flows[i][f]; c != nil {
			_ = c.Close()
			delete(m.flows[i], f)
		}
	}
}

// whose returns who has to get a packet.
func (m *sharedModel) whose(port uint16, remote netip.AddrPort) int {
	f := modelFlow{port, remote}
	for i := range m.ps {
		if m.flows[i][f] != nil {
			return i
		}
	}
	if i, ok := m.sent[f]; ok {
		return i
	}
	owner := -1
	for i, p := range m.ps {
		if low, high := p.domain.stk.PortRange(); low <= port && port <= high {
			owner = i
		}
	}
	if owner >= 0 && m.listens[owner][port] != nil {
		return owner
	}
	for i := range m.ps {
		if m.listens[i][port] != nil {
			return i
		}
	}
	return max(owner, 0)
}
