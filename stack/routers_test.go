package stack

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// unanswered makes the port's routers ones that have lately not answered, these and no
// others.
func (p *port) unanswered(hops ...string) {
	p.hops.mu.Lock()
	defer p.hops.mu.Unlock()
	clear(p.hops.failed)
	for _, h := range hops {
		p.noteFailureLocked(ip(h))
	}
}

// The example of RFC 4191 section 3.6, for packets and for the choice of a path.
func TestRFC4191Section3_6(t *testing.T) {
	t.Parallel()
	const w, x, y, z = "fe80::a", "fe80::b", "fe80::c", "fe80::d"
	p := newWire(t, tun.Ethernet).add(pvd.Config{Addresses: addresses("2001:db9::2/64"), Routes: []pvd.Route{
		{To: prefix("::/0"), Via: ip(w)},
		{To: prefix("2002::/16"), Via: ip(x)},
		{To: prefix("2001:db8::/32"), Via: ip(z), Preference: pvd.Low},
		{To: prefix("2001:db8::/32"), Via: ip(y), Preference: pvd.High},
	}})
	dst := ip("2001:db8::1")
	for _, tt := range []struct {
		down []string
		want string
	}{
		{nil, y},
		{[]string{y}, z},
		{[]string{y, z}, w},
		{[]string{w, y, z}, y},
		{[]string{z}, y},
		{[]string{w, x, y}, z},
	} {
		p.unanswered(tt.down...)
		if hop, ok := p.nextHop(ip("2001:db9::2"), dst); !ok || hop != ip(tt.want) {
			t.Errorf("without %v by %v, want %s", tt.down, hop, tt.want)
		}
		if pa, err := p.domain.findPath(netip.Addr{}, dst); err != nil || pa.hopless != (len(tt.down) == 3 && tt.down[0] == w && tt.down[1] == y) {
			t.Errorf("without %v: %+v, %v", tt.down, pa, err)
		}
	}
}

// Among routes to the same prefix the preference counts first, then the metric, then the
// order; a longer prefix counts before all of them.
func TestMetricAndPreference(t *testing.T) {
	s := newSite(t, "a", "b", "c")
	addrs := []string{"a 10.1.0.2/24", "b 10.2.0.2/24", "c 10.3.0.2/24"}
	for _, tt := range []struct {
		routes []string
		want   string
	}{
		{[]string{"a 0.0.0.0/0", "b 0.0.0.0/0"}, "a"},
		{[]string{"a 0.0.0.0/0 metric 5", "b 0.0.0.0/0 metric 4", "c 0.0.0.0/0 metric 6"}, "b"},
		{[]string{"a 0.0.0.0/0 metric 1", "b 0.0.0.0/0 high metric 9", "c 0.0.0.0/0 metric 2"}, "b"},
		{[]string{"a 0.0.0.0/0 low", "b 0.0.0.0/0 metric 9"}, "b"},
		{[]string{"a 0.0.0.0/0 high", "b 203.0.113.0/24 low metric 9"}, "b"},
		{[]string{"a 203.0.0.0/8 high", "b 0.0.0.0/0 high", "c 203.0.113.0/24 low"}, "c"},
	} {
		d := s.add("pvd", addrs, tt.routes)
		p, err := d.findPath(netip.Addr{}, ip("203.0.113.1"))
		if err != nil || d.zoneOf(p.nic) != tt.want {
			t.Errorf("%v: by %q, %v; want %s", tt.routes, d.zoneOf(p.nic), err, tt.want)
		}
		if err := s.Remove(t.Context(), d.ref); err != nil {
			t.Fatal(err)
		}
	}
}

// draws returns the router of each of many destinations.
func draws(t *testing.T, p *port) map[netip.Addr]netip.Addr {
	t.Helper()
	got := make(map[netip.Addr]netip.Addr)
	for i := range 600 {
		dst := netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})
		hop, ok := p.nextHop(ip("10.0.0.2"), dst)
		if !ok {
			t.Fatalf("no route to %v", dst)
		}
		got[dst] = hop
	}
	return got
}

func count(draws map[netip.Addr]netip.Addr) map[netip.Addr]int {
	n := make(map[netip.Addr]int)
	for _, hop := range draws {
		n[hop]++
	}
	return n
}

// Destinations are spread over equally good routers, and only those, each destination by
// the same one for as long as it is there and answers (RFC 4311).
func TestLoadSharing(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	c := pvd.Config{Links: []string{"lab"}, Addresses: addresses("10.0.0.2/24"), Routes: []pvd.Route{
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.11")},
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.12")},
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.13")},
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.14"), Preference: pvd.Low},
		{To: prefix("0.0.0.0/0"), Via: ip("10.0.0.15"), Metric: 1},
	}}
	p := w.add(c)
	update := func() {
		t.Helper()
		if err := w.host.Update(t.Context(), p.domain.ref, c); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(draws(t, p)); n[ip("10.0.0.11")] != 600 {
		t.Errorf("without: %v", n)
	}
	c.Elements = []pvd.Element{pvd.LoadSharing.With(true)}
	update()
	all := draws(t, p)
	if n := count(all); len(n) != 3 || n[ip("10.0.0.11")] < 120 || n[ip("10.0.0.12")] < 120 || n[ip("10.0.0.13")] < 120 {
		t.Errorf("among three: %v", n)
	}
	same := func(what string, got map[netip.Addr]netip.Addr, but string) {
		t.Helper()
		moved := make(map[netip.Addr]int)
		for dst, hop := range got {
			if had := all[dst]; had != hop && had != ip(but) {
				t.Fatalf("%s: %v has moved from %v to %v", what, dst, had, hop)
			} else if had != hop {
				moved[hop]++
			}
		}
		if but != "10.0.0.99" && (len(moved) != 2 || moved[ip(but)] > 0) {
			t.Errorf("%s: its destinations have gone to %v", what, moved)
		}
	}
	same("again", draws(t, p), "10.0.0.99")
	update()
	same("after an update", draws(t, p), "10.0.0.99")
	p.unanswered("10.0.0.12")
	same("one does not answer", draws(t, p), "10.0.0.12")
	p.unanswered("10.0.0.11", "10.0.0.12", "10.0.0.13")
	if n := count(draws(t, p)); n[ip("10.0.0.15")] != 600 {
		t.Errorf("none answers: %v", n)
	}
	p.unanswered()
	c.Routes = append(c.Routes[:1], c.Routes[2:]...)
	update()
	same("one is gone", draws(t, p), "10.0.0.12")

	// Another PvD has another secret.
	c.Name = "other"
	c.Addresses = addresses("10.0.0.2/24")
	other := newWire(t, tun.Ethernet).add(c)
	a, b, differ := draws(t, p), draws(t, other), 0
	for dst := range a {
		if a[dst] != b[dst] {
			differ++
		}
	}
	if differ < 150 {
		t.Errorf("only %d of 600 destinations differ between PvDs", differ)
	}
}

// The draw counts for whole paths too: over several links, with the source of each.
func TestLoadSharingOverLinks(t *testing.T) {
	s := newSite(t, "a", "b")
	addrs := []string{"a 10.1.0.2/24", "b 10.2.0.2/24"}
	routes := []string{"a 0.0.0.0/0 via 10.1.0.1", "b 0.0.0.0/0 via 10.2.0.1"}
	for _, on := range []bool{false, true} {
		d := s.add("pvd", addrs, routes, pvd.LoadSharing.With(on))
		n := make(map[string]int)
		for i := range 200 {
			dst := fmt.Sprintf("203.0.113.%d", i)
			way := d.way(netip.Addr{}, dst)
			if n[way]++; way != d.way(netip.Addr{}, dst) {
				t.Errorf("%s goes now this way, now that", dst)
			}
		}
		if a, b := n["a 10.1.0.2"], n["b 10.2.0.2"]; a+b != 200 || (on && min(a, b) < 50) || (!on && b > 0) {
			t.Errorf("sharing %v: %v", on, n)
		}
		if err := s.Remove(t.Context(), d.ref); err != nil {
			t.Fatal(err)
		}
	}
}

// Every route is drawn exactly once, those that are not equal in their order.
func TestDrawIsAPermutation(t *testing.T) {
	var routes []pvd.Route
	for i := range 20 {
		routes = append(routes, pvd.Route{To: prefix("0.0.0.0/0"), Via: ip(fmt.Sprintf("10.0.0.%d", 1+i)), Link: "lan", Metric: uint32(i / 8)})
	}
	f, seed := newFIB(onLink("10.0.0.2/24"), routes), maphash.MakeSeed()
	f.share(&seed)
	first := make(map[netip.Addr]bool)
	for i := range 100 {
		seen := make(map[netip.Addr]bool)
		last := uint32(0)
		for r := range f.routes(netip.AddrFrom4([4]byte{203, 0, 113, byte(i)})) {
			if seen[r.via] || r.cost < last {
				t.Fatalf("%v comes again, or too late", r.via)
			}
			if len(seen) == 0 {
				first[r.via] = true
			}
			seen[r.via], last = true, r.cost
		}
		if len(seen) != 20 {
			t.Fatalf("%d routes", len(seen))
		}
	}
	if len(first) != 8 {
		t.Errorf("%d of 8 come first at some time", len(first))
	}
}
