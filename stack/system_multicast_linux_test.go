package stack_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// TestSystemMulticast has a kernel send to groups. Of two PvDs on the link, the one that
// has joined receives, as long as it has.
func TestSystemMulticast(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			r := newRig(t)
			ns := tuntest.NewNS(t)
			r.wire("wire", kind, ns, "dev", 1500)
			addrs(ns, "dev", "192.0.2.1/24", "2001:db8::1/64")
			ns.IP("route", "add", "239.0.0.0/8", "dev", "dev")
			networks := r.add(config("wire", "192.0.2.2/24", "2001:db8::2/64"), config("wire", "192.0.2.3/24", "2001:db8::3/64"))
			for _, g := range []struct{ group, own, other string }{
				{"239.1.2.3", "192.0.2.2", "192.0.2.3"},
				{"ff02::1234", "2001:db8::2", "2001:db8::3"},
			} {
				own := mustListenPacket(t, networks[0], "udp", ":0")
				other := mustListenPacket(t, networks[1], "udp", fmt.Sprintf(":%d", portOf(own)))
				// What is sent to one arrives next: what was sent to a group before that has not.
				wantNothing := func() {
					t.Helper()
					for a, c := range map[string]net.PacketConn{g.own: own, g.other: other} {
						unicast(t, ns, netip.AddrPortFrom(mustAddr(a), portOf(c)), "to one")
						wantNext(t, c, "to one")
					}
				}
				groupcast(t, ns, g.group, own, "before anybody has joined")
				wantNothing()
				if err := own.JoinGroup("", mustAddr(g.group)); err != nil {
					t.Fatal(err)
				}
				groupcast(t, ns, g.group, own, "to a member")
				wantNext(t, own, "to a member")
				wantNothing()
				if err := own.LeaveGroup("", mustAddr(g.group)); err != nil {
					t.Fatal(err)
				}
				groupcast(t, ns, g.group, own, "after all have left")
				wantNothing()
				memberSends(t, ns, networks[0], g.group)
			}
		})
	}
}

func portOf(c net.PacketConn) uint16 { return c.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// groupcast has a kernel send to a group on the port that c has.
func groupcast(t *testing.T, ns *tuntest.NS, group string, c net.PacketConn, text string) {
	t.Helper()
	a := mustAddr(group)
	if a.Is6() {
		a = a.WithZone("dev")
	}
	unicast(t, ns, netip.AddrPortFrom(a, portOf(c)), text)
}

func unicast(t *testing.T, ns *tuntest.NS, to netip.AddrPort, text string) {
	t.Helper()
	c, err := kernel{ns}.DialContext(t.Context(), "udp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// wantNext wants that the next datagram to arrive says text.
func wantNext(t *testing.T, c net.PacketConn, text string) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(systemPatience))
	b := make([]byte, 100)
	n, from, err := c.ReadFrom(b)
	if err != nil || string(b[:n]) != text {
		t.Errorf("%q has arrived from %v, %v, want %q", b[:n], from, err, text)
	}
}

// memberSends has a PvD send to a group that a kernel has joined.
func memberSends(t *testing.T, ns *tuntest.NS, n *stack.Network, group string) {
	t.Helper()
	var c *net.UDPConn
	var err error
	ns.Do(func() {
		var dev *net.Interface
		if dev, err = net.InterfaceByName("dev"); err == nil {
			c, err = net.ListenMulticastUDP("udp", dev, &net.UDPAddr{IP: mustAddr(group).AsSlice()})
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s := mustListenPacket(t, n, "udp", ":0")
	if _, err := s.WriteToUDPAddrPort([]byte("from a PvD"), netip.AddrPortFrom(mustAddr(group), portOf(c))); err != nil {
		t.Error(err)
	}
	wantNext(t, c, "from a PvD")
}
