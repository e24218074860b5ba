package learn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// Each PvD whose routers say that there are addresses by DHCPv6 (the M flag) has a client of
// its own, which speaks from the PvD's link-local address, has its own identity, and takes
// addresses of the PvD's prefixes only: so what it gets is the PvD's (RFC 8801 section
// 3.4.1), and no server learns that two PvDs are one host's. Configuration without addresses
// (the O flag) is the same for all of a link, and is asked for once.

// control6 begins and ends clients as the routers say.
func (m *Machine) control6() {
	if !m.config.DHCPv6 {
		return
	}
	other := false
	for _, b := range m.members {
		switch {
		case b.learned == nil:
		case b.learned.Managed:
			if b.v6 == nil {
				b.v6 = m.newClient6(b)
			}
		default:
			if b.v6 != nil && b.v6.Lease() == nil {
				b.v6 = nil // a lease that there is goes on
			}
			other = other || b.learned.Other && b.v6 == nil
		}
		m.attach6(b.v6, b)
	}
	switch {
	case !other:
		m.v6 = nil
	case m.v6 == nil:
		m.v6 = m.newClient6(nil)
	}
	m.attach6(m.v6, m.asker6())
}

// newClient6 returns a client for the addresses of a member, or for configuration without
// if b is nil; nil if there is none to be had.
func (m *Machine) newClient6(b *member) *dhcp6.Client {
	c := dhcp6.Config{Rand: m.config.Random}
	who := ""
	if b != nil {
		who = b.key.String()
		c.Addresses, c.Prefixes, c.RapidCommit = true, m.config.Prefixes, true
		c.Accept = func(a netip.Addr) bool { return m.accept6(b, a) }
		c.Previous = m.previous6(who)
	}
	c.DUID = dhcp.NewDUID(m.config.Secret, who, m.config.Link)
	c.IAID = dhcp.NewIAID(m.config.Secret, who, m.config.Link)
	client, err := dhcp6.New(c)
	if err != nil {
		m.remark("DHCPv6: %v", err)
		return nil
	}
	return client
}

// accept6 reports whether an address can be a member's: it is of one of its prefixes, or of
// nobody's, which an implicit PvD may have, and one that has no prefixes at all.
func (m *Machine) accept6(b *member, a netip.Addr) bool {
	around := func(p ra.Prefix) bool { return p.Prefix.Contains(a) }
	if b.learned == nil || slices.ContainsFunc(b.learned.Prefixes, around) {
		return b.learned != nil
	}
	elsewhere := slices.ContainsFunc(m.members, func(o *member) bool {
		return o.learned != nil && slices.ContainsFunc(o.learned.Prefixes, around)
	})
	if elsewhere || b.key.Explicit() && len(b.learned.Prefixes) > 0 {
		m.remark("DHCPv6 offers %v to PvD %q, which has no prefix around it: not taken (RFC 8801 section 3.4.1)", a, b.key)
		return false
	}
	m.remark("DHCPv6 gives %v to PvD %q, and no PvD has a prefix around it (RFC 8801 section 3.4.1)", a, b.key)
	return true
}

// release6 ends the client of a member that routers say nothing of any more, and gives back what
// it has. That is said once: the address that an answer would go to ends too, and in time the
// lease does by itself (RFC 8415 section 18.2.7).
func (m *Machine) release6(b *member) {
	if b.v6 != nil {
		b.v6.Release(m.now())
		m.collect6(b.v6, b)
		b.v6 = nil
	}
}

// attach6 lets a client speak while it has a source, which is the member's.
func (m *Machine) attach6(c *dhcp6.Client, b *member) {
	if c == nil {
		return
	}
	ok := false
	if b != nil {
		_, ok = linkLocal(b)
	}
	state, _ := c.State()
	switch can := m.up && ok; {
	case can && state == dhcp6.Down:
		c.LinkUp(m.now())
	case !can && state != dhcp6.Down:
		c.LinkDown()
	}
}

// asker6 returns the member from whose address configuration without addresses is asked
// for, or nil.
func (m *Machine) asker6() *member {
	for _, b := range m.members {
		if _, ok := linkLocal(b); ok && b.learned.Other && b.v6 == nil {
			return b
		}
	}
	return nil
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

// clients6 returns all clients of DHCPv6.
func (m *Machine) clients6() (all []*dhcp6.Client) {
	for _, b := range m.members {
		if b.v6 != nil {
			all = append(all, b.v6)
		}
	}
	if m.v6 != nil {
		all = append(all, m.v6)
	}
	return all
}

// receive6 takes a datagram to a DHCPv6 client: that of the PvD whose address it is for.
func (m *Machine) receive6(d datagram) {
	for _, b := range m.members {
		if own, ok := linkLocal(b); !ok || own != d.dst.Addr() {
			continue
		}
		if b.v6 != nil {
			b.v6.Receive(m.now(), d.payload)
		} else if m.v6 != nil {
			m.v6.Receive(m.now(), d.payload)
		}
		return
	}
}

func (m *Machine) collect6(c *dhcp6.Client, b *member) {
	if c == nil {
		return
	}
	for _, payload := range c.Packets() {
		if b == nil {
			continue // it will be repeated
		}
		if src, ok := linkLocal(b); ok {
			d := datagram{netip.AddrPortFrom(src, dhcp6.ClientPort), netip.AddrPortFrom(dhcp6.Servers(), dhcp6.ServerPort), payload}
			m.emit(m.frame(groupMAC(dhcp6.Servers()), etherIPv6, packetOf(d)))
		}
	}
}

// add6 adds to a member's facts what DHCPv6 has given.
func (m *Machine) add6(b *member, f *facts) {
	if b.learned == nil {
		return
	}
	if b.v6 != nil {
		if f.lease6 = b.v6.Lease(); f.lease6 != nil {
			f.stale = stale6(f.lease6, m.now())
		}
		f.info6 = b.v6.Info()
	}
	if m.v6 != nil && b.learned.Other {
		f.other6 = m.v6.Info()
	}
}

// stale6 returns how many addresses of a lease are deprecated.
func stale6(l *dhcp6.Lease, now time.Duration) (n int) {
	for _, i := range l.Addrs {
		if i.Preferred <= now {
			n++
		}
	}
	return n
}

// deprecation6 returns when the next address that a member has by DHCPv6 is deprecated.
func (m *Machine) deprecation6(b *member) (at time.Duration, ok bool) {
	if b.v6 == nil || b.v6.Lease() == nil {
		return 0, false
	}
	for _, i := range b.v6.Lease().Addrs {
		if i.Preferred > m.now() && i.Preferred != dhcp.Never && (!ok || i.Preferred < at) {
			at, ok = i.Preferred, true
		}
	}
	return at, ok
}

// addLease6 adds what DHCPv6 has given to a PvD.
func (m *Machine) addLease6(p *Proposal, l *dhcp6.Lease) {
	now := m.now()
	for _, i := range l.Addrs {
		if slices.ContainsFunc(p.Addresses, func(a pvd.AddressInfo) bool { return a.Prefix.Addr() == i.Prefix.Addr() }) {
			continue
		}
		a := pvd.AddressInfo{Address: pvd.Address{Prefix: i.Prefix, Link: m.config.Link, Deprecated: i.Preferred <= now}}
		a.PreferredUntil, a.ValidUntil = m.date(i.Preferred), m.date(i.Valid)
		p.Addresses = append(p.Addresses, a)
	}
	var delegated []Delegation
	for _, i := range l.Prefixes {
		delegated = append(delegated, Delegation{i.Prefix, m.date(i.Preferred), m.date(i.Valid)})
	}
	if len(delegated) > 0 {
		p.Elements = append(p.Elements, Delegated.With(delegated))
	}
}
