package learn

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A member is a PvD of the link.
type member struct {
	instance uint64
	key      ra.Key
	name     string
	learned  *ra.PvD // what routers say of it; nil: nothing
	portal   *addinfo.PortalWatch
	informed *ra.PvD       // what the schedule of additional information has heard of
	v6       *dhcp6.Client // has addresses leased; nil: there are none to be had

	ready  bool
	usable []netip.Addr // its addresses that are past duplicate address detection

	facts    facts
	proposal *Proposal
}

// facts are all that a proposal is made of. Equal ones make equal proposals.
type facts struct {
	learned *ra.PvD
	name    string
	lease4  *dhcp4.Lease // only where it is the member's
	shared  int          // by how many
	lease6  *dhcp6.Lease
	stale   int         // how many addresses of lease6 are deprecated
	info6   *dhcp6.Info // what came with lease6
	other6  *dhcp6.Info // what DHCPv6 has for all of the link that want it
	object  *addinfo.Object
	report  addinfo.Report
	asked   bool // whether there is a report
	answer  *addinfo.PortalAnswer
	portal  addinfo.PortalReport
}

// match brings the members in line with what routers and DHCPv4 say now.
func (m *Machine) match() {
	snap := m.snapshot()
	lease := m.lease4()
	owners, conflict := snap.DHCPv4()
	if conflict && !m.conflict {
		m.remark("several explicit PvDs claim DHCPv4: none of them has it (RFC 8801 section 3.4.2)")
	}
	m.conflict = conflict
	bare := lease != nil && len(owners) == 0
	m.refind(snap, bare)
	for _, p := range snap.PvDs {
		if m.memberOf(p.Instance) == nil {
			m.enroll(p, lease != nil && slices.Contains(owners, p))
		}
	}
	if i := m.bare(); i >= 0 && !bare {
		m.dismiss(i)
	} else if i < 0 && bare {
		m.members = append(m.members, m.newMember(ra.Key{}))
	}
}

// refind looks up again what routers say of each member, and dismisses those of which they
// say nothing any more. An implicit one with the lease becomes the PvD that has nothing else,
// where it is wanted: it goes on, and what stands in it too.
func (m *Machine) refind(snap *ra.Snapshot, bare bool) {
	for _, b := range slices.Clone(m.members) {
		if b.learned == nil {
			continue
		}
		was := b.learned
		i := slices.IndexFunc(snap.PvDs, func(p *ra.PvD) bool { return p.Instance == was.Instance })
		switch {
		case i >= 0:
			b.learned = snap.PvDs[i]
		case bare && !b.key.Explicit() && b.facts.lease4 != nil && m.bare() < 0:
			m.release6(b)
			b.learned, b.key = nil, ra.Key{}
		default:
			m.dismiss(slices.Index(m.members, b))
		}
	}
}

// enroll makes a member of a PvD that routers have begun to advertise. If it has the lease
// from now on, and is implicit, the PvD that had nothing else grows into it.
func (m *Machine) enroll(p *ra.PvD, leased bool) {
	if i := m.bare(); i >= 0 && leased && !p.Key.Explicit() {
		m.members[i].learned, m.members[i].key = p, p.Key
		return
	}
	b := m.newMember(p.Key)
	b.learned = p
	m.members = append(m.members, b)
}

func (m *Machine) newMember(k ra.Key) *member {
	m.last++
	b := &member{instance: m.last, key: k, portal: addinfo.NewPortalWatch(m.clock)}
	if !k.Explicit() {
		b.name = m.config.Link
		if m.called(b.name) {
			b.name += "/" + k.Router.String()
		}
		// A PvD keeps its name when it outlives the router that it is called after.
		for n := 2; m.called(b.name); n++ {
			b.name = fmt.Sprintf("%s/%v/%d", m.config.Link, k.Router, n)
		}
	}
	return b
}

// called reports whether a member has a name.
func (m *Machine) called(name string) bool {
	return slices.ContainsFunc(m.members, func(b *member) bool { return b.name == name })
}

// bare returns the index of the member that no router says anything of, -1 if there is none.
func (m *Machine) bare() int {
	return slices.IndexFunc(m.members, func(b *member) bool { return b.learned == nil })
}

func (m *Machine) dismiss(i int) {
	b := m.members[i]
	m.release6(b)
	if b.key.Explicit() {
		m.info.Remove(b.key.ID)
	}
	m.members = slices.Delete(m.members, i, i+1)
	m.dirty = true
}

// memberOf returns the member that an instance of the engine's is, or nil.
func (m *Machine) memberOf(instance uint64) *member {
	for _, b := range m.members {
		if b.learned != nil && b.learned.Instance == instance {
			return b
		}
	}
	return nil
}

func (m *Machine) member(instance uint64) *member {
	for _, b := range m.members {
		if b.instance == instance {
			return b
		}
	}
	return nil
}

// owner returns the first member that has the DHCPv4 lease, or nil.
func (m *Machine) owner() *member {
	for _, b := range m.members {
		if b.facts.lease4 != nil {
			return b
		}
	}
	return nil
}

func (m *Machine) snapshot() *ra.Snapshot {
	if m.ra == nil {
		return &ra.Snapshot{}
	}
	return m.ra.Snapshot()
}

func (m *Machine) lease4() *dhcp4.Lease {
	if m.v4 == nil {
		return nil
	}
	return m.v4.Lease()
}
