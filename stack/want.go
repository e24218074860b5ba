package stack

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/tun"
)

// wanted is what a domain is to become, found to be possible: the tables have been made.
type wanted struct {
	name      string
	links     []string
	addrs     []pvd.AddressInfo // on the links that are there, link-local ones included
	routes    []pvd.Route
	neighbors []pvd.Neighbor
	dns       pvd.DNS
	selector  *addrsel.Selector
	weak      bool
	learned   bool // from a link's network
	hood      neighborhood
	draws     *maphash.Seed // nil: destinations are not spread over routers
	mtu       int
	ports     map[string]*port
	tables    map[*hostLink]*linkTable
	plans     map[*hostLink]*portPlan
}

// want works out what info asks for, and whether it can be had. Nothing is changed. A link
// that does not exist is an error, unless there is a function that chooses the links to be
// used, of those that exist.
func (d *domain) want(info *pvd.Info, chosen func(link string) bool) (*wanted, error) {
	w := &wanted{
		name:  info.Name(),
		ports: make(map[string]*port), tables: make(map[*hostLink]*linkTable), plans: make(map[*hostLink]*portPlan),
	}
	w.links, _ = pvd.Links.Get(info)
	w.routes, _ = pvd.Routes.Get(info)
	w.neighbors, _ = pvd.Neighbors.Get(info)
	w.dns.Servers, _ = pvd.DNSServers.Get(info)
	w.dns.Search, _ = pvd.DNSSearch.Get(info)
	w.mtu, _ = pvd.MTU.Get(info)
	_, w.learned = learn.Learned.Get(info)
	w.hood = neighborhoodOf(info)
	if err := w.choices(info, d); err != nil {
		return nil, fmt.Errorf("stack: PvD %s: %w", w.name, err)
	}
	addrs, _ := pvd.Addresses.Get(info)
	for _, a := range addrs {
		if !a.Automatic {
			w.addrs = append(w.addrs, a)
		}
	}
	nic := d.lastNIC
	for _, name := range w.links {
		l, ok := d.host.link(name)
		if !ok && chosen == nil {
			return nil, fmt.Errorf("stack: PvD %s: there is no link %q", w.name, name)
		}
		if !ok || chosen != nil && !chosen(name) {
			continue
		}
		if err := d.wantPort(w, l, &nic); err != nil {
			return nil, fmt.Errorf("stack: PvD %s: %w", w.name, err)
		}
	}
	for _, name := range w.links {
		p := w.ports[name]
		if p == nil {
			continue
		}
		l, pp := p.link, w.plans[p.link]
		err := w.lend(l, pp)
		if err == nil {
			w.tables[l], err = l.tableWith(pp, nil)
		}
		if err != nil {
			return nil, fmt.Errorf("stack: PvD %s: %w", w.name, err)
		}
	}
	if err := d.canShare(w.tables); err != nil {
		return nil, fmt.Errorf("stack: PvD %s: %w", w.name, err)
	}
	return w, nil
}

// choices works out how addresses, links and routers are to be chosen.
func (w *wanted) choices(info *pvd.Info, d *domain) error {
	w.selector = addrsel.Default()
	if c, ok := addrsel.Key.Get(info); ok {
		var err error
		if w.selector, err = addrsel.New(c); err != nil {
			return fmt.Errorf("%v: %w", addrsel.Key, err)
		}
	}
	w.weak, _ = pvd.WeakHost.Get(info)
	if shared, _ := pvd.LoadSharing.Get(info); shared {
		w.draws = &d.draws
	}
	return nil
}

// wantPort works out one port: the existing one or a new one, and what the link's table has
// to know of it.
func (d *domain) wantPort(w *wanted, l *hostLink, nic *tcpip.NICID) error {
	p := d.ports[l.name]
	if p == nil {
		if len(l.plans) >= maxPvDsPerLink {
			return fmt.Errorf("link %q carries %d PvDs, which is the limit", l.name, maxPvDsPerLink)
		}
		*nic++
		p = newPort(d, l, *nic, d.chooseMAC(w, l))
	}
	w.ports[l.name] = p
	w.addrs = append(w.addrs, d.automatic(w, p)...)
	pp := &portPlan{port: p}
	for _, a := range w.addrs {
		if a.Link != l.name {
			continue
		}
		if err := pp.check(a.Prefix.Addr()); err != nil {
			return err
		}
		pp.addrs = append(pp.addrs, a.Prefix)
		if a.Shared {
			pp.shared = append(pp.shared, a.Prefix.Addr())
		}
	}
	for _, r := range w.routes {
		if r.Link == l.name && r.Via.IsValid() && !slices.Contains(pp.routers, r.Via) {
			pp.routers = append(pp.routers, r.Via)
		}
	}
	for _, n := range w.neighbors {
		if n.Addr == anchor4 || n.Addr == anchor6 {
			return fmt.Errorf("neighbour %v: the address is set aside for the stack's own use", n.Addr)
		}
		if n.Link == l.name {
			pp.stations = append(pp.stations, mac(n.MAC))
		}
	}
	w.plans[l] = pp
	return nil
}

// check asks the link whether it could carry an address that it does not have yet.
func (pp *portPlan) check(a netip.Addr) error {
	l := pp.port.link
	c, ok := l.link.(tun.AddressChecker)
	if !ok || pp.port.owns(a) {
		return nil
	}
	if err := c.CheckAddr(a); err != nil {
		return fmt.Errorf("address %v on link %q: %w", a, l.name, err)
	}
	return nil
}

// lend gives a weak host's port on a link the addresses that are on other links, but for
// those that mean something else on each link.
func (w *wanted) lend(l *hostLink, pp *portPlan) error {
	if !w.weak {
		return nil
	}
	for _, a := range w.addrs {
		on, addr := w.ports[a.Link], a.Prefix.Addr()
		if on == nil || on.link == l || addr.IsLinkLocalUnicast() {
			continue
		}
		if err := pp.check(addr); err != nil {
			return err
		}
		if pp.elsewhere == nil {
			pp.elsewhere = make(map[netip.Addr]*port)
		}
		pp.elsewhere[addr] = on
		if a.Shared {
			pp.shared = append(pp.shared, addr)
		}
	}
	return nil
}

// automatic returns the address that a PvD has on a link without being told: a
// link-local one, where there is other IPv6.
func (d *domain) automatic(w *wanted, p *port) []pvd.AddressInfo {
	ipv6, own := false, false
	for _, a := range w.addrs {
		if a.Link == p.link.name && a.Prefix.Addr().Is6() {
			ipv6 = true
			own = own || a.Prefix.Addr().IsLinkLocalUnicast()
		}
	}
	for _, r := range w.routes {
		ipv6 = ipv6 || r.Link == p.link.name && r.To.Addr().Is6()
	}
	if !ipv6 || own {
		return nil
	}
	return []pvd.AddressInfo{d.linkLocalOn(w.name, p)}
}

// linkLocalOn returns the PvD's automatic address on a link: the one that there is, or else
// a new one.
func (d *domain) linkLocalOn(name string, p *port) pvd.AddressInfo {
	for _, a := range d.plan.Load().addrs {
		if a.Automatic && a.Link == p.link.name {
			return a
		}
	}
	t := p.link.table.Load()
	for attempt := uint32(0); ; attempt++ {
		a := pvd.Address{Prefix: d.host.linkLocal(name, p.link.name, attempt), Link: p.link.name}
		if !t.ownedByOther(a.Prefix.Addr(), p) {
			return pvd.AddressInfo{Address: a, Automatic: true}
		}
	}
}

// chooseMAC returns the hardware address for a new port. PvDs that are learned on a link
// have its agent's, with which their leased address is announced and defended.
func (d *domain) chooseMAC(w *wanted, l *hostLink) []byte {
	if l.link.Layer() != tun.Ethernet {
		return nil
	}
	if a := l.agent.Load(); w.learned && a != nil {
		return a.mac
	}
	if own := l.link.HardwareAddr(); own != nil {
		return own
	}
	for attempt := uint32(0); ; attempt++ {
		m := d.host.stationOf(w.name, l.name, attempt)
		if _, taken := l.table.Load().stations[mac(m)]; !taken {
			return m
		}
	}
}

// tableWith makes the link's table anew, with pp in the place of its port's plan, or
// without the port gone.
func (l *hostLink) tableWith(pp *portPlan, gone *port) (*linkTable, error) {
	on := make([]portPlan, 0, len(l.plans)+1)
	for p, plan := range l.plans {
		if p != gone && (pp == nil || p != pp.port) {
			on = append(on, *plan)
		}
	}
	if pp != nil {
		on = append(on, *pp)
	}
	t, err := newLinkTable(l.link.Layer(), on, &l.learned)
	if err == nil && t.shared != nil {
		t.remember(l.table.Load())
	}
	return t, err
}
