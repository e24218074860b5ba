package ra

import (
	"net/netip"
	"slices"
)

// describe returns what d is, for others to keep.
func (d *domain) describe(link string) *PvD {
	s := &PvD{
		Key: d.key, Instance: d.instance, Since: d.since, Until: d.until(), Option: d.option,
		Portal: d.portal, MTU: d.mtu, HopLimit: d.hopLimit, Reachable: d.reachable, Retransmit: d.retransmit,
		Routes:  d.defaultRoutes(),
		Servers: lasting(d.servers), Search: lasting(d.search), NAT64: lasting(d.nat64),
		Resolvers: d.resolvers(link),
	}
	for _, r := range d.routers {
		s.Routers = append(s.Routers, r.Router)
		s.Managed = s.Managed || r.managed
		s.Other = s.Other || r.other
	}
	for _, p := range d.prefixes {
		s.Prefixes = append(s.Prefixes, p.Prefix)
	}
	made := []*address{d.linkLocal}
	for _, c := range d.auto {
		made = append(append(made, c.stable), c.temporary...)
	}
	for _, a := range made {
		if !a.failed {
			s.Addresses = append(s.Addresses, a.Address)
		}
	}
	for _, r := range d.routes {
		if r.To.Bits() > 0 {
			s.Routes = append(s.Routes, r)
		}
	}
	for i, v := range s.Servers {
		if v.Value.IsLinkLocalUnicast() {
			s.Servers[i].Value = v.Value.WithZone(link)
		}
	}
	return s
}

var anywhere = netip.MustParsePrefix("::/0")

// defaultRoutes are those of the headers, in whose place routes to ::/0 are taken (RFC 4191
// section 3.1), the preferred ones first.
func (d *domain) defaultRoutes() (routes []Route) {
	for _, r := range d.routers {
		own := func(o Route) bool { return o.Via == r.Addr && o.To == anywhere }
		if i := slices.IndexFunc(d.routes, own); i >= 0 {
			routes = append(routes, d.routes[i])
		} else if r.until > 0 {
			routes = append(routes, Route{To: anywhere, Via: r.Addr, Preference: r.preference, Until: r.until})
		}
	}
	slices.SortStableFunc(routes, func(a, b Route) int { return int(b.Preference) - int(a.Preference) })
	return routes
}

// lasting lists each value once, the oldest first, until the last router's word for it
// ends.
func lasting[T comparable](items []item[T]) (ls []Lasting[T]) {
	for _, it := range items {
		i := slices.IndexFunc(ls, func(l Lasting[T]) bool { return l.Value == it.value })
		if i < 0 {
			ls = append(ls, Lasting[T]{it.value, it.until})
		} else {
			ls[i].Until = max(ls[i].Until, it.until)
		}
	}
	return ls
}
