package stack

import (
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

func (d *domain) setNeighbors(p *port, w *wanted, old *plan) {
	if p.mac == nil {
		return
	}
	for _, n := range w.neighbors {
		if n.Link != p.link.name {
			continue
		}
		if err := d.stk.AddStaticNeighbor(p.nic, protocolOf(n.Addr), toAddr(n.Addr), tcpip.LinkAddress(n.MAC)); err != nil {
			d.log.Error("neighbour not set", "op", "neighbor", "link", n.Link, "addr", n.Addr, "err", err.String())
		}
	}
	for _, n := range old.neighbors {
		if n.Link == p.link.name && !slices.ContainsFunc(w.neighbors, func(m pvd.Neighbor) bool {
			return m.Link == n.Link && m.Addr == n.Addr
		}) {
			d.stk.RemoveNeighbor(p.nic, protocolOf(n.Addr), toAddr(n.Addr)) // gone already is as good
		}
	}
}

// setEgress makes a port judge by a plan, with addrs as the PvD's addresses. Was is the
// table that still counts where the plan's has nothing.
func (d *domain) setEgress(p *port, addrs []pvd.AddressInfo, by *plan, was *fib) {
	e := &egress{own: make(map[netip.Addr]struct{}, len(addrs)), fib: by.fib, was: was, weak: by.weak}
	for _, a := range addrs {
		if a.Link == p.link.name {
			addr := a.Prefix.Addr()
			e.own[addr] = struct{}{}
			e.has4 = e.has4 || addr.Is4()
			e.has6 = e.has6 || addr.Is6()
			e.shared = e.shared || a.Shared
		}
	}
	p.egress.Store(e)
	p.reviewRedirects()
}

// setRoutes gives gVisor the little that it has to know: which prefixes are on a link,
// and that everything else goes to the port, which looks at our own table.
func (d *domain) setRoutes(w *wanted) {
	var table []tcpip.Route
	add := func(to netip.Prefix, p *port, anchored bool) {
		r := tcpip.Route{Destination: toSubnet(to), NIC: p.nic}
		if anchored && p.mac != nil {
			r.Gateway = toAddr(anchor6)
			if to.Addr().Is4() {
				r.Gateway = toAddr(anchor4)
			}
		}
		table = append(table, r)
	}
	for _, p := range *d.nics.Load() {
		e := p.egress.Load()
		for _, a := range w.addrs {
			if a.Link == p.link.name {
				add(a.Prefix, p, false)
			}
		}
		for _, r := range w.routes {
			// Within an on-link prefix gVisor would look for the destination itself.
			if r.Link == p.link.name && r.To.Bits() > 0 && withinAddress(w.addrs, r) {
				add(r.To, p, true)
			}
		}
		if e.has4 {
			add(netip.PrefixFrom(netip.IPv4Unspecified(), 0), p, true)
		}
		if e.has6 {
			add(netip.PrefixFrom(netip.IPv6Unspecified(), 0), p, true)
		}
	}
	d.loopMu.Lock()
	defer d.loopMu.Unlock()
	if d.loopMade {
		table = append(table, loopbackRoutes()...)
	}
	d.stk.SetRouteTable(table)
}

func withinAddress(addrs []pvd.AddressInfo, r pvd.Route) bool {
	return slices.ContainsFunc(addrs, func(a pvd.AddressInfo) bool {
		return a.Link == r.Link && a.Prefix.Bits() < r.To.Bits() && a.Prefix.Contains(r.To.Addr())
	})
}
