package learn_test

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

var (
	linkLocal = info("fe80::2/64")
	slaac     = info("2001:db8:1::2/64")
	leased    = info("192.168.1.7/24")
	default4  = pvd.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("192.168.1.1")}
	default6  = pvd.Route{To: netip.MustParsePrefix("::/0"), Via: netip.MustParseAddr("fe80::1")}
	onLink6   = pvd.Route{To: netip.MustParsePrefix("2001:db8:5::/64")}
)

func info(prefix string) pvd.AddressInfo {
	return pvd.AddressInfo{Address: pvd.Address{Prefix: netip.MustParsePrefix(prefix)}}
}

func servers(list ...string) (of []netip.AddrPort) {
	for _, s := range list {
		if a, err := netip.ParseAddr(s); err == nil {
			of = append(of, netip.AddrPortFrom(a, 53))
		} else {
			of = append(of, netip.MustParseAddrPort(s))
		}
	}
	return of
}

// home is the implicit PvD of a home's router, with a lease.
func home() *learn.Proposal {
	return &learn.Proposal{
		Key: ra.Key{Router: netip.MustParseAddr("fe80::1")}, Instance: 1, Link: "wan", Name: "fe80::1",
		Addresses: []pvd.AddressInfo{linkLocal, slaac, leased},
		Routes:    []pvd.Route{default6, onLink6, default4},
		Servers:   servers("192.168.1.1", "2001:db8:1::53"),
		Search:    []string{"home.arpa"},
		MTU:       1480,
		Elements: []pvd.Element{
			pvd.NAT64.With([]netip.Prefix{netip.MustParsePrefix("64:ff9b::/96")}),
			pvd.NoInternet.With(true),
		},
	}
}

// corp is an explicit one.
func corp(link string) *learn.Proposal {
	p := home()
	p.Key, p.Name, p.Link = ra.Key{ID: "corp.example.com"}, "corp.example.com", link
	return p
}

// onWAN returns one rule for the link that home is on.
func onWAN(ms ...learn.Modifier) learn.Rules {
	return learn.Rules{{Match: learn.Match{Link: "wan"}, Modify: ms}}
}

// apply applies rules that are valid, and holds that what they are applied to stays as it is.
func apply(t *testing.T, rs learn.Rules, p *learn.Proposal) *learn.Proposal {
	t.Helper()
	if err := rs.Validate(); err != nil {
		t.Fatal(err)
	}
	before := p.Clone()
	got := rs.Apply(p)
	if !reflect.DeepEqual(p, before) {
		t.Errorf("the proposal was changed into %+v", p)
	}
	if again := rs.Apply(p); !reflect.DeepEqual(got, again) {
		t.Errorf("twice the same gives %+v and %+v", got, again)
	}
	return got
}

// but returns home's PvD with changes, which is what is wanted.
func but(change func(p *learn.Proposal)) *learn.Proposal {
	p := home()
	change(p)
	return p
}

func same(t *testing.T, got, want *learn.Proposal) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// TestP46_OthersAreNotTouched holds that what is said of one link or PvD is nothing to the
// others: they get the very proposals back.
func TestP46_OthersAreNotTouched(t *testing.T) {
	rs := learn.Rules{
		{Match: learn.Match{Link: "wan"}, Modify: []learn.Modifier{learn.Supersede(pvd.DNSServers.With(servers("9.9.9.9")))}},
		{Match: learn.Match{ID: "corp.example.com"}, Refuse: learn.Refuse{DNS: true}},
	}
	other := home()
	other.Link = "lan"
	before := other.Clone()
	got := rs.Apply(other)
	if got != other {
		t.Error("a PvD of another link is not the same proposal any more")
	}
	rs.Apply(home())
	rs.Apply(corp("wan"))
	same(t, got, before)
	if n := testing.AllocsPerRun(100, func() { rs.Apply(other) }); n != 0 {
		t.Errorf("%v allocations where nothing matches", n)
	}
}

func TestP47_Default(t *testing.T) {
	rs := onWAN(
		learn.Default(pvd.DNSServers.With(servers("9.9.9.9"))),
		learn.Default(pvd.DNSSearch.With([]string{"example.com"})),
		learn.Default(pvd.MTU.With(1400)),
		learn.Default(pvd.NoInternet.With(false)),
		learn.Default(pvd.Metered.With(true)),
		learn.Default(pvd.Addresses.With([]pvd.AddressInfo{info("192.168.1.9/24")})),
		learn.Default(pvd.Routes.With([]pvd.Route{{To: default4.To, Via: netip.MustParseAddr("192.168.1.9")}})),
	)
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Elements = append(p.Elements, pvd.Metered.With(true)) // the only one that was not learned
	}))
	bare := but(func(p *learn.Proposal) {
		p.Addresses = []pvd.AddressInfo{linkLocal, slaac}
		p.Routes = []pvd.Route{default6}
		p.Servers, p.Search, p.MTU, p.Elements = nil, nil, 0, nil
	})
	same(t, apply(t, rs, bare), but(func(p *learn.Proposal) {
		p.Addresses = []pvd.AddressInfo{linkLocal, slaac, info("192.168.1.9/24")}
		p.Routes = []pvd.Route{default6, {To: default4.To, Via: netip.MustParseAddr("192.168.1.9")}}
		p.Servers, p.Search, p.MTU = servers("9.9.9.9"), []string{"example.com"}, 1400
		p.Elements = []pvd.Element{pvd.NoInternet.With(false), pvd.Metered.With(true)}
	}))
}

func TestP47_Supersede(t *testing.T) {
	other := pvd.Route{To: default4.To, Via: netip.MustParseAddr("192.168.1.254"), Metric: 7}
	rs := onWAN(
		learn.Supersede(pvd.Addresses.With([]pvd.AddressInfo{info("192.168.1.9/24")})),
		learn.Supersede(pvd.Routes.With([]pvd.Route{other})),
		learn.Supersede(pvd.DNSServers.With(servers("9.9.9.9", "fe80::53"))),
		learn.Supersede(pvd.DNSSearch.With([]string{"example.com"})),
		learn.Supersede(pvd.MTU.With(1000)),
		learn.Supersede(pvd.NoInternet.With(false)),
		learn.Supersede(pvd.Cost.With(3)),
	)
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Addresses = []pvd.AddressInfo{linkLocal, slaac, info("192.168.1.9/24")} // IPv6 as it was
		p.Routes = []pvd.Route{default6, onLink6, other}
		p.Servers = servers("9.9.9.9", "fe80::53%wan")
		p.Search = []string{"example.com"}
		p.MTU = 1280 // as IPv6 needs it
		p.Elements = []pvd.Element{p.Elements[0], pvd.NoInternet.With(false), pvd.Cost.With(3)}
	}))
	// What was learned and leads nowhere any more is gone.
	rs = onWAN(learn.Supersede(pvd.Addresses.With([]pvd.AddressInfo{info("10.0.0.9/24")})))
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Addresses = []pvd.AddressInfo{linkLocal, slaac, info("10.0.0.9/24")}
		p.Routes = []pvd.Route{default6, onLink6}
	}))
}

func TestP47_Prepend(t *testing.T) {
	nat64 := netip.MustParsePrefix("2001:db8:64::/96")
	rs := onWAN(
		learn.Prepend(pvd.DNSServers.With(servers("2001:db8:1::53", "9.9.9.9:5353"))),
		learn.Prepend(pvd.DNSSearch.With([]string{"example.com", "home.arpa"})),
		learn.Prepend(pvd.NAT64.With([]netip.Prefix{nat64})),
		learn.Prepend(pvd.Groups.With([]string{"office"})),
		learn.Default(pvd.Groups.With([]string{"all", "office"})),
		learn.Prepend(pvd.Addresses.With([]pvd.AddressInfo{info("192.168.1.7/25"), info("192.168.1.8/24")})),
	)
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Addresses = []pvd.AddressInfo{info("192.168.1.7/25"), info("192.168.1.8/24"), linkLocal, slaac}
		p.Servers = servers("2001:db8:1::53", "9.9.9.9:5353", "192.168.1.1")
		p.Search = []string{"example.com", "home.arpa"}
		p.Elements = []pvd.Element{
			pvd.NAT64.With([]netip.Prefix{nat64, netip.MustParsePrefix("64:ff9b::/96")}), p.Elements[1],
			pvd.Groups.With([]string{"office", "all"}),
		}
	}))
}

func TestP47_Append(t *testing.T) {
	ten := pvd.Route{To: netip.MustParsePrefix("10.0.0.0/8"), Via: netip.MustParseAddr("192.168.1.3")}
	rs := onWAN(
		learn.Append(pvd.DNSServers.With(servers("9.9.9.9", "192.168.1.1"))),
		learn.Append(pvd.DNSSearch.With([]string{"home.arpa", "example.com"})),
		learn.Append(pvd.Routes.With([]pvd.Route{ten, {To: default4.To, Via: default4.Via, Metric: 9}})),
		learn.Append(pvd.Proxies.With([]pvd.Proxy{{Protocol: "socks5", Address: "a:1"}, {Protocol: "socks5", Address: "a:1"}})),
	)
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Routes = append(p.Routes, ten) // the other leads where a learned one does
		p.Servers = servers("192.168.1.1", "2001:db8:1::53", "9.9.9.9")
		p.Search = []string{"home.arpa", "example.com"}
		p.Elements = append(p.Elements, pvd.Proxies.With([]pvd.Proxy{{Protocol: "socks5", Address: "a:1"}}))
	}))
}

// TestP47_IgnoreIsForOneElement also holds that other elements stay as they are.
func TestP47_IgnoreIsForOneElement(t *testing.T) {
	tests := []struct {
		key  pvd.AnyKey
		want func(p *learn.Proposal)
	}{
		{pvd.Addresses.Any(), func(p *learn.Proposal) {
			p.Addresses, p.Routes = []pvd.AddressInfo{linkLocal}, []pvd.Route{default6, onLink6}
		}},
		{pvd.Routes.Any(), func(p *learn.Proposal) { p.Routes = nil }},
		{pvd.DNSServers.Any(), func(p *learn.Proposal) { p.Servers = nil }},
		{pvd.DNSSearch.Any(), func(p *learn.Proposal) { p.Search = nil }},
		{pvd.MTU.Any(), func(p *learn.Proposal) { p.MTU = 0 }},
		{pvd.NAT64.Any(), func(p *learn.Proposal) { p.Elements = p.Elements[1:] }},
		{pvd.CaptivePortal.Any(), func(*learn.Proposal) {}},
	}
	for _, tt := range tests {
		t.Run(tt.key.String(), func(t *testing.T) {
			same(t, normal(apply(t, onWAN(learn.Ignore(tt.key)), home())), normal(but(tt.want)))
		})
	}
}

// normal returns p with no list in the place of an empty one, which is as good.
func normal(p *learn.Proposal) *learn.Proposal {
	p = p.Clone()
	p.Routes = append([]pvd.Route(nil), p.Routes...)
	p.Servers = append([]netip.AddrPort(nil), p.Servers...)
	p.Search = append([]string(nil), p.Search...)
	return p
}

// TestP48_StaticDNSIsAppended is resolv.conf.tail, of one PvD.
func TestP48_StaticDNSIsAppended(t *testing.T) {
	rs := learn.Rules{{Match: learn.Match{ID: "corp.example.com"}, Modify: []learn.Modifier{
		learn.Append(pvd.DNSServers.With(servers("10.1.1.1"))),
		learn.Append(pvd.DNSSearch.With([]string{"example.com"})),
	}}}
	got := apply(t, rs, corp("wan"))
	if !slices.Equal(got.Servers, servers("192.168.1.1", "2001:db8:1::53", "10.1.1.1")) || !slices.Equal(got.Search, []string{"home.arpa", "example.com"}) {
		t.Errorf("DNS %v, %v", got.Servers, got.Search)
	}
	// The same again, when the network has said something else or nothing.
	later := corp("wan")
	later.Servers, later.Search = nil, nil
	got = apply(t, rs, later)
	if !slices.Equal(got.Servers, servers("10.1.1.1")) || !slices.Equal(got.Search, []string{"example.com"}) {
		t.Errorf("later DNS %v, %v", got.Servers, got.Search)
	}
}

// TestP49_IgnoreDNS is dhcpcd's -R, of one PvD rather than all.
func TestP49_IgnoreDNS(t *testing.T) {
	rs := learn.Rules{{Match: learn.Match{ID: "corp.example.com"}, Modify: []learn.Modifier{learn.Ignore(pvd.DNSServers.Any()), learn.Ignore(pvd.DNSSearch.Any())}}}
	if got := apply(t, rs, corp("wan")); len(got.Servers)+len(got.Search) != 0 || len(got.Routes) != 3 {
		t.Errorf("got %+v", got)
	}
	if p := home(); rs.Apply(p) != p {
		t.Error("it is not for this PvD only")
	}
}

// TestEncryptedDNSGoesWithTheServers holds that servers that were not wanted do not come in by
// another door.
func TestEncryptedDNSGoesWithTheServers(t *testing.T) {
	p := home()
	p.Elements = []pvd.Element{pvd.EncryptedDNS.With([]pvd.EncryptedServer{{Name: "dns.example"}})}
	own := learn.Default(pvd.EncryptedDNS.With([]pvd.EncryptedServer{{Name: "own.example"}}))
	for _, tt := range []struct {
		rules learn.Rules
		want  int
	}{
		{onWAN(learn.Supersede(pvd.DNSServers.With(servers("9.9.9.9")))), 0},
		{onWAN(learn.Ignore(pvd.DNSServers.Any())), 0},
		{onWAN(learn.Ignore(pvd.DNSServers.Any()), own), 1},
		{learn.Rules{{Match: learn.Match{Link: "wan"}, Refuse: learn.Refuse{DNS: true}}}, 0},
		{onWAN(learn.Append(pvd.DNSServers.With(servers("9.9.9.9")))), 1},
		{onWAN(learn.Append(pvd.EncryptedDNS.With([]pvd.EncryptedServer{{Name: "own.example"}}))), 2},
	} {
		if got := element(apply(t, tt.rules, p), pvd.EncryptedDNS); len(got) != tt.want {
			t.Errorf("%+v: %d encrypted servers, want %d", tt.rules, len(got), tt.want)
		}
	}
}

// TestP50_NoGateway takes no routes by routers from a link.
func TestP50_NoGateway(t *testing.T) {
	rs := learn.Rules{{Match: learn.Match{Link: "wan"}, Refuse: learn.Refuse{Routes: true}}}
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) { p.Routes = []pvd.Route{onLink6} }))
	own := pvd.Route{To: default4.To, Via: netip.MustParseAddr("192.168.1.254")}
	rs[0].Modify = []learn.Modifier{learn.Default(pvd.Routes.With([]pvd.Route{own}))}
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) { p.Routes = []pvd.Route{onLink6, own} }))
	rs = learn.Rules{{Match: learn.Match{Link: "wan"}, Refuse: learn.Refuse{Addresses: true}}}
	same(t, apply(t, rs, home()), but(func(p *learn.Proposal) {
		p.Addresses, p.Routes = []pvd.AddressInfo{linkLocal}, []pvd.Route{default6, onLink6}
	}))
}

// TestP50_P52_NoDNS takes no DNS from a link, in any of its PvDs, and gives them some.
func TestP50_P52_NoDNS(t *testing.T) {
	rs := learn.Rules{
		{Match: learn.Match{Link: "wan"}, Refuse: learn.Refuse{DNS: true}},
		{Match: learn.Match{ID: "corp.example.com"}, Name: "corp", Modify: []learn.Modifier{learn.Append(pvd.DNSServers.With(servers("10.1.1.1")))}},
	}
	p := home()
	p.Elements = append(p.Elements, addinfo.DNSZones.With([]string{"example.com"}))
	same(t, normal(apply(t, rs, p)), but(func(p *learn.Proposal) { p.Servers, p.Search = nil, nil }))
	got := apply(t, rs, corp("wan"))
	if got.Name != "corp" || !slices.Equal(got.Servers, servers("10.1.1.1")) || len(got.Search) != 0 {
		t.Errorf("got %+v", got)
	}
	if got := apply(t, rs, corp("lan")); len(got.Servers) != 3 || len(got.Search) != 1 {
		t.Errorf("on another link: %+v", got)
	}
}

// TestRulesMostSpecificFirst holds the order among rules, whatever theirs in the list is.
func TestRulesMostSpecificFirst(t *testing.T) {
	router := netip.MustParseAddr("fe80::1")
	rs := learn.Rules{
		{Match: learn.Match{Link: "wan"}, Name: "all", Modify: []learn.Modifier{learn.Supersede(pvd.MTU.With(1401)), learn.Supersede(pvd.Cost.With(1)), learn.Supersede(pvd.Metric.With(1))}},
		{Match: learn.Match{Link: "wan", Implicit: true}, Name: "implicit", Modify: []learn.Modifier{learn.Supersede(pvd.MTU.With(1402)), learn.Supersede(pvd.Cost.With(2))}},
		{Match: learn.Match{Link: "wan", Router: router}, Modify: []learn.Modifier{learn.Supersede(pvd.MTU.With(1403))}},
		{Match: learn.Match{ID: "corp.example.com"}, Name: "id", Merge: true, Modify: []learn.Modifier{learn.Supersede(pvd.MTU.With(1404))}},
		{Match: learn.Match{ID: "corp.example.com", Link: "wan"}, Name: "id on link", Modify: []learn.Modifier{learn.Supersede(pvd.Cost.With(5))}},
	}
	other := home()
	other.Key.Router = netip.MustParseAddr("fe80::9")
	lease := home()
	lease.Key = ra.Key{} // of a link without routers
	for range rs {
		rs = append(rs[1:], rs[0])
		for _, tt := range []struct {
			of   *learn.Proposal
			want string
		}{
			{home(), "implicit 1403 2 1"},
			{other, "implicit 1402 2 1"},
			{lease, "implicit 1402 2 1"},
			{corp("wan"), "id on link 1404 5 1"},
			{corp("lan"), "id 1404 0 0"},
		} {
			got := apply(t, rs, tt.of)
			text := fmt.Sprint(got.Name, " ", got.MTU, " ", element(got, pvd.Cost), " ", element(got, pvd.Metric))
			if text != tt.want {
				t.Errorf("%v: %s, want %s", tt.of.Key, text, tt.want)
			}
		}
	}
	if !rs.Merged("corp.example.com") || rs.Merged("example.com") || rs.Merged("") {
		t.Error("which PvDs are merged is not what the rules say")
	}
}

func element[T any](p *learn.Proposal, k pvd.Key[T]) (v T) {
	for _, e := range p.Elements {
		if e.Key() == k.Any() {
			v, _ = e.Value().(T)
		}
	}
	return v
}

// TestModifyLimits holds that lists stay within the model's limits, and that a person's
// entries are not those that there is no room for.
func TestModifyLimits(t *testing.T) {
	p := home()
	p.Servers, p.Search = nil, nil
	for i := range pvd.MaxDNSServers {
		p.Servers = append(p.Servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}), 53))
		p.Search = append(p.Search, fmt.Sprintf("d%d.example", i))
	}
	got := apply(t, onWAN(
		learn.Prepend(pvd.DNSServers.With(servers("9.9.9.9"))), learn.Append(pvd.DNSServers.With(servers("8.8.8.8"))),
		learn.Append(pvd.DNSSearch.With([]string{"last.example"})),
	), p)
	if n := len(got.Servers); n != pvd.MaxDNSServers || got.Servers[0] != servers("9.9.9.9")[0] || got.Servers[n-1] != servers("8.8.8.8")[0] {
		t.Errorf("%d servers: %v", n, got.Servers)
	}
	if n := len(got.Search); n != pvd.MaxSearch || got.Search[n-1] != "last.example" {
		t.Errorf("%d search domains: %v", n, got.Search)
	}
	rs := make(learn.Rules, learn.MaxRules+1)
	for i := range rs {
		rs[i].Match.Link = fmt.Sprint(i)
	}
	if err := rs.Validate(); err == nil || err.Error() != "learn: 4097 rules, the limit is 4096" {
		t.Errorf("error %v", err)
	}
	if err := rs[1:].Validate(); err != nil {
		t.Error(err)
	}
	many := onWAN(slices.Repeat([]learn.Modifier{learn.Ignore(pvd.MTU.Any())}, learn.MaxModifiers+1)...)
	if err := many.Validate(); err == nil || err.Error() != "learn: rule 0: modify: 257 modifiers, the limit is 256" {
		t.Errorf("error %v", err)
	}
}

func TestRulesValidate(t *testing.T) {
	addr := netip.MustParseAddr
	tests := []struct {
		name string
		rule learn.Rule
		want string // part of the error
	}{
		{"no match", learn.Rule{}, "match: it has neither ID nor link, so it would be about all PvDs of the host"},
		{"ID's form", learn.Rule{Match: learn.Match{ID: "Corp.Example."}}, `match: "Corp.Example." is not in the form`},
		{"ID", learn.Rule{Match: learn.Match{ID: "a..b"}}, "match: pvd: identifier"},
		{"ID and router", learn.Rule{Match: learn.Match{ID: "a.b", Link: "wan", Router: addr("fe80::1")}}, "match: a PvD with an ID is not implicit"},
		{"router alone", learn.Rule{Match: learn.Match{Router: addr("fe80::1")}}, "match: it has neither"},
		{"global router", learn.Rule{Match: learn.Match{Link: "wan", Router: addr("2001:db8::1")}}, "match: router 2001:db8::1 is not a link-local address without zone"},
		{"router's zone", learn.Rule{Match: learn.Match{Link: "wan", Router: addr("fe80::1%wan")}}, "match: router fe80::1%wan is not"},
		{"merge", learn.Rule{Match: learn.Match{Link: "wan"}, Merge: true}, "merge: it is for a match by ID alone"},
		{"merge on a link", learn.Rule{Match: learn.Match{Link: "wan", ID: "a.b"}, Merge: true}, "merge: it is for"},
		{"name", learn.Rule{Match: learn.Match{Link: "wan"}, Name: strings.Repeat("x", 256)}, "name: longer than 255 octets"},
	}
	for _, tt := range []struct {
		name string
		ms   []learn.Modifier
		want string
	}{
		{"zero", []learn.Modifier{{}}, "modify[0]: it does nothing"},
		{"no key", []learn.Modifier{learn.Default(pvd.Element{})}, "modify[0]: default: the element has no key"},
		{"links", []learn.Modifier{learn.Default(pvd.Links.With([]string{"a"}))}, `modify[0]: default: "links" is not learned`},
		{"no list", []learn.Modifier{learn.Prepend(pvd.MTU.With(1400))}, `modify[0]: prepend "mtu": it is no list`},
		{"no list either", []learn.Modifier{learn.Append(pvd.Metered.With(true))}, `modify[0]: append "metered": it is no list`},
		{"twice", []learn.Modifier{learn.Ignore(pvd.MTU.Any()), learn.Ignore(pvd.MTU.Any())}, `modify[1]: ignore "mtu" stands twice`},
		{"supersede and default", []learn.Modifier{learn.Default(pvd.MTU.With(1400)), learn.Supersede(pvd.MTU.With(1400))}, `modify[1]: supersede does not go with default, both of "mtu"`},
		{"empty", []learn.Modifier{learn.Supersede(pvd.DNSSearch.With(nil))}, `modify[0]: supersede "dns search": an empty list; Ignore takes away`},
		{"MTU", []learn.Modifier{learn.Default(pvd.MTU.With(575))}, `modify[0]: default "mtu": mtu: 575 is not between 576 and 65535`},
		{"MTU 0", []learn.Modifier{learn.Default(pvd.MTU.With(0))}, `modify[0]: default "mtu": 0 octets`},
		{"address", []learn.Modifier{learn.Append(pvd.Addresses.With([]pvd.AddressInfo{info("224.0.0.1/4")}))}, `modify[0]: append "addresses": addresses[0]: 224.0.0.1 is not a unicast address`},
		{"address's link", []learn.Modifier{learn.Append(pvd.Addresses.With([]pvd.AddressInfo{{Address: pvd.Address{Prefix: slaac.Prefix, Link: "wan"}}}))}, `link "wan": it is on the link that the PvD is learned on`},
		{"route", []learn.Modifier{learn.Append(pvd.Routes.With([]pvd.Route{{To: netip.MustParsePrefix("10.1.1.1/8")}}))}, `modify[0]: append "routes": routes[0]: to: 10.1.1.1/8 has bits beyond its length`},
		{"router", []learn.Modifier{learn.Append(pvd.Routes.With([]pvd.Route{{To: default4.To, Via: addr("127.0.0.1")}}))}, `routes[0]: via: 127.0.0.1 can not be a router`},
		{"route's link", []learn.Modifier{learn.Append(pvd.Routes.With([]pvd.Route{{To: default6.To, Via: addr("fe80::1%wan")}}))}, `route to ::/0: link "wan": it is on`},
		{"server", []learn.Modifier{learn.Append(pvd.DNSServers.With(servers("9.9.9.9:0")))}, `dns: servers[0]: 9.9.9.9:0 has no port`},
		{"server's zone", []learn.Modifier{learn.Append(pvd.DNSServers.With(servers("fe80::1%lan")))}, `[fe80::1%lan]:53: zone "lan": it is on`},
		{"search", []learn.Modifier{learn.Append(pvd.DNSSearch.With([]string{"a..b"}))}, `dns: search[0]: "a..b": empty label`},
		{"too many", []learn.Modifier{learn.Append(pvd.DNSServers.With(slices.Repeat(servers("9.9.9.9"), 65)))}, `dns: servers: 65 entries, the limit is 64`},
	} {
		tests = append(tests, struct {
			name string
			rule learn.Rule
			want string
		}{tt.name, onWAN(tt.ms...)[0], tt.want})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := learn.Rules{tt.rule}.Validate()
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "learn: rule 0: ") {
				t.Errorf("got  %v\nwant %s", err, tt.want)
			}
		})
	}
	twice := learn.Rules{onWAN()[0], {Match: learn.Match{Link: "lan"}}, onWAN()[0]}
	if err := twice.Validate(); err == nil || err.Error() != "learn: rule 2: match: it is that of rule 0, too" {
		t.Errorf("error %v", err)
	}
}

func TestModifierString(t *testing.T) {
	for _, tt := range []struct {
		m    learn.Modifier
		want string
	}{
		{learn.Default(pvd.MTU.With(1400)), "default mtu 1400"},
		{learn.Ignore(pvd.NAT64.Any()), "ignore nat64"},
		{learn.Append(pvd.DNSSearch.With([]string{"a"})), "append dns search [a]"},
	} {
		if tt.m.String() != tt.want || !strings.HasPrefix(tt.want, tt.m.Op().String()) || !strings.Contains(tt.want, tt.m.Key().String()) {
			t.Errorf("%v, want %s", tt.m, tt.want)
		}
	}
}
