package learn

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestNestedOptions is RFC 8801 section 3.4: what is inside of the PvD option and what is
// beside it is of one PvD, and the header inside goes before the one outside.
func TestNestedOptions(t *testing.T) {
	w := newWorld(t)
	inside := explicit(corp, pio("2001:db8:1::/64"), rdnss("2001:db8::53"))
	inside.Header = &ra.Header{Managed: true, Lifetime: time.Hour, Preference: pvd.High, HopLimit: 99}
	w.router("fe80::1").says(ra.Header{Other: true, HopLimit: 77}, pio("2001:db8:2::/64"), inside)
	p := w.only()
	if p.Key.ID != corp || len(p.in("2001:db8:1::/64")) != 1 || len(p.in("2001:db8:2::/64")) != 1 || len(p.Servers) != 1 {
		t.Errorf("%+v", p)
	}
	i := slices.IndexFunc(p.Routes, func(r pvd.Route) bool { return r.To.Bits() == 0 })
	if i < 0 || p.Routes[i].Preference != pvd.High {
		t.Errorf("routes %v", p.Routes)
	}
	if n, _ := element(p, pvd.HopLimit); n != 99 || !p.origin().Managed || p.origin().Other {
		t.Errorf("hop limit %d, origin %+v", n, p.origin())
	}
}

// TestElements has what routers say beside addresses be there.
func TestElements(t *testing.T) {
	w := newWorld(t)
	w.router("fe80::1").says(
		ra.Header{Lifetime: time.Hour, HopLimit: 60, Reachable: 20 * time.Second, Retransmit: 2 * time.Second},
		ra.PREF64{Prefix: netip.MustParsePrefix("64:ff9b::/96"), Lifetime: 800 * time.Second},
		ra.DNSSL{Domains: []string{"corp.example"}, Lifetime: time.Hour}, rdnss("fe80::53"), ra.MTU(1400),
		ra.RouteInformation{Prefix: netip.MustParsePrefix("2001:db8:5::/48"), Lifetime: time.Hour},
	)
	p := w.only()
	hops, _ := element(p, pvd.HopLimit)
	reachable, _ := element(p, pvd.ReachableTime)
	retransmit, _ := element(p, pvd.RetransmitTime)
	nat64, _ := element(p, pvd.NAT64)
	if hops != 60 || reachable != 20*time.Second || retransmit != 2*time.Second || len(nat64) != 1 || p.MTU != 1400 {
		t.Errorf("%+v", p)
	}
	if want := servers("fe80::53%lab"); !slices.Equal(p.Servers, want) || !slices.Equal(p.Search, []string{"corp.example"}) {
		t.Errorf("servers %v, search list %v", p.Servers, p.Search)
	}
	if !p.leads("2001:db8:5::/48", "fe80::1") {
		t.Errorf("routes %v", p.Routes)
	}
}

// TestRoutersOffTheirPrefix has leases whose router is on no prefix of the address.
func TestRoutersOffTheirPrefix(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("198.51.100.9/32", func(o map[byte][]byte) {
		o[121] = []byte{32, 192, 0, 2, 1, 0, 0, 0, 0, 0, 192, 0, 2, 1} // 192.0.2.1/32 on the link, and a default route by it
	})
	w.wait(20 * time.Second)
	if p := w.only(); !p.leads("0.0.0.0/0", "192.0.2.1") || !slices.ContainsFunc(p.Routes, func(r pvd.Route) bool {
		return r.To == netip.MustParsePrefix("192.0.2.1/32") && !r.Via.IsValid()
	}) {
		t.Errorf("routes %v", p.Routes)
	}
}

// TestIPv6Only has a network that prefers to be without IPv4 (RFC 8925).
func TestIPv6Only(t *testing.T) {
	for _, can := range []bool{true, false} {
		w := newWorld(t, func(c *Config) { c.IPv6Only = can })
		w.dhcp4 = leases("192.0.2.9/24", func(o map[byte][]byte) { o[108] = []byte{0, 0, 7, 8} })
		w.router("fe80::1").says(pio("2001:db8:1::/64"))
		w.wait(time.Minute)
		if has := len(w.only().in("192.0.2.0/24")) == 1; has == can {
			t.Errorf("a host that can do without has an address: %v", has)
		}
	}
}

// arp has somebody else say that an address is theirs.
func (w *world) arp(addr string) {
	w.Helper()
	a := acd.ARP{Op: acd.Reply, SenderMAC: [6]byte{2, 9, 9, 9, 9, 9}, SenderIP: netip.MustParseAddr(addr), TargetIP: netip.MustParseAddr(addr)}
	f := binary.BigEndian.AppendUint16(append(slices.Repeat([]byte{0xff}, 6), 2, 9, 9, 9, 9, 9), etherARP)
	w.Receive(a.Append(f))
	w.follow()
}

// TestConflict has somebody else have the address that is leased: before it is used, and while
// it is (RFC 5227).
func TestConflict(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24")
	w.wait(2 * time.Second)
	w.called() // it is being probed for
	if len(w.arps) == 0 || w.arps[0].SenderIP.IsValid() && !w.arps[0].SenderIP.IsUnspecified() {
		t.Fatalf("ARP %v", w.arps)
	}
	w.arp("192.0.2.9")
	if count4(w, dhcp4.Decline) != 1 {
		t.Fatalf("sent %v", w.sent4)
	}
	w.called()
	w.dhcp4 = leases("192.0.2.10/24")
	w.wait(time.Minute)
	if len(w.only().in("192.0.2.10/32")) != 1 {
		t.Fatalf("%+v", w.only())
	}
	n := len(w.arps)
	w.arp("192.0.2.10") // it is defended once
	if len(w.arps) != n+1 || len(w.Proposals()) != 1 {
		t.Errorf("ARP %v", w.arps[n:])
	}
	w.arp("192.0.2.10")
	w.called()
	if count4(w, dhcp4.Decline) != 2 {
		t.Errorf("sent %v", w.sent4)
	}
}

// TestRulesAreApplied has modifiers be in force from the first proposal on.
func TestRulesAreApplied(t *testing.T) {
	w := newWorld(t, func(c *Config) {
		c.Rules = Rules{
			{Match: Match{ID: corp}, Name: "work", Refuse: Refuse{DNS: true}},
			{Match: Match{Link: "lab", Implicit: true}, Name: "home", Modify: []Modifier{Supersede(pvd.DNSServers.With(servers("192.0.2.53")))}},
		}
	})
	one := w.router("fe80::1")
	one.says(explicit(corp), pio("2001:db8:1::/64"), rdnss("2001:db8::53"))
	one.says(pio("2001:db8:2::/64"), rdnss("2001:db8::53"))
	w.called("work", "home")
	if len(w.named("work").Servers) != 0 || !slices.Equal(w.named("home").Servers, servers("192.0.2.53")) {
		t.Errorf("%v, %v", w.named("work").Servers, w.named("home").Servers)
	}
	home := w.named("home")
	one.says(pio("2001:db8:2::/64"), rdnss("2001:db8::54")) // which comes to the same
	if w.named("home") != home {
		t.Error("it is another proposal, and says the same")
	}
}

// TestUnreachableRouterMakesRoom has a router that does not answer make room for others.
func TestUnreachableRouterMakesRoom(t *testing.T) {
	w := newWorld(t)
	f := newFlood(w)
	w.router("fe80::1").says(pio("2001:db8:1::/64"))
	for range ra.MaxPvDs {
		w.receive(f.next(""))
	}
	w.router("fe80::2").says()
	first := w.Proposals()[0]
	if first.Key.Router != netip.MustParseAddr("fe80::1") || w.named("lab/fe80::2") != nil {
		t.Fatal("there is room")
	}
	w.silent[netip.MustParseAddr("fe80::1")] = true
	w.follow()
	w.router("fe80::2").says()
	if w.Proposals()[0].Key == first.Key || w.named("lab") == nil || w.named("lab").Key.Router != netip.MustParseAddr("fe80::2") {
		t.Errorf("%q", w.names())
	}
}

// TestStrangers has what is not from this link, or is damaged, be of no consequence, and be
// remarked upon where it is about routers.
func TestStrangers(t *testing.T) {
	w := newWorld(t)
	good := w.router("fe80::1").packet(pio("2001:db8:1::/64"))
	change := func(at int, b byte) []byte {
		p := slices.Clone(good)
		p[at] = b
		return p
	}
	global := w.router("2001:db8::1").packet(pio("2001:db8:1::/64"))
	for what, p := range map[string][]byte{
		"hop limit 64": change(7, 64), "code 1": change(41, 1), "a wrong checksum": change(42, good[42]+1),
		"cut short": good[:len(good)-1], "from a global address": global,
		"a fragment": extend(good, []byte{extFragment}, make([]byte, 8)),
		"type 135":   change(40, 135),
	} {
		before := len(w.Remarks())
		w.receive(p)
		w.called()
		if told := len(w.Remarks()) > before; told != (what != "cut short" && what != "type 135") {
			t.Errorf("%s: remarks %v", what, w.Remarks())
		}
	}
	w.Observe(99, Observation{Usable: []netip.Addr{server4.Addr()}})
	w.Done(Result{request: Request{Instance: 99, portal: nil, info: nil}})
	w.receive(good)
	w.called("lab")
}

// TestP46_LastEventDoesNotWin has two links lease the same address, in either order: both have
// it, and what is learned on each is, bit for bit, what it would be without the other.
func TestP46_LastEventDoesNotWin(t *testing.T) {
	learned := func(order ...string) map[string][]Proposal {
		clock := &virtualClock{now: time.Hour}
		worlds := map[string]*world{}
		for _, link := range order {
			w := newWorld(t, func(c *Config) { c.Link, c.Clock = link, clock })
			w.dhcp4 = leases("192.0.2.9/24")
			worlds[link] = w
		}
		for range 30 {
			clock.now += time.Second
			for _, link := range order {
				worlds[link].Advance()
				worlds[link].follow()
			}
		}
		got := map[string][]Proposal{}
		for link, w := range worlds {
			got[link], _, _ = snapshot(w)
			if len(got[link]) != 1 || len(w.only().in("192.0.2.9/32")) != 1 {
				t.Fatalf("%s: %+v", link, got[link])
			}
		}
		return got
	}
	both := learned("lab", "lab2")
	if again := learned("lab2", "lab"); !same(both, again) {
		t.Errorf("in the other order they are %+v, were %+v", again, both)
	}
	if alone := learned("lab"); !same(alone["lab"], both["lab"]) {
		t.Errorf("alone it is %+v, was %+v", alone["lab"], both["lab"])
	}
}

// TestHalvesOfTheDefaultRoute has a server lease 0.0.0.0/1 and 128.0.0.0/1, as some do in the
// place of a default route: the PvD can be attached (world.check), and has both.
func TestHalvesOfTheDefaultRoute(t *testing.T) {
	w := newWorld(t)
	w.dhcp4 = leases("192.0.2.9/24", func(o map[byte][]byte) {
		o[121] = []byte{1, 0, 192, 0, 2, 1, 1, 128, 192, 0, 2, 1}
	})
	w.wait(20 * time.Second)
	if p := w.only(); !p.leads("0.0.0.0/1", "192.0.2.1") || !p.leads("128.0.0.0/1", "192.0.2.1") {
		t.Errorf("routes %v", p.Routes)
	}
}
