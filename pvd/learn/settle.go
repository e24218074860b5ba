package learn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

// settle draws the consequences of whatever has happened.
func (m *Machine) settle() {
	m.verify()
	m.match()
	m.control6()
	m.collect()
	m.propose()
	m.leased6 = m.lease6()
}

// collect takes over what the clients have to send.
func (m *Machine) collect() {
	if m.v4 != nil {
		m.collect4()
	}
	if m.v6 == nil {
		return
	}
	for _, payload := range m.v6.Packets() {
		b := m.source6()
		if b == nil {
			continue // it will be repeated
		}
		src, _ := linkLocal(b)
		d := datagram{netip.AddrPortFrom(src, dhcp6.ClientPort), netip.AddrPortFrom(dhcp6.Servers(), dhcp6.ServerPort), payload}
		m.emit(m.frame(groupMAC(dhcp6.Servers()), etherIPv6, appendUDP(nil, d)))
	}
}

func (m *Machine) collect4() {
	for _, a := range m.v4.ARPs() {
		m.emit(m.arpFrame(a))
	}
	for _, p := range m.v4.Packets() {
		if p.Broadcast() {
			m.emit(m.frame(broadcastMAC, etherIPv4, appendUDP(nil, datagram{p.Src, p.Dst, p.Payload})))
			continue
		}
		if b := m.owner(); b != nil && len(m.sends) < maxFrames {
			m.sends = append(m.sends, Datagram{Instance: b.instance, Src: p.Src, Dst: p.Dst, Payload: p.Payload})
		}
	}
}

// control6 begins DHCPv6 when a router says that there is some and an address is there to
// ask from, begins anew when there are addresses to be had where there were none, and ends
// it with the last PvD.
func (m *Machine) control6() {
	if !m.config.DHCPv6 {
		return
	}
	snap := m.snapshot()
	if len(snap.PvDs) == 0 {
		m.v6 = nil
		return
	}
	asked, managed := len(snap.StatelessDHCPv6()) > 0, len(snap.ManagedDHCPv6()) > 0
	if m.v6 == nil && !asked || m.v6 != nil && (m.v6mode || !managed) {
		m.attach6()
		return
	}
	c, err := dhcp6.New(dhcp6.Config{
		DUID:      dhcp.NewDUID(m.config.Secret, "", m.config.Link),
		IAID:      dhcp.NewIAID(m.config.Secret, "", m.config.Link),
		Addresses: managed, Prefixes: managed && m.config.Prefixes, RapidCommit: true, Rand: m.config.Random,
	})
	if err != nil {
		m.remark(netip.Addr{}, "DHCPv6: %v", err)
		return
	}
	m.v6, m.v6mode = c, managed
	m.attach6()
}

// attach6 lets DHCPv6 speak while there is a source for it.
func (m *Machine) attach6() {
	if m.v6 == nil {
		return
	}
	state, _ := m.v6.State()
	switch can := m.up && m.source6() != nil; {
	case can && state == dhcp6.Down:
		m.v6.LinkUp(m.now())
	case !can && state != dhcp6.Down:
		m.v6.LinkDown()
	}
}

// source6 returns a member with DHCPv6 and a link-local address to speak from, or nil.
func (m *Machine) source6() *member {
	i := slices.IndexFunc(m.members, func(b *member) bool {
		_, ok := linkLocal(b)
		return ok && (b.learned.Managed || b.learned.Other)
	})
	if i < 0 {
		return nil
	}
	return m.members[i]
}

// linkLocal returns the link-local address of a member that it can use.
func linkLocal(b *member) (netip.Addr, bool) {
	if b.learned == nil {
		return netip.Addr{}, false
	}
	for _, a := range b.learned.Addresses {
		if own := a.Prefix.Addr(); own.IsLinkLocalUnicast() && slices.Contains(b.usable, own) {
			return own, true
		}
	}
	return netip.Addr{}, false
}

func (m *Machine) lease6() *dhcp6.Lease {
	if m.v6 == nil {
		return nil
	}
	return m.v6.Lease()
}

func (m *Machine) info6() *dhcp6.Info {
	if m.v6 == nil {
		return nil
	}
	if i := m.v6.Info(); i != nil {
		return i
	}
	if l := m.v6.Lease(); l != nil {
		return l.Info
	}
	return nil
}

// stale6 returns how many addresses of DHCPv6 are deprecated.
func (m *Machine) stale6() (n int) {
	for _, i := range m.lease6().Addrs {
		if i.Preferred <= m.now() {
			n++
		}
	}
	return n
}

// deprecation6 returns when the next address of DHCPv6 is deprecated.
func (m *Machine) deprecation6() (at time.Duration, ok bool) {
	l := m.lease6()
	if l == nil {
		return 0, false
	}
	for _, i := range l.Addrs {
		if i.Preferred > m.now() && i.Preferred != dhcp.Never && (!ok || i.Preferred < at) {
			at, ok = i.Preferred, true
		}
	}
	return at, ok
}

// An Observation is what has become of a PvD that was proposed.
type Observation struct {
	Usable      []netip.Addr // addresses that packets may be sent from
	Duplicate   []netip.Addr // addresses that others on the link have
	Unreachable []netip.Addr // routers that do not answer
	Ready       bool         // names can be looked up and connections made
}

// Observe tells what has become of the PvD of an instance. One that is gone is ignored.
func (m *Machine) Observe(instance uint64, o Observation) {
	b := m.member(instance)
	if b == nil {
		return
	}
	b.usable = o.Usable
	b.portal.SetReady(o.Ready)
	if b.key.Explicit() {
		m.info.SetReady(b.key.ID, o.Ready)
	}
	told := b.told
	b.told = o.Duplicate
	for _, a := range o.Duplicate {
		if !slices.Contains(told, a) {
			m.duplicate(b, a)
		}
	}
	if b.learned != nil {
		for _, r := range b.learned.Routers {
			m.ra.SetReachable(m.now(), r.Addr, !slices.Contains(o.Unreachable, r.Addr))
		}
	}
	m.settle()
}

// duplicate gives another address in the place of one that somebody else has.
func (m *Machine) duplicate(b *member, a netip.Addr) {
	if b.learned == nil {
		return
	}
	now := m.now()
	if l := b.facts.lease6; l != nil && slices.ContainsFunc(l.Addrs, func(i dhcp6.Item) bool { return i.Prefix.Addr() == a }) {
		m.v6.Decline(now, a)
		return
	}
	m.ra.Duplicate(now, b.learned.Key, a)
}
