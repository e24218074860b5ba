package addrsel_test

import (
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// Each rule decides between two destinations, and without it a later one does, for the
// other.
func TestDestinationRulesOneByOne(t *testing.T) {
	target := func(dst, src string) addrsel.Target {
		return addrsel.Target{Addr: ip(dst), Source: candidate(src)}
	}
	unusable := addrsel.Target{Addr: ip("::1"), Unusable: true}
	tunnel := target("fe80::1", "fe80::2")
	tunnel.Tunnel = true
	tests := []struct {
		name          string
		rule          addrsel.Rules
		with, without addrsel.Target
	}{
		{"1", addrsel.DestUnusable | addrsel.DestScope | addrsel.DestDeprecated | addrsel.DestHome | addrsel.DestLabel, target("2001:db8::1", "2001:db8::2"), unusable},
		{"2", addrsel.DestScope, target("2001:db8::1", "2001:db8::2 deprecated"), target("2001:db8::1", "fe80::2")},
		{"3", addrsel.DestDeprecated, target("2001:db8::1", "2001:db8::2"), target("2001:db8::1", "2001:db8::2 home deprecated")},
		{"4", addrsel.DestHome, target("2001:db8::1", "2002::2 home"), target("2001:db8::1", "2001:db8::2")},
		{"5", addrsel.DestLabel, target("2002::1", "2002::2"), target("2001:db8::1", "2002::2")},
		{"6", addrsel.DestPrecedence, target("2001:db8::1", "2001:db8:1::2"), target("2002::1", "2002::2")},
		{"7", addrsel.DestNative, target("2001:db8::1", "2001:db8:1::2"), tunnel},
		{"8", addrsel.DestSmaller, target("fe80::1", "fe80:1::2"), target("2001:db8::1", "2001:db8::2")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, off := range []addrsel.Rules{0, tt.rule} {
				ts, want := []addrsel.Target{tt.without, tt.with}, tt.with
				if off != 0 {
					ts, want = []addrsel.Target{tt.with, tt.without}, tt.without
				}
				if selector(t, addrsel.Config{Off: off}).Sort(ts); ts[0] != want {
					t.Errorf("off %#x: %v goes first", off, ts[0])
				}
			}
		})
	}
}

// Rule 9 does not compare the families with each other: each keeps its places.
func TestRule9KeepsTheFamiliesPlaces(t *testing.T) {
	c := policy(row("::ffff:0:0/96", 40, 4))
	cs := candidates("2001:db8:1::2, 10.0.0.2")
	const dst = "2001:db8:7::1, 192.0.2.1, 2001:db8:1::1, 10.0.0.1, 2001:db8:2::1"
	for _, tt := range []struct {
		off  addrsel.Rules
		want string
	}{
		{0, "2001:db8:1::1 src 2001:db8:1::2, 10.0.0.1 src 10.0.0.2, 2001:db8:2::1 src 2001:db8:1::2, 192.0.2.1 src 10.0.0.2, 2001:db8:7::1 src 2001:db8:1::2"},
		{addrsel.DestLongest4, "2001:db8:1::1 src 2001:db8:1::2, 192.0.2.1 src 10.0.0.2, 2001:db8:2::1 src 2001:db8:1::2, 10.0.0.1 src 10.0.0.2, 2001:db8:7::1 src 2001:db8:1::2"},
		{addrsel.DestLongest, "2001:db8:7::1 src 2001:db8:1::2, 192.0.2.1 src 10.0.0.2, 2001:db8:1::1 src 2001:db8:1::2, 10.0.0.1 src 10.0.0.2, 2001:db8:2::1 src 2001:db8:1::2"},
	} {
		c.Off = tt.off
		if got := sorted(selector(t, c), cs, dst); got != tt.want {
			t.Errorf("off %#x:\ngot  %s\nwant %s", tt.off, got, tt.want)
		}
	}
}

// Those that nothing tells apart keep their order (rule 10), the unusable ones too.
func TestRule10(t *testing.T) {
	var ts []addrsel.Target
	for _, d := range []string{"2001:db8:9::3", "2001:db8:9::1", "2001:db8:9::2"} {
		ts = append(ts, addrsel.Target{Addr: ip(d), Source: candidate("2001:db8:1::1")})
	}
	want := slices.Clone(ts)
	addrsel.Default().Sort(ts)
	if !slices.Equal(ts, want) {
		t.Errorf("%v", ts)
	}
	addrsel.Default().Sort(nil)
}
