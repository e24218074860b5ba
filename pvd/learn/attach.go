package learn

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A reattachment is the time after a link came back, or the machine has slept, in which it
// is found out whether the link leads where it did before (RFC 7556 section 2: another
// attachment is another PvD).
type reattachment struct {
	since   time.Duration
	asked   int                             // times that those who are silent were solicited
	routers map[netip.Addr]net.HardwareAddr // as they were before
}

// next returns when something is due.
func (r *reattachment) next() time.Duration {
	return r.since + min(time.Duration(r.asked+1)*verifyInterval, verifyWait)
}

// reattach begins to find out.
func (m *Machine) reattach() {
	routers := make(map[netip.Addr]net.HardwareAddr)
	for _, p := range m.snapshot().PvDs {
		for _, r := range p.Routers {
			routers[r.Addr] = r.MAC
		}
	}
	m.again = nil
	if len(routers) > 0 {
		m.again = &reattachment{since: m.now(), routers: routers}
	}
}

// moved reports whether a router that was there before is now another station of the same
// address, as fe80::1 may be on every link: nothing of before counts then.
func (m *Machine) moved() bool {
	if m.again == nil {
		return false
	}
	for _, p := range m.ra.Snapshot().PvDs {
		for _, r := range p.Routers {
			if was := m.again.routers[r.Addr]; was != nil && r.MAC != nil && !bytes.Equal(was, r.MAC) {
				return true
			}
		}
	}
	return false
}

// receiveRA takes in an advertisement, and reports whether anything comes of it. In a flood
// nothing does once there is no room for more.
func (m *Machine) receiveRA(p ra.Packet) bool {
	now := m.now()
	before := m.ra.Snapshot()
	if err := m.ra.Receive(now, p); err == nil && m.moved() {
		m.disown4(m.again.since)
		m.again = nil
		m.ra.Reset()
		m.info.Reset()
		_ = m.ra.Receive(now, p) // it was good a moment ago
	}
	return m.ra.Snapshot() != before
}

// verify solicits the routers that have not been heard since the link came back, since the
// search for routers ends with the first of them, and ends what the others have said when
// it is time.
func (m *Machine) verify() {
	now := m.now()
	if m.again == nil || now < m.again.next() {
		return
	}
	silent, there := make(map[netip.Addr]bool), 0 // routers of before
	others := false
	for _, p := range m.ra.Snapshot().PvDs {
		for _, r := range p.Routers {
			switch _, was := m.again.routers[r.Addr]; {
			case !was:
				others = true
			case r.Heard < m.again.since:
				silent[r.Addr] = true
			default:
				there++
			}
		}
	}
	switch {
	case len(silent) == 0:
		m.again = nil
	case now < m.again.since+verifyWait:
		m.again.asked++
		m.emit(m.solicitation())
	default:
		if others && there == 0 {
			m.disown4(m.again.since)
		}
		m.again = nil
		for r := range silent {
			m.ra.Forget(now, r)
		}
	}
}

// disown4 gives up a DHCPv4 lease of another network that nobody has confirmed since a moment.
// The client would go on with it if no server answers (RFC 2131 section 3.2), and what one
// network has given must not be in the PvD of another.
func (m *Machine) disown4(since time.Duration) {
	if m.v4 == nil {
		return
	}
	lease := m.v4.Lease()
	state, _ := m.v4.State()
	if lease != nil && lease.Obtained >= since || lease == nil && state != dhcp4.InitReboot && state != dhcp4.Rebooting {
		return
	}
	m.before.dhcp4 = nil
	if err := m.newClient4(); err != nil {
		m.remark("DHCPv4: %v", err) // what was good before is still
	}
	if m.up {
		m.v4.LinkUp(m.now())
	}
}
