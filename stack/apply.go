package stack

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	gstack "gvisor.dev/gvisor/pkg/tcpip/stack"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addrsel"
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
	if err := d.become(w); err != nil {
		return err
	}
	d.info.Store(next)
	if old.Name() != next.Name() || old.ID() != next.ID() {
		h.rejoin(d) // policy goes by what a PvD is called
	}
	return nil
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
		draws:      maphash.MakeSeed(),
	}
	var err error
	if d.resolver, err = newResolver(d, info); err != nil {
		return err
	}
	d.info.Store(info)
	d.plan.Store(&plan{name: info.Name(), fib: &fib{}, selector: addrsel.Default()})
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

// become makes the domain what is wanted. First comes all that may fail, then nothing new
// can begin on what goes, nothing more is received for it, what stands on it ends, and it is
// gone.
func (d *domain) become(w *wanted) error {
	old, next := d.plan.Load(), newPlan(w)
	leaving, arriving, kept := difference(old, next)
	opened, err := d.openPorts(w)
	if err != nil {
		return err
	}
	d.host.dividePorts(w.tables)
	for _, p := range w.ports {
		// Until what goes has ended, its resets have to leave.
		d.setEgress(p, append(slices.Clone(w.addrs), leaving...), next, old.fib)
	}
	for _, p := range opened {
		p.link.install(p.link.table.Load().withListener(p))
	}
	if err := d.addAddresses(arriving); err != nil {
		for _, p := range opened {
			p.leaveTable()
			p.link.quiesce()
			d.closePort(p)
		}
		for _, p := range *d.nics.Load() {
			d.setEgress(p, old.addrs, old, nil)
		}
		d.host.dividePorts(nil)
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
	for _, c := range kept {
		d.changeAddress(c.was, c.is)
	}
	for _, p := range w.ports {
		p.limitMTU(w.mtu)
		d.setNeighbors(p, w, old)
		d.setNeighborhood(p, w.hood)
		d.setEgress(p, w.addrs, next, nil)
	}
	d.setRoutes(w)
	d.host.dividePorts(nil)
	d.refreshPlan() // what needs no detection can be used at once
	for _, p := range w.ports {
		if t := p.link.table.Load(); len(t.rivals[p]) > 0 {
			p.link.meetRouters()
		}
	}
	return nil
}

// A change is one of an address that stays.
type change struct{ was, is pvd.AddressInfo }

// difference returns the addresses of one plan that the other does not have, the other way
// round, and those that differ in what the stack has to know.
func difference(old, next *plan) (leaving, arriving []pvd.AddressInfo, kept []change) {
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
		case was.Prefix != a.Prefix || was.Deprecated != a.Deprecated:
			kept = append(kept, change{was, a})
		}
	}
	return slices.Collect(maps.Values(had)), arriving, kept
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
	return d.stk.AddProtocolAddress(d.ports[a.Link].nic, pa, gstack.AddressProperties{
		Lifetimes: lifetimes(a), Disp: addressWatch{d, localOf(a)},
	})
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

// lifetimes returns what the stack has to know of how long an address is good for.
func lifetimes(a pvd.AddressInfo) gstack.AddressLifetimes {
	return gstack.AddressLifetimes{Deprecated: a.Deprecated}
}

// changeAddress tells the stack of another prefix length, and whether the address is
// deprecated. It wants to know an IPv4 prefix's length for the broadcast address only, and
// nothing of an IPv6 one's. What stands on the address stays; for as long as anything does,
// gVisor keeps the broadcast address too.
func (d *domain) changeAddress(was, is pvd.AddressInfo) {
	nic, addr := d.ports[is.Link].nic, toAddr(is.Prefix.Addr())
	if was.Deprecated != is.Deprecated {
		// A duplicate has gone by itself.
		_ = d.stk.SetAddressLifetimes(nic, addr, lifetimes(is))
	}
	if was.Prefix == is.Prefix || !is.Prefix.Addr().Is4() {
		return
	}
	if err := d.stk.RemoveAddress(nic, addr); err != nil {
		return // likewise
	}
	if err := d.addAddress(is); err != nil {
		d.log.Error("address is lost", "op", "address", "link", is.Link, "addr", is.Prefix, "err", err.String())
	}
}
