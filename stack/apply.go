package stack

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// apply carries a change out. It runs on the registry's writer.
func (h *Host) apply(_ context.Context, old, next *pvd.Info) error {
	switch {
	case next == nil:
		return h.detach(old)
	case old == nil:
		return h.attach(next)
	}
	d, err := h.domain(next.Ref())
	if err != nil {
		return err
	}
	w, err := d.want(next, nil)
	if err != nil {
		return err
	}
	return d.become(w)
}

// reapply brings the PvDs that name a link in line after the link has come or gone. It can not
// fail where the link has gone: other links that a PvD should have but has not are left alone.
func (h *Host) reapply(link string) {
	for _, ref := range h.registry.List() {
		info, err := h.registry.Info(ref)
		if err != nil {
			continue
		}
		if links, _ := pvd.Links.Get(info); !slices.Contains(links, link) {
			continue
		}
		d, err := h.domain(ref)
		if err != nil {
			continue
		}
		w, err := d.want(info, func(l string) bool { return l == link || d.ports[l] != nil })
		if err == nil {
			err = d.become(w)
		}
		if err != nil {
			d.log.Error("PvD does not follow its link", "op", "link", "link", link, "err", err)
		}
		h.registry.Refresh(ref)
	}
}

// attach makes a new PvD's domain.
func (h *Host) attach(info *pvd.Info) error {
	if h.isClosed() {
		return ErrClosed
	}
	d := &domain{
		ref: info.Ref(), host: h, log: h.log.With("pvd", info.Name()),
		gone:       make(chan struct{}),
		ports:      make(map[string]*port),
		lastNIC:    loopbackNIC,
		addrStates: make(map[localAddr]pvd.AddressState),
		addrChange: make(chan struct{}),
	}
	d.plan.Store(&plan{name: info.Name(), fib: &fib{}})
	d.nics.Store(&[]*port{})
	w, err := d.want(info, nil)
	if err != nil {
		return err
	}
	if d.stk, err = newNetstack(d); err != nil {
		return err
	}
	if err := d.become(w); err != nil {
		d.dismantle()
		return err
	}
	for _, j := range h.everyJoiner() {
		if err := j.join(d); err != nil {
			d.dismantle()
			return fmt.Errorf("stack: PvD %s: a listener in all PvDs: %w", info.Name(), err)
		}
	}
	h.mu.Lock()
	h.domains[d.ref] = d
	h.mu.Unlock()
	return nil
}

// wanted is what a domain is to become, found to be possible: the tables have been made.
type wanted struct {
	name      string
	links     []string
	addrs     []pvd.AddressInfo // on the links that are there, link-local ones included
	routes    []pvd.Route
	neighbors []pvd.Neighbor
	dns       pvd.DNS
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
	return w, nil
}

// wantPort works out one port: the existing one or a new one, and the link's table with it.
func (d *domain) wantPort(w *wanted, l *hostLink, nic *tcpip.NICID) error {
	p := d.ports[l.name]
	if p == nil {
		if len(l.plans) >= maxPvDsPerLink {
			return fmt.Errorf("link %q carries %d PvDs, which is the limit", l.name, maxPvDsPerLink)
		}
		*nic++
		p = newPort(d, l, *nic, d.chooseMAC(w.name, l))
	}
	w.ports[l.name] = p
	w.addrs = append(w.addrs, d.automatic(w, p)...)
	pp := &portPlan{port: p}
	for _, a := range w.addrs {
		if a.Link != l.name {
			continue
		}
		if c, ok := l.link.(tun.AddressChecker); ok && !p.owns(a.Prefix.Addr()) {
			if err := c.CheckAddr(a.Prefix.Addr()); err != nil {
				return fmt.Errorf("address %v on link %q: %w", a.Prefix.Addr(), l.name, err)
			}
		}
		pp.addrs = append(pp.addrs, a.Prefix)
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
	t, err := l.tableWith(pp, nil)
	if err != nil {
		return err
	}
	w.plans[l], w.tables[l] = pp, t
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

// chooseMAC returns the hardware address for a new port.
func (d *domain) chooseMAC(name string, l *hostLink) []byte {
	if l.link.Layer() != tun.Ethernet {
		return nil
	}
	if own := l.link.HardwareAddr(); own != nil {
		return own
	}
	for attempt := uint32(0); ; attempt++ {
		m := d.host.stationOf(name, l.name, attempt)
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
	return newLinkTable(l.link.Layer(), on, &l.learned)
}

// become makes the domain what is wanted. First comes all that may fail, then nothing new
// can begin on what goes, nothing more is received for it, what stands on it ends, and it is
// gone.
func (d *domain) become(w *wanted) error {
	old, next := d.plan.Load(), newPlan(w)
	leaving, arriving, resized := difference(old, next)
	opened, err := d.openPorts(w)
	if err != nil {
		return err
	}
	for _, p := range w.ports {
		// Until what goes has ended, its resets have to leave.
		d.setEgress(p, append(slices.Clone(w.addrs), leaving...), next.fib, old.fib)
	}
	if err := d.addAddresses(arriving); err != nil {
		for _, p := range opened {
			d.closePort(p)
		}
		for _, p := range *d.nics.Load() {
			d.setEgress(p, old.addrs, old.fib, nil)
		}
		return err
	}
	d.plan.Store(next)
	d.refreshPlan()
	for l, t := range w.tables {
		l.plans[w.plans[l].port] = w.plans[l]
		l.install(t)
	}
	var closing []*port
	for name, p := range d.ports {
		if w.ports[name] == nil {
			closing = append(closing, p)
			p.leaveTable()
		}
	}
	if len(closing)+len(leaving) > 0 {
		d.endLost(leaving)
	}
	for _, p := range closing {
		d.closePort(p)
	}
	d.removeAddresses(leaving)
	d.resizeAddresses(resized)
	for _, p := range w.ports {
		p.limitMTU(w.mtu)
		d.setNeighbors(p, w, old)
		d.setEgress(p, w.addrs, next.fib, nil)
	}
	d.setRoutes(w)
	d.refreshPlan() // what needs no detection can be used at once
	for _, p := range w.ports {
		if t := p.link.table.Load(); t.apart[p] {
			p.link.meetRouters()
		}
	}
	return nil
}

// difference returns the addresses of one plan that the other does not have, the other way
// round, and those whose prefix has another length.
func difference(old, next *plan) (leaving, arriving, resized []pvd.AddressInfo) {
	had := make(map[localAddr]pvd.AddressInfo)
	for _, a := range old.addrs {
		had[localOf(a)] = a
	}
	for _, a := range next.addrs {
		was, ok := had[localOf(a)]
		delete(had, localOf(a))
		switch {
		case !ok:
			arriving = append(arriving, a)
		case was.Prefix != a.Prefix:
			resized = append(resized, a)
		}
	}
	return slices.Collect(maps.Values(had)), arriving, resized
}

// openPorts gives the new ports their NICs, all or none.
func (d *domain) openPorts(w *wanted) (opened []*port, err error) {
	for name, p := range w.ports {
		if d.ports[name] != nil {
			continue
		}
		if err := d.openPort(p); err != nil {
			for _, p := range opened {
				d.closePort(p)
			}
			return nil, err
		}
		opened = append(opened, p)
	}
	return opened, nil
}

// openPort gives a new port its NIC.
func (d *domain) openPort(p *port) error {
	if s, ok := p.link.link.(tun.Station); ok && p.mac != nil {
		if err := s.AddMAC(p.mac); err != nil {
			return fmt.Errorf("stack: PvD %s: link %q: %w", d.name(), p.link.name, err)
		}
	}
	if c := d.host.capture; c != nil {
		p.captureID = c.Interface(p.link.name+"/"+d.name(), p.link.link.Layer())
	}
	nics := append(slices.Clone(*d.nics.Load()), p)
	d.nics.Store(&nics)
	d.ports[p.link.name] = p
	d.lastNIC = max(d.lastNIC, p.nic)
	if err := d.attach(p); err != nil {
		d.closePort(p)
		return fmt.Errorf("stack: PvD %s: %w", d.name(), err)
	}
	return nil
}

// closePort takes a port away that nothing stands on.
func (d *domain) closePort(p *port) {
	delete(d.ports, p.link.name)
	if err := d.stk.RemoveNIC(p.nic); err != nil {
		d.log.Error("NIC not removed", "op", "link", "link", p.link.name, "err", err.String())
	}
	nics := slices.DeleteFunc(slices.Clone(*d.nics.Load()), func(o *port) bool { return o == p })
	d.nics.Store(&nics)
	p.close()
	d.removeMAC(p)
}

// addAddresses gives the stack addresses, all or none.
func (d *domain) addAddresses(arriving []pvd.AddressInfo) error {
	for i, a := range arriving {
		d.noteAddressState(localOf(a), pvd.Tentative)
		if err := d.addAddress(a); err != nil {
			for _, a := range arriving[:i+1] {
				d.removeAddress(a)
			}
			return fmt.Errorf("stack: PvD %s: address %v: %v", d.name(), a.Prefix, err)
		}
	}
	return nil
}

func (d *domain) addAddress(a pvd.AddressInfo) tcpip.Error {
	addr := a.Prefix.Addr()
	pa := tcpip.ProtocolAddress{
		Protocol:          protocolOf(addr),
		AddressWithPrefix: tcpip.AddressWithPrefix{Address: toAddr(addr), PrefixLen: a.Prefix.Bits()},
	}
	return d.stk.AddProtocolAddress(d.ports[a.Link].nic, pa, gstack.AddressProperties{Disp: addressWatch{d, localOf(a)}})
}

// removeAddresses takes addresses away that nothing stands on. Those that went with their
// port are gone.
func (d *domain) removeAddresses(leaving []pvd.AddressInfo) {
	for _, a := range leaving {
		if d.ports[a.Link] != nil {
			d.removeAddress(a)
		} else {
			d.forgetAddressState(localOf(a))
		}
	}
}

func (d *domain) removeAddress(a pvd.AddressInfo) {
	d.forgetAddressState(localOf(a))
	err := d.stk.RemoveAddress(d.ports[a.Link].nic, toAddr(a.Prefix.Addr()))
	if _, gone := err.(*tcpip.ErrBadLocalAddress); err != nil && !gone { // a duplicate has gone by itself
		d.log.Error("address not removed", "op", "address", "link", a.Link, "addr", a.Prefix.Addr(), "err", err.String())
	}
}

// resizeAddresses tells the stack of new prefix lengths. It wants to know an IPv4 address's
// for the broadcast address only, and nothing of an IPv6 address's. What stands on the
// addresses stays.
func (d *domain) resizeAddresses(resized []pvd.AddressInfo) {
	for _, a := range resized {
		if !a.Prefix.Addr().Is4() {
			continue
		}
		if err := d.stk.RemoveAddress(d.ports[a.Link].nic, toAddr(a.Prefix.Addr())); err != nil {
			continue // a duplicate has gone by itself
		}
		if err := d.addAddress(a); err != nil {
			d.log.Error("address is lost", "op", "address", "link", a.Link, "addr", a.Prefix, "err", err.String())
		}
	}
}

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

func (d *domain) setEgress(p *port, addrs []pvd.AddressInfo, f, was *fib) {
	e := &egress{own: make(map[netip.Addr]struct{}, len(addrs)), fib: f, was: was}
	for _, a := range addrs {
		if a.Link == p.link.name {
			addr := a.Prefix.Addr()
			e.own[addr] = struct{}{}
			e.has4 = e.has4 || addr.Is4()
			e.has6 = e.has6 || addr.Is6()
		}
	}
	p.egress.Store(e)
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
