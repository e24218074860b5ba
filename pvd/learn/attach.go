package learn

import (
	"bytes"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A reattachment is the time after a link came back, in which it is found out whether it
// leads where it did before (RFC 7556 section 2: another attachment is another PvD).
type reattachment struct {
	since   time.Duration
	routers map[netip.Addr]net.HardwareAddr // as they were before
}

// reattach begins to find out.
func (m *Machine) reattach() {
	routers := make(map[netip.Addr]net.HardwareAddr)
	for _, p := range m.snapshot().PvDs {
		for _, r := range p.Routers {
			routers[r.Addr] = r.MAC
		}
	}
	if len(routers) > 0 {
		m.again = &reattachment{m.now(), routers}
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
		_ = m.ra.Receive(now, p) // it was good a moment ago
	}
}

// verify ends what routers have said that were not heard in time after the link came back.
func (m *Machine) verify() {
	now := m.now()
	if m.again == nil || now < m.again.since+verifyWait {
		return
	}
	heard := make(map[netip.Addr]bool)
	for _, p := range m.ra.Snapshot().PvDs {
		for _, r := range p.Routers {
			heard[r.Addr] = heard[r.Addr] || r.Heard >= m.again.since
		}
	}
	for r, h := range heard {
		if !h {
			m.ra.Forget(now, r)
		}
	}
	m.again = nil
}
