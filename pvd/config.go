package pvd

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
)

// A Config says what a PvD consists of when a person or a program decides it, rather
// than the network. Only Links is required. The zero value of every other field means
// that the PvD does not have it, and what a PvD does not have is an error for those who
// need it: there is no fallback.
//
// A Config is a value: it is copied when it is handed over, and changing it later
// changes nothing.
type Config struct {
	// ID makes the PvD explicit. Empty: implicit.
	ID ID

	// Name is how people see the PvD in logs, captures and errors. Empty: the ID, or
	// else the Ref's string. It should be unique; nothing depends on it.
	Name string

	// Links names the links that the PvD has an interface on, in order of preference.
	Links []string

	// Addresses are the PvD's own unicast addresses.
	Addresses []Address

	// Routes are the PvD's routes beyond the on-link prefixes of Addresses.
	Routes []Route

	// Neighbors are fixed entries of the neighbour table. Where two PvDs hold the same
	// address on one Ethernet link, the hardware addresses given here tell whose frame
	// is whose.
	Neighbors []Neighbor

	// DNS says whom to ask for names.
	DNS DNS

	// Elements are whatever else is to be said of the PvD, each with its key. Those that
	// the fields above stand for can not be given here.
	Elements []Element

	// MTU in octets of the PvD's packets, between 576 (1280 where there is IPv6) and
	// 65535. 0: each link's own. A value above a link's own is cut to that.
	MTU int
}

// An Address is a unicast address with the length of its on-link prefix.
type Address struct {
	// Prefix holds the address itself, not its network: 192.168.1.2/24. A full-length
	// prefix makes nothing else on-link.
	Prefix netip.Prefix

	// Link names the link that the address is on. Empty: the PvD's first link.
	Link string

	// Temporary says that the address is one that changes, for privacy (RFC 8981).
	Temporary bool

	// Home says that the address is a home address of Mobile IPv6 (RFC 6275).
	Home bool

	// Shared says that other PvDs on the link may have the address too, where all of them
	// say so: one DHCPv4 lease is that of all implicit PvDs of its link (RFC 8801 section
	// 3.4.2). What arrives is told apart by ports, of which each PvD has some of its own.
	// It is for IPv4 addresses.
	Shared bool

	// Deprecated says that the address still works but should not begin new
	// communication (RFC 4862 section 5.5.4).
	Deprecated bool
}

// A Route leads from a PvD to a destination.
type Route struct {
	// To is the destination prefix. 0.0.0.0/0 and ::/0 are default routes.
	To netip.Prefix

	// Via is the router, an address on Link. The zero Addr makes To on-link.
	Via netip.Addr

	// Link names the link the route leaves by. Empty: the link that has Via on one of
	// its prefixes, else the PvD's first link.
	Link string

	// From limits the route to packets from sources in this prefix, as a router has it
	// that only forwards what it gave the addresses for (RFC 8028, RFC 2827). The zero
	// Prefix: any source. Of two routes to the same destination, the one whose From
	// holds the source goes before the one for any source.
	From netip.Prefix

	// Preference is the router preference of RFC 4191: the first tie-breaker among
	// routes to the same prefix.
	Preference Preference

	// Metric is the second tie-breaker: the lower one wins.
	Metric uint32
}

// A Preference is a router preference of RFC 4191 section 2.1.
type Preference int8

// The preferences of RFC 4191, which are ordered.
const (
	Low    Preference = -1
	Medium Preference = 0
	High   Preference = 1
)

// String returns "low", "medium" or "high".
func (p Preference) String() string {
	switch {
	case p < Medium:
		return "low"
	case p > Medium:
		return "high"
	}
	return "medium"
}

// A Neighbor is a fixed pair of network address and hardware address.
type Neighbor struct {
	Addr netip.Addr
	MAC  net.HardwareAddr // six octets
	Link string           // empty: the PvD's first link
}

// DNS is a PvD's view of the domain name system.
type DNS struct {
	// Servers are asked in order. A link-local address carries the link's name as its
	// zone.
	Servers []netip.AddrPort

	// Search is tried in order for names with fewer dots than one.
	Search []string
}

// Label returns what people call the PvD: its name, else its ID, else "(unnamed)".
func (c Config) Label() string { return cmp.Or(c.Name, string(c.ID), "(unnamed)") }

// Clone returns a copy of c that shares no memory with it.
func (c Config) Clone() Config {
	c.Links = slices.Clone(c.Links)
	c.Addresses = slices.Clone(c.Addresses)
	c.Routes = slices.Clone(c.Routes)
	c.Neighbors = cloneNeighbors(c.Neighbors)
	c.DNS = c.DNS.clone()
	c.Elements = slices.Clone(c.Elements)
	for i, e := range c.Elements {
		c.Elements[i] = e.clone()
	}
	return c
}

func (d DNS) clone() DNS {
	return DNS{Servers: slices.Clone(d.Servers), Search: slices.Clone(d.Search)}
}

func cloneNeighbors(ns []Neighbor) []Neighbor {
	ns = slices.Clone(ns)
	for i := range ns {
		ns[i].MAC = slices.Clone(ns[i].MAC)
	}
	return ns
}

// Describe makes b what c says, with every Link field filled in. Addresses that are new
// begin as [Tentative]; the others keep their state. Elements that an earlier Config has
// set and c has not are cleared, those that anybody else has set last are left alone. c
// must be valid.
func (c Config) Describe(b *Builder) {
	b.SetID(c.ID)
	b.SetName(c.Name)
	Links.Set(b, c.Links)
	Addresses.Set(b, c.addressInfos(b))
	routes := slices.Clone(c.Routes)
	for i, r := range routes {
		routes[i].Link = c.LinkOfRoute(r)
		routes[i].Via = r.Via.WithZone("")
	}
	Routes.Set(b, routes)
	neighbors := cloneNeighbors(c.Neighbors)
	for i, n := range neighbors {
		neighbors[i].Link = c.LinkOf(n.Link)
	}
	Neighbors.Set(b, neighbors)
	DNSServers.Set(b, c.DNS.Servers)
	DNSSearch.Set(b, c.DNS.Search)
	MTU.Clear(b)
	if c.MTU != 0 {
		MTU.Set(b, c.MTU)
	}
	b.elems.configure(c.Elements)
}

func (c Config) addressInfos(b *Builder) []AddressInfo {
	type place struct {
		prefix netip.Prefix
		link   string
	}
	states := make(map[place]AddressState)
	had, _ := b.elems.value(Addresses.base).([]AddressInfo)
	for _, a := range had {
		states[place{a.Prefix, a.Link}] = a.State
	}
	infos := make([]AddressInfo, len(c.Addresses))
	for i, a := range c.Addresses {
		a.Link = c.LinkOf(a.Link)
		infos[i] = AddressInfo{Address: a, State: a.InState(states[place{a.Prefix, a.Link}])}
	}
	return infos
}

// InState returns the state to show for a when it is in s: of those in which it can be
// used, the one that a itself asks for.
func (a Address) InState(s AddressState) AddressState {
	switch {
	case !s.Usable():
		return s
	case a.Deprecated:
		return Deprecated
	}
	return Preferred
}
