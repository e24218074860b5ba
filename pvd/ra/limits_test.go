package ra_test

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// number is an address that differs from others in its last octets.
func number(base string, n int) netip.Addr {
	a := netip.MustParseAddr(base).As16()
	binary.BigEndian.PutUint32(a[12:], uint32(n)+1)
	return netip.AddrFrom16(a)
}

// subnet is a /64 of its own.
func subnet(n int) netip.Prefix {
	a := netip.MustParseAddr("2001:db8::").As16()
	binary.BigEndian.PutUint32(a[4:], uint32(n)+1)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// TestLimits claims one more than each limit, by two PvDs, and finds the first ones kept.
func TestLimits(t *testing.T) {
	type claim struct {
		name   string
		most   int
		option func(n int) ra.Option
		got    func(p *ra.PvD) int
	}
	for _, tt := range []claim{
		{
			"prefix", ra.MaxPrefixes,
			func(n int) ra.Option { return pio(subnet(n), long, long) },
			func(p *ra.PvD) int { return len(p.Prefixes) },
		},
		{
			"route", ra.MaxRoutes,
			func(n int) ra.Option { return ra.RouteInformation{Prefix: subnet(n), Lifetime: long} },
			func(p *ra.PvD) int { return len(p.Routes) - 1 },
		},
		{
			"DNS server", ra.MaxServers,
			func(n int) ra.Option {
				return ra.RDNSS{Servers: []netip.Addr{number("2001:db8::", n)}, Lifetime: long}
			},
			func(p *ra.PvD) int { return len(p.Servers) },
		},
		{
			"search domain", ra.MaxSearch,
			func(n int) ra.Option {
				return ra.DNSSL{Domains: []string{fmt.Sprintf("d%d.example", n)}, Lifetime: long}
			},
			func(p *ra.PvD) int { return len(p.Search) },
		},
		{
			"NAT64 prefix", ra.MaxNAT64,
			func(n int) ra.Option { return ra.PREF64{Prefix: subnet(n), Lifetime: long} },
			func(p *ra.PvD) int { return len(p.NAT64) },
		},
		{
			"resolver", ra.MaxResolvers,
			func(n int) ra.Option {
				o := dot(1, fmt.Sprintf("d%d.example", n), server1)
				o.Lifetime = long
				return o
			},
			func(p *ra.PvD) int { return len(p.Resolvers) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var options []ra.Option
			for n := range tt.most {
				options = append(options, tt.option(n))
			}
			w.hear(routerA, header(long, options[:tt.most/2]...))
			w.hear(routerB, header(long, options[tt.most/2:]...))
			if _, total := w.Rejections(); total != 0 {
				t.Fatalf("%d rejections at the limit", total)
			}
			before := w.Snapshot()
			w.hear(routerB, header(long, tt.option(tt.most)))
			w.rejected(tt.name)
			w.hear(routerA, header(long, tt.option(tt.most)))
			w.hear(routerA, header(long, options[0])) // which is no new one
			a, b := w.pvd(implicitA), w.pvd(implicitB)
			if tt.got(a) != tt.most/2 || tt.got(b) != tt.most-tt.most/2 {
				t.Errorf("%d and %d", tt.got(a), tt.got(b))
			}
			for _, c := range w.Snapshot().Changes(before) {
				if !c.Refreshed() {
					t.Errorf("changed %+v", c.After)
				}
			}
			w.run(long)
			w.hear(routerB, header(long, tt.option(tt.most)))
			if tt.got(w.only()) != 1 {
				t.Error("no room when the others have expired")
			}
		})
	}
}

// TestMostPvDs has PvDs and routers beyond the limits. The first ones stay.
func TestMostPvDs(t *testing.T) {
	late := netip.MustParseAddr("fe80::aaaa")
	t.Run("explicit", func(t *testing.T) {
		w := newWorld(t)
		for n := range ra.MaxPvDs + 1 {
			w.hear(routerA, header(long, ra.PvDOption{ID: pvd.ID(fmt.Sprintf("p%d.example", n))}))
		}
		w.rejected("which is the most")
		if n := len(w.Snapshot().PvDs); n != ra.MaxPvDs {
			t.Errorf("%d PvDs", n)
		}
		w.pvd(explicit("p0.example"))
	})
	t.Run("routers of one", func(t *testing.T) {
		w := newWorld(t)
		for n := range ra.MaxRouters + 1 {
			w.hear(number("fe80::", n), header(long, ra.PvDOption{ID: "x.example"}))
		}
		w.rejected("which is the most")
		if p := w.only(); len(p.Routers) != ra.MaxRouters || p.Routers[0].Addr != number("fe80::", 0) {
			t.Errorf("%d routers, first %v", len(p.Routers), p.Routers[0])
		}
	})
	t.Run("unreachable ones make room", func(t *testing.T) {
		w := newWorld(t)
		for n := range ra.MaxPvDs {
			w.hear(number("fe80::", n), header(long, pio(subnet(n), long, long)))
		}
		silent := number("fe80::", 5)
		w.SetReachable(w.now, silent, false)
		if r := w.pvd(ra.Key{Router: silent}).Routers[0]; !r.Unreachable {
			t.Errorf("router %+v", r)
		}
		w.SetReachable(w.now, number("fe80::", 6), false)
		w.SetReachable(w.now, number("fe80::", 6), true)
		w.hear(late, header(long, pio(prefix1, long, long)))
		w.pvd(ra.Key{Router: late})
		w.hear(netip.MustParseAddr("fe80::bad"), header(long))
		w.rejected("which is the most")
		s := w.Snapshot()
		if len(s.PvDs) != ra.MaxPvDs || s.Find(ra.Key{Router: silent}) != nil {
			t.Errorf("%d PvDs", len(s.PvDs))
		}
	})
	t.Run("one of two routers makes room", func(t *testing.T) {
		w := newWorld(t)
		x := ra.PvDOption{ID: "x.example", Legacy: true, Options: []ra.Option{
			pio(prefix1, long, long),
			ra.RouteInformation{Prefix: far, Lifetime: long},
			ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: long},
			ra.DNSSL{Domains: []string{"a.example"}, Lifetime: long},
			ra.PREF64{Prefix: nat64, Lifetime: long},
			dot(1, "dot.example", server1),
		}}
		for n := range ra.MaxRouters {
			w.hear(number("fe80::", n), header(long, x))
			x.Options = nil
		}
		w.SetReachable(w.now, number("fe80::", 0), false)
		w.hear(late, header(long, x))
		p := w.only()
		if len(p.Routers) != ra.MaxRouters || p.Routers[0].Addr != number("fe80::", 1) ||
			len(p.Prefixes)+len(p.Servers)+len(p.Search)+len(p.NAT64)+len(p.Resolvers) != 0 || len(p.Routes) != ra.MaxRouters {
			t.Errorf("%+v", p)
		}
	})
}

// TestFlood has 10,000 different advertisements a second for 10 s. Memory stays flat and
// the router that was there works on.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	good := header(30*time.Minute, pio(prefix1, long, long), ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: long})
	w.hear(routerA, good)
	before := w.pvd(implicitA)
	var early uint64
	for n := range 100_000 {
		a := ra.Advertisement{
			Header: ra.Header{Lifetime: time.Duration(n%9000) * time.Second, HopLimit: uint8(n)},
			Options: []ra.Option{
				pio(subnet(n), long, long),
				ra.RouteInformation{Prefix: subnet(n), Lifetime: long},
				ra.RDNSS{Servers: []netip.Addr{number("2001:db8:5::", n)}, Lifetime: long},
				ra.DNSSL{Domains: []string{fmt.Sprintf("d%d.example", n)}, Lifetime: long},
				ra.PREF64{Prefix: subnet(n), Lifetime: long},
				dot(uint16(1+n%9), fmt.Sprintf("r%d.example", n), number("2001:db8:6::", n)),
			},
		}
		from := number("fe80::1:0:0", n)
		switch n % 4 {
		case 1:
			a.Options = append(a.Options, ra.PvDOption{ID: pvd.ID(fmt.Sprintf("p%d.example", n))})
		case 2:
			from = number("fe80::2:0:0", n%50)
		case 3: // with a fault of its own
			a.Options = append(a.Options, ra.CaptivePortal("https://a/"))
		}
		p := packet(t, from, a)
		if n%4 == 3 {
			copy(p.Message[len(p.Message)-5:], fmt.Sprintf("%05d", n))
			p.Message[len(p.Message)-6] = 1
			resum(p)
		}
		_ = w.Receive(w.now, p)
		w.run(100 * time.Microsecond)
		if n%100 == 0 {
			w.Snapshot()
		}
		if n == 10_000 {
			early = heap()
		}
	}
	if late := heap(); late > early+early/2+1<<20 {
		t.Errorf("heap of %d octets, %d before", late, early)
	}
	c := ra.Change{Before: before, After: w.pvd(implicitA)}
	if before != c.After && !c.Refreshed() {
		t.Errorf("the working router's PvD is\n%+v, was\n%+v", c.After, before)
	}
	checkSnapshot(t, w)
	list, total := w.Rejections()
	if len(list) != ra.MaxRejections || total < 50_000 {
		t.Errorf("%d rejections of %d remembered", len(list), total)
	}
	w.hear(routerA, good)
	if r := w.pvd(implicitA).Routes; len(r) != 1 || r[0].Until != w.now+30*time.Minute {
		t.Errorf("routes %+v", r)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestRejections counts what comes again, and keeps the latest.
func TestRejections(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		w.hear(routerA, header(long, ra.MTU(1)))
		w.run(time.Second)
	}
	w.hear(routerB, header(long, ra.MTU(1)))
	list, total := w.Rejections()
	want := []ra.Rejection{
		{Router: routerA, Why: list[0].Why, Count: 3, Last: 2 * time.Second},
		{Router: routerB, Why: list[0].Why, Count: 1, Last: 3 * time.Second},
	}
	if !slices.Equal(list, want) || total != 4 || !strings.Contains(list[0].Why, "MTU 1:") {
		t.Errorf("%+v, %d in all", list, total)
	}
}

// TestDay is a day on ten links, each with two routers that say everything each five
// minutes, and everything there is to do in between.
func TestDay(t *testing.T) {
	var links []*world
	for range 10 {
		links = append(links, newWorld(t, func(c *ra.Config) { c.Temporary = true }))
	}
	a := packet(t, routerA, header(30*time.Minute, ra.MTU(1500), pio(prefix1, 2*time.Hour, time.Hour),
		ra.RDNSS{Servers: []netip.Addr{server1}, Lifetime: 15 * time.Minute}))
	b := packet(t, routerB, header(30*time.Minute, ra.PvDOption{ID: "x.example", HTTP: true, Options: []ra.Option{
		pio(prefix2, 2*time.Hour, time.Hour), ra.PREF64{Prefix: nat64, Lifetime: 30 * time.Minute},
	}}))
	for range 24 * 12 {
		for _, w := range links {
			w.take(a)
			w.take(b)
			w.Snapshot()
			w.run(5 * time.Minute)
		}
	}
	for _, w := range links {
		if s := w.Snapshot(); w.now != 24*time.Hour || len(s.PvDs) != 2 ||
			s.PvDs[0].Instance != 1 || len(addressesIn(s.PvDs[0], prefix1)) < 2 {
			t.Errorf("at %v %+v", w.now, s.PvDs[0])
		}
		w.run(3 * time.Hour)
		if n := len(w.Snapshot().PvDs); n != 0 {
			t.Errorf("%d PvDs three hours after the last advertisement", n)
		}
	}
}
