package ra_test

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// TestParseAdvertisement has messages that nobody has checked before.
func TestParseAdvertisement(t *testing.T) {
	good := packet(t, routerA, header(long, ra.MTU(1400))).Message
	for name, b := range map[string][]byte{
		"empty":         nil,
		"15 octets":     good[:15],
		"redirect":      redirected(t, toRouterB()).Message,
		"option cut":    good[:20],
		"octet behind":  append(slices.Clip(good), 5),
		"length 0":      append(slices.Clip(good), 200, 0, 0, 0, 0, 0, 0, 0),
		"header only 1": {134},
	} {
		if a, _, err := ra.ParseAdvertisement(b); !invalid(err) {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
	}
	p := packet(t, routerA, header(long))
	p.Message = append(p.Message, make([]byte, 65536)...)
	if err := resum(p).CheckAdvertisement(); !invalid(err) {
		t.Errorf("longer than a packet: %v", err)
	}
}

// TestPortals has portals that contradict each other (RFC 8910 section 3): the latest
// counts, and it is told.
func TestPortals(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(long, ra.CaptivePortal("https://one.example/")))
	w.hear(routerA, header(long, ra.CaptivePortal("https://one.example/")))
	w.hear(routerA, header(long))
	if _, total := w.Rejections(); total != 0 || w.only().Portal != "https://one.example/" {
		t.Errorf("%d rejections, portal %q", total, w.only().Portal)
	}
	w.hear(routerA, header(long, ra.CaptivePortal("https://two.example/")))
	w.rejected("another takes its place")
	w.hear(routerA, header(long, ra.Unrestricted))
	if got := w.only().Portal; got != ra.Unrestricted {
		t.Errorf("portal %q", got)
	}
}

// TestForget ends one router's part of a PvD, and PvDs that are its alone.
func TestForget(t *testing.T) {
	w := newWorld(t)
	shared := func(p netip.Prefix, s netip.Addr) ra.Advertisement {
		return header(long, ra.PvDOption{ID: "x.example", Legacy: true, Options: []ra.Option{
			pio(p, long, long), ra.RDNSS{Servers: []netip.Addr{s}, Lifetime: long}, dot(1, "dot.example", s),
		}})
	}
	w.hear(routerA, header(long))
	w.hear(routerB, header(long))
	w.hear(routerA, shared(prefix1, server1))
	w.hear(routerB, shared(prefix2, server1.Next()))
	other := w.pvd(implicitB)
	w.run(time.Minute)
	w.Forget(w.now, routerA)
	if w.Snapshot().Find(implicitA) != nil || w.pvd(implicitB) != other {
		t.Error("the wrong implicit PvD went")
	}
	p := w.pvd(explicit("x.example"))
	if len(p.Routers) != 1 || p.Routers[0].Addr != routerB || len(p.Routes) != 1 || len(addressesIn(p, prefix1)) != 0 ||
		len(addressesIn(p, prefix2)) != 1 || len(p.Servers) != 1 || len(p.Resolvers) != 1 || len(p.Prefixes) != 1 {
		t.Errorf("%+v", p)
	}
	w.Forget(w.now, routerA) // again
	if w.pvd(explicit("x.example")) != p {
		t.Error("changed by a router that it has not")
	}
	w.Forget(w.now, routerB)
	if n := len(w.Snapshot().PvDs); n != 0 {
		t.Errorf("%d PvDs", n)
	}
	if _, ok := w.Next(); ok {
		t.Error("still to do")
	}
}

// TestRoomOfItsOwn has the limit of routers reached, and the one that makes room be the last
// of the PvD that another router speaks for now: that one begins anew.
func TestRoomOfItsOwn(t *testing.T) {
	w := newWorld(t)
	x := header(long, ra.PvDOption{ID: "x.example", Options: []ra.Option{pio(prefix1, long, long)}})
	w.hear(routerA, x)
	for n := range ra.MaxRouters - 1 {
		w.hear(number("fe80::1:0:0", n), header(long))
	}
	before := w.pvd(explicit("x.example"))
	w.SetReachable(w.now, routerA, false)
	w.hear(routerB, x)
	p := w.pvd(explicit("x.example"))
	if len(p.Routers) != 1 || p.Routers[0].Addr != routerB || p.Instance == before.Instance || len(p.Prefixes) != 1 {
		t.Errorf("%+v", p)
	}
}

// TestReservedTemporary draws an identifier that no host may take (RFC 5453).
func TestReservedTemporary(t *testing.T) {
	draws := []uint64{0, 0xfdffffffffffff80}
	for _, id := range draws {
		w := newWorld(t, func(c *ra.Config) {
			c.Temporary, c.Random = true, func() uint64 { return id }
		})
		w.hear(routerA, header(long, pio(prefix1, long, long)))
		all, _ := temporaries(w.only())
		if len(all) != 1 {
			t.Fatalf("%#x: %+v", id, all)
		}
		a := all[0].Prefix.Addr().As16()
		if got := binary.BigEndian.Uint64(a[8:]); got == id {
			t.Errorf("took %#x", got)
		}
	}
}

// TestDuplicateOfNobody tells of a duplicate in a PvD that has ended.
func TestDuplicateOfNobody(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(time.Minute, pio(prefix1, time.Minute, time.Minute)))
	a := w.only().Addresses[1].Prefix.Addr()
	w.run(time.Minute)
	before := w.Snapshot()
	w.Duplicate(w.now, implicitA, a)
	if w.Snapshot() != before {
		t.Error("something has changed")
	}
}

// TestFaultNames has what is told of a fault be readable whatever it quotes.
func TestFaultNames(t *testing.T) {
	w := newWorld(t)
	w.hear(routerA, header(long, ra.Raw(octets(t, "25 03 68747470733a2f2f1b5b324a0a612f000000000000000000")[:24])))
	list, _ := w.Rejections()
	for _, r := range list {
		if strings.ContainsAny(r.Why, "\x1b\n") {
			t.Errorf("%q", r.Why)
		}
	}
	if len(list) != 1 {
		t.Errorf("%v", list)
	}
}
