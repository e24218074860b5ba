package stack

import (
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// sortDestinations orders destinations by RFC 6724 section 6, with the sources, routes and
// policy of the PvD: those that can not be reached come last. A valid src is the source that
// all of them would have.
func (d *domain) sortDestinations(src netip.Addr, dsts []netip.Addr) {
	if len(dsts) < 2 {
		return
	}
	p := d.plan.Load()
	targets := make([]addrsel.Target, len(dsts))
	for i, dst := range dsts {
		targets[i] = d.target(p, src, dst)
	}
	p.selector.Sort(targets)
	for i, t := range targets {
		dsts[i] = t.Addr
	}
}

// target returns what there is to know of a destination. What has to wait for its source
// counts as out of reach, and so does what is behind routers that do not answer.
func (d *domain) target(p *plan, src, dst netip.Addr) addrsel.Target {
	t := addrsel.Target{Addr: dst, Unusable: true}
	pa, err := d.findPath(src, dst)
	if err != nil || pa.hopless {
		return t
	}
	t.Unusable = false
	if !pa.src.IsValid() {
		pa.src = dst.WithZone("") // the PvD itself
	}
	t.Source.Prefix = netip.PrefixFrom(pa.src, pa.src.BitLen())
	for i := range p.addrs {
		if a := &p.addrs[i]; a.Prefix.Addr() == pa.src {
			t.Source = p.candidate(a, &fibRoute{link: a.Link}, dst)
		}
	}
	return t
}
