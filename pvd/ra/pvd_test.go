package ra_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

func explicit(id pvd.ID) ra.Key { return ra.Key{ID: id} }

// TestInnerHeader has RFC 8801 sections 3.4 and 5.2: the header in the option counts, and
// options from inside and outside belong together.
func TestInnerHeader(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, ra.Advertisement{
		Header: ra.Header{Lifetime: 6000 * time.Second, HopLimit: 99, Managed: true, Retransmit: time.Second},
		Options: []ra.Option{
			pio(prefix1, time.Hour, 0), ra.MTU(1400),
			ra.PvDOption{
				ID: "foo.example.org", Header: &ra.Header{HopLimit: 77, Other: true},
				Options: []ra.Option{ra.MTU(1300), pio(prefix1, 30*time.Minute, time.Minute), pio(prefix2, time.Hour, time.Hour)},
			},
		},
	})
	p := w.only()
	if p.Key != explicit("foo.example.org") || len(p.Routes) != 0 || p.HopLimit != 77 || p.Managed || !p.Other || p.Retransmit != 0 {
		t.Errorf("%+v", p)
	}
	if p.MTU != 1300 || len(p.Prefixes) != 2 {
		t.Errorf("options: %+v", p)
	}
	if as := addressesIn(p, prefix1); len(as) != 1 || as[0].Valid != 30*time.Minute || as[0].Preferred != time.Minute {
		t.Errorf("addresses %+v: want the inner option's lifetimes", as)
	}
	if p.Option == nil || p.Option.Header != nil || p.Option.Options != nil {
		t.Errorf("option %+v", p.Option)
	}
}

// TestKeys has RFC 8801 section 3.2: who is which PvD.
func TestKeys(t *testing.T) {
	w := newWorld(t)
	of := func(id pvd.ID) ra.Advertisement { return header(long, ra.PvDOption{ID: id}) }
	w.hear(routerA, header(long))
	w.hear(routerB, header(long))
	w.hear(routerA, of("a.example"))
	w.hear(routerA, of("b.example"))
	w.hear(routerB, of("A.Example."))
	var keys []ra.Key
	for _, p := range w.Snapshot().PvDs {
		keys = append(keys, p.Key)
	}
	want := []ra.Key{implicitA, implicitB, explicit("a.example"), explicit("b.example")}
	if !slices.Equal(keys, want) {
		t.Errorf("PvDs %v, want %v", keys, want)
	}
	if r := w.pvd(explicit("a.example")).Routers; len(r) != 2 {
		t.Errorf("routers %v", r)
	}
	// Each has its own addresses, the link-local one too.
	seen := map[netip.Addr]bool{}
	for _, p := range w.Snapshot().PvDs {
		if a := p.Addresses[0].Prefix.Addr(); seen[a] || !a.IsLinkLocalUnicast() {
			t.Errorf("%s: address %s", p.Key, a)
		} else {
			seen[a] = true
		}
	}
}

// TestSplit has an advertisement that is too long for the link and comes in parts
// (RFC 8801 section 3.2): they add up.
func TestSplit(t *testing.T) {
	w := newWorld(t)
	option := ra.PvDOption{ID: "x.example", HTTP: true, Sequence: 7, Delay: 3, Header: &ra.Header{Lifetime: long}}
	for _, o := range []ra.Option{
		pio(prefix1, long, long), pio(prefix2, long, long), ra.MTU(1400),
		ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: long},
	} {
		option.Options = []ra.Option{o}
		w.hear(routerA, header(0, option))
	}
	p := w.only()
	if len(p.Prefixes) != 2 || len(p.Servers) != 1 || p.MTU != 1400 || len(p.Routes) != 1 || len(p.Addresses) != 3 {
		t.Errorf("%+v", p)
	}
	if o := p.Option; !o.HTTP || o.Sequence != 7 || o.Delay != 3 {
		t.Errorf("option %+v", o)
	}
	option.HTTP = false // RFC 8801 section 3.1: the rest is to be ignored then
	w.hear(routerA, header(0, option))
	if o := w.only().Option; o.HTTP || o.Sequence != 0 || o.Delay != 0 {
		t.Errorf("option %+v without the H-flag", o)
	}
}

// TestSharedPrefix has two PvDs of one router with the same prefix, by turns: each has its
// own address, which stays preferred.
func TestSharedPrefix(t *testing.T) {
	w := newWorld(t)
	of := func(id pvd.ID) ra.Advertisement {
		return header(long, ra.PvDOption{ID: id, Options: []ra.Option{pio(prefix1, long, long)}})
	}
	for i := range 20 {
		w.hear(routerA, of("a.example"))
		w.run(time.Second)
		if i > 0 && addressesIn(w.pvd(explicit("b.example")), prefix1)[0].Deprecated {
			t.Fatalf("at %v the second PvD's address is deprecated", w.now)
		}
		w.hear(routerA, of("b.example"))
		a := addressesIn(w.pvd(explicit("a.example")), prefix1)
		b := addressesIn(w.pvd(explicit("b.example")), prefix1)
		if len(a) != 1 || len(b) != 1 || a[0].Prefix == b[0].Prefix || a[0].Deprecated || b[0].Deprecated {
			t.Fatalf("at %v addresses %+v and %+v", w.now, a, b)
		}
		w.run(600 * time.Second)
	}
}

// TestSharedPrefixRates has a router that speaks of one PvD more often than of the other.
func TestSharedPrefixRates(t *testing.T) {
	w := newWorld(t)
	of := func(id pvd.ID) ra.Advertisement {
		return header(long, ra.PvDOption{ID: id, Options: []ra.Option{pio(prefix1, long, long)}})
	}
	for i := range 60 {
		if i%6 == 0 {
			w.hear(routerA, of("rare.example"))
		}
		w.hear(routerA, of("often.example"))
		a := addressesIn(w.pvd(explicit("rare.example")), prefix1)
		if i > 6 && a[0].Deprecated { // from then on it is known how rarely
			t.Fatalf("at %v %+v is deprecated", w.now, a[0])
		}
		w.run(100 * time.Second)
	}
}

// TestMovedPrefix has a prefix that a router moves to another PvD, and one that another
// router has taken over.
func TestMovedPrefix(t *testing.T) {
	of := func(id pvd.ID) ra.Advertisement {
		return header(long, ra.PvDOption{ID: id, Options: []ra.Option{pio(prefix1, long, long)}})
	}
	t.Run("by its router", func(t *testing.T) {
		w := newWorld(t)
		w.hear(routerA, of("a.example"))
		w.run(200 * time.Second)
		w.hear(routerA, of("b.example"))
		w.run(200 * time.Second)
		w.hear(routerA, of("b.example"))
		a := addressesIn(w.pvd(explicit("a.example")), prefix1)
		b := addressesIn(w.pvd(explicit("b.example")), prefix1)
		if len(a) != 1 || !a[0].Deprecated || a[0].Valid != long {
			t.Errorf("old addresses %+v, want one that is deprecated and as valid as before", a)
		}
		if len(b) != 1 || b[0].Deprecated {
			t.Errorf("new addresses %+v", b)
		}
		w.hear(routerA, of("a.example")) // so it was not moved
		if a := addressesIn(w.pvd(explicit("a.example")), prefix1); len(a) != 1 || a[0].Deprecated {
			t.Errorf("old addresses %+v after being advertised again", a)
		}
	})
	t.Run("from the implicit PvD", func(t *testing.T) { // whose router has begun to name PvDs
		w := newWorld(t)
		w.hear(routerA, header(long, pio(prefix1, long, long)))
		w.run(200 * time.Second)
		w.hear(routerA, of("b.example"))
		if a := addressesIn(w.pvd(implicitA), prefix1); len(a) != 1 || a[0].Deprecated {
			t.Errorf("old addresses %+v at once: the router may go on naming both", a)
		}
		w.run(200 * time.Second)
		w.hear(routerA, of("b.example"))
		a := addressesIn(w.pvd(implicitA), prefix1)
		if len(a) != 1 || !a[0].Deprecated || a[0].Valid != long {
			t.Errorf("old addresses %+v, want one that is deprecated and as valid as before", a)
		}
		w.run(long - w.now)
		if w.Snapshot().Find(implicitA) != nil {
			t.Error("it outlives its lifetimes")
		}
	})
	t.Run("to another router", func(t *testing.T) {
		w := newWorld(t)
		w.hear(routerA, of("a.example"))
		for w.now < 3600*time.Second {
			w.hear(routerB, of("b.example"))
			if a := addressesIn(w.pvd(explicit("a.example")), prefix1); a[0].Deprecated {
				t.Fatalf("deprecated after %v", w.now)
			}
			w.run(600 * time.Second)
		}
		w.hear(routerB, of("b.example"))
		a := addressesIn(w.pvd(explicit("a.example")), prefix1)
		if len(a) != 1 || !a[0].Deprecated || a[0].Valid != long {
			t.Errorf("addresses %+v", a)
		}
	})
}

// TestBarePvD has a PvD that claims the link's DHCPv4 and has nothing else.
func TestBarePvD(t *testing.T) {
	w := newWorld(t)
	claim := header(0, ra.PvDOption{ID: "x.example", Legacy: true})
	w.hear(routerA, header(0, ra.PvDOption{ID: "y.example", HTTP: true}))
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Fatalf("%d PvDs of nothing", n)
	}
	w.hear(routerA, claim)
	w.run(1000 * time.Second)
	w.hear(routerA, claim)
	w.run(1800*time.Second - 1)
	if !w.only().Option.Legacy || len(w.only().Routers) != 1 {
		t.Errorf("%+v", w.only())
	}
	w.run(1)
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Errorf("%d PvDs", n)
	}
	w.hear(routerA, claim)
	w.hear(routerA, header(0, ra.PvDOption{ID: "x.example"}))
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Errorf("%d PvDs after the claim was given up", n)
	}
}

// TestDHCPv4 has RFC 8801 section 3.4.2.
func TestDHCPv4(t *testing.T) {
	w := newWorld(t)
	check := func(conflict bool, want ...ra.Key) {
		t.Helper()
		of, c := w.Snapshot().DHCPv4()
		if got := keysOf(of); !slices.Equal(got, want) || c != conflict {
			t.Errorf("DHCPv4 is of %v, conflict %t; want %v, %t", got, c, want, conflict)
		}
	}
	claim := func(id pvd.ID, is bool) ra.Advertisement { return header(long, ra.PvDOption{ID: id, Legacy: is}) }
	check(false)
	w.hear(routerA, claim("x.example", false))
	check(false)
	w.hear(routerA, header(long))
	w.hear(routerB, header(long))
	check(false, implicitA, implicitB)
	w.hear(routerA, claim("x.example", true))
	check(false, explicit("x.example"))
	w.hear(routerA, claim("y.example", true))
	check(true, implicitA, implicitB)
	w.hear(routerA, claim("x.example", false))
	check(false, explicit("y.example"))
}

// TestDHCPv6 has RFC 8801 section 3.4.1.
func TestDHCPv6(t *testing.T) {
	w := newWorld(t)
	say := func(id pvd.ID, h ra.Header, p netip.Prefix) {
		h.Lifetime = long
		a := ra.Advertisement{Header: h, Options: []ra.Option{ra.PrefixInformation{Prefix: p, OnLink: true, Valid: long}}}
		if id != "" {
			a.Options = append(a.Options, ra.PvDOption{ID: id})
		}
		w.hear(routerA, a)
	}
	say("", ra.Header{Other: true}, prefix1)
	say("managed.example", ra.Header{Managed: true}, prefix2)
	say("other.example", ra.Header{Other: true}, prefix2)
	say("none.example", ra.Header{}, prefix2)
	s := w.Snapshot()
	managed, other := explicit("managed.example"), explicit("other.example")
	if got := keysOf(s.StatelessDHCPv6()); !slices.Equal(got, []ra.Key{implicitA, managed, other}) {
		t.Errorf("stateless: %v", got)
	}
	if got := keysOf(s.ManagedDHCPv6()); !slices.Equal(got, []ra.Key{managed}) {
		t.Errorf("managed: %v", got)
	}
	for assigned, want := range map[string]struct {
		keys    []ra.Key
		matched bool
	}{
		"2001:db8:2::5/128": {[]ra.Key{managed}, true},
		"2001:db8:1::5/128": {[]ra.Key{implicitA}, false},
		"2001:db8::/32":     {[]ra.Key{implicitA}, false},
	} {
		of, matched := s.StatefulDHCPv6(netip.MustParsePrefix(assigned))
		if !slices.Equal(keysOf(of), want.keys) || matched != want.matched {
			t.Errorf("%s is of %v, %t; want %v", assigned, keysOf(of), matched, want)
		}
	}
}

func keysOf(ps []*ra.PvD) (keys []ra.Key) {
	for _, p := range ps {
		keys = append(keys, p.Key)
	}
	return keys
}
