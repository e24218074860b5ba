package acd

import (
	"math/rand/v2"
	"net/netip"
	"time"
)

// A State is how far a [Machine] has come with its address.
type State uint8

// States.
const (
	Probing    State = iota // the address must not be used yet
	Announcing              // it may be used
	Defending               // it may be used, and others know
	Conflict                // somebody else has it: it must not be used (any more)
)

// String returns the state's name.
func (s State) String() string {
	switch s {
	case Probing:
		return "probing"
	case Announcing:
		return "announcing"
	case Defending:
		return "defending"
	case Conflict:
		return "conflict"
	}
	return "unknown"
}

// Usable reports whether the address may be used.
func (s State) Usable() bool { return s == Announcing || s == Defending }

// A Machine watches over one address of one sender. It ends in [Conflict], or when the
// caller forgets it.
type Machine struct {
	mac  [6]byte
	addr netip.Addr
	rand *rand.Rand

	state    State
	sent     int           // probes, then announcements
	next     time.Duration // when to act
	idle     bool          // next means nothing
	defended time.Duration // the last time
	defences int
	enemy    [6]byte
	out      []ARP
}

// New returns a machine that probes for addr from now on. It needs an IPv4 address.
func New(now time.Duration, mac [6]byte, addr netip.Addr, source rand.Source) *Machine {
	m := &Machine{mac: mac, addr: addr, rand: rand.New(source)}
	m.Restart(now)
	return m
}

// Restart probes anew: the link was down, or the machine was asleep (RFC 5227 section
// 2.1).
func (m *Machine) Restart(now time.Duration) {
	m.state, m.sent, m.idle, m.defences, m.out = Probing, 0, false, 0, nil
	m.next = now + m.between(0, probeWait)
}

// State returns how far the machine has come.
func (m *Machine) State() State { return m.state }

// Enemy returns the hardware address of who has the address, once there is a [Conflict].
func (m *Machine) Enemy() [6]byte { return m.enemy }

// Next returns when Advance is to be called, and whether it is.
func (m *Machine) Next() (at time.Duration, ok bool) { return m.next, !m.idle }

// Take returns what is to be sent now. The caller owns it.
func (m *Machine) Take() []ARP {
	out := m.out
	m.out = nil
	return out
}

// Advance does what is due at now. However late it is called, what was due more than once
// happens once: probes keep their distance (RFC 5227 section 2.1.1).
func (m *Machine) Advance(now time.Duration) {
	if m.idle || now < m.next {
		return
	}
	if m.state == Probing && m.sent < probeNum {
		m.out = append(m.out, ARP{Op: Request, SenderMAC: m.mac, SenderIP: netip.IPv4Unspecified(), TargetIP: m.addr})
		if m.sent++; m.sent < probeNum {
			m.next = now + m.between(probeMin, probeMax)
		} else {
			m.next = now + announceWait
		}
		return
	}
	if m.state == Probing {
		m.state, m.sent = Announcing, 0
	}
	m.announce()
	m.next = now + announceInterval
	if m.sent++; m.sent == announceNum {
		m.state, m.idle = Defending, true
	}
}

func (m *Machine) announce() {
	m.out = append(m.out, ARP{Op: Request, SenderMAC: m.mac, SenderIP: m.addr, TargetIP: m.addr})
}

// Receive takes note of an ARP packet that arrived on the link, to whomever. The link must
// not hand over what it has sent itself.
func (m *Machine) Receive(now time.Duration, a ARP) {
	if a.SenderMAC == m.mac || m.state == Conflict {
		return
	}
	theirs := a.SenderIP == m.addr
	if m.state == Probing {
		// Another's probe for the same address counts too (RFC 5227 section 2.1.1).
		probe := a.Op == Request && a.SenderIP.IsUnspecified() && a.TargetIP == m.addr
		if theirs || probe {
			m.lose(a)
		}
		return
	}
	if !theirs {
		return
	}
	// RFC 5227 section 2.4 (b): defend once, give way to who insists.
	if m.defences > 0 && now-m.defended < defendInterval {
		m.lose(a)
		return
	}
	m.defences++
	m.defended = now
	m.announce()
}

func (m *Machine) lose(a ARP) {
	m.state, m.idle, m.enemy, m.out = Conflict, true, a.SenderMAC, nil
}

func (m *Machine) between(a, b time.Duration) time.Duration {
	return a + time.Duration(m.rand.Int64N(int64(b-a)+1))
}
