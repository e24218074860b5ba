package learn

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
)

// minMTU6 is what every link has to carry where there is IPv6 (RFC 8200 section 5).
const minMTU6 = 1280

// classOf tells the families apart, which are learned in different ways.
func classOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

// addressKind is how addresses are modified on a link.
func addressKind(link string) kind[pvd.AddressInfo] {
	return kind[pvd.AddressInfo]{
		same: func(a, b pvd.AddressInfo) bool {
			return a.Prefix.Addr() == b.Prefix.Addr() && cmp.Or(a.Link, link) == cmp.Or(b.Link, link)
		},
		class: func(a pvd.AddressInfo) int { return classOf(a.Prefix.Addr()) },
		stays: func(a pvd.AddressInfo) bool { return a.Prefix.Addr().Is6() && a.Prefix.Addr().IsLinkLocalUnicast() },
		limit: pvd.MaxAddresses,
	}
}

// routeKind is how routes are modified on a link. Of two that lead to one place by one router
// the first one says how much it is preferred.
func routeKind(link string) kind[pvd.Route] {
	return kind[pvd.Route]{
		same: func(a, b pvd.Route) bool {
			return a.To == b.To && a.Via.WithZone("") == b.Via.WithZone("") && a.From == b.From && cmp.Or(a.Link, link) == cmp.Or(b.Link, link)
		},
		class: func(r pvd.Route) int {
			if !r.Via.IsValid() {
				return -classOf(r.To.Addr())
			}
			return classOf(r.To.Addr())
		},
		limit: pvd.MaxRoutes,
	}
}

var (
	serverKind = kind[netip.AddrPort]{same: equal[netip.AddrPort], limit: pvd.MaxDNSServers}
	searchKind = kind[string]{same: equal[string], limit: pvd.MaxSearch}
)

func equal[T comparable](a, b T) bool { return a == b }

// modify carries out what the rules say of each element.
func (p *Proposal) modify(by *matching) {
	if ops, ok := by.operations(pvd.Addresses.Any()); ok {
		p.Addresses = addressKind(p.Link).apply(p.Addresses, ops)
	}
	if ops, ok := by.operations(pvd.Routes.Any()); ok {
		p.Routes = routeKind(p.Link).apply(p.Routes, ops)
	}
	if ops, ok := by.operations(pvd.DNSServers.Any()); ok {
		p.Servers = serverKind.apply(p.Servers, ops)
		for i, s := range p.Servers {
			if a := s.Addr(); a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "" {
				p.Servers[i] = netip.AddrPortFrom(a.WithZone(p.Link), s.Port())
			}
		}
		p.Servers = serverKind.unique(p.Servers)
		if ops.supersede != nil || ops.ignore != nil {
			p.without(pvd.EncryptedDNS.Any()) // which would go before those that are wanted
		}
	}
	if ops, ok := by.operations(pvd.DNSSearch.Any()); ok {
		p.Search = searchKind.apply(p.Search, ops)
	}
	if ops, ok := by.operations(pvd.MTU.Any()); ok {
		p.modifyMTU(ops)
	}
	for _, k := range by.elements() {
		ops, _ := by.operations(k)
		p.modifyElement(k, ops)
	}
}

func (p *Proposal) modifyMTU(ops operations) {
	switch {
	case ops.ignore != nil:
		p.MTU = 0
	case ops.supersede != nil:
		p.MTU = valueOf[int](ops.supersede)
	case p.MTU == 0:
		p.MTU = valueOf[int](ops.byDefault)
	}
}

// raiseMTU raises an MTU that IPv6 can not do with, which the PvD may have by its modifiers
// only.
func (p *Proposal) raiseMTU() {
	is6 := func(a netip.Addr) bool { return classOf(a) == 6 }
	if p.MTU != 0 && (slices.ContainsFunc(p.Addresses, func(a pvd.AddressInfo) bool { return is6(a.Prefix.Addr()) }) ||
		slices.ContainsFunc(p.Routes, func(r pvd.Route) bool { return is6(r.To.Addr()) })) {
		p.MTU = max(p.MTU, minMTU6)
	}
}

// fields are the elements that a Proposal has fields for.
var fields = []pvd.AnyKey{pvd.Addresses.Any(), pvd.Routes.Any(), pvd.DNSServers.Any(), pvd.DNSSearch.Any(), pvd.MTU.Any()}

// elements returns the keys that rules modify and a Proposal has no fields for, in the order
// of the rules.
func (by *matching) elements() (keys []pvd.AnyKey) {
	for _, r := range by {
		if r == nil {
			continue
		}
		for _, m := range r.Modify {
			if !slices.Contains(fields, m.key) && !slices.Contains(keys, m.key) {
				keys = append(keys, m.key)
			}
		}
	}
	return keys
}

// A join appends the list that one element is to that of another.
type join func(first, second pvd.Element) pvd.Element

// joined are the elements that are lists.
var joined = map[pvd.AnyKey]join{
	pvd.NAT64.Any():        joining(pvd.NAT64),
	pvd.Groups.Any():       joining(pvd.Groups),
	pvd.Proxies.Any():      joining(pvd.Proxies),
	addinfo.DNSZones.Any(): joining(addinfo.DNSZones),
	pvd.EncryptedDNS.Any(): joining(pvd.EncryptedDNS),
}

func joining[T any](key pvd.Key[[]T]) join {
	k := kind[T]{same: func(a, b T) bool { return reflect.DeepEqual(a, b) }}
	return func(first, second pvd.Element) pvd.Element {
		a, _ := first.Value().([]T)
		b, _ := second.Value().([]T)
		return key.With(k.unique(slices.Concat(a, b)))
	}
}

// isList reports whether an element is a list, which can be prepended and appended to.
func isList(k pvd.AnyKey) bool {
	return joined[k] != nil || k != pvd.MTU.Any() && slices.Contains(fields, k)
}

// modifyElement carries out what is said of an element that is not one of fields.
func (p *Proposal) modifyElement(k pvd.AnyKey, ops operations) {
	at := slices.IndexFunc(p.Elements, func(e pvd.Element) bool { return e.Key() == k })
	var e pvd.Element // the zero Element: none
	if at >= 0 {
		e = p.Elements[at]
	}
	switch {
	case ops.ignore != nil:
		e = pvd.Element{}
	case ops.supersede != nil:
		e = ops.supersede.value
	case at < 0 && ops.byDefault != nil:
		e = ops.byDefault.value
	}
	if together := joined[k]; together != nil {
		if ops.prepend != nil {
			e = together(ops.prepend.value, e)
		}
		if ops.append != nil {
			e = together(e, ops.append.value)
		}
	}
	none := e.Key() == pvd.AnyKey{}
	switch {
	case at >= 0 && none:
		p.Elements = slices.Delete(p.Elements, at, at+1)
	case at >= 0:
		p.Elements[at] = e
	case !none:
		p.Elements = append(p.Elements, e)
	}
}

// dropStranded takes routes away that were learned, in was, and whose routers nothing on the
// link leads to any more. Where modifiers gave such a route it stays, for whoever attaches the
// PvD to complain of.
func (p *Proposal) dropStranded(was *Proposal) {
	if slices.Equal(p.Addresses, was.Addresses) && slices.Equal(p.Routes, was.Routes) {
		return
	}
	p.Routes = filter(p.Routes, func(r pvd.Route) bool {
		return p.reaches(r.Via) || !was.reaches(r.Via) || !slices.Contains(was.Routes, r)
	})
}

// reaches reports whether a router is on the link, as far as p says.
func (p *Proposal) reaches(via netip.Addr) bool {
	if !via.IsValid() || via.Is6() && via.IsLinkLocalUnicast() {
		return true
	}
	if slices.ContainsFunc(p.Addresses, func(a pvd.AddressInfo) bool { return a.Prefix.Addr() == via }) {
		return false // it is the PvD itself
	}
	return slices.ContainsFunc(p.Addresses, func(a pvd.AddressInfo) bool { return a.Prefix.Contains(via) }) ||
		slices.ContainsFunc(p.Routes, func(r pvd.Route) bool { return !r.Via.IsValid() && r.To.Contains(via) })
}
