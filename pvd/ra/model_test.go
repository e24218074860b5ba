package ra_test

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

func TestModelAddresses(t *testing.T) {
	w := newWorld(t)
	offLink := pio(prefix2, long, 0)
	offLink.OnLink = false
	w.hear(routerA, header(long, pio(prefix1, ra.Infinite, time.Hour), offLink))
	epoch := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	p := w.only()
	got := p.ModelAddresses("lan", func(d time.Duration) time.Time { return epoch.Add(d) })
	a, b, c := p.Addresses[0].Prefix, p.Addresses[1].Prefix, p.Addresses[2].Prefix
	want := []pvd.AddressInfo{
		{Address: pvd.Address{Prefix: a, Link: "lan"}, Automatic: true},
		{Address: pvd.Address{Prefix: b, Link: "lan"}, PreferredUntil: epoch.Add(time.Hour)},
		{
			Address:        pvd.Address{Prefix: netip.PrefixFrom(c.Addr(), 128), Link: "lan", Deprecated: true},
			PreferredUntil: epoch, ValidUntil: epoch.Add(long),
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestModelRoutes has RFC 8028: of two default routers, each is for the sources of the
// prefix that it advertises; a route that only one has is for all.
func TestModelRoutes(t *testing.T) {
	w := newWorld(t)
	anywhere := netip.MustParsePrefix("::/0")
	onLink := netip.MustParsePrefix("2001:db8:3::/64")
	say := func(from netip.Addr, prf pvd.Preference, options ...ra.Option) {
		a := header(long, ra.PvDOption{ID: "x.example", Options: options})
		a.Preference = prf
		w.hear(from, a)
	}
	say(routerA, pvd.Low, pio(prefix1, long, long), ra.RouteInformation{Prefix: far, Lifetime: long})
	say(routerB, pvd.High, pio(prefix2, long, long), ra.PrefixInformation{Prefix: onLink, OnLink: true, Valid: long})
	got := w.only().ModelRoutes("lan")
	want := []pvd.Route{
		{To: anywhere, Via: routerB, Link: "lan", Preference: pvd.High},
		{To: anywhere, Via: routerB, Link: "lan", Preference: pvd.High, From: prefix2},
		{To: anywhere, Via: routerB, Link: "lan", Preference: pvd.High, From: onLink},
		{To: anywhere, Via: routerA, Link: "lan", Preference: pvd.Low},
		{To: anywhere, Via: routerA, Link: "lan", Preference: pvd.Low, From: prefix1},
		{To: far, Via: routerA, Link: "lan"},
		{To: onLink, Link: "lan"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestModelRoutesWithoutFlags has a router advertise a prefix with neither flag, which says
// all the same that packets from there may go by it (RFC 8028 section 3.1).
func TestModelRoutesWithoutFlags(t *testing.T) {
	w := newWorld(t)
	bare := ra.PrefixInformation{Prefix: prefix1, Valid: time.Hour}
	w.hear(routerA, header(long, ra.PvDOption{ID: "x.example", Options: []ra.Option{bare}}))
	w.hear(routerB, header(long, ra.PvDOption{ID: "x.example"}))
	anywhere := netip.MustParsePrefix("::/0")
	from := pvd.Route{To: anywhere, Via: routerA, Link: "lan", From: prefix1}
	all := []pvd.Route{{To: anywhere, Via: routerA, Link: "lan"}, from, {To: anywhere, Via: routerB, Link: "lan"}}
	if got := w.only().ModelRoutes("lan"); !reflect.DeepEqual(got, all) {
		t.Errorf("got  %+v\nwant %+v", got, all)
	}
	if n := len(w.only().Addresses); n != 1 {
		t.Errorf("%d addresses", n)
	}
	w.run(time.Hour)
	if got := w.only().ModelRoutes("lan"); !reflect.DeepEqual(got, []pvd.Route{all[0], all[2]}) {
		t.Errorf("after its lifetime %+v", got)
	}
}
