package config

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// dnsPort is the port of name servers (RFC 1035 section 4.2).
const dnsPort = 53

// A pvdChecker checks one PvD.
type pvdChecker struct {
	*checker
	raw    *rawPvD
	out    pvd.Config
	links  []string  // that the PvD names, whether they exist or not
	own    []network // of its addresses, which they hold
	onLink []network // what it reaches without router

	learned bool // it is what modifies a PvD that is learned, whose links and addresses are not known
}

// A network is a prefix on a link.
type network struct {
	netip.Prefix
	link string
}

// pvd checks a PvD by itself and against the links.
func (c *checker) pvd(r *rawPvD) PvD {
	c.name(r.name, "a PvD")
	c.notLearned(&r.learn)
	p := &pvdChecker{checker: c, raw: r, out: pvd.Config{Name: r.name.v, MTU: int(r.mtu.v)}}
	if !r.broken {
		p.check()
		c.notAnID(r.name, p.out.ID)
	}
	return PvD{Name: r.name.v, Config: p.out, At: r.name.at}
}

func (p *pvdChecker) check() {
	r := p.raw
	id, err := pvd.ParseID(r.id.v)
	if err != nil || r.id.set && id == "" {
		p.add(r.id.at, "id %s is no domain name: want one such as corp.example.com", quote(r.id.v))
	}
	p.out.ID = id
	p.linkList()
	for i := range r.addresses {
		p.ownAddress(&r.addresses[i])
	}
	p.onLink = slices.Clone(p.own)
	for i := range r.routes {
		if t := &r.routes[i]; !t.via.given && t.to.v != "default" {
			if to, err := netip.ParsePrefix(t.to.v); err == nil {
				p.onLink = append(p.onLink, network{to, p.out.LinkOf(t.link.v)})
			}
		}
	}
	for i := range r.routes {
		p.route(&r.routes[i])
	}
	for i := range r.neighbors {
		p.neighbor(&r.neighbors[i])
	}
	p.dns()
	p.elements()
	ipv6 := slices.ContainsFunc(p.own, func(n network) bool { return n.Addr().Is6() }) ||
		slices.ContainsFunc(p.out.Routes, func(r pvd.Route) bool { return r.To.Addr().Is6() })
	if r.mtu.set && p.out.MTU < minMTU6 && ipv6 {
		p.add(r.mtu.at, "mtu is %d: want at least %d where there is IPv6", p.out.MTU, minMTU6)
	}
}

func (p *pvdChecker) linkList() {
	r := p.raw
	if !r.hasLinks {
		p.missing(r.name.at, "PvD "+quote(r.name.v), "links", "a list of links such as [lab]")
		return
	}
	for _, v := range r.links {
		p.links = append(p.links, v.v)
		switch {
		case len(p.linkNames) == 0:
			p.add(v.at, "link %s is not in the file: add it under \"links\"", quote(v.v))
		case !slices.Contains(p.linkNames, v.v):
			p.add(v.at, "link %s is not in the file%s", quote(v.v), hint(v.v, p.linkNames))
		case slices.Contains(p.out.Links, v.v):
			p.add(v.at, "link %s is here for the second time: leave one", quote(v.v))
		default:
			p.out.Links = append(p.out.Links, v.v)
		}
	}
}

// linkOf returns the link that v names, which has to be one of the PvD's.
func (p *pvdChecker) linkOf(v value[string]) string {
	if v.set && !slices.Contains(p.links, v.v) {
		p.add(v.at, "link %s is not one of PvD %s's%s", quote(v.v), quote(p.raw.name.v), hint(v.v, p.links))
	}
	return v.v
}

func (p *pvdChecker) ownAddress(a *rawAddress) {
	link := p.linkOf(a.link)
	prefix, ok := p.hostPrefix(a.address)
	if !ok {
		return
	}
	if prefix.Addr().Is4() {
		for _, k := range []struct {
			v    value[bool]
			what string
		}{{a.temporary, "temporary (RFC 8981)"}, {a.home, "a home address (RFC 6275)"}} {
			if k.v.v {
				p.add(k.v.at, "IPv4 address %s can not be %s: that is for IPv6", prefix.Addr(), k.what)
			}
		}
	}
	p.own = append(p.own, network{prefix, p.out.LinkOf(link)})
	p.out.Addresses = append(p.out.Addresses, pvd.Address{
		Prefix: prefix, Link: link, Temporary: a.temporary.v, Deprecated: a.deprecated.v, Home: a.home.v,
	})
}

func (p *pvdChecker) route(t *rawRoute) {
	if t.broken {
		return
	}
	route := pvd.Route{Link: p.linkOf(t.link), Metric: uint32(t.metric.v)}
	switch p.oneOf(t.preference, "preference", "low", "medium", "high") {
	case "low":
		route.Preference = pvd.Low
	case "high":
		route.Preference = pvd.High
	}
	if t.from.set {
		route.From, _ = p.netPrefix(t.from, "source")
	}
	viaOK := p.routeVia(t, &route)
	if !p.routeTo(t, &route) || !viaOK {
		return
	}
	if t.via.set && route.To.Addr().Is4() != route.Via.Is4() {
		p.add(t.via.at, "router %s and destination %s are not of one IP version", route.Via, route.To)
		return
	}
	if route.From.IsValid() && route.To.Addr().Is4() != route.From.Addr().Is4() {
		p.add(t.from.at, "source %s and destination %s are not of one IP version", route.From, route.To)
		return
	}
	p.out.Routes = append(p.out.Routes, route)
}

// routeTo sets where the route leads. It comes after the router is known.
func (p *pvdChecker) routeTo(t *rawRoute, route *pvd.Route) bool {
	switch {
	case !t.to.given:
		p.missing(t.at, "the route", "to", "a prefix such as 10.0.0.0/8, or default")
		return false
	case t.to.v == "default" && route.Via.Is4():
		route.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	case t.to.v == "default" && route.Via.Is6():
		route.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	case t.to.v == "default" && !t.via.given:
		p.add(t.to.at, `"default" without "via" is of no IP version: want 0.0.0.0/0 or ::/0`)
		return false
	case t.to.v == "default":
		return false // the router is wrong, which has been told
	default:
		to, ok := p.netPrefix(t.to, "destination")
		if !ok {
			return false
		}
		if why := notUnicast(to.Addr()); why != "" && to.Bits() > 0 {
			p.add(t.to.at, "destination %s is %s: want a unicast prefix", to, why)
			return false
		}
		route.To = to
	}
	return true
}

// routeVia sets the router, and checks that the PvD can reach it.
func (p *pvdChecker) routeVia(t *rawRoute, route *pvd.Route) bool {
	if !t.via.given {
		return true
	}
	via, ok := p.address(t.via, "router")
	if !ok {
		return false
	}
	route.Via = via
	if slices.ContainsFunc(p.own, func(n network) bool { return n.Addr() == via }) {
		p.add(t.via.at, "router %s is the PvD's own address: want the router's", via)
		return false
	}
	if via.IsLinkLocalUnicast() && via.Is6() {
		if len(p.links) > 1 && !t.link.given {
			p.add(t.via.at, "router %s is link-local and the PvD has %s: add \"link\"", via, plural(len(p.links), "link"))
			return false
		}
		return true
	}
	return p.learned || p.reaches(t, via)
}

// reaches checks that a router is on one of the PvD's networks.
func (p *pvdChecker) reaches(t *rawRoute, via netip.Addr) bool {
	holds := func(n network) bool { return n.Contains(via) }
	on := ""
	near := p.onLink
	if t.link.given {
		on = " on link " + quote(t.link.v)
		near = slices.DeleteFunc(slices.Clone(near), func(n network) bool { return n.link != t.link.v })
	}
	switch {
	case len(p.own) < len(p.raw.addresses): // with an address that is wrong it is unknown
		return true
	case !slices.ContainsFunc(near, holds):
		p.add(t.via.at, "router %s is on none of the PvD's networks%s%s: want one that is, or a route to it without \"via\"", via, on, networks(near))
		return false
	case t.link.given || slices.ContainsFunc(p.own, holds):
		return true
	}
	// The route that leads to it says on which link it is.
	if n := near[slices.IndexFunc(near, holds)]; n.link != p.out.LinkOf("") {
		p.add(t.via.at, "router %s is on link %q: add that as \"link\"", via, n.link)
		return false
	}
	return true
}

// address understands a unicast address.
func (c *checker) address(v value[string], what string) (netip.Addr, bool) {
	if !v.set {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(v.v)
	switch {
	case err != nil:
		c.add(v.at, "%s %s is no address: want one such as 192.168.1.1 or fe80::1", what, quote(v.v))
		return a, false
	case a.Zone() != "":
		c.add(v.at, "%s %s has a zone: write %s, and \"link\" beside it", what, quote(v.v), a.WithZone(""))
		return a, false
	case notUnicast(a) != "":
		c.add(v.at, "%s %s is %s: want a unicast address", what, a, notUnicast(a))
		return a, false
	}
	return a, true
}

// networks lists some networks for a message, in brackets.
func networks(ns []network) string {
	if len(ns) == 0 {
		return ""
	}
	var names []string
	for _, n := range ns[:min(len(ns), maxListed)] {
		names = append(names, n.Masked().String())
	}
	return " (" + strings.Join(names, ", ") + ")"
}

func (p *pvdChecker) neighbor(b *rawNeighbor) {
	if b.broken {
		return
	}
	n := pvd.Neighbor{MAC: p.mac(b.mac), Link: p.linkOf(b.link)}
	if !b.address.given {
		p.missing(b.at, "the neighbor", "address", "one such as 192.168.1.1")
	}
	if !b.mac.given {
		p.missing(b.at, "the neighbor", "mac", "one such as 02:00:00:00:00:01")
	}
	link := n.Link
	if link == "" && len(p.links) > 0 {
		link = p.links[0]
	}
	if p.ipOnly[link] {
		p.add(b.at, "link %q carries IP packets, which have no hardware addresses: leave the neighbor out", link)
	}
	n.Addr, _ = p.address(b.address, "neighbor")
	if n.Addr.IsValid() && slices.ContainsFunc(p.out.Neighbors, func(o pvd.Neighbor) bool { return o.Addr == n.Addr && p.out.LinkOf(o.Link) == link }) {
		p.add(b.at, "neighbor %s is here for the second time on link %q: leave one", n.Addr, link)
	}
	p.out.Neighbors = append(p.out.Neighbors, n)
}

func (p *pvdChecker) dns() {
	for _, v := range p.raw.servers {
		if s, ok := p.server(v); ok {
			p.out.DNS.Servers = append(p.out.DNS.Servers, s)
		}
	}
	for _, v := range p.raw.search {
		name, err := pvd.ParseID(v.v)
		if err != nil || name == "" {
			p.add(v.at, "search domain %s is no domain name: want one such as corp.example.com", quote(v.v))
			continue
		}
		p.out.DNS.Search = append(p.out.DNS.Search, string(name))
	}
}

// server understands a name server's address, with or without port.
func (p *pvdChecker) server(v value[string]) (netip.AddrPort, bool) {
	s, err := netip.ParseAddrPort(v.v)
	if err != nil {
		a, err := netip.ParseAddr(v.v)
		if err != nil {
			p.add(v.at, "%s is no name server: want an address such as 192.168.1.53, 192.168.1.53:5353 or [2001:db8::53]:5353", quote(v.v))
			return s, false
		}
		s = netip.AddrPortFrom(a, dnsPort)
	}
	a := s.Addr()
	switch {
	case s.Port() == 0:
		p.add(v.at, "name server %s has port 0: want one from 1 to 65535", quote(v.v))
		return s, false
	case notUnicast(a.WithZone("")) != "":
		p.add(v.at, "name server %s is %s: want a unicast address", a, notUnicast(a.WithZone("")))
		return s, false
	case a.Zone() != "" && !a.IsLinkLocalUnicast():
		p.add(v.at, "name server %s is not link-local and needs no zone: want %s", a, a.WithZone(""))
		return s, false
	case a.Zone() != "" && p.learned:
		p.add(v.at, "name server %s has a zone: a PvD that is learned has its servers on its own link, want %s", a, a.WithZone(""))
		return s, false
	case a.Zone() != "":
		p.linkOf(value[string]{v: a.Zone(), at: v.at, given: true, set: true})
	case a.Is6() && a.IsLinkLocalUnicast() && len(p.links) > 0:
		p.add(v.at, "name server %s is link-local: want its link too, as in %s%%%s", a, a, p.links[0])
		return s, false
	}
	return s, true
}
