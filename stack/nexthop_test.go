package stack

import (
	"fmt"
	"net"
	"testing"
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/network/arp"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// hears reads what arrives at the wire's far end and reports whether there is a frame that
// matches before the wait is over.
func (w *wire) hears(match func(frame []byte) bool) bool {
	w.t.Helper()
	found := make(chan struct{})
	go func() {
		buf := make([]byte, tun.MaxFrame)
		var m tun.Meta
		for {
			n, err := w.far.Recv([][]byte{buf}, &m)
			if err != nil {
				return
			}
			if match(buf[:n]) {
				close(found)
				return
			}
		}
	}()
	select {
	case <-found:
		return true
	case <-time.After(10 * time.Second):
		return false
	}
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if err := w.far.Send([][]byte{frame}, tun.Meta{}); err != nil {
		w.t.Fatal(err)
	}
}

// Whoever probes for a PvD's address before taking it (RFC 5227 section 2.1.1) is told.
func TestARPProbesAreAnswered(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	w.add(pvd.Config{Addresses: addresses("10.0.0.2/24")})
	w.send(ethFrame(stranger, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, stranger, ip("0.0.0.0"), ip("10.0.0.2"))))
	if !w.hears(func(f []byte) bool {
		a := header.ARP(f[tun.EthernetHeaderLen:])
		return mac(f[0:6]) == stranger && a.IsValid() && a.Op() == header.ARPReply && addr4(a.ProtocolAddressSender()) == ip("10.0.0.2")
	}) {
		t.Error("no answer")
	}
}

// A neighbour that an Update no longer has is asked for like any other.
func TestNeighborsGoWithUpdate(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	c := pvd.Config{
		Links: []string{"lab"}, Addresses: addresses("10.0.0.2/24"),
		Routes:    []pvd.Route{{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1")}},
		Neighbors: []pvd.Neighbor{{Addr: ip("10.0.0.1"), MAC: net.HardwareAddr{2, 0, 0, 0, 0, 0xa}}},
	}
	p := w.add(c)
	if got, ok := p.hops.lookup(ip("10.0.0.1")); !ok || got != "\x02\x00\x00\x00\x00\x0a" {
		t.Fatalf("at first: %v", got)
	}
	c.Neighbors[0].MAC = net.HardwareAddr{2, 0, 0, 0, 0, 0xb}
	if err := w.host.Update(t.Context(), p.domain.ref, c); err != nil {
		t.Fatal(err)
	}
	if got, _ := p.hops.lookup(ip("10.0.0.1")); got != "\x02\x00\x00\x00\x00\x0b" {
		t.Errorf("another one: %v", got)
	}
	c.Neighbors = nil
	if err := w.host.Update(t.Context(), p.domain.ref, c); err != nil {
		t.Fatal(err)
	}
	if got, ok := p.hops.lookup(ip("10.0.0.1")); ok {
		t.Errorf("it is still %v", got)
	}
	p.writeAndRelease(outgoing("8.8.8.8"))
	if !w.hears(func(f []byte) bool {
		a := header.ARP(f[tun.EthernetHeaderLen:])
		return a.IsValid() && a.Op() == header.ARPRequest && addr4(a.ProtocolAddressTarget()) == ip("10.0.0.1")
	}) {
		t.Error("nobody is asked")
	}
}

// A removed PvD's resets reach peers whose hardware address has to be confirmed again.
func TestResetsReachStaleNeighbors(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	p := w.add(pvd.Config{Addresses: addresses("10.0.0.2/24"), Routes: []pvd.Route{{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1")}}})
	// An ARP request from the router makes its entry stale: known, but not confirmed.
	router := mac{2, 0, 0, 0, 0, 0xa}
	w.send(ethFrame(router, allStations, arp.ProtocolNumber, arpPacket(header.ARPRequest, router, ip("10.0.0.1"), ip("10.0.0.2"))))
	w.hears(func(f []byte) bool { return mac(f[0:6]) == router })
	p.hurry.Store(true)
	p.writeAndRelease(outgoing("8.8.8.8"))
	if !w.hears(func(f []byte) bool {
		return mac(f[0:6]) == router && f[12] == byte(ipv4.ProtocolNumber>>8) && addr4(f[tun.EthernetHeaderLen+16:]) == ip("8.8.8.8")
	}) {
		t.Error("it has not left")
	}
}

// After many neighbours have not answered, a router that does not is still noticed.
func TestFailuresAreForgottenOldestFirst(t *testing.T) {
	p := lone(t)
	p.hops.mu.Lock()
	for i := range 3 * maxFailedHops {
		p.noteFailureLocked(ip(fmt.Sprintf("10.0.%d.%d", 1+i/200, i%200)))
	}
	p.noteFailureLocked(ip("10.0.0.1"))
	n := len(p.hops.failed)
	p.hops.mu.Unlock()
	if n > maxFailedHops || !p.hopless(ip("10.0.0.1")) {
		t.Errorf("%d are remembered, the router among them: %v", n, p.hopless(ip("10.0.0.1")))
	}
}

// A link-local destination is on the link, whatever the routes say.
func TestLinkLocalNeedsNoRoute(t *testing.T) {
	t.Parallel()
	w := newWire(t, tun.Ethernet)
	p := w.add(pvd.Config{
		Addresses: addresses("2001:db8::2/64", "fe80::2/128"),
		Routes:    []pvd.Route{{To: prefix("::/0"), Via: ip("fe80::1")}},
	})
	for dst, want := range map[string]string{"fe80::9": "fe80::9", "2001:db8::9": "2001:db8::9", "2001:db8:1::9": "fe80::1"} {
		if hop, ok := p.nextHop(ip("fe80::2"), ip(dst)); !ok || hop != ip(want) {
			t.Errorf("%s: by %v, want %s", dst, hop, want)
		}
	}
}

// Every packet is counted once, also one that waits for a neighbour, or would, when the
// PvD goes.
func TestWaitingPacketsAreCounted(t *testing.T) {
	p := lone(t)
	const n = 3 * maxHopQueue
	for range n {
		p.writeAndRelease(outgoing("8.8.8.8"))
	}
	if got := p.counted(dropHopQueue); got != n-maxHopQueue {
		t.Errorf("%d dropped while others wait", got)
	}
	if err := p.domain.host.Remove(t.Context(), p.domain.ref); err != nil {
		t.Fatal(err)
	}
	p.writeAndRelease(outgoing("8.8.8.8"))
	if !eventually(func() bool { return p.counted(dropHopQueue)+p.counted(dropNoNeighbor) == n+1 }) {
		t.Errorf("%d and %d of %d packets", p.counted(dropHopQueue), p.counted(dropNoNeighbor), n+1)
	}
}
