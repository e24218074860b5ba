package stack

import (
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// observe writes the states of a PvD's addresses into its description, and makes them
// count for whoever chooses a source. It runs on the registry's writer.
func (h *Host) observe(ref pvd.Ref, b *pvd.Builder) {
	d, err := h.domain(ref)
	if err != nil {
		return
	}
	d.refreshPlan()
	defer d.pokeAgents()
	addrs := slices.Clone(d.plan.Load().addrs)
	for i, a := range addrs {
		if !d.ports[a.Link].link.up.Load() {
			addrs[i].State = pvd.Down
		}
	}
	had, _ := pvd.Addresses.Of(b)
	for _, a := range had {
		if _, there := d.ports[a.Link]; !there && !a.Automatic {
			a.State = pvd.Down
			addrs = append(addrs, a)
		}
	}
	pvd.Addresses.Set(b, addrs)
}

// newPlan makes the plan of what is wanted. The states of its addresses are to be
// refreshed.
func newPlan(w *wanted) *plan {
	p := &plan{
		name: w.name, neighbors: w.neighbors, dns: w.dns, fib: newFIB(w.addrs, w.routes),
		selector: w.selector, weak: w.weak,
	}
	if w.draws != nil {
		p.fib.share(w.draws)
	}
	for _, name := range w.links {
		if port := w.ports[name]; port != nil {
			p.links = append(p.links, planLink{name: name, nic: port.nic, port: port})
		} else {
			p.lost = append(p.lost, name)
		}
	}
	for _, a := range w.addrs {
		if w.ports[a.Link] != nil {
			p.addrs = append(p.addrs, a)
		}
	}
	return p
}

// refreshPlan brings the states of the plan's addresses up to date and wakes those who
// wait for one.
func (d *domain) refreshPlan() {
	p := *d.plan.Load()
	p.addrs = slices.Clone(p.addrs)
	d.addrMu.Lock()
	defer d.addrMu.Unlock()
	for i, a := range p.addrs {
		s := d.addrStates[localOf(a)]
		if s == pvd.Duplicate && a.State != s {
			d.log.Warn("another node has the address", "op", "dad", "link", a.Link, "addr", a.Prefix.Addr())
		}
		p.addrs[i].State = a.InState(s)
	}
	d.plan.Store(&p)
	close(d.addrChange)
	d.addrChange = make(chan struct{})
}

// addressesChanged returns a channel that is closed when the state of an address changes.
func (d *domain) addressesChanged() <-chan struct{} {
	d.addrMu.Lock()
	defer d.addrMu.Unlock()
	return d.addrChange
}

// noteAddressState sets the state of an address that is about to be there.
func (d *domain) noteAddressState(a localAddr, s pvd.AddressState) {
	d.addrMu.Lock()
	defer d.addrMu.Unlock()
	d.addrStates[a] = s
}

// setAddressState takes note of an address's state. It may be called with any lock of
// gVisor's held: the writer does the rest.
func (d *domain) setAddressState(a localAddr, s pvd.AddressState) {
	d.addrMu.Lock()
	if had, ok := d.addrStates[a]; !ok || had == s {
		d.addrMu.Unlock()
		return
	}
	d.addrStates[a] = s
	d.addrMu.Unlock()
	d.host.registry.Refresh(d.ref)
}

func (d *domain) forgetAddressState(a localAddr) {
	d.addrMu.Lock()
	defer d.addrMu.Unlock()
	delete(d.addrStates, a)
}

// linkChanged follows a change of a link's state or MTU. An event that says that the link
// is up may stand for several, of which the link was down at one.
func (h *Host) linkChanged(l *hostLink) {
	if a := l.agent.Load(); a != nil {
		a.changed.Store(true) // before anything else pokes it, so that it looks once
	}
	defer l.pokeAgent()
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, d := range h.domains {
		for _, p := range *d.nics.Load() {
			if p.egress.Load().weak {
				p.followMTU() // which is that of all its links
			}
			if p.link == l {
				p.followMTU()
				if l.up.Load() {
					p.forgetNeighbors()
				}
				d.host.registry.Refresh(d.ref)
			}
		}
	}
}
