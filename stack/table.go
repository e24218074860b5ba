package stack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"

	"github.com/pvdstack/pvdstack/tun"
)

// A linkTable tells whose a frame on one link is. It is made whole by the registry's
// writer whenever a PvD on the link changes, and never modified, but for what is learned
// of stations. The link's reader takes no lock to use it.
type linkTable struct {
	layer      tun.Layer
	ports      ports
	stations   map[mac]ports
	owners     map[netip.Addr]ports
	broadcasts map[netip.Addr]ports // directed broadcast addresses

	// elsewhere has the ports that addresses of weak hosts are on, of those that are on
	// another link. Their owners here are the PvD's ports on this link.
	elsewhere map[portAddr]*port

	// Addresses that several PvDs have on purpose, nil where there are none.
	shared map[netip.Addr]*sharing

	// Ports that have another address in common are rivals, and have to be told apart: the
	// station that has answered for a router which one of them has, and no rival, is that
	// one's.
	routers map[netip.Addr]ports
	rivals  map[*port]ports // of every port that has any
	known   map[mac]ports   // stations that the configuration gives to ports with rivals
	learned *learnedMACs

	last lately // the link's reader only
}

// ports is a set of ports, in no particular order.
type ports []*port

func (s ports) has(p *port) bool { return slices.Contains(s, p) }

// and returns the union of two sets.
func (s ports) and(o ports) ports {
	if len(s) == 0 {
		return o
	}
	for _, p := range o {
		if !s.has(p) {
			s = append(slices.Clip(s), p)
		}
	}
	return s
}

// filter returns those of s for which match holds. s itself stays as it is.
func (s ports) filter(match func(*port) bool) ports {
	for i, p := range s {
		if match(p) {
			continue
		}
		// The first one to go: from here on it has to be a copy.
		rest := slices.Clone(s[:i])
		for _, p := range s[i+1:] {
			if match(p) {
				rest = append(rest, p)
			}
		}
		return rest
	}
	return s
}

// hearing returns those of s that may hear the station src: all, but that a port which has
// to be told apart hears its own stations only.
func (s ports) hearing(t *linkTable, src mac) ports {
	if len(t.rivals) == 0 {
		return s
	}
	return s.filter(func(p *port) bool { return len(t.rivals[p]) == 0 || t.hears(p, src) })
}

// ownersAt returns the owners of an address if one of them is the station m. Where several
// have the address it may be any of theirs: the router of one also hears the other's
// questions, takes the station that asks for that of the address, and goes on using it
// until it is answered. Whose router it is decides all the same.
func (t *linkTable) ownersAt(a netip.Addr, m mac) ports {
	owners := t.owners[a]
	for _, p := range owners {
		if p.macOf() == m {
			return owners
		}
	}
	return nil
}

// at returns the ports that are the station a frame was sent to.
func (t *linkTable) at(s station) ports { return t.stations[s.dst] }

// hears reports whether the station m is a neighbour of p, which has rivals, and of none of
// them. What the configuration says of a station goes before what has been learned.
func (t *linkTable) hears(p *port, m mac) bool {
	known := t.known[m]
	switch {
	case known.has(p):
		return true
	case slices.ContainsFunc(t.rivals[p], known.has):
		return false
	}
	return t.learned.lookup(m).has(p)
}

// ownedByOther reports whether a belongs to a PvD on this link other than p's, and not to
// p's.
func (t *linkTable) ownedByOther(a netip.Addr, p *port) bool {
	if len(t.ports) == 1 && t.ports[0] == p {
		return false
	}
	o := t.owners[a]
	return len(o) > 0 && !o.has(p)
}

// newLinkTable makes the table for the ports on a link. It fails, naming both PvDs, when
// two of them could not be told apart.
func newLinkTable(layer tun.Layer, on []portPlan, learned *learnedMACs) (*linkTable, error) {
	t := &linkTable{
		layer:      layer,
		stations:   make(map[mac]ports),
		owners:     make(map[netip.Addr]ports),
		broadcasts: make(map[netip.Addr]ports),
		routers:    make(map[netip.Addr]ports),
		rivals:     make(map[*port]ports),
		known:      make(map[mac]ports),
		learned:    learned,
	}
	plans := make(map[*port]*portPlan, len(on))
	for i := range on {
		pp := &on[i]
		plans[pp.port] = pp
		t.add(pp)
	}
	t.findShared(plans)
	t.findRivals()
	for a, owners := range t.owners {
		if t.sharing(a) != nil {
			continue
		}
		if err := t.tellApart(a, owners, plans); err != nil {
			return nil, err
		}
	}
	for b, of := range t.broadcasts {
		for _, p := range t.owners[b] {
			if layer == tun.IP && !of.has(p) {
				return nil, fmt.Errorf("PvDs %s and %s on link %q: %v is an address of the one and the broadcast address of the other: %w",
					p.domain.name(), of[0].domain.name(), p.link.name, b, errSameOnIP)
			}
		}
	}
	for p := range t.rivals {
		for _, m := range plans[p].stations {
			t.known[m] = append(t.known[m], p)
		}
	}
	return t, nil
}

// withListener returns a table with one more port, which hears what all do: another host
// answers at once when the port's first packet asks whether it has an address already.
func (t *linkTable) withListener(p *port) *linkTable {
	return &linkTable{
		layer: t.layer, ports: append(slices.Clip(t.ports), p), stations: t.stations, owners: t.owners, broadcasts: t.broadcasts,
		elsewhere: t.elsewhere, shared: t.shared, routers: t.routers, rivals: t.rivals, known: t.known, learned: t.learned,
	}
}

// add enters one port.
func (t *linkTable) add(pp *portPlan) {
	p := pp.port
	t.ports = append(t.ports, p)
	if t.layer == tun.Ethernet {
		m := p.macOf()
		t.stations[m] = append(t.stations[m], p)
	}
	for _, a := range pp.addrs {
		t.owners[a.Addr()] = append(t.owners[a.Addr()], p)
		if b, ok := directedBroadcast(a); ok {
			t.broadcasts[b] = append(t.broadcasts[b], p)
		}
	}
	for a, on := range pp.elsewhere {
		if slices.Contains(t.owners[a], p) {
			continue // it is here too
		}
		t.owners[a] = append(t.owners[a], p)
		if t.elsewhere == nil {
			t.elsewhere = make(map[portAddr]*port)
		}
		t.elsewhere[portAddr{p, a}] = on
	}
	for _, r := range pp.routers {
		t.routers[r] = append(t.routers[r], p)
	}
}

// findRivals finds which ports have an address in common that they do not share.
func (t *linkTable) findRivals() {
	for a, owners := range t.owners {
		if t.sharing(a) != nil {
			continue
		}
		for _, p := range owners {
			for _, q := range owners {
				if p != q && !t.rivals[p].has(q) {
					t.rivals[p] = append(t.rivals[p], q)
				}
			}
		}
	}
}

// tellApart checks that the owners of an address have neighbours that differ: each needs
// stations of its own by configuration, or a router that no rival has.
func (t *linkTable) tellApart(a netip.Addr, owners ports, plans map[*port]*portPlan) error {
	for i, p := range owners {
		for _, q := range owners[i+1:] {
			if err := t.distinct(plans[p], plans[q]); err != nil {
				return fmt.Errorf("PvDs %s and %s both have %v on link %q: %w",
					p.domain.name(), q.domain.name(), a, p.link.name, err)
			}
		}
	}
	return nil
}

// errSameOnIP says why two PvDs on an IP link can not be told apart.
var errSameOnIP = errors.New("nothing in a packet on an IP link tells them apart")

// distinct returns why two PvDs with an equal address can not be told apart.
func (t *linkTable) distinct(a, b *portPlan) error {
	if t.layer != tun.Ethernet {
		return errSameOnIP
	}
	for _, m := range a.stations {
		if slices.Contains(b.stations, m) {
			return fmt.Errorf("both have the neighbour %v", m)
		}
	}
	for _, pp := range []*portPlan{a, b} {
		if len(pp.stations) > 0 {
			continue
		}
		if !slices.ContainsFunc(pp.routers, func(r netip.Addr) bool { return t.tells(ownRouter{pp.port, r}) }) {
			return fmt.Errorf("%s has neither a neighbour with a hardware address in its configuration nor a router of its own",
				pp.port.domain.name())
		}
	}
	return nil
}

// behind returns the one of some ports that has a router at a, nil if that is none or
// several. What a router says of its own hardware address has to reach that port before it
// is known.
func (t *linkTable) behind(a netip.Addr, among ports) *port {
	routers := t.routers[a]
	if len(routers) == 0 {
		return nil
	}
	if of := among.filter(routers.has); len(of) == 1 {
		return of[0]
	}
	return nil
}

// directedBroadcast returns the address of all stations on an IPv4 prefix
// (RFC 1122 section 3.2.1.3).
func directedBroadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	host := binary.BigEndian.Uint32(b[:]) | (uint32(1)<<(32-p.Bits()) - 1)
	binary.BigEndian.PutUint32(b[:], host)
	return netip.AddrFrom4(b), true
}

// A portPlan is what a link's table has to know of one of its ports.
type portPlan struct {
	port      *port
	addrs     []netip.Prefix
	shared    []netip.Addr         // those of them that other PvDs may have too
	elsewhere map[netip.Addr]*port // a weak host's addresses on other links, and the ports they are on
	routers   []netip.Addr
	stations  []mac // neighbours that the configuration gives
}

// A portAddr is an address as one port has to do with it.
type portAddr struct {
	port *port
	addr netip.Addr
}

// The methods below are what the demultiplexer asks of a port.

func (p *port) macOf() mac {
	var m mac
	copy(m[:], p.mac)
	return m
}

func (p *port) owns(a netip.Addr) bool {
	_, ok := p.egress.Load().own[a]
	return ok
}

func (p *port) has4() bool { return p.egress.Load().has4 }
func (p *port) has6() bool { return p.egress.Load().has6 }

// joined reports whether the PvD may have joined a group on this link: its stack joins
// the groups of its own addresses by itself, those of applications are counted.
func (p *port) joined(group netip.Addr) bool {
	if group.Is6() && isSolicitedNode(group) {
		return true // a neighbour solicitation has been looked into before
	}
	ok, err := p.domain.stk.IsInGroup(p.nic, toAddr(group))
	return err == nil && ok
}

func isSolicitedNode(a netip.Addr) bool {
	return header.IsSolicitedNodeAddr(tcpip.AddrFrom16(a.As16()))
}
