package pvd

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Validate reports everything that is wrong with c in itself, each with the field it is
// in. It can not know which links exist.
func (c Config) Validate() error {
	var errs []error
	bad := func(where string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", where, err))
		}
	}
	if id, err := ParseID(string(c.ID)); err != nil {
		bad("id", err)
	} else if id != c.ID {
		bad("id", fmt.Errorf("%q is not in the form that ParseID returns", string(c.ID)))
	}
	if len(c.Name) > MaxName {
		bad("name", fmt.Errorf("longer than %d octets", MaxName))
	}
	bad("links", c.validateLinks())
	bad("addresses", atMost(len(c.Addresses), MaxAddresses))
	again := c.repeats()
	for i, a := range c.Addresses {
		where := fmt.Sprintf("addresses[%d]", i)
		bad(where, c.validateAddress(a))
		bad(where, again(a.Prefix.Addr(), a.Link))
	}
	bad("routes", atMost(len(c.Routes), MaxRoutes))
	onLink := slices.DeleteFunc(slices.Clone(c.Routes), func(r Route) bool { return r.Via.IsValid() })
	for i, r := range c.Routes {
		bad(fmt.Sprintf("routes[%d]", i), c.validateRoute(r, onLink))
	}
	bad("neighbors", atMost(len(c.Neighbors), MaxNeighbors))
	again = c.repeats()
	for i, n := range c.Neighbors {
		where := fmt.Sprintf("neighbors[%d]", i)
		bad(where, c.validateNeighbor(n))
		bad(where, again(n.Addr, n.Link))
	}
	bad("dns", c.validateDNS())
	bad("elements", atMost(len(c.Elements), MaxElements))
	said := make(map[AnyKey]bool, len(c.Elements))
	for i, e := range c.Elements {
		bad(fmt.Sprintf("elements[%d]", i), e.validate(said[e.Key()]))
		said[e.Key()] = true
	}
	bad("mtu", c.validateMTU())
	return errors.Join(errs...)
}

// repeats returns a function that reports an address that it has been given before on the
// same link.
func (c Config) repeats() func(a netip.Addr, link string) error {
	type place struct {
		addr netip.Addr
		link string
	}
	seen := make(map[place]bool)
	return func(a netip.Addr, link string) error {
		at := place{a, c.LinkOf(link)}
		if seen[at] {
			return fmt.Errorf("%v stands twice on link %q", at.addr, at.link)
		}
		seen[at] = true
		return nil
	}
}

// LinkOf returns the link that a Link field in c means: itself or, if it is empty, the
// PvD's first.
func (c Config) LinkOf(link string) string {
	if link == "" && len(c.Links) > 0 {
		return c.Links[0]
	}
	return link
}

// LinkOfRoute returns the link that r leaves by.
func (c Config) LinkOfRoute(r Route) string {
	if r.Link == "" && r.Via.Zone() != "" {
		return r.Via.Zone()
	}
	if r.Link == "" && r.Via.IsValid() {
		for _, a := range c.Addresses {
			if a.Prefix.Contains(r.Via) {
				return c.LinkOf(a.Link)
			}
		}
	}
	return c.LinkOf(r.Link)
}

func atMost(n, limit int) error {
	if n > limit {
		return fmt.Errorf("%d entries, the limit is %d", n, limit)
	}
	return nil
}

func (c Config) validateLinks() error {
	if len(c.Links) == 0 {
		return errors.New("a PvD needs at least one link")
	}
	for i, l := range c.Links {
		if l == "" {
			return errors.New("empty link name")
		}
		if slices.Contains(c.Links[:i], l) {
			return fmt.Errorf("link %q stands twice", l)
		}
	}
	return atMost(len(c.Links), MaxLinks)
}

func (c Config) validateLink(link string) error {
	if link != "" && !slices.Contains(c.Links, link) {
		return fmt.Errorf("link %q is not one of the PvD's links (%s)", link, strings.Join(c.Links, ", "))
	}
	return nil
}

func (c Config) validateAddress(a Address) error {
	addr := a.Prefix.Addr()
	switch {
	case !a.Prefix.IsValid():
		return errors.New("not a valid prefix")
	case addr.Is4In6():
		return fmt.Errorf("%v is IPv4 in IPv6 form; write %v", addr, addr.Unmap())
	case addr.IsUnspecified(), addr.IsMulticast(), addr.IsLoopback(), IsThisNetwork(addr), addr == broadcast4:
		return fmt.Errorf("%v is not a unicast address that an interface can have", addr)
	case addr.Is4() && a.Prefix.Bits() < 31 && isNetworkOrBroadcast(a.Prefix):
		return fmt.Errorf("%v is the network's own or its broadcast address", a.Prefix)
	case a.Shared && addr.Is6():
		return fmt.Errorf("%v can not be shared: PvDs share DHCPv4 leases, which are IPv4 (RFC 8801 section 3.4.2)", addr)
	}
	return c.validateLink(a.Link)
}

var broadcast4 = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// IsThisNetwork reports whether a is in 0.0.0.0/8, which stands for "this host on this
// network" and is never on the wire (RFC 1122 section 3.2.1.3).
func IsThisNetwork(a netip.Addr) bool { return a.Is4() && a.As4()[0] == 0 }

func isNetworkOrBroadcast(p netip.Prefix) bool {
	b := p.Addr().As4()
	host := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	mask := uint32(1)<<(32-p.Bits()) - 1
	return host&mask == 0 || host&mask == mask
}

// validateRoute validates a route; onLink are those that need no router.
func (c Config) validateRoute(r Route, onLink []Route) error {
	switch {
	case !r.To.IsValid():
		return errors.New("to: not a valid prefix")
	case r.To.Addr().Is4In6():
		return fmt.Errorf("to: %v is IPv4 in IPv6 form", r.To)
	case r.To != r.To.Masked():
		return fmt.Errorf("to: %v has bits beyond its length; write %v", r.To, r.To.Masked())
	case r.To.Addr().IsMulticast():
		return fmt.Errorf("to: %v is multicast, which follows no routes", r.To)
	case r.To.Addr().IsLoopback(), IsThisNetwork(r.To.Addr()) && r.To.Bits() >= 8: // 0.0.0.0/1 is half of the default route
		return fmt.Errorf("to: %v never leaves a host", r.To)
	case r.Preference < Low || r.Preference > High:
		return fmt.Errorf("preference %d is none", r.Preference)
	}
	if r.From.IsValid() && r.From.Addr().Is4() != r.To.Addr().Is4() {
		return fmt.Errorf("from: %v is not of the family of %v", r.From, r.To)
	}
	if err := c.validateLink(r.Link); err != nil {
		return err
	}
	if !r.Via.IsValid() {
		return nil
	}
	return c.validateVia(r, onLink)
}

func (c Config) validateVia(r Route, onLink []Route) error {
	via := r.Via
	switch {
	case via.Is4() != r.To.Addr().Is4():
		return fmt.Errorf("via: %v is not of the family of %v", via, r.To)
	case via.IsUnspecified(), via.IsMulticast(), via.IsLoopback(), IsThisNetwork(via):
		return fmt.Errorf("via: %v can not be a router", via)
	}
	if z := via.Zone(); z != "" {
		if err := c.validateLink(z); err != nil {
			return fmt.Errorf("via: zone: %w", err)
		}
		if r.Link != "" && r.Link != z {
			return fmt.Errorf("via: zone %q is not link %q", z, r.Link)
		}
	}
	if via.Is6() && via.IsLinkLocalUnicast() {
		return nil
	}
	link := c.LinkOfRoute(r)
	for _, a := range c.Addresses {
		if c.LinkOf(a.Link) == link && a.Prefix.Addr() == via {
			return fmt.Errorf("via: %v is the PvD's own address", via)
		}
	}
	for _, a := range c.Addresses {
		if c.LinkOf(a.Link) == link && a.Prefix.Contains(via) {
			return nil
		}
	}
	for _, o := range onLink {
		if o.To.Contains(via) && c.LinkOfRoute(o) == link {
			return nil
		}
	}
	return fmt.Errorf("via: %v is on no prefix of link %q", via, link)
}

func (c Config) validateNeighbor(n Neighbor) error {
	switch {
	case !n.Addr.IsValid() || n.Addr.IsUnspecified() || n.Addr.IsMulticast():
		return fmt.Errorf("%v is not a neighbour's address", n.Addr)
	case n.Addr.Zone() != "":
		return fmt.Errorf("%v has a zone; its link is a field of its own", n.Addr)
	case n.Addr.Is4In6():
		return fmt.Errorf("%v is IPv4 in IPv6 form; write %v", n.Addr, n.Addr.Unmap())
	case len(n.MAC) != 6:
		return fmt.Errorf("mac: %d octets, Ethernet has 6", len(n.MAC))
	case n.MAC[0]&1 != 0:
		return fmt.Errorf("mac: %v is a group address", n.MAC)
	}
	return c.validateLink(n.Link)
}

func (c Config) validateDNS() error {
	if err := atMost(len(c.DNS.Servers), MaxDNSServers); err != nil {
		return fmt.Errorf("servers: %w", err)
	}
	for i, s := range c.DNS.Servers {
		a := s.Addr()
		switch {
		case !a.IsValid() || a.IsUnspecified() || a.IsMulticast():
			return fmt.Errorf("servers[%d]: %v is not a server's address", i, s)
		case s.Port() == 0:
			return fmt.Errorf("servers[%d]: %v has no port", i, s)
		case a.Zone() != "":
			if err := c.validateLink(a.Zone()); err != nil {
				return fmt.Errorf("servers[%d]: zone: %w", i, err)
			}
		}
	}
	if err := atMost(len(c.DNS.Search), MaxSearch); err != nil {
		return fmt.Errorf("search: %w", err)
	}
	for i, s := range c.DNS.Search {
		if err := checkName(strings.TrimSuffix(s, ".")); err != nil {
			return fmt.Errorf("search[%d]: %q: %w", i, s, err)
		}
	}
	return nil
}

// The smallest MTUs that a PvD may be given: RFC 791 section 3.2 obliges every host to
// take datagrams of 576 octets, RFC 8200 section 5 every link to carry 1280.
const (
	minMTU4 = 576
	minMTU6 = 1280
	maxMTU  = 65535
)

func (c Config) validateMTU() error {
	low := minMTU4
	if slices.ContainsFunc(c.Addresses, func(a Address) bool { return a.Prefix.Addr().Is6() }) ||
		slices.ContainsFunc(c.Routes, func(r Route) bool { return r.To.Addr().Is6() }) {
		low = minMTU6
	}
	if c.MTU != 0 && (c.MTU < low || c.MTU > maxMTU) {
		return fmt.Errorf("%d is not between %d and %d", c.MTU, low, maxMTU)
	}
	return nil
}

// ownElements are those that fields of a Config stand for.
var ownElements = []AnyKey{
	Links.Any(), Addresses.Any(), Routes.Any(), Neighbors.Any(), DNSServers.Any(), DNSSearch.Any(), MTU.Any(),
}

func (e Element) validate(again bool) error {
	switch k := e.Key(); {
	case k == AnyKey{}:
		return errors.New("it has no key; elements are made by Key.With")
	case slices.Contains(ownElements, k):
		return fmt.Errorf("a field of its own stands for %q", k)
	case again:
		return fmt.Errorf("%q stands twice", k)
	case e.value == nil:
		return fmt.Errorf("%q has no value", k)
	}
	return nil
}
