package tun_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

func openPacket(t *testing.T, ns *tuntest.NS, c tun.PacketConfig) tun.Link {
	t.Helper()
	var l tun.Link
	ns.Do(func() {
		t.Helper()
		var err error
		if l, err = tun.OpenPacket(c); err != nil {
			t.Fatal(err)
		}
	})
	t.Cleanup(func() { l.Close() })
	return l
}

func TestPacket(t *testing.T) {
	for name, own := range map[string]bool{"own addresses": false, "the interface's address": true} {
		t.Run(name, func(t *testing.T) {
			tuntest.TestLink(t, func(t *testing.T) tuntest.Pair {
				a, b := tuntest.NewNS(t), tuntest.NewNS(t)
				tuntest.Veth(a, "wan", b, "lan")
				return tuntest.Pair{
					A:      openPacket(t, a, tun.PacketConfig{Interface: "wan", OwnMAC: own}),
					B:      openPacket(t, b, tun.PacketConfig{Interface: "lan", OwnMAC: own}),
					Kernel: true,
				}
			})
		})
	}
}

// Two kernels talk TCP by two interfaces of a third namespace, whose kernel stays out of
// it, and whose frames we carry from one to the other.
func TestKernelsTalkThroughPacket(t *testing.T) {
	for name, offload := range map[string]string{"offloads on": "on", "offloads off": "off"} {
		t.Run(name, func(t *testing.T) {
			tuntest.CheckLeaks(t)
			a, b, mid := tuntest.NewNS(t), tuntest.NewNS(t), tuntest.NewNS(t)
			tuntest.Veth(a, "dev", mid, "left")
			tuntest.Veth(b, "dev", mid, "right")
			if offload == "off" {
				for _, end := range []*tuntest.NS{a, b} {
					end.Exec("ethtool", "-K", "dev", "tx", "off", "tso", "off", "gso", "off", "gro", "off")
				}
			}
			left := openPacket(t, mid, tun.PacketConfig{Interface: "left"})
			right := openPacket(t, mid, tun.PacketConfig{Interface: "right"})
			r := startRelay(t, left, right)
			a.IP("addr", "add", "192.0.2.1/24", "dev", "dev")
			b.IP("addr", "add", "192.0.2.2/24", "dev", "dev")
			bulk(t, a, b, "192.0.2.2")
			bulk(t, b, a, "192.0.2.1")
			switch got := r.longest.Load(); {
			case offload == "on" && got < 40000:
				t.Errorf("longest frame has %d octets, want segments of 64 KB", got)
			case offload == "off" && got > 1514:
				t.Errorf("longest frame has %d octets, want no segments", got)
			}
			if r.partial.Load() != (offload == "on") {
				t.Errorf("frames came with their checksum left to do: %t", r.partial.Load())
			}
		})
	}
}

// etherFrame returns a frame with a body that says what it is.
func etherFrame(dst, src net.HardwareAddr, etherType uint16, body string) []byte {
	f := append(bytes.Clone(dst), src...)
	f = binary.BigEndian.AppendUint16(f, etherType)
	return append(f, body...)
}

var (
	peerMAC = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	ourMAC  = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

const experiment = 0x88b5

// What the host itself sends, and what has a VLAN tag, is not for us.
func TestPacketFilter(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	peer := openPacket(t, a, tun.PacketConfig{Interface: "wan"})
	host := openPacket(t, b, tun.PacketConfig{Interface: "lan"}) // another program's
	l := openPacket(t, b, tun.PacketConfig{Interface: "lan"})
	if err := l.(tun.Station).AddMAC(ourMAC); err != nil {
		t.Fatal(err)
	}
	const body = "of a packet filter test"
	for _, f := range []struct {
		from  tun.Link
		frame []byte
	}{
		{peer, etherFrame(ourMAC, peerMAC, unix.ETH_P_8021Q, "\x00\x0a\x88\xb5tagged, "+body)},
		{peer, etherFrame(ourMAC, peerMAC, unix.ETH_P_8021Q, "\x00\x00\x88\xb5priority, "+body)},
		{peer, etherFrame(ourMAC, peerMAC, unix.ETH_P_8021AD, "\x00\x0a\x81\x00\x00\x0b\x88\xb5twice, "+body)},
		{host, etherFrame(peerMAC, ourMAC, experiment, "host to peer, "+body)},
		{host, etherFrame(ourMAC, peerMAC, experiment, "host to us, "+body)},
		{host, etherFrame(net.HardwareAddr{255, 255, 255, 255, 255, 255}, peerMAC, experiment, "host to all, "+body)},
		{l, etherFrame(peerMAC, ourMAC, experiment, "our own, "+body)},
		{peer, etherFrame(ourMAC, peerMAC, experiment, "last, "+body)},
	} {
		if err := f.from.Send([][]byte{f.frame}, tun.Meta{}); err != nil {
			t.Fatal(err)
		}
	}
	// Frames stay in order: the first that is seen has to be the last.
	got, _ := recvUntil(t, l, func(f []byte) bool { return bytes.Contains(f, []byte(body)) })
	if want := etherFrame(ourMAC, peerMAC, experiment, "last, "+body); !bytes.Equal(got, want) {
		t.Errorf("received %q, want %q", got, want)
	}
}

// entries returns what the interface is asked to receive.
func entries(ns *tuntest.NS, dev string) (unicast string, allMulti, promisc bool) {
	d := ns.IP("-d", "link", "show", "dev", dev)
	return ns.Exec("bridge", "fdb", "show", "dev", dev), !strings.Contains(d, "allmulti 0"), !strings.Contains(d, "promiscuity 0")
}

func TestStationCounts(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	l := openPacket(t, a, tun.PacketConfig{Interface: "wan"})
	s := l.(tun.Station)
	check := func(when string, one, multi bool) {
		t.Helper()
		unicast, allMulti, promisc := entries(a, "wan")
		// The kernel itself makes some interfaces promiscuous for more than one address.
		if got := strings.Contains(unicast, ourMAC.String()); got != one || allMulti != multi || promisc && !one {
			t.Errorf("%s: address %t, all multicast %t, promiscuous %t, want %t, %t", when, got, allMulti, promisc, one, multi)
		}
	}
	check("opened", false, false)
	for _, mac := range []net.HardwareAddr{ourMAC, peerMAC, ourMAC} {
		if err := s.AddMAC(mac); err != nil {
			t.Fatal(err)
		}
	}
	check("added twice", true, true)
	for i, mac := range []net.HardwareAddr{ourMAC, peerMAC, ourMAC} {
		check("removed once less", true, true)
		if err := s.RemoveMAC(mac); err != nil {
			t.Errorf("remove %d: %v", i, err)
		}
	}
	check("removed twice", false, false)
	if err := s.RemoveMAC(ourMAC); err == nil {
		t.Error("an address that is not there was removed")
	}
	if err := s.AddMAC(net.HardwareAddr{2, 0, 0, 0, 0, 0, 0, 1}); err == nil {
		t.Error("an address of 8 octets was added")
	}
	if err := s.AddMAC(ourMAC); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	check("closed", false, false)
}

func TestPacketHeals(t *testing.T) {
	tuntest.CheckLeaks(t)
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	l := openPacket(t, a, tun.PacketConfig{Interface: "wan"})
	if err := l.(tun.Station).AddMAC(ourMAC); err != nil {
		t.Fatal(err)
	}
	var peer tun.Link
	exchange := func(what string) {
		t.Helper()
		peer = openPacket(t, b, tun.PacketConfig{Interface: "lan"})
		for _, dir := range [][2]tun.Link{{peer, l}, {l, peer}} {
			f := etherFrame(ourMAC, peerMAC, experiment, what)
			if err := dir[0].Send([][]byte{f}, tun.Meta{}); err != nil {
				t.Fatalf("%s: send on %s: %v", what, dir[0].Name(), err)
			}
			recvUntil(t, dir[1], func(got []byte) bool { return bytes.Equal(got, f) })
		}
		peer.Close()
		if unicast, multi, _ := entries(a, "wan"); !strings.Contains(unicast, ourMAC.String()) || !multi {
			t.Errorf("%s: the interface is not asked for frames to %v: %s", what, ourMAC, unicast)
		}
	}
	exchange("at first")

	a.IP("link", "set", "dev", "wan", "down")
	awaitDown(t, l, "set down", "set down")
	a.IP("link", "set", "dev", "wan", "up")
	awaitUp(t, l, "set up")
	exchange("set down and up")

	b.IP("link", "set", "dev", "lan", "down")
	awaitDown(t, l, "cable pulled", "carrier")
	b.IP("link", "set", "dev", "lan", "up")
	awaitUp(t, l, "cable back")
	exchange("cable pulled and back")

	a.IP("link", "set", "dev", "wan", "mtu", "1400")
	awaitEvent(t, l, "MTU", func(e tun.Event) bool { return e.Up && e.MTU == 1400 })
	a.IP("link", "set", "dev", "wan", "mtu", "1500")

	for range 3 {
		a.IP("link", "del", "dev", "wan")
		awaitDown(t, l, "deleted", "no interface of this name")
		if err := l.(tun.Station).AddMAC(peerMAC); err != nil {
			t.Errorf("an address can not be added while there is no interface: %v", err)
		}
		tuntest.Veth(a, "wan", b, "lan")
		awaitUp(t, l, "made anew")
		exchange("deleted and made anew")
	}
}

func TestOpenPacketRefuses(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	openTUN(t, a, tun.TUNConfig{Name: "layer3"})
	refused := func(c tun.PacketConfig, why string) {
		t.Helper()
		a.Do(func() {
			t.Helper()
			fds := countFDs(t)
			l, err := tun.OpenPacket(c)
			if err == nil {
				l.Close()
				t.Errorf("OpenPacket took %+v", c)
			} else if !strings.Contains(err.Error(), why) {
				t.Errorf("OpenPacket of %+v: %v, want %q", c, err, why)
			}
			if now := countFDs(t); now != fds {
				t.Errorf("OpenPacket of %+v left %d descriptors", c, now-fds)
			}
		})
	}
	refused(tun.PacketConfig{}, "name")
	refused(tun.PacketConfig{Interface: "none"}, "no interface of this name")
	refused(tun.PacketConfig{Interface: "lo"}, "not an Ethernet interface")
	refused(tun.PacketConfig{Interface: "layer3"}, "not an Ethernet interface")
	for _, key := range []string{
		"net.ipv4.ip_forward", "net.ipv4.conf.wan.forwarding",
		"net.ipv6.conf.all.forwarding", "net.ipv6.conf.wan.forwarding",
	} {
		a.Sysctl(key, "1")
		refused(tun.PacketConfig{Interface: "wan", OwnMAC: true}, "forwards")
		openPacket(t, a, tun.PacketConfig{Interface: "wan"}).Close()
		a.Sysctl(key, "0")
	}
	openPacket(t, a, tun.PacketConfig{Interface: "wan", OwnMAC: true})
}

func TestCheckAddr(t *testing.T) {
	a, b := tuntest.NewNS(t), tuntest.NewNS(t)
	tuntest.Veth(a, "wan", b, "lan")
	tuntest.Veth(a, "other", b, "far")
	a.IP("addr", "add", "192.0.2.1/24", "dev", "wan")
	a.IP("addr", "add", "198.51.100.1/24", "dev", "other")
	a.IP("addr", "add", "2001:db8::1/64", "dev", "other")
	a.IP("addr", "add", "fe80::1/64", "dev", "wan")
	a.Exec("sh", "-c", "while ip -6 addr show tentative | grep -q inet6; do sleep 0.01; done")
	own := openPacket(t, a, tun.PacketConfig{Interface: "wan", OwnMAC: true})
	each := openPacket(t, a, tun.PacketConfig{Interface: "wan"})
	if mac := a.IP("link", "show", "dev", "wan"); !strings.Contains(mac, own.HardwareAddr().String()) {
		t.Errorf("hardware address is %v, the interface's is in %s", own.HardwareAddr(), mac)
	}
	if each.HardwareAddr() != nil {
		t.Errorf("hardware address is %v, want none that all have to use", each.HardwareAddr())
	}
	check := func(addr, why string) {
		t.Helper()
		ip := netip.MustParseAddr(addr)
		if err := each.(tun.AddressChecker).CheckAddr(ip); err != nil {
			t.Errorf("%s on a link without OwnMAC: %v", addr, err)
		}
		err := own.(tun.AddressChecker).CheckAddr(ip)
		if (err == nil) != (why == "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, want %q", addr, err, why)
		}
	}
	for _, addr := range []string{"192.0.2.1", "198.51.100.1", "::ffff:192.0.2.1", "2001:db8::1", "fe80::1", "fe80::1%7", "127.0.0.1"} {
		check(addr, "holds this address")
	}
	for _, addr := range []string{"192.0.2.2", "203.0.113.1", "2001:db8::2", "2001:db8:1::1", "fe80::2"} {
		check(addr, "")
	}
	a.Sysctl("net.ipv6.conf.wan.forwarding", "1")
	check("192.0.2.2", "forwards")
}
