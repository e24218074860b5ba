package learn

import (
	"bytes"
	"net"
	"net/netip"
	"time"

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

// receiveRA takes in an advertisement.
func (m *Machine) receiveRA(p ra.Packet) {
	now := m.now()
	if err := m.ra.Receive(now, p); err == nil && m.moved() {
		m.again = nil
		m.ra.Reset()
		m.info.Reset()
		_ = m.ra.Receive(now, p) // it was good a moment ago
	}
}

// verify solicits the routers that have not been heard since the link came back, since the
// search for routers ends with the first of them, and ends what the others have said when
// it is time.
func (m *Machine) verify() {
	now := m.now()
	if m.again == nil || now < m.again.next() {
		return
	}
	silent := make(map[netip.Addr]bool)
	for _, p := range m.ra.Snapshot().PvDs {
		for _, r := range p.Routers {
			if _, was := m.again.routers[r.Addr]; was && r.Heard < m.again.since {
				silent[r.Addr] = true
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
		m.again = nil
		for r := range silent {
			m.ra.Forget(now, r)
		}
	}
}
