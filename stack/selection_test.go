package stack

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/tun"
)

// A site is a host with IP links whose far ends nobody listens at.
type site struct {
	t *testing.T
	*Host
}

func newSite(t *testing.T, links ...string) site {
	t.Helper()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, name := range links {
		near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
		t.Cleanup(func() { far.Close() })
		if err := h.AddLink(name, near); err != nil {
			t.Fatal(err)
		}
	}
	return site{t, h}
}

// add attaches a PvD with addresses and routes as text. An address is "link prefix" with
// its properties behind it, a route "link prefix" with "via addr", "from prefix", "metric n",
// "high" and "low" behind it.
func (s site) add(name string, addrs, routes []string, elements ...pvd.Element) *domain {
	s.t.Helper()
	ref, err := s.Add(s.t.Context(), s.config(name, addrs, routes, elements...))
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.WaitReady(s.t.Context(), ref); err != nil {
		s.t.Fatal(err)
	}
	d, err := s.domain(ref)
	if err != nil {
		s.t.Fatal(err)
	}
	return d
}

func (s site) config(name string, addrs, routes []string, elements ...pvd.Element) pvd.Config {
	s.t.Helper()
	c := pvd.Config{Name: name, Elements: elements}
	uses := func(link string) string {
		if !slices.Contains(c.Links, link) {
			c.Links = append(c.Links, link)
		}
		return link
	}
	for _, text := range addrs {
		f := strings.Fields(text)
		a := pvd.Address{Link: uses(f[0]), Prefix: prefix(f[1])}
		for _, p := range f[2:] {
			switch p {
			case "deprecated":
				a.Deprecated = true
			case "temporary":
				a.Temporary = true
			case "home":
				a.Home = true
			default:
				s.t.Fatal(p)
			}
		}
		c.Addresses = append(c.Addresses, a)
	}
	for _, text := range routes {
		f := strings.Fields(text)
		r := pvd.Route{Link: uses(f[0]), To: prefix(f[1])}
		for f = f[2:]; len(f) > 0; f = f[1:] {
			switch f[0] {
			case "high":
				r.Preference = pvd.High
				continue
			case "low":
				r.Preference = pvd.Low
				continue
			case "via":
				r.Via = ip(f[1])
			case "from":
				r.From = prefix(f[1])
			case "metric":
				if _, err := fmt.Sscan(f[1], &r.Metric); err != nil {
					s.t.Fatal(err)
				}
			default:
				s.t.Fatal(f[0])
			}
			f = f[1:]
		}
		c.Routes = append(c.Routes, r)
	}
	return c
}

func (s site) update(d *domain, c pvd.Config) {
	s.t.Helper()
	if err := s.Update(s.t.Context(), d.ref, c); err != nil {
		s.t.Fatal(err)
	}
}

// way is where a path leads: "link source", or what is wrong.
func (d *domain) way(src netip.Addr, dst string) string {
	p, err := d.findPath(src, ip(dst))
	if err != nil {
		return err.Error()
	}
	return d.zoneOf(p.nic) + " " + p.src.String()
}

func (d *domain) wants(t *testing.T, what, dst, want string) {
	t.Helper()
	if got := d.way(netip.Addr{}, dst); got != want {
		t.Errorf("%s: to %s by %q, want %q", what, dst, got, want)
	}
}

// Which goes first, the route or the source, can be configured, and makes a difference
// (RFC 6419 section 2.3.3).
func TestOrderOfRouteAndSource(t *testing.T) {
	unreachable, noAddress := syscall.ENETUNREACH.Error(), syscall.EADDRNOTAVAIL.Error()
	for _, tt := range []struct {
		name                             string
		addrs, routes                    []string
		dst                              string
		jointly, routeFirst, sourceFirst string
	}{
		{
			"the better route has the worse source",
			[]string{"a fd00:a::2/64", "b 2001:db8:b::2/64"},
			[]string{"a ::/0 metric 1", "b ::/0 metric 2"},
			"2001:db8:9::1", "a fd00:a::2", "a fd00:a::2", "b 2001:db8:b::2",
		},
		{
			"the longer prefix has the worse source",
			[]string{"a fd00:a::2/64", "b 2001:db8:b::2/64"},
			[]string{"a 2001:db8:9::/48", "b ::/0"},
			"2001:db8:9::1", "a fd00:a::2", "a fd00:a::2", "b 2001:db8:b::2",
		},
		{
			"the better route has no source",
			[]string{"a 10.0.0.2/24", "b 2001:db8:b::2/64"},
			[]string{"a 2001:db8:9::/48 from 2001:db8:a::/48", "b ::/0"},
			"2001:db8:9::1", "b 2001:db8:b::2", noAddress, "b 2001:db8:b::2",
		},
		{
			"equal routes, of which the second has the better source",
			[]string{"a fd00:a::2/64", "b 2001:db8:b::2/64"},
			[]string{"a ::/0", "b ::/0"},
			"2001:db8:9::1", "b 2001:db8:b::2", "a fd00:a::2", "b 2001:db8:b::2",
		},
		{
			"equal routes, of which the second has the longer match only",
			[]string{"a 2001:db8:a::2/64", "b 2001:db8:9::2/64"},
			[]string{"a ::/0", "b ::/0"},
			"2001:db8:9:1::1", "a 2001:db8:a::2", "a 2001:db8:a::2", "b 2001:db8:9::2",
		},
		{
			"a deprecated source",
			[]string{"a 2001:db8:a::2/64 deprecated", "b 2001:db8:b::2/64"},
			[]string{"a ::/0", "b ::/0 metric 5"},
			"2001:db8:9::1", "a 2001:db8:a::2", "a 2001:db8:a::2", "b 2001:db8:b::2",
		},
		{
			"IPv4",
			[]string{"a 169.254.1.2/16", "b 10.0.0.2/24"},
			[]string{"a 0.0.0.0/0 metric 1", "b 0.0.0.0/0 metric 2"},
			"192.0.2.1", "a 169.254.1.2", "a 169.254.1.2", "b 10.0.0.2",
		},
		{
			"no route",
			[]string{"a fd00:a::2/64", "b 10.0.0.2/24"},
			[]string{"a 2001:db8:9::/48"},
			"2001:db8:8::1", unreachable, unreachable, unreachable,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSite(t, "a", "b")
			d := s.add("pvd", tt.addrs, tt.routes)
			for order, want := range map[addrsel.Order]string{
				addrsel.Jointly: tt.jointly, addrsel.RouteFirst: tt.routeFirst, addrsel.SourceFirst: tt.sourceFirst,
			} {
				s.update(d, s.config("pvd", tt.addrs, tt.routes, addrsel.Key.With(addrsel.Config{Order: order})))
				d.wants(t, fmt.Sprintf("order %d", order), tt.dst, want)
			}
		})
	}
}

// A router is left for another one only with the sources that it serves, and a source goes
// with the router that has given it, by rule 5.5 also where the route says nothing of
// sources (RFC 8028 sections 3.2 and 3.3).
func TestSourcesGoWithTheirRouters(t *testing.T) {
	s := newSite(t, "a")
	addrs := []string{"a 2001:db8:1::2/64", "a 2001:db8:2::2/64", "a 2001:db8:2::3/64 temporary"}
	routes := []string{
		"a ::/0 via fe80::1 from 2001:db8:1::/48 high", "a ::/0 via fe80::2 from 2001:db8:2::/48",
		"a 2001:db8:9::/48 via fe80::2", "a 2001:db8:8::/48 via fe80::1", "a 2001:db8:7::/48 via fe80::7",
	}
	d := s.add("pvd", addrs, routes)
	d.wants(t, "the preferred router's", "2001:db8:6::1", "a 2001:db8:1::2")
	d.wants(t, "the second router's", "2001:db8:9::1", "a 2001:db8:2::3")
	d.wants(t, "the first router's", "2001:db8:8::1", "a 2001:db8:1::2")
	d.wants(t, "nobody's: temporary", "2001:db8:7::1", "a 2001:db8:2::3")
	for src, via := range map[string]string{"2001:db8:1::2": "fe80::1", "2001:db8:2::2": "fe80::2"} {
		if hop, ok := d.plan.Load().fib.next("a", ip(src), ip("2001:db8:6::1")); !ok || hop != ip(via) {
			t.Errorf("from %s by %v", src, hop)
		}
	}
	s.update(d, s.config("pvd", addrs, routes, addrsel.Key.With(addrsel.Config{Off: addrsel.SourceAdvertised | addrsel.SourceTemporary})))
	d.wants(t, "without rules 5.5 and 7", "2001:db8:8::1", "a 2001:db8:1::2")
	d.wants(t, "without rules 5.5 and 7", "2001:db8:9::1", "a 2001:db8:1::2")
}

// Without a word of the application, an IPv4 source is the first one on the subnet of the
// destination or of the next hop; bind can choose any (RFC 6419 section 3.2.2.2).
func TestP43_SourceOnTheSubnet(t *testing.T) {
	s := newSite(t, "a")
	d := s.add("pvd", []string{"a 10.5.0.2/24", "a 10.1.0.2/24", "a 10.1.0.3/24", "a 172.16.0.2/16"},
		[]string{"a 0.0.0.0/0 via 10.1.0.1", "a 192.0.2.0/24 via 172.16.9.9"})
	d.wants(t, "the next hop's subnet", "203.0.113.1", "a 10.1.0.2")
	d.wants(t, "the other next hop's subnet", "192.0.2.1", "a 172.16.0.2")
	d.wants(t, "the destination's subnet", "10.5.0.9", "a 10.5.0.2")
	d.wants(t, "the destination's subnet", "10.1.0.9", "a 10.1.0.2")
	for _, src := range []string{"10.5.0.2", "10.1.0.3", "172.16.0.2"} {
		if got := d.way(ip(src), "203.0.113.1"); got != "a "+src {
			t.Errorf("bound to %s: %s", src, got)
		}
	}
}

// Systems that know no rules take the first address of the interface (RFC 6419 sections
// 3.1.1 and 3.2.1.2).
func TestP33_FirstAddressOfTheLink(t *testing.T) {
	s := newSite(t, "a", "b")
	addrs := []string{"a 169.254.3.2/16", "a 10.1.0.2/24", "b 10.2.0.2/24", "a fd00::2/64 deprecated", "a 2001:db8:1::2/64"}
	routes := []string{"a 0.0.0.0/0 via 10.1.0.1", "b 192.0.2.0/24 via 10.2.0.1", "a ::/0 via fe80::1"}
	d := s.add("pvd", addrs, routes)
	d.wants(t, "RFC 6724", "203.0.113.1", "a 10.1.0.2")
	d.wants(t, "RFC 6724", "2001:db8:9::1", "a 2001:db8:1::2")
	s.update(d, s.config("pvd", addrs, routes, addrsel.Key.With(addrsel.Config{FirstAddress: true})))
	d.wants(t, "the first", "203.0.113.1", "a 169.254.3.2")
	d.wants(t, "the first", "2001:db8:9::1", "a fd00::2")
	d.wants(t, "the first of the outgoing link", "192.0.2.1", "b 10.2.0.2")
}

// sorted orders addresses as dialling a name with them does.
func (d *domain) sorted(dsts ...string) string {
	var addrs []netip.Addr
	for _, a := range dsts {
		addrs = append(addrs, ip(a))
	}
	d.sortDestinations(netip.Addr{}, addrs)
	return fmt.Sprint(addrs)
}

// Destinations are tried in the order of RFC 6724 section 6, what can not be reached last.
func TestDestinationsAreSorted(t *testing.T) {
	s := newSite(t, "a", "b")
	addrs := []string{"a 10.0.0.2/24", "a 2001:db8:1::2/64", "a fd00::2/64"}
	both := []string{"a 0.0.0.0/0 via 10.0.0.1", "a ::/0 via fe80::1"}
	d := s.add("dual", addrs, both)
	for _, tt := range []struct {
		routes []string
		dsts   []string
		want   string
	}{
		{both, []string{"192.0.2.1", "2001:db8:9::1"}, "[2001:db8:9::1 192.0.2.1]"},
		{both, []string{"fd11::1", "192.0.2.1", "2002:c000:201::1", "2001:db8:9::1"}, "[2001:db8:9::1 192.0.2.1 fd11::1 2002:c000:201::1]"},
		{both[:1], []string{"2001:db8:9::1", "192.0.2.1", "2001:db8:8::1"}, "[192.0.2.1 2001:db8:9::1 2001:db8:8::1]"},
		{both[1:], []string{"192.0.2.1", "fd11::1"}, "[fd11::1 192.0.2.1]"},
		{both, []string{"127.0.0.1", "::1"}, "[::1 127.0.0.1]"},
		{both, []string{"192.0.2.1", "10.0.0.9", "10.0.0.2"}, "[10.0.0.9 10.0.0.2 192.0.2.1]"},
		{both, []string{"192.0.2.1"}, "[192.0.2.1]"},
	} {
		s.update(d, s.config("dual", addrs, tt.routes))
		if got := d.sorted(tt.dsts...); got != tt.want {
			t.Errorf("%v by %v: %s, want %s", tt.dsts, tt.routes, got, tt.want)
		}
	}
	if got := d.sorted(); got != "[]" {
		t.Error(got)
	}
	from := []netip.Addr{ip("2001:db8:9::1"), ip("192.0.2.1")}
	if d.sortDestinations(ip("10.0.0.2"), from); from[0] != ip("192.0.2.1") {
		t.Errorf("from an IPv4 source: %v", from)
	}
}

// Windows lets the administrator have a policy table; here each PvD has its own (RFC 6419
// sections 3.1.2 and 3.1.3).
func TestP17_PolicyTableOfAPvD(t *testing.T) {
	s := newSite(t, "a", "b")
	prefer4 := addrsel.Config{Policy: addrsel.DefaultPolicy()}
	for i, r := range prefer4.Policy {
		if r.Prefix == prefix("::ffff:0:0/96") {
			prefer4.Policy[i].Precedence = 100 // RFC 6724 section 10.3
		}
	}
	routes := func(l string) []string { return []string{l + " 0.0.0.0/0", l + " ::/0"} }
	own := s.add("own", []string{"a 10.1.0.2/24", "a 2001:db8:1::2/64"}, routes("a"), addrsel.Key.With(prefer4))
	none := s.add("none", []string{"b 10.2.0.2/24", "b 2001:db8:2::2/64"}, routes("b"))
	const first4, first6 = "[192.0.2.1 2001:db8:9::1]", "[2001:db8:9::1 192.0.2.1]"
	if a, b := own.sorted("2001:db8:9::1", "192.0.2.1"), none.sorted("192.0.2.1", "2001:db8:9::1"); a != first4 || b != first6 {
		t.Errorf("%s and %s", a, b)
	}
	prefer4.Policy[0].Label = addrsel.MaxValue + 1
	c := s.config("own", []string{"a 10.1.0.2/24", "a 2001:db8:1::2/64"}, routes("a"), addrsel.Key.With(prefer4))
	if err := s.Update(t.Context(), own.ref, c); err == nil || !strings.Contains(err.Error(), "PvD own: address selection: policy: ::1/128") {
		t.Errorf("a policy that can not be: %v", err)
	}
	if a := own.sorted("2001:db8:9::1", "192.0.2.1"); a != first4 {
		t.Errorf("after a change that was refused: %s", a)
	}
}

// A PvD may have its policy as Linux has it in gai.conf (RFC 6419 section 3.2.2.2).
func TestP44_GAIOfAPvD(t *testing.T) {
	s := newSite(t, "a")
	addrs := []string{"a 10.0.0.2/24", "a 2001:db8:1::2/64", "a fd11::2/64"}
	routes := []string{"a 0.0.0.0/0", "a ::/0"}
	for text, want := range map[string]string{
		"":                             "[2001:db8:9::1 192.0.2.1 fd22::1]",
		"precedence ::ffff:0:0/96 100": "[192.0.2.1 2001:db8:9::1 fd22::1]",
		"precedence fc00::/7 45\n":     "[fd22::1 192.0.2.1 2001:db8:9::1]",
		"scopev4 0.0.0.0/0 5\n":        "[2001:db8:9::1 192.0.2.1 fd22::1]",
	} {
		c, _, err := addrsel.ParseGAI(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		d := s.add("pvd", addrs, routes, addrsel.Key.With(c))
		if got := d.sorted("fd22::1", "192.0.2.1", "2001:db8:9::1"); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
		if err := s.Remove(t.Context(), d.ref); err != nil {
			t.Fatal(err)
		}
	}
}

// A PvD sends from its own addresses only, and chooses by its own policy only, although
// another one on the same link has better ones and another policy (RFC 6724 section 4 as
// draft-kline-mif-mpvd-api-reqs-00 section 2.2.1 has it).
func TestR6_SourcesAndPolicyOfThePvDOnly(t *testing.T) {
	s := newSite(t, "nic")
	ula := addrsel.Config{Policy: append(addrsel.DefaultPolicy(), addrsel.Row{Prefix: prefix("2001:db8:8::/48"), Precedence: 45, Label: 13})}
	addrsA := []string{"nic 10.1.0.2/24", "nic 2001:db8:a::2/64", "nic fd00:a::2/64"}
	addrsB := []string{"nic 192.0.2.2/24", "nic 2001:db8:9::2/48", "nic fd00:b::2/64"}
	routes := []string{"nic 0.0.0.0/0", "nic ::/0"}
	a, b := s.add("a", addrsA, routes, addrsel.Key.With(ula)), s.add("b", addrsB, routes)
	a.wants(t, "a by its policy", "2001:db8:8::1", "nic fd00:a::2")
	b.wants(t, "b by the default", "2001:db8:8::1", "nic 2001:db8:9::2")
	const first8, first9 = "[2001:db8:8::1 2001:db8:9::1]", "[2001:db8:9::1 2001:db8:8::1]"
	if x, y := a.sorted("2001:db8:9::1", "2001:db8:8::1"), b.sorted("2001:db8:8::1", "2001:db8:9::1"); x != first8 || y != first9 {
		t.Errorf("%s and %s", x, y)
	}
	for _, dst := range []string{"192.0.2.9", "203.0.113.1", "2001:db8:9::9", "fd00:b::9", "2002::1"} {
		for _, d := range []*domain{a, b} {
			p, err := d.findPath(netip.Addr{}, ip(dst))
			if err != nil || !d.plan.Load().has(p.src) {
				t.Errorf("%s to %s: %v, %v", d.name(), dst, p.src, err)
			}
		}
	}
	if _, err := a.findPath(ip("2001:db8:9::2"), ip("2001:db8:9::9")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("from b's address in a: %v", err)
	}
	// The other way round.
	s.update(a, s.config("a", addrsA, routes))
	s.update(b, s.config("b", addrsB, routes, addrsel.Key.With(ula)))
	a.wants(t, "a by the default", "2001:db8:8::1", "nic 2001:db8:a::2")
	b.wants(t, "b by its policy", "2001:db8:8::1", "nic fd00:b::2")
}

// Two forwarding tables in one host, over the same link and with the same destinations,
// stay apart (RFC 6419 section 3.1.4).
func TestP22_TablesOfTheirOwn(t *testing.T) {
	w := newWire(t, tun.Ethernet)
	table := func(own, router string) pvd.Config {
		return pvd.Config{Name: router, Addresses: addresses(own), Routes: []pvd.Route{
			{To: prefix("10.0.0.0/8"), Via: ip(router)}, {To: prefix("0.0.0.0/0"), Via: ip(router)},
		}}
	}
	a, b := w.add(table("192.168.1.2/24", "192.168.1.1")), w.add(table("192.168.2.2/24", "192.168.2.1"))
	for _, tt := range []struct {
		p        *port
		src, hop string
	}{{a, "192.168.1.2", "192.168.1.1"}, {b, "192.168.2.2", "192.168.2.1"}} {
		for _, dst := range []string{"10.9.9.9", "203.0.113.1"} {
			if hop, ok := tt.p.nextHop(ip(tt.src), ip(dst)); !ok || hop != ip(tt.hop) {
				t.Errorf("from %s to %s by %v", tt.src, dst, hop)
			}
			if hop, _ := tt.p.domain.plan.Load().fib.next("lab", ip(tt.src), ip(dst)); hop != ip(tt.hop) {
				t.Errorf("from %s to %s: the table has %v", tt.src, dst, hop)
			}
		}
	}
}

// A packet leaves only by a link of the PvD that owns its source.
func TestHb_OnlyByItsOwnersLinks(t *testing.T) {
	s := newSite(t, "one", "two")
	a := s.add("a", []string{"one 10.0.0.2/24"}, []string{"one 0.0.0.0/0"})
	b := s.add("b", []string{"two 10.0.0.3/24"}, []string{"two 0.0.0.0/0"})
	pa, pb := (*a.nics.Load())[0], (*b.nics.Load())[0]
	before := pb.counted(dropBadSource)
	if err := pb.writeAndRelease(outgoing("203.0.113.1")); err == nil || pb.counted(dropBadSource) != before+1 {
		t.Errorf("10.0.0.2 leaves by b's link: %v", err)
	}
	if err := pa.writeAndRelease(outgoing("203.0.113.1")); err != nil || pa.counted(dropBadSource) != 0 {
		t.Errorf("10.0.0.2 does not leave by a's link: %v", err)
	}
	for _, network := range []string{"tcp", "udp"} {
		if _, err := s.In(b.ref).DialFrom(t.Context(), network, "10.0.0.2:0", "203.0.113.1:9"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("%s from a's address in b: %v", network, err)
		}
	}
	// A PvD with two links sends from each address by the link that has it.
	c := s.add("c", []string{"one 10.1.0.2/24", "two 10.2.0.2/24"}, []string{"one 0.0.0.0/0", "two 0.0.0.0/0"})
	for src, want := range map[string]string{"10.1.0.2": "one 10.1.0.2", "10.2.0.2": "two 10.2.0.2"} {
		if got := c.way(ip(src), "203.0.113.1"); got != want {
			t.Errorf("from %s: %s", src, got)
		}
	}
}

// Deprecated addresses begin nothing new where there are others, and what stands on them
// stays when that changes.
func TestDeprecatedAddresses(t *testing.T) {
	s := newSite(t, "a")
	routes := []string{"a ::/0"}
	plain := []string{"a 2001:db8:1::2/64", "a 2001:db8:2::2/64"}
	d := s.add("pvd", plain, routes)
	const dst = "2001:db8:1::9"
	d.wants(t, "at first", dst, "a 2001:db8:1::2")
	conn, err := s.In(d.ref).DialContext(t.Context(), "udp", "["+dst+"]:9")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for _, deprecated := range []bool{true, false, true} {
		addrs, want, state := plain, "a 2001:db8:1::2", pvd.Preferred
		if deprecated {
			addrs, want, state = []string{plain[0] + " deprecated", plain[1]}, "a 2001:db8:2::2", pvd.Deprecated
		}
		s.update(d, s.config("pvd", addrs, routes))
		d.wants(t, fmt.Sprintf("deprecated %v", deprecated), dst, want)
		if got := d.plan.Load().addrs[0].State; got != state {
			t.Errorf("deprecated %v: the plan has it %v", deprecated, got)
		}
		info, err := s.Info(d.ref)
		if err != nil {
			t.Fatal(err)
		}
		if infos, _ := pvd.Addresses.Get(info); infos[0].State != state {
			t.Errorf("deprecated %v: %v", deprecated, infos[0])
		}
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Errorf("deprecated %v: a connection that was there: %v", deprecated, err)
		}
	}
	s.update(d, s.config("pvd", []string{plain[0] + " deprecated"}, routes))
	d.wants(t, "the only one", dst, "a 2001:db8:1::2")
}

// Temporary addresses go before others, and home addresses before those.
func TestPropertiesOfAddresses(t *testing.T) {
	s := newSite(t, "a")
	addrs := []string{"a 2001:db8:9::2/64", "a 2001:db8:1::2/64 temporary", "a 2001:db8:2::2/64 home"}
	routes := []string{"a ::/0"}
	d := s.add("pvd", addrs, routes)
	d.wants(t, "home", "2001:db8:9::9", "a 2001:db8:2::2")
	s.update(d, s.config("pvd", addrs[:2], routes))
	d.wants(t, "temporary", "2001:db8:9::9", "a 2001:db8:1::2")
	s.update(d, s.config("pvd", addrs[:2], routes, addrsel.Key.With(addrsel.Config{PreferPublic: true})))
	d.wants(t, "public", "2001:db8:9::9", "a 2001:db8:9::2")
}

// Each rule can be taken away from one PvD, and is from no other.
func TestP25_RulesOfAPvD(t *testing.T) {
	s := newSite(t, "a", "b")
	off := addrsel.Config{Off: addrsel.SourceDeprecated | addrsel.DestLongest4}
	six := func(l string) []string {
		return []string{l + " 2001:db8:1::2/64 deprecated", l + " 2001:db8:2::2/64", l + " 10.0.0.2/24"}
	}
	routes := func(l string) []string { return []string{l + " ::/0", l + " 0.0.0.0/0"} }
	without, with := s.add("without", six("a"), routes("a"), addrsel.Key.With(off)), s.add("with", six("b"), routes("b"))
	without.wants(t, "without rule 3", "2001:db8:1::9", "a 2001:db8:1::2")
	with.wants(t, "with rule 3", "2001:db8:1::9", "b 2001:db8:2::2")
	if a, b := without.sorted("192.0.2.1", "10.0.0.9"), with.sorted("192.0.2.1", "10.0.0.9"); a != "[192.0.2.1 10.0.0.9]" || b != "[10.0.0.9 192.0.2.1]" {
		t.Errorf("%s and %s", a, b)
	}
}

// A weak host's packets are as large as each of its links can carry.
func TestWeakHostHeedsAllItsLinks(t *testing.T) {
	s := newSite(t, "large")
	near, far := tun.Pipe(tun.PipeConfig{Layer: tun.IP, MTU: 1300})
	defer far.Close()
	if err := s.AddLink("small", noOffload{near}); err != nil {
		t.Fatal(err)
	}
	addrs := []string{"large 10.1.0.2/24", "small 10.2.0.2/24"}
	d := s.add("pvd", addrs, nil)
	for _, weak := range []bool{false, true, false} {
		s.update(d, s.config("pvd", addrs, nil, pvd.WeakHost.With(weak)))
		p := d.portOn("large")
		if mtu := p.MTU(); (mtu == 1300) != weak {
			t.Errorf("weak %v: MTU %d", weak, mtu)
		}
		if large := p.SupportedGSO(); (large == 0) != weak {
			t.Errorf("weak %v: GSO %v", weak, large)
		}
	}
}

type noOffload struct{ tun.Link }

func (noOffload) Offload() tun.Offload { return 0 }

// What a weak host can not take from a link it drops: its own addresses as sources, and
// link-local sources, which have no meaning on the link that the address is on.
func TestWeakHostDrops(t *testing.T) {
	s := newSite(t, "a", "b")
	d := s.add("pvd", []string{"a 10.1.0.2/24", "b 10.2.0.2/24", "a fd01::2/64", "b fd02::2/64"}, nil, pvd.WeakHost.With(true))
	table := d.portOn("b").link.table.Load()
	for _, tt := range []struct {
		src, dst string
		want     reason
		into     *port
	}{
		{"10.2.0.9:1", "10.2.0.2:2", delivered, nil},
		{"10.2.0.9:1", "10.1.0.2:2", delivered, d.portOn("a")},
		{"10.1.0.2:1", "10.2.0.2:2", dropMartian, nil},
		{"10.1.0.2:1", "10.1.0.2:2", dropMartian, nil},
		{"169.254.0.9:1", "10.1.0.2:2", dropNotOwned, nil},
		{"[fd02::9]:1", "[fd01::2]:2", delivered, d.portOn("a")},
		{"[fe80::9]:1", "[fd01::2]:2", dropNotOwned, nil},
		{"[fe80::9]:1", "[fd02::2]:2", delivered, nil},
	} {
		if v := table.classify(udpPacket(addrPort(tt.src), addrPort(tt.dst), "x")); v.why != tt.want || v.into != tt.into {
			t.Errorf("%s to %s: %v", tt.src, tt.dst, v.why)
		}
	}
}
