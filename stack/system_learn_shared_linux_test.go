package stack_test

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// learnsShared has two routers on one link and one DHCPv4 server, whose lease both implicit
// PvDs have. Both use it in every way, at once, until one of them ends.
func learnsShared(t *testing.T) {
	r := anotherRig(t)
	w := r.witnesses(true)
	g := r.provider("wan")
	addrs(g.ns, "lan", "fe80::1/64", "fe80::2/64", "2001:db8:2::1/64")
	var routers []*daemon
	for i := 1; i <= 2; i++ {
		routers = append(routers, radvd(t, g.ns, fmt.Sprintf(`interface lan {
			AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; AdvDefaultLifetime 6;
			AdvRASrcAddress { fe80::%d; };
			prefix 2001:db8:%[1]d::/64 { AdvValidLifetime 6; AdvPreferredLifetime 6; };
		};`, i)))
	}
	dnsmasq(t, g.ns, "--port=0", "--interface=lan", "--dhcp-authoritative", "--dhcp-range="+leased+","+leased+",1h")
	r.discover("wan", stack.Discovery{RA: true, DHCPv4: true}, "2001:db8:2::/64", both[0], both[1])
	a := awaitOne(t, r.host, "PvD of fe80::1", from("wan", "fe80::1"), pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4)
	b := awaitOne(t, r.host, "PvD of fe80::2", from("wan", "fe80::2"), pvd.HasAddr4, pvd.HasAddr6, pvd.HasDefault4)
	w.look()
	for _, n := range []*stack.Network{a, b} {
		origin := originOn(r.info(n), "wan")
		if got := r.addressIn(n, both[0]); got != leased || origin.Shared != 2 {
			t.Errorf("leased %s, which %d PvDs share", got, origin.Shared)
		}
	}
	pumpA, pumpB := startPump(t, "first", a, kernel{g.ns}, far4), startPump(t, "second", b, kernel{g.ns}, far4)
	for range 2 {
		goesBy(t, a, g, leased)
		goesBy(t, b, g, leased)
	}
	t.Run("one port", func(t *testing.T) {
		// Both listen at one port: whoever connects gets one of them, and is not refused.
		for _, n := range []*stack.Network{a, b} {
			l, err := n.Listen(t.Context(), "tcp", leased+":7777")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
		}
		c, err := kernel{g.ns}.DialContext(t.Context(), "tcp", leased+":7777")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	})
	pumpA.stop()
	pumpB.stop()
	for _, p := range []*pump{pumpA, pumpB} {
		if p.received.Load() == 0 {
			t.Errorf("%s: nothing has arrived", p.name)
		}
	}
	kept, keptThere := join(t, a, kernel{g.ns}, far4)
	doomed, _ := join(t, b, kernel{g.ns}, far4)
	routers[1].stop(syscall.SIGKILL)
	if _, err := doomed.Read(make([]byte, 1)); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("the connection of the PvD that ends ended with %v, want %v", err, pvd.ErrNoPvD)
	}
	eventually(t, "the lease is the other PvD's alone", func() bool {
		origin := originOn(r.info(a), "wan")
		return origin.Shared == 1
	})
	_, err := kept.Write([]byte("x"))
	if _, rerr := keptThere.Read(make([]byte, 1)); err != nil || rerr != nil {
		t.Errorf("the connection of the PvD that stays: %v, %v", err, rerr)
	}
	goesBy(t, a, g, leased)
	w.unchanged()
}
