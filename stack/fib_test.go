package stack

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func onLink(prefixes ...string) []pvd.AddressInfo {
	as := make([]pvd.AddressInfo, len(prefixes))
	for i, p := range prefixes {
		as[i] = pvd.AddressInfo{Address: pvd.Address{Prefix: prefix(p), Link: "lan"}, State: pvd.Preferred}
	}
	return as
}

func TestFIBNext(t *testing.T) {
	f := newFIB(onLink("10.0.0.2/24", "2001:db8:a::2/64", "2001:db8:b::2/64"), []pvd.Route{
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1"), Link: "lan"},
		{To: prefix("10.9.0.0/16"), Via: ip("10.0.0.7"), Link: "lan", Metric: 10},
		{To: prefix("10.9.0.0/16"), Via: ip("10.0.0.8"), Link: "lan", Metric: 5},
		{To: prefix("10.8.0.0/16"), Via: ip("10.0.0.7"), Link: "lan", Metric: 5},
		{To: prefix("10.8.0.0/16"), Via: ip("10.0.0.8"), Link: "lan", Metric: 10, Preference: pvd.High},
		{To: prefix("10.0.0.128/25"), Via: ip("10.0.0.9"), Link: "lan"},
		{To: prefix("172.16.0.0/12"), Link: "lan"},
		{To: prefix("192.168.0.0/16"), Via: ip("10.1.0.1"), Link: "wan"},
		// Two routers, each for what it gave addresses from (RFC 8028).
		{To: prefix("::/0"), Via: ip("fe80::a"), Link: "lan", From: prefix("2001:db8:a::/64")},
		{To: prefix("::/0"), Via: ip("fe80::b"), Link: "lan", From: prefix("2001:db8:b::/64")},
	})
	for _, tt := range []struct{ name, link, src, dst, want string }{
		{"on-link", "lan", "10.0.0.2", "10.0.0.5", "10.0.0.5"},
		{"default", "lan", "10.0.0.2", "8.8.8.8", "10.0.0.1"},
		{"metric", "lan", "10.0.0.2", "10.9.1.1", "10.0.0.8"},
		{"preference before metric", "lan", "10.0.0.2", "10.8.1.1", "10.0.0.8"},
		{"longer than on-link", "lan", "10.0.0.2", "10.0.0.200", "10.0.0.9"},
		{"on-link route", "lan", "10.0.0.2", "172.16.5.5", "172.16.5.5"},
		{"longer prefix is on another link", "lan", "10.0.0.2", "192.168.1.1", "10.0.0.1"},
		{"the other link", "wan", "10.1.0.2", "192.168.1.1", "10.1.0.1"},
		{"nothing on the other link", "wan", "10.1.0.2", "8.8.8.8", ""},
		{"by source a", "lan", "2001:db8:a::2", "2001:db8:ffff::1", "fe80::a"},
		{"by source b", "lan", "2001:db8:b::2", "2001:db8:ffff::1", "fe80::b"},
		{"by neither", "lan", "2001:db8:c::2", "2001:db8:ffff::1", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := f.next(tt.link, ip(tt.src), ip(tt.dst))
			want, _ := netip.ParseAddr(tt.want)
			if got != want || ok != want.IsValid() {
				t.Errorf("%v, %v; want %v", got, ok, want)
			}
		})
	}
}

// The table agrees with a slow and literal model on random routes.
func TestFIBAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	addr := func() netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(rng.IntN(4)), byte(rng.IntN(256))}) }
	for range 200 {
		var routes []pvd.Route
		for range 1 + rng.IntN(30) {
			r := pvd.Route{
				To: netip.PrefixFrom(addr(), rng.IntN(33)).Masked(), Via: addr(),
				Link: []string{"lan", "wan"}[rng.IntN(2)], Metric: uint32(rng.IntN(3)), Preference: pvd.Preference(rng.IntN(3) - 1),
			}
			if rng.IntN(3) == 0 {
				r.From = netip.PrefixFrom(addr(), 16+rng.IntN(17)).Masked()
			}
			routes = append(routes, r)
		}
		f := newFIB(nil, routes)
		for range 50 {
			src, dst := addr(), addr()
			got, ok := f.next("lan", src, dst)
			want, found := modelNext(routes, "lan", src, dst)
			if ok != found || got != want {
				t.Fatalf("%v to %v: %v, %v; the model has %v, %v\n%v", src, dst, got, ok, want, found, routes)
			}
		}
	}
}

func modelNext(routes []pvd.Route, link string, src, dst netip.Addr) (netip.Addr, bool) {
	best := -1
	better := func(a, b pvd.Route) bool {
		switch {
		case a.To.Bits() != b.To.Bits():
			return a.To.Bits() > b.To.Bits()
		case a.From.Bits() != b.From.Bits():
			return a.From.Bits() > b.From.Bits()
		case a.Preference != b.Preference:
			return a.Preference > b.Preference
		}
		return a.Metric < b.Metric
	}
	for i, r := range routes {
		if r.Link == link && r.To.Contains(dst) && (!r.From.IsValid() || r.From.Contains(src)) && (best < 0 || better(r, routes[best])) {
			best = i
		}
	}
	if best < 0 {
		return netip.Addr{}, false
	}
	return routes[best].Via, true
}

// A lookup costs the same with 10,000 routes as with 10.
func BenchmarkFIBNext(b *testing.B) {
	for _, n := range []int{10, 10_000} {
		routes := []pvd.Route{{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.1"), Link: "lan"}}
		for i := range n - 1 {
			routes = append(routes, pvd.Route{
				To: netip.PrefixFrom(netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24), Via: ip("10.0.0.1"), Link: "lan",
			})
		}
		f := newFIB(onLink("10.0.0.2/24"), slices.Clip(routes))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			src, dst := ip("10.0.0.2"), ip("20.0.5.1")
			for b.Loop() {
				f.next("lan", src, dst)
			}
		})
	}
}
