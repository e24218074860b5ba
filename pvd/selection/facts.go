package selection

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// facts are what of a PvD's description decides about it. They are read once per version
// of the description, since reading addresses and routes copies them. They do not change.
type facts struct {
	info *pvd.Info // of a network that is not open, what it is to be

	ref        pvd.Ref // Unspecified for a network that is not open
	seq        uint64  // in the order of attachment
	version    uint64
	name       string
	id         pvd.ID
	technology pvd.Technology
	kind       pvd.Technology // what the technology is a kind of
	metric     uint32
	groups     []string
	common     [len(common)]any // elements, nil where there is none
	traits     traits
	leaving    bool
	reach      *reach // nil where nobody asks for destinations
}

// common are the keys of the elements that selections are often about. Looking for
// elements takes time, where there are many PvDs.
var common = [...]pvd.AnyKey{pvd.Speed.Any(), pvd.Cost.Any(), pvd.Latency.Any()}

// reader returns a function that reads an element of a PvD.
func reader[T any](k pvd.Key[T]) func(*facts) (T, bool) {
	for i, c := range common {
		if c == k.Any() {
			return func(f *facts) (T, bool) {
				v, ok := f.common[i].(T)
				return v, ok
			}
		}
	}
	return func(f *facts) (T, bool) { return k.Get(f.info) }
}

// open reports whether the PvD is there, and not just on offer.
func (f *facts) open() bool { return f.ref != pvd.Unspecified }

// newFacts reads a description. old, if not nil, are the facts of the PvD before, since
// when only the elements keys have changed; nil keys: any.
func newFacts(i *pvd.Info, old *facts, keys []pvd.AnyKey) *facts {
	f := describe(i)
	if old != nil && keys != nil && !slices.Contains(keys, pvd.Addresses.Any()) && !slices.Contains(keys, pvd.Routes.Any()) {
		f.reach = old.reach
	} else {
		addrs, _ := pvd.Addresses.Get(i)
		routes, _ := pvd.Routes.Get(i)
		f.reach = newReach(addrs, routes)
	}
	return f
}

// describe reads all but what it takes to know which destinations the PvD leads to.
func describe(i *pvd.Info) *facts {
	f := &facts{info: i, ref: i.Ref(), version: i.Version(), name: i.Name(), id: i.ID()}
	f.technology, _ = pvd.Access.Get(i)
	f.kind = kinds[f.technology]
	f.metric, _ = pvd.Metric.Get(i)
	f.groups, _ = pvd.Groups.Get(i)
	for n, k := range common {
		f.common[n], _ = k.Get(i)
	}
	metered, _ := pvd.Metered.Get(i)
	f.traits.set(Metered, metered)
	portal, _ := pvd.CaptivePortal.Get(i)
	f.traits.set(Captive, portal.Captive)
	_, f.leaving = pvd.Ends.Get(i)
	noInternet, _ := pvd.NoInternet.Get(i)
	for family, has := range families {
		addr := has.addr.Holds(i)
		f.traits.set(Available, addr)
		f.traits.set(IPv4+Trait(family), addr)
		f.traits.set(Routed, addr && has.route.Holds(i))
		f.traits.set(Internet, addr && !noInternet && has.everywhere.Holds(i))
	}
	return f
}

// families are what decides about the traits of IPv4 and IPv6.
var families = [...]struct{ addr, route, everywhere pvd.Condition }{
	{pvd.HasAddr4, pvd.HasRoute4, pvd.HasDefault4},
	{pvd.HasAddr6, pvd.HasRoute6, pvd.HasDefault6},
}

// placeIn returns the PvD's place in a group whose members the policy orders as places
// says, and whether it is a member. Members that the policy does not name come last.
func (f *facts) placeIn(group string, places map[string]int) (int, bool) {
	if at, ok := places[f.name]; ok {
		return at, true
	}
	if at, ok := places[string(f.id)]; ok && f.id != "" {
		return at, true
	}
	return len(places), slices.Contains(f.groups, group)
}

// reach is where a PvD's addresses and routes lead.
type reach struct {
	to      map[netip.Prefix]struct{}
	lengths [2][]int // of the prefixes in to, by family
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func newReach(addrs []pvd.AddressInfo, routes []pvd.Route) *reach {
	r := &reach{to: make(map[netip.Prefix]struct{}, len(addrs)+len(routes))}
	for _, a := range addrs {
		addr := a.Prefix.Addr()
		if a.State.Usable() && (addr.Is4() || !addr.IsLinkLocalUnicast()) {
			r.add(a.Prefix)
		}
	}
	for _, route := range routes {
		r.add(route.To)
	}
	for f := range r.lengths {
		slices.Sort(r.lengths[f])
	}
	return r
}

func (r *reach) add(p netip.Prefix) {
	r.to[p.Masked()] = struct{}{}
	f := familyOf(p.Addr())
	if !slices.Contains(r.lengths[f], p.Bits()) {
		r.lengths[f] = append(r.lengths[f], p.Bits())
	}
}

// reaches reports whether a route, or an on-link prefix, leads to an address, from one of
// its family.
func (f *facts) reaches(a netip.Addr) bool {
	family := familyOf(a)
	if !f.traits.has(IPv4 + Trait(family)) {
		return false
	}
	for _, bits := range f.reach.lengths[family] { // a default route is the first
		p, err := a.Prefix(bits)
		if _, ok := f.reach.to[p]; ok && err == nil {
			return true
		}
	}
	return false
}
