package learn

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/addinfo"
	"github.com/pvdstack/pvdstack/pvd/dhcp"
	"github.com/pvdstack/pvdstack/pvd/dhcp/acd"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp4"
	"github.com/pvdstack/pvdstack/pvd/dhcp/dhcp6"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A Config says what a [Machine] learns and how.
type Config struct {
	// Link is the link's name.
	Link string

	// HardwareAddr is the address that the machine, and every PvD that is made of its
	// proposals, uses on the link: six octets on an Ethernet link, nil on an IP link.
	HardwareAddr net.HardwareAddr

	// MTU is the link's in octets.
	MTU int

	// Secret is what identifiers are derived from: with the same secret they are the same
	// again (RFC 7217). Needed.
	Secret []byte

	// Clock tells the time. Its Monotonic should go on while the machine sleeps. Needed.
	Clock pvd.Clock

	// Random is where delays and transaction identifiers come from. Nil: a source that
	// can not be guessed.
	Random rand.Source

	RA     bool // router advertisements
	DHCPv4 bool // on an Ethernet link only
	DHCPv6 bool // where advertisements say so; needs RA

	Temporary   bool // addresses that change, too (RFC 8981)
	Prefixes    bool // ask for a delegated prefix where addresses come by DHCPv6
	IPv6Only    bool // go without IPv4 where the network wants it (RFC 8925)
	Information bool // ask for additional information and at captive portals

	// Rules change the proposals.
	Rules Rules

	// Lease is a record of what was leased before, as [Machine.Lease] has returned it, or
	// nil. What of it can not be used is ignored.
	Lease []byte
}

// A Machine learns the PvDs of one link. Its owner tells it what happens on the link and
// what has become of the PvDs, and after each call sends [Machine.Frames] and
// [Machine.Datagrams], makes the [Machine.Requests], and looks at [Machine.Proposals]; it
// calls [Machine.Advance] at the moment that [Machine.Next] says. Its methods may not be
// called concurrently.
type Machine struct {
	config Config
	clock  pvd.Clock
	mac    [6]byte

	ra   *ra.Engine
	v4   *dhcp4.Client
	v6   *dhcp6.Client // asks for configuration other than addresses; nil: nobody wants it
	info *addinfo.Schedule

	server4 [6]byte // the station that answers for the DHCPv4 server; broadcastMAC: not known

	up      bool
	again   *reattachment // nil: nothing is to be found out
	members []*member     // the oldest first; those that are there
	last    uint64        // the latest member's instance
	frames  [][]byte
	sends   []Datagram
	remarks remarks

	conflict bool // several PvDs claim DHCPv4
	version  uint64
	dirty    bool
	before   before  // what was leased before
	saved    []saved // what Lease has returned last
}

// A Datagram is one that has to be sent in a PvD, by its routes, instead of as a frame.
type Datagram struct {
	Instance uint64 // of the PvD
	Src, Dst netip.AddrPort
	Payload  []byte
}

// New returns a machine that does nothing before [Machine.LinkUp].
func New(c Config) (*Machine, error) {
	m := &Machine{config: c, clock: c.Clock, server4: broadcastMAC}
	if c.Clock == nil || len(c.Secret) == 0 {
		return nil, errors.New("learn: a machine needs a clock and a secret")
	}
	if err := c.Rules.Validate(); err != nil {
		return nil, fmt.Errorf("learn: link %q: %w", c.Link, err)
	}
	switch {
	case len(c.HardwareAddr) != 0 && len(c.HardwareAddr) != len(m.mac):
		return nil, fmt.Errorf("learn: link %q: the hardware address %v has not 6 octets", c.Link, c.HardwareAddr)
	case c.DHCPv4 && len(c.HardwareAddr) == 0:
		return nil, fmt.Errorf("learn: link %q: DHCPv4 needs an Ethernet link", c.Link)
	case c.DHCPv6 && !c.RA:
		return nil, fmt.Errorf("learn: link %q: DHCPv6 needs router advertisements, which say whose its answers are", c.Link)
	}
	copy(m.mac[:], c.HardwareAddr)
	if c.Random == nil {
		m.config.Random = unpredictable{}
	}
	m.info = addinfo.NewSchedule(c.Clock, m.config.Random)
	if c.RA {
		e, err := ra.New(ra.Config{
			Link: c.Link, MTU: c.MTU, Temporary: c.Temporary,
			Identifier: ra.StableIdentifiers(c.Secret, c.Link), Random: m.config.Random.Uint64,
		})
		if err != nil {
			return nil, fmt.Errorf("learn: link %q: %w", c.Link, err)
		}
		m.ra = e
	}
	m.readRecord()
	if c.DHCPv4 {
		if err := m.newClient4(); err != nil {
			return nil, fmt.Errorf("learn: link %q: %w", c.Link, err)
		}
	}
	return m, nil
}

// unpredictable is package rand's own source, which is seeded by the system.
type unpredictable struct{}

func (unpredictable) Uint64() uint64 { return rand.Uint64() }

func (m *Machine) newClient4() error {
	duid := dhcp.NewDUID(m.config.Secret, "", m.config.Link)
	c, err := dhcp4.New(dhcp4.Config{
		HardwareAddr: m.mac, ClientID: dhcp.ClientID4(duid, dhcp.NewIAID(m.config.Secret, "", m.config.Link)),
		Rand: m.config.Random, IPv6Only: m.config.IPv6Only, Previous: m.previous4(),
	})
	m.v4 = c
	return err
}

func (m *Machine) now() time.Duration { return m.clock.Monotonic() }

func (m *Machine) ethernet() bool { return len(m.config.HardwareAddr) != 0 }

// LinkUp says that frames can pass, again perhaps: routers are looked for, and leases
// verified. What was learned before stays until its time is over or the network says
// otherwise.
func (m *Machine) LinkUp() {
	if !m.up {
		m.reattach()
	}
	m.up = true
	now := m.now()
	if m.ra != nil {
		m.ra.LinkUp(now)
	}
	if m.v4 != nil {
		m.v4.LinkUp(now)
	}
	m.info.Reset()
	for _, b := range m.members {
		b.portal.Reset()
		b.informed = nil // the schedule has to hear of it again
	}
	m.settle()
}

// LinkDown says that no frames can pass.
func (m *Machine) LinkDown() {
	m.up, m.again = false, nil
	if m.ra != nil {
		m.ra.LinkDown()
	}
	if m.v4 != nil {
		m.v4.LinkDown()
	}
	for _, c := range m.clients6() {
		c.LinkDown()
	}
	m.settle()
}

// Resume says that the machine has slept: what is over ends, leases are verified, and
// routers are looked for as after LinkUp, since the link may lead elsewhere now.
func (m *Machine) Resume() {
	if m.up {
		m.reattach()
	}
	now := m.now()
	if m.ra != nil {
		m.ra.Resume(now)
	}
	if m.v4 != nil {
		m.v4.Resume(now)
	}
	for _, c := range m.clients6() {
		c.Resume(now)
	}
	m.settle()
}

// Release gives leases back, as the last thing before the machine is given up. Only frames say
// so: a PvD might have to find out first where its neighbours are, and is about to go.
func (m *Machine) Release() {
	now := m.now()
	if m.v4 != nil {
		m.v4.Release(now)
	}
	for _, c := range m.clients6() {
		c.Release(now)
	}
	m.collect()
}

// Receive takes a frame that arrived on the link, which it does not keep. Its checksums
// are complete. A frame that is nothing to a machine ([KindOf]) is ignored.
func (m *Machine) Receive(frame []byte) {
	if len(frame) > MaxFrame {
		return
	}
	packet := frame
	if m.ethernet() {
		if len(frame) < etherLen {
			return
		}
		packet = frame[etherLen:]
	}
	now := m.now()
	switch KindOf(m.ethernet(), frame) {
	case Advertisement:
		if p, ok := icmp6(packet); !ok || m.ra == nil || !m.receiveRA(p) {
			return
		}
	case DHCPv4:
		if d, ok := udp(packet); ok && m.v4 != nil {
			m.receive4(d, [6]byte(frame[6:]))
		}
	case DHCPv6:
		if d, ok := udp(packet); ok {
			m.receive6(d)
		}
	case ARP:
		if a, err := acd.Parse(packet); err == nil && m.v4 != nil {
			m.v4.ReceiveARP(now, a)
		}
	case Redirect, Other:
		return
	}
	m.settle()
}

// Advance does what is due.
func (m *Machine) Advance() {
	now := m.now()
	if m.ra != nil && m.ra.Advance(now) && m.up {
		m.emit(m.solicitation())
	}
	if m.v4 != nil {
		m.v4.Advance(now)
	}
	for _, c := range m.clients6() {
		c.Advance(now)
	}
	m.settle()
}

// Next returns when [Machine.Advance] is to be called, by the clock's Monotonic, and
// whether it is. A moment that is past means now.
func (m *Machine) Next() (at time.Duration, ok bool) {
	soonest := func(t time.Duration, has bool) {
		if has && (!ok || t < at) {
			at, ok = t, true
		}
	}
	if m.ra != nil {
		soonest(m.ra.Next())
	}
	if m.v4 != nil {
		soonest(m.v4.Next())
	}
	for _, c := range m.clients6() {
		soonest(c.Next())
	}
	if m.again != nil {
		soonest(m.again.next(), true)
	}
	for _, b := range m.members {
		soonest(m.deprecation6(b))
	}
	if m.config.Information {
		soonest(m.info.Next())
		for _, b := range m.members {
			soonest(b.portal.Next())
		}
	}
	return at, ok
}

// Frames returns the frames to be sent now. The caller owns them.
func (m *Machine) Frames() [][]byte {
	f := m.frames
	m.frames = nil
	return f
}

// Datagrams returns what is to be sent now by PvDs. The caller owns them.
func (m *Machine) Datagrams() []Datagram {
	s := m.sends
	m.sends = nil
	return s
}

func (m *Machine) emit(frame []byte) {
	if len(m.frames) < maxFrames {
		m.frames = append(m.frames, frame)
	}
}
