package learn

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
)

// settle draws the consequences of whatever has happened.
func (m *Machine) settle() {
	m.verify()
	m.match()
	m.control6()
	m.collect()
	m.propose()
}

// collect takes over what the clients have to send.
func (m *Machine) collect() {
	if m.v4 != nil {
		m.collect4()
	}
	for _, b := range m.members {
		m.collect6(b.v6, b)
	}
	m.collect6(m.v6, m.asker6())
}

func (m *Machine) collect4() {
	for _, a := range m.v4.ARPs() {
		m.emit(m.arpFrame(a))
	}
	state, _ := m.v4.State()
	for _, p := range m.v4.Packets() {
		switch b := m.owner(); {
		case p.Broadcast():
			m.emit4(broadcastMAC, p)
		case state == dhcp4.Released:
			m.emit4(m.server4, p)
		case b != nil && len(m.sends) < maxFrames:
			m.sends = append(m.sends, Datagram{Instance: b.instance, Src: p.Src, Dst: p.Dst, Payload: p.Payload})
		}
	}
}

func (m *Machine) emit4(to [6]byte, p dhcp4.Packet) {
	m.emit(m.frame(to, etherIPv4, packetOf(datagram{p.Src, p.Dst, p.Payload})))
}

// receive4 takes a datagram to the DHCPv4 client, and remembers the station that a DHCPACK
// came from: the server, or the router on the way to it.
func (m *Machine) receive4(d datagram, station [6]byte) {
	lease, tentative := m.v4.Lease(), m.v4.Tentative()
	m.v4.Receive(m.now(), d.src, d.payload)
	if m.v4.Lease() != lease || m.v4.Tentative() != tentative {
		m.server4 = station
	}
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
	b.usable, b.ready = slices.Clone(o.Usable), o.Ready
	b.portal.SetReady(o.Ready)
	if b.key.Explicit() {
		m.info.SetReady(b.key.ID, o.Ready)
	}
	for _, a := range o.Duplicate {
		m.duplicate(b, a) // which is nothing if the address is not there any more
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
		b.v6.Decline(now, a)
		return
	}
	m.ra.Duplicate(now, b.learned.Key, a)
}
