package stack

import (
	"net/netip"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// sourceFor chooses the source for packets that leave by route r over link l, and returns
// its rank. Only what the route serves is a candidate, and of other links' addresses only
// those that a weak host may use.
func (d *domain) sourceFor(p *plan, q *addrsel.Sources, l planLink, r fibRoute, dst netip.Addr) (path, addrsel.Rank, error) {
	var best *pvd.AddressInfo
	var most addrsel.Rank
	tentative := false
	for i := range p.addrs {
		a := &p.addrs[i]
		own := a.Prefix.Addr()
		if own.Is4() != dst.Is4() || a.Link != l.name && !p.lends(a, dst) || !r.serves(own) {
			continue
		}
		if a.State == pvd.Tentative {
			tentative = true
		}
		if !a.State.Usable() {
			continue
		}
		c := p.candidate(a, &r, dst)
		if rank := q.Rank(&c); best == nil || rank > most {
			best, most = a, rank
		}
	}
	switch {
	case best != nil:
		pa := path{nic: l.nic, src: best.Prefix.Addr()}
		if best.Link != l.name {
			on, _ := p.link(best.Link) // lends has seen that it is there
			pa.nic = on.nic
		}
		// With one address there is nothing to choose for gVisor either.
		pa.natural = p.only(best) || d.natural(pa.nic, pa.src, dst)
		return pa, most, nil
	case tentative:
		return path{}, 0, errTentative
	}
	return path{}, 0, syscall.EADDRNOTAVAIL
}

// candidate returns what there is to say of an address as the source of packets to dst by
// a route. An IPv4 address counts as assigned by the next hop where that is on its prefix,
// as no router says so (RFC 6419 section 3.2.2.2).
func (p *plan) candidate(a *pvd.AddressInfo, r *fibRoute, dst netip.Addr) addrsel.Candidate {
	c := addrsel.Candidate{
		Prefix: a.Prefix, Deprecated: a.State == pvd.Deprecated, Home: a.Home, Temporary: a.Temporary,
	}
	if p.selector.Order() == addrsel.SourceFirst {
		return c // it is not known yet by which way they will leave
	}
	c.Outgoing = a.Link == r.link
	switch {
	case dst.Is4():
		c.Advertised = a.Prefix.Contains(r.hop(dst))
	case r.via.IsValid():
		c.Advertised = p.fib.advertised(router{r.link, r.via}, a.Prefix.Addr())
	}
	return c
}

// only reports whether a is the only address of its family on its link.
func (p *plan) only(a *pvd.AddressInfo) bool {
	for i := range p.addrs {
		if o := &p.addrs[i]; o != a && o.Link == a.Link && o.Prefix.Addr().Is4() == a.Prefix.Addr().Is4() {
			return false
		}
	}
	return true
}

// lends reports whether a weak host may send to dst from an address that is on another
// link than the one the packets leave by.
func (p *plan) lends(a *pvd.AddressInfo, dst netip.Addr) bool {
	return p.weak && !needsLink(dst) && !a.Prefix.Addr().IsLinkLocalUnicast()
}

// givenSource leads from a source that is the caller's choice, by its own link only: the
// host model is the strong one (RFC 1122 section 3.3.4.2).
func (d *domain) givenSource(l planLink, src netip.Addr) (path, error) {
	if z := src.Zone(); z != "" && z != l.name {
		return path{}, syscall.ENETUNREACH
	}
	for _, a := range d.plan.Load().addrs {
		if a.Link == l.name && a.Prefix.Addr() == src.WithZone("") && a.State.Usable() {
			return path{nic: l.nic, src: src.WithZone("")}, nil
		}
	}
	if _, err := d.local(src); err != nil {
		return path{}, err
	}
	return path{}, syscall.ENETUNREACH
}
