package ra_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	implicitA = ra.Key{Router: routerA}
	implicitB = ra.Key{Router: routerB}
	server1   = netip.MustParseAddr("2001:db8::53")
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	far       = netip.MustParsePrefix("2001:db8:ff::/48")
)

// TestLearn has one advertisement with everything in it.
func TestLearn(t *testing.T) {
	w := newWorld(t)
	w.run(10 * time.Second)
	w.hear(routerA, ra.Advertisement{
		Header: ra.Header{
			HopLimit: 64, Managed: true, Other: true, Preference: pvd.High, Lifetime: 30 * time.Minute,
			Reachable: 30 * time.Second, Retransmit: time.Second,
		},
		Options: []ra.Option{
			ra.LinkAddress{MAC: macA},
			ra.MTU(1400), pio(prefix1, 2*time.Hour, time.Hour),
			ra.RouteInformation{Prefix: far, Preference: pvd.Low, Lifetime: 20 * time.Minute},
			ra.RDNSS{Servers: []netip.Addr{server1, routerA}, Lifetime: 10 * time.Minute},
			ra.DNSSL{Domains: []string{"example.com"}, Lifetime: 11 * time.Minute},
			ra.PREF64{Prefix: nat64, Lifetime: 12 * time.Minute},
			ra.CaptivePortal("https://portal.example/"),
		},
	})
	p := w.only()
	if n := len(p.Addresses); n != 2 {
		t.Fatalf("addresses %v, want a link-local one and one more", p.Addresses)
	}
	ll, global := p.Addresses[0], p.Addresses[1]
	if !ll.Prefix.Addr().IsLinkLocalUnicast() || ll.Preferred != ra.Infinite || ll.Valid != ra.Infinite || ll.Deprecated {
		t.Errorf("link-local address %+v", ll)
	}
	if !prefix1.Contains(global.Prefix.Addr()) || global.Prefix.Bits() != 64 || global.Deprecated {
		t.Errorf("address %+v", global)
	}
	now := w.now
	want := &ra.PvD{
		Key: implicitA, Instance: 1, Since: now, Until: now + 2*time.Hour, Managed: true, Other: true,
		Routers:  []ra.Router{{Addr: routerA, MAC: macA, Heard: now}},
		Prefixes: []ra.Prefix{{Prefix: prefix1, Router: routerA, OnLink: now + 2*time.Hour, Valid: now + 2*time.Hour, Autonomous: true}},
		Addresses: []ra.Address{
			ll, {Prefix: global.Prefix, Preferred: now + time.Hour, Valid: now + 2*time.Hour},
		},
		Routes: []ra.Route{
			{To: netip.MustParsePrefix("::/0"), Via: routerA, Preference: pvd.High, Until: now + 30*time.Minute},
			{To: far, Via: routerA, Preference: pvd.Low, Until: now + 20*time.Minute},
		},
		Servers: []ra.Lasting[netip.Addr]{{server1, now + 10*time.Minute}, {routerA.WithZone("lan"), now + 10*time.Minute}},
		Search:  []ra.Lasting[string]{{"example.com", now + 11*time.Minute}},
		NAT64:   []ra.Lasting[netip.Prefix]{{nat64, now + 12*time.Minute}},
		Portal:  "https://portal.example/", MTU: 1400, HopLimit: 64, Reachable: 30 * time.Second, Retransmit: time.Second,
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
	if list, total := w.Rejections(); total != 0 {
		t.Errorf("rejections %v", list)
	}
}

// TestLifetimes lets each kind of object expire, to the nanosecond, and the PvD with the
// last of them.
func TestLifetimes(t *testing.T) {
	const life = 160 * time.Second
	for name, o := range map[string]struct {
		a     ra.Advertisement
		count func(p *ra.PvD) int
	}{
		"default router": {header(life), func(p *ra.PvD) int { return len(p.Routes) }},
		"on-link prefix": {
			header(0, ra.PrefixInformation{Prefix: prefix1, OnLink: true, Valid: life}),
			func(p *ra.PvD) int { return len(p.Prefixes) },
		},
		"address": {
			header(0, ra.PrefixInformation{Prefix: prefix1, Autonomous: true, Valid: life}),
			func(p *ra.PvD) int { return len(addressesIn(p, prefix1)) },
		},
		"route": {
			header(0, ra.RouteInformation{Prefix: far, Lifetime: life}),
			func(p *ra.PvD) int { return len(p.Routes) },
		},
		"DNS server": {
			header(0, ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: life}),
			func(p *ra.PvD) int { return len(p.Servers) },
		},
		"search domain": {
			header(0, ra.DNSSL{Domains: []string{"a.example"}, Lifetime: life}),
			func(p *ra.PvD) int { return len(p.Search) },
		},
		"NAT64": {
			header(0, ra.PREF64{Prefix: nat64, Lifetime: life}),
			func(p *ra.PvD) int { return len(p.NAT64) },
		},
		"resolver": {
			header(0, ra.EncryptedDNS{Resolver: dot(1, "dot.example", server1).Resolver, Lifetime: life}),
			func(p *ra.PvD) int { return len(p.Resolvers) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hear(routerA, o.a)
			if n := o.count(w.only()); n != 1 || w.only().Until != life {
				t.Fatalf("%d at first, until %v", n, w.only().Until)
			}
			w.run(life / 2)
			w.hear(routerA, o.a) // and again
			w.run(life - 1)
			if n := o.count(w.only()); n != 1 {
				t.Errorf("%d before the lifetime's end", n)
			}
			w.run(1)
			if n := len(w.Snapshot().PvDs); n != 0 {
				t.Errorf("%d PvDs at its end", n)
			}
			if at, ok := w.Next(); ok {
				t.Errorf("still to do at %v", at)
			}

			// Beside something that lasts.
			w.hear(routerA, header(long))
			w.hear(routerA, ra.Advertisement{Header: ra.Header{Lifetime: long}, Options: o.a.Options})
			base := 0
			if name == "default router" || name == "route" {
				base = 1
			}
			w.run(life)
			if n := o.count(w.only()); n != base {
				t.Errorf("%d at the lifetime's end, want %d", n, base)
			}
		})
	}
}

func TestInfinity(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(0, pio(prefix1, ra.Infinite, ra.Infinite),
		ra.RouteInformation{Prefix: far, Lifetime: ra.Infinite},
		ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: ra.Infinite}))
	before := w.only()
	w.run(100 * 365 * 24 * time.Hour)
	if w.only() != before || before.Until != ra.Infinite {
		t.Errorf("%+v", w.only())
	}
}

// TestWithdraw has a lifetime of 0 for everything, from the router itself and from
// another one of the same PvD, who can take nothing away.
func TestWithdraw(t *testing.T) {
	options := func(life time.Duration) []ra.Option {
		return []ra.Option{ra.PvDOption{ID: "x.example", Options: []ra.Option{
			ra.PrefixInformation{Prefix: prefix1, OnLink: true, Valid: life},
			pio(prefix2, life, life),
			ra.RouteInformation{Prefix: far, Lifetime: life},
			ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: life},
			ra.DNSSL{Domains: []string{"a.example"}, Lifetime: life},
			ra.PREF64{Prefix: nat64, Lifetime: life},
			ra.EncryptedDNS{Resolver: dot(1, "dot.example", server1).Resolver, Lifetime: life},
		}}}
	}
	w := newWorld(t)
	w.hear(routerA, header(long, options(long)...))
	before := w.only()
	w.run(time.Minute)
	w.hear(routerB, header(0, options(0)...))
	if !reflect.DeepEqual(w.only(), before) {
		t.Errorf("another router's made it\n%+v, was\n%+v", w.only(), before)
	}
	w.hear(routerA, header(0, options(0)...))
	p := w.only()
	if len(p.Routes)+len(p.Servers)+len(p.Search)+len(p.NAT64)+len(p.Resolvers) != 0 {
		t.Errorf("its own left %+v", p)
	}
	if len(p.Prefixes) != 1 || p.Prefixes[0].OnLink != 0 {
		t.Errorf("prefixes %+v: none is on the link", p.Prefixes)
	}
	// RFC 4862 section 5.5.3: what keeps the address.
	if as := addressesIn(p, prefix2); len(as) != 1 || !as[0].Deprecated || as[0].Valid != w.now+2*time.Hour {
		t.Errorf("addresses %+v", as)
	}
	w.run(2 * time.Hour)
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Errorf("%d PvDs", n)
	}
}

// TestSameFromTwoRouters has a DNS server of two routers, which is listed once and ends
// with the last of them.
func TestSameFromTwoRouters(t *testing.T) {
	w := newWorld(t)
	o := func(life time.Duration) ra.Advertisement {
		return header(long, ra.PvDOption{ID: "x.example", Options: []ra.Option{
			ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: life}, pio(prefix1, life, life),
		}})
	}
	w.hear(routerA, o(time.Hour))
	w.hear(routerB, o(3*time.Hour))
	p := w.only()
	want := []ra.Lasting[netip.Addr]{{server1, 3 * time.Hour}}
	if !slices.Equal(p.Servers, want) || len(p.Routers) != 2 || len(p.Routes) != 2 || len(p.Prefixes) != 2 {
		t.Errorf("%+v", p)
	}
	if as := addressesIn(p, prefix1); len(as) != 1 || as[0].Valid != 3*time.Hour {
		t.Errorf("addresses %+v", as)
	}
	w.hear(routerB, header(0, ra.PvDOption{ID: "x.example", Options: []ra.Option{
		ra.RDNSS{Servers: []netip.Addr{server1}}, pio(prefix1, 0, 0),
	}}))
	p = w.only()
	if len(p.Servers) != 1 || p.Servers[0].Until != time.Hour || len(p.Routes) != 1 || p.Routes[0].Via != routerA {
		t.Errorf("after one router's withdrawal %+v", p)
	}
	if as := addressesIn(p, prefix1); len(as) != 1 || as[0].Deprecated {
		t.Errorf("addresses %+v", as)
	}
}

// TestRoutePreferences has RFC 4191 section 3.1: a route to ::/0 goes before the header.
func TestRoutePreferences(t *testing.T) {
	anywhere := netip.MustParsePrefix("::/0")
	w := newWorld(t)
	high := header(time.Hour, ra.RouteInformation{Prefix: anywhere, Preference: pvd.Low, Lifetime: 2 * time.Hour})
	high.Preference = pvd.High
	w.hear(routerA, high)
	if r := w.only().Routes; len(r) != 1 || r[0] != (ra.Route{To: anywhere, Via: routerA, Preference: pvd.Low, Until: 2 * time.Hour}) {
		t.Errorf("routes %+v", r)
	}
	w.hear(routerA, header(time.Hour, ra.RouteInformation{Prefix: anywhere}))
	if s := w.Snapshot(); len(s.PvDs) != 0 {
		t.Errorf("a route of lifetime 0 to ::/0 left %+v", s.PvDs[0])
	}

	// The reserved value is medium in a header, and of no effect without a lifetime.
	for life, want := range map[time.Duration]pvd.Preference{time.Hour: pvd.Medium, 0: pvd.Medium} {
		p := packet(t, routerA, header(life))
		p.Message[5] = 0x10
		a, _, err := ra.ParseAdvertisement(p.Message)
		if err != nil || a.Preference != want {
			t.Errorf("lifetime %v: preference %v, %v", life, a.Preference, err)
		}
	}

	// Default routes in the order of preference.
	w = newWorld(t)
	for i, prf := range []pvd.Preference{pvd.Low, pvd.High, pvd.Medium} {
		a := header(time.Hour, ra.PvDOption{ID: "x.example"})
		a.Preference = prf
		w.hear(netip.MustParseAddr(fmt.Sprintf("fe80::%d", i+1)), a)
	}
	var got []pvd.Preference
	for _, r := range w.only().Routes {
		got = append(got, r.Preference)
	}
	if !slices.Equal(got, []pvd.Preference{pvd.High, pvd.Medium, pvd.Low}) {
		t.Errorf("preferences %v", got)
	}
}

// TestNumbers has what is believed of the header's numbers and the MTU option.
func TestNumbers(t *testing.T) {
	tests := []struct {
		name     string
		a        ra.Advertisement
		got      func(p *ra.PvD) any
		want     any
		rejected bool
	}{
		{"hop limit", ra.Advertisement{Header: ra.Header{HopLimit: 255}}, func(p *ra.PvD) any { return p.HopLimit }, uint8(255), false},
		{"hop limit 1", ra.Advertisement{Header: ra.Header{HopLimit: 1}}, func(p *ra.PvD) any { return p.HopLimit }, uint8(ra.MinHopLimit), true},
		{"reachable short", ra.Advertisement{Header: ra.Header{Reachable: 1e6}}, func(p *ra.PvD) any { return p.Reachable }, ra.MinReachable, true},
		{"reachable long", ra.Advertisement{Header: ra.Header{Reachable: 2 * time.Hour}}, func(p *ra.PvD) any { return p.Reachable }, ra.MaxReachable, true},
		{"retransmit short", ra.Advertisement{Header: ra.Header{Retransmit: 1e6}}, func(p *ra.PvD) any { return p.Retransmit }, ra.MinRetransmit, true},
		{"retransmit long", ra.Advertisement{Header: ra.Header{Retransmit: time.Hour}}, func(p *ra.PvD) any { return p.Retransmit }, ra.MaxRetransmit, true},
		{"MTU", header(0, ra.MTU(1280)), func(p *ra.PvD) any { return p.MTU }, 1280, false},
		{"MTU 1279", header(0, ra.MTU(1279)), func(p *ra.PvD) any { return p.MTU }, 0, true},
		{"MTU above the link's", header(0, ra.MTU(1501)), func(p *ra.PvD) any { return p.MTU }, 0, true},
		{"MTU huge", header(0, ra.MTU(1<<32-1)), func(p *ra.PvD) any { return p.MTU }, 0, true},
	}
	for _, tt := range tests {
		w := newWorld(t)
		tt.a.Lifetime = long
		w.hear(routerA, tt.a)
		if got := tt.got(w.only()); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
		if _, total := w.Rejections(); total > 0 != tt.rejected {
			t.Errorf("%s: %d rejections", tt.name, total)
		}
		w.hear(routerA, header(long)) // which specifies nothing
		if got := tt.got(w.only()); got != tt.want {
			t.Errorf("%s: %v after an advertisement that leaves it open, want %v", tt.name, got, tt.want)
		}
	}
}

// TestHugeMTU has a link whose own MTU is not known.
func TestHugeMTU(t *testing.T) {
	w := newWorld(t, func(c *ra.Config) { c.MTU = 0 })
	w.hear(routerA, header(long, ra.MTU(9000)))
	w.hear(routerA, header(long, ra.MTU(65536)))
	w.rejected("MTU 65536")
	if got := w.only().MTU; got != 9000 {
		t.Errorf("MTU %d, want 9000", got)
	}
}

// TestInstances has a PvD that ends and comes again.
func TestInstances(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(time.Minute))
	first := w.Snapshot()
	w.hear(routerB, header(time.Hour))
	second := w.Snapshot()
	w.run(time.Minute)
	w.hear(routerA, header(time.Minute))
	third := w.Snapshot()
	a, again := first.Find(implicitA), third.Find(implicitA)
	if a.Instance == again.Instance {
		t.Errorf("instance %d twice", a.Instance)
	}
	if second.Find(implicitA) != a || third.Find(implicitB) != second.Find(implicitB) {
		t.Error("a PvD that is the same is another pointer")
	}
	if first.PvDs[0] != a || len(first.PvDs) != 1 {
		t.Error("a snapshot has changed")
	}
	got := third.Changes(second)
	want := []ra.Change{{Before: a}, {After: again}}
	if !slices.Equal(got, want) {
		t.Errorf("changes %+v", got)
	}
	if c := first.Changes(nil); len(c) != 1 || c[0].After != a {
		t.Errorf("changes since nothing: %+v", c)
	}
	w.run(time.Second)
	w.hear(routerA, header(time.Minute))
	if c := w.Snapshot().Changes(third); len(c) != 1 || !c[0].Refreshed() {
		t.Errorf("changes of a repeated advertisement: %+v", c)
	}
	w.hear(routerA, header(time.Minute, ra.MTU(1280)))
	if c := w.Snapshot().Changes(third); len(c) != 1 || c[0].Refreshed() {
		t.Errorf("changes of an MTU: %+v", c)
	}
	w.Reset()
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Errorf("%d PvDs after Reset", n)
	}
	if _, ok := w.Next(); ok {
		t.Error("something to do after Reset")
	}
}
