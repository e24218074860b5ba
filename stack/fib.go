package stack

import (
	"cmp"
	"hash/maphash"
	"iter"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"

	"github.com/pvdstack/pvdstack/pvd"
)

// A fib is a PvD's forwarding table: for each destination prefix its routes, best
// first. It is made whole and never changed, so lookups take no lock.
type fib struct {
	table  bart.Table[[]fibRoute]
	serves map[router][]netip.Prefix // what each router is known to serve
	shared *maphash.Seed             // nil: destinations are not spread over routers
}

// A fibRoute is one way to a prefix.
type fibRoute struct {
	link string
	via  netip.Addr   // the zero Addr: the destination is on the link
	from netip.Prefix // the zero Prefix: any source
	pref pvd.Preference
	cost uint32
	bits int    // the length of the prefix
	draw uint64 // what the router brings to the draws for destinations, where they are spread
}

// A router is where routes lead.
type router struct {
	link string
	addr netip.Addr
}

// newFIB makes the table of the on-link prefixes of addrs and of routes.
func newFIB(addrs []pvd.AddressInfo, routes []pvd.Route) *fib {
	sets := make(map[netip.Prefix][]fibRoute, len(addrs)+len(routes))
	for _, a := range addrs {
		p := a.Prefix.Masked()
		r := fibRoute{link: a.Link, bits: p.Bits()}
		if !slices.Contains(sets[p], r) {
			sets[p] = append(sets[p], r)
		}
	}
	f := &fib{}
	for _, r := range routes {
		sets[r.To] = append(sets[r.To], fibRoute{
			link: r.Link, via: r.Via, from: r.From, pref: r.Preference, cost: r.Metric, bits: r.To.Bits(),
		})
		if r.Via.IsValid() && r.From.IsValid() {
			f.serve(router{r.Link, r.Via}, r.From)
		}
	}
	for p, set := range sets {
		slices.SortStableFunc(set, compareRoutes)
		f.table.Insert(p, set)
	}
	return f
}

func (f *fib) serve(r router, p netip.Prefix) {
	if slices.Contains(f.serves[r], p) {
		return
	}
	if f.serves == nil {
		f.serves = make(map[router][]netip.Prefix)
	}
	f.serves[r] = append(f.serves[r], p)
}

// advertised reports whether a router is known to serve the source src: it is what rule
// 5.5 of RFC 6724 section 5 calls assigned by the next hop.
func (f *fib) advertised(r router, src netip.Addr) bool {
	return slices.ContainsFunc(f.serves[r], func(p netip.Prefix) bool { return p.Contains(src) })
}

// compareRoutes orders routes to the same prefix: the one made for fewer sources first
// (RFC 8028 section 3.2 puts what a router gave the address for before preference), then by
// preference (RFC 4191 section 3.2), then by metric. A directly connected prefix goes
// before a router to the same prefix.
func compareRoutes(a, b fibRoute) int {
	return cmp.Or(
		cmp.Compare(fromBits(b), fromBits(a)),
		cmp.Compare(boolInt(a.via.IsValid()), boolInt(b.via.IsValid())),
		cmp.Compare(b.pref, a.pref),
		cmp.Compare(a.cost, b.cost),
	)
}

func fromBits(r fibRoute) int {
	if !r.from.IsValid() {
		return -1
	}
	return r.from.Bits()
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// serves reports whether packets from src may take r. The zero src stands for one that
// has still to be chosen, for which every route is a candidate.
func (r fibRoute) serves(src netip.Addr) bool {
	return !r.from.IsValid() || !src.IsValid() || r.from.Contains(src)
}

// next returns the next hop for a packet that leaves by link: dst itself when it is on
// the link, else a router. It is false when no route leads there.
func (f *fib) next(link string, src, dst netip.Addr) (netip.Addr, bool) {
	set, ok := f.table.Lookup(dst)
	if !ok {
		return netip.Addr{}, false
	}
	if f.shared == nil {
		for i := range set {
			if set[i].link == link && set[i].serves(src) {
				return set[i].hop(dst), true
			}
		}
	}
	// The longest prefix has nothing for this link or this source, or routers are drawn.
	for r := range f.routes(dst) {
		if r.link == link && r.serves(src) {
			return r.hop(dst), true
		}
	}
	return netip.Addr{}, false
}

func (r *fibRoute) hop(dst netip.Addr) netip.Addr {
	if r.via.IsValid() {
		return r.via
	}
	return dst
}

// routes returns all routes that lead to dst, those of the longest prefix first, best
// first within a prefix. Equally good ones are in the order of the configuration or, where
// destinations are spread over routers, in that of the draw.
func (f *fib) routes(dst netip.Addr) iter.Seq[fibRoute] {
	return func(yield func(fibRoute) bool) {
		for _, set := range f.table.Supernets(netip.PrefixFrom(dst, dst.BitLen())) {
			if f.shared != nil {
				if !f.drawn(set, dst, yield) {
					return
				}
				continue
			}
			for _, r := range set {
				if !yield(r) {
					return
				}
			}
		}
	}
}

// equal reports whether nothing but their order tells two routes to a destination apart.
func (r *fibRoute) equal(o *fibRoute) bool { return r.bits == o.bits && compareRoutes(*r, *o) == 0 }
