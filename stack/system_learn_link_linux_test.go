package stack_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// learnsOfLinks takes a link down and up, puts it into other networks, has other things
// learned on it, and takes it away.
func learnsOfLinks(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	room := tuntest.NewNS(t)
	r.wire("cable", kindPacket, room, "p0", 1500)
	type network struct {
		*router
		address, prefix string
		server          *daemon
	}
	var networks []network
	for i, own := range []struct{ router, address string }{
		{"fe80::1", leased},         // the first network
		{"fe80::2", "192.168.1.60"}, // has another router
		{"fe80::2", leased},         // whose address another station has here
	} {
		name := string(rune('a' + i))
		n := network{address: own.address, prefix: fmt.Sprintf("2001:db8:%d::/64", i+1)}
		n.router = newRouter(t, name, room, "p"+name, "192.168.1.1/24", own.router+"/64", fmt.Sprintf("2001:db8:%d::1/64", i+1))
		n.ns.Sysctl("net.ipv6.conf.all.forwarding", "1")
		room.Bridge("br"+name, "p"+name)
		radvd(t, n.ns, advertise(own.router, "prefix "+n.prefix+" {};"))
		n.server = dnsmasq(t, n.ns, "--port=0", "--interface=eth0", "--dhcp-authoritative", "--dhcp-range="+own.address+","+own.address+",1h")
		networks = append(networks, n)
	}
	plug := func(bridge string, pause time.Duration) {
		t.Helper()
		room.IP("link", "set", "dev", "p0", "down")
		eventually(t, "the link is down", func() bool {
			i, err := r.host.Info(find(r.host, from("cable", "")))
			return err != nil || !pvd.HasAddr6.Holds(i)
		})
		time.Sleep(pause)
		room.IP("link", "set", "dev", "p0", "master", bridge)
		room.IP("link", "set", "dev", "p0", "up")
	}
	room.IP("link", "set", "dev", "p0", "master", "bra")
	discovery := stack.Discovery{RA: true, DHCPv4: true}
	r.discover("cable", discovery, both[0], networks[0].prefix, networks[1].prefix, networks[2].prefix)
	first := await(t, r.host, "cable", pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4, pvd.HasDefault6)
	goesBy(t, first, networks[0].router, leased)
	w.look()
	t.Run("same network", func(t *testing.T) {
		kept, keptThere := join(t, first, kernel{networks[0].ns}, far4)
		verified := strings.Count(networks[0].server.String(), "DHCPACK")
		for range 3 {
			plug("bra", 0)
		}
		plug("bra", 100*time.Millisecond)
		n := await(t, r.host, "cable", pvd.HasAddr4, pvd.HasAddr6)
		if n.PvD() != first.PvD() {
			t.Errorf("the PvD was %v and is %v", first.PvD(), n.PvD())
		}
		_, err := kept.Write([]byte("x"))
		if _, rerr := keptThere.Read(make([]byte, 1)); err != nil || rerr != nil {
			t.Errorf("a connection does not survive that the link goes and comes: %v, %v", err, rerr)
		}
		goesBy(t, n, networks[0].router, leased)
		eventually(t, "the lease is verified", func() bool { return strings.Count(networks[0].server.String(), "DHCPACK") > verified })
		if strings.Count(networks[0].server.String(), "DHCPDISCOVER") != 1 {
			t.Error("another lease is looked for")
		}
	})
	var second *stack.Network
	t.Run("another router", func(t *testing.T) {
		since := time.Now()
		plug("brb", 0)
		second = awaitOne(t, r.host, "PvD of the second network", func(i *pvd.Info) bool {
			return i.Ref() != first.PvD() && from("cable", "fe80::2")(i)
		}, pvd.HasAddr6, pvd.HasDefault6)
		eventually(t, "the PvD of the first network is gone", func() bool {
			_, err := r.host.Info(first.PvD())
			return errors.Is(err, pvd.ErrNoPvD)
		})
		took := time.Since(since)
		t.Logf("the PvD of the network before was gone after %v", took.Round(time.Millisecond))
		if took > 15*time.Second { // three solicitations of 4 s, and the test's own delays
			t.Errorf("the PvD of the network before was gone after %v", took)
		}
		await4 := awaitOne(t, r.host, "lease of the second network", from("cable", "fe80::2"), pvd.HasAddr4)
		goesBy(t, await4, networks[1].router, networks[1].address)
	})
	t.Run("another station", func(t *testing.T) {
		since := time.Now()
		plug("brc", 0)
		eventually(t, "the PvD of the second network is gone", func() bool {
			_, err := r.host.Info(second.PvD())
			return errors.Is(err, pvd.ErrNoPvD)
		})
		t.Logf("the PvD of the network before was gone after %v", time.Since(since).Round(time.Millisecond))
		third := awaitOne(t, r.host, "PvD of the third network", from("cable", "fe80::2"), pvd.HasAddr6)
		talk(t, third, kernel{networks[2].ns}, r.addressIn(third, networks[2].prefix), far6)
	})
	t.Run("other discovery", func(t *testing.T) {
		before := find(r.host, from("cable", ""))
		r.discover("cable", stack.Discovery{RA: true})
		n := awaitOne(t, r.host, "PvD without DHCPv4", from("cable", "fe80::2"), pvd.HasAddr6)
		if n.PvD() == before {
			t.Error("the PvD is that of before")
		}
		c, _ := join(t, n, kernel{networks[2].ns}, far6)
		if err := r.host.RemoveLink("cable"); err != nil {
			t.Error(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("the connection ended with %v, want %v", err, pvd.ErrNoPvD)
		}
		if left := find(r.host, from("cable", "")); left != pvd.Unspecified {
			t.Errorf("after the removal of the link there is\n%s", describe(r.host))
		}
		if err := r.host.Discover("cable", discovery); err == nil {
			t.Error("PvDs are learned on a link that is not there")
		}
	})
	w.unchanged()
}
