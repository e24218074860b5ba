package learn

import (
	"net/netip"
	"reflect"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

const dnsPort = 53

// Proposals returns what the PvDs of the link are to be, in the order in which they began.
// One that is as before is the same pointer. The slice is the caller's.
func (m *Machine) Proposals() []*Proposal {
	all := make([]*Proposal, len(m.members))
	for i, b := range m.members {
		all[i] = b.proposal
	}
	return all
}

// Version counts the changes of [Machine.Proposals].
func (m *Machine) Version() uint64 { return m.version }

// propose makes the proposals anew whose facts are not what they were.
func (m *Machine) propose() {
	snap, lease := m.snapshot(), m.lease4()
	owners, _ := snap.DHCPv4()
	for _, b := range m.members {
		f := facts{learned: b.learned, name: b.name}
		if lease != nil && (b.learned == nil || slices.Contains(owners, b.learned)) {
			f.lease4, f.shared = lease, max(1, len(owners))
		}
		m.add6(b, &f)
		m.inform(b, &f)
		if b.proposal != nil && f == b.facts {
			continue
		}
		b.facts = f
		p := m.config.Rules.Apply(m.make(b))
		if b.proposal != nil && reflect.DeepEqual(p, b.proposal) {
			continue // the facts have come to the same
		}
		b.proposal = p
		m.dirty = true
	}
	if m.dirty {
		m.dirty = false
		m.version++
	}
}

// make makes a member's proposal of its facts.
func (m *Machine) make(b *member) *Proposal {
	f := &b.facts
	p := &Proposal{Key: b.key, Instance: b.instance, Link: m.config.Link, Name: b.name}
	origin := Origin{Link: m.config.Link, Portal: m.portalURI(f)}
	for _, i := range []*dhcp6.Info{f.info6, f.other6} {
		if i != nil {
			m.addServers(p, i.DNS)
			addNames(p, i.Search)
		}
	}
	if l := f.lease4; l != nil {
		m.addLease4(p, l, f.shared > 1)
		origin.Server4, origin.Lease4, origin.Shared = l.Server, m.date(l.Expires), f.shared
	}
	if f.learned != nil {
		m.addLearned(p, f.learned)
		for _, r := range f.learned.Routers {
			origin.Routers = append(origin.Routers, r.Addr)
		}
		origin.Managed, origin.Other = f.learned.Managed, f.learned.Other
		origin.Legacy = f.learned.Option != nil && f.learned.Option.Legacy
	}
	if f.lease6 != nil {
		m.addLease6(p, f.lease6)
	}
	m.addResolvers(p, f)
	if f.object != nil {
		p.Elements = append(p.Elements, f.object.Elements()...)
	}
	if f.asked {
		p.Elements = append(p.Elements, addinfo.Status.With(f.report))
	}
	if f.answer != nil {
		p.Elements = append(p.Elements, pvd.CaptivePortal.With(f.answer.Portal), addinfo.PortalSession.With(f.answer.Session))
	}
	if f.portal != (addinfo.PortalReport{}) {
		p.Elements = append(p.Elements, addinfo.PortalStatus.With(f.portal))
	}
	p.Elements = append(p.Elements, Learned.With([]Origin{origin}))
	return p
}

// addLearned adds what routers say.
func (m *Machine) addLearned(p *Proposal, l *ra.PvD) {
	for _, a := range l.ModelAddresses(m.config.Link, m.date) {
		a.Automatic = false // its identifier is made here, where the PvD's key is known
		p.Addresses = append(p.Addresses, a)
	}
	p.Routes = append(p.Routes, l.ModelRoutes(m.config.Link)...)
	servers := make([]netip.Addr, len(l.Servers))
	for i, s := range l.Servers {
		servers[i] = s.Value
	}
	m.addServers(p, servers)
	names := make([]string, len(l.Search))
	for i, s := range l.Search {
		names[i] = s.Value
	}
	addNames(p, names)
	if p.MTU < ra.MinMTU {
		p.MTU = 0 // DHCPv4 knows nothing of what IPv6 needs
	}
	if l.MTU != 0 && (p.MTU == 0 || l.MTU < p.MTU) {
		p.MTU = l.MTU
	}
	if len(l.NAT64) > 0 {
		prefixes := make([]netip.Prefix, len(l.NAT64))
		for i, n := range l.NAT64 {
			prefixes[i] = n.Value
		}
		p.Elements = append(p.Elements, pvd.NAT64.With(prefixes))
	}
	if l.HopLimit != 0 {
		p.Elements = append(p.Elements, pvd.HopLimit.With(l.HopLimit))
	}
	if l.Reachable != 0 {
		p.Elements = append(p.Elements, pvd.ReachableTime.With(l.Reachable))
	}
	if l.Retransmit != 0 {
		p.Elements = append(p.Elements, pvd.RetransmitTime.With(l.Retransmit))
	}
}

// addLease4 adds what DHCPv4 has given. A router that is on no prefix is on the link all
// the same: a server that leases single addresses says so by naming it (RFC 3442).
func (m *Machine) addLease4(p *Proposal, l *dhcp4.Lease, shared bool) {
	a := pvd.AddressInfo{Address: pvd.Address{Prefix: l.Addr, Link: m.config.Link, Shared: shared}}
	if l.Expires != dhcp.Never {
		a.ValidUntil = m.date(l.Expires)
	}
	p.Addresses = append(p.Addresses, a)
	var near []netip.Addr
	for _, r := range l.Routes {
		r.Link = m.config.Link
		if r.Via.IsValid() && !l.Addr.Contains(r.Via) && !slices.Contains(near, r.Via) {
			near = append(near, r.Via)
			p.Routes = append(p.Routes, pvd.Route{To: netip.PrefixFrom(r.Via, 32), Link: m.config.Link})
		}
		p.Routes = append(p.Routes, r)
	}
	m.addServers(p, l.DNS)
	addNames(p, l.SearchList())
	p.MTU = l.MTU
}

// addServers adds DNS servers after those that are there.
func (m *Machine) addServers(p *Proposal, servers []netip.Addr) {
	for _, a := range servers {
		s := netip.AddrPortFrom(m.zoned(a), dnsPort)
		if len(p.Servers) < pvd.MaxDNSServers && !slices.Contains(p.Servers, s) {
			p.Servers = append(p.Servers, s)
		}
	}
}

func addNames(p *Proposal, names []string) {
	for _, n := range names {
		if len(p.Search) < pvd.MaxSearch && !slices.Contains(p.Search, n) {
			p.Search = append(p.Search, n)
		}
	}
}

// date returns the time of day of a moment, the zero Time for one that never comes. It is
// to the second, so that the two clocks' drift does not make it another one each time.
func (m *Machine) date(at time.Duration) time.Time {
	if at == dhcp.Never {
		return time.Time{}
	}
	return m.clock.Now().Add(at - m.now()).Round(time.Second)
}
