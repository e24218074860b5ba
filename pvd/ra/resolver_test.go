package ra_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestResolvers has RFC 9463 section 6: several resolvers, by priority, each with what it
// was last said to be.
func TestResolvers(t *testing.T) {
	w := newWorld(t)
	other := netip.MustParseAddr("2001:db8::54")
	say := func(from netip.Addr, options ...ra.Option) {
		w.hear(from, header(long, ra.PvDOption{ID: "x.example", Options: options}))
	}
	say(routerA, dot(20, "b.example", server1), dot(10, "a.example", server1, routerA), dot(20, "c.example", server1))
	say(routerB, dot(10, "a.example", server1, routerA))
	check := func(want ...ra.Lasting[ra.Resolver]) {
		t.Helper()
		if got := w.only().Resolvers; !reflect.DeepEqual(got, want) {
			t.Errorf("at %v got\n%+v, want\n%+v", w.now, got, want)
		}
	}
	is := func(until time.Duration, priority uint16, name string, addrs ...netip.Addr) ra.Lasting[ra.Resolver] {
		return ra.Lasting[ra.Resolver]{Value: dot(priority, name, addrs...).Resolver, Until: until}
	}
	local := routerA.WithZone("lan")
	check(is(time.Hour, 10, "a.example", server1, local), is(time.Hour, 20, "b.example", server1), is(time.Hour, 20, "c.example", server1))
	before := w.only()

	w.run(time.Minute)
	later := w.now + time.Hour
	say(routerA, dot(5, "c.example", server1), dot(20, "b.example", other))
	check(is(later, 5, "c.example", server1), is(time.Hour, 10, "a.example", server1, local),
		is(time.Hour, 20, "b.example", server1), is(later, 20, "b.example", other))
	if c := (ra.Change{Before: before, After: w.only()}); c.Refreshed() {
		t.Error("another resolver is no change")
	}

	// A lifetime of 0 ends the name, wherever it is: what the router itself has said of it.
	gone := func(name string) ra.Option {
		return ra.EncryptedDNS{Resolver: ra.Resolver{Priority: 1, Name: name}}
	}
	say(routerA, gone("b.example"), gone("a.example"), gone("never.example"))
	check(is(later, 5, "c.example", server1), is(time.Hour, 10, "a.example", server1, local))
	say(routerB, gone("a.example"), gone("c.example"))
	check(is(later, 5, "c.example", server1))
	before = w.only()
	w.run(time.Minute)
	say(routerA, dot(5, "c.example", server1))
	if c := (ra.Change{Before: before, After: w.only()}); !c.Refreshed() {
		t.Error("the same again is a change")
	}
}

// TestResolverAddrs leaves out what can be no resolver's, and what there is too much of.
func TestResolverAddrs(t *testing.T) {
	w := newWorld(t)
	group, own := netip.MustParseAddr("ff02::fb"), netip.IPv6Loopback()
	many := []netip.Addr{group, own, netip.IPv6Unspecified()}
	for n := range ra.MaxResolverAddrs + 1 {
		many = append(many, number("2001:db8::", n))
	}
	w.hear(routerA, header(long, dot(1, "a.example", many...)))
	rs := w.only().Resolvers
	if len(rs) != 1 || !reflect.DeepEqual(rs[0].Value.Addrs, many[3:3+ra.MaxResolverAddrs]) {
		t.Errorf("%+v", rs)
	}
}
