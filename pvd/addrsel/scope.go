package addrsel

import (
	"cmp"
	"net/netip"
	"slices"
)

// A Scope says how far an address means the same, as the scope field of multicast
// addresses has it (RFC 4291 section 2.7): the larger, the farther.
type Scope uint8

// Scopes that unicast addresses can have (RFC 6724 section 3.1).
const (
	LinkLocal Scope = 2
	SiteLocal Scope = 5
	Global    Scope = 14

	maxScope Scope = 15
)

var siteLocal = netip.MustParsePrefix("fec0::/10")

// A scope4 is a Scope4 at work.
type scope4 struct {
	block
	scope Scope
}

// newScopes returns the scopes of IPv4 addresses, those of the longest prefixes first.
func newScopes(of []Scope4) []scope4 {
	if len(of) == 0 {
		of = []Scope4{
			{netip.MustParsePrefix("169.254.0.0/16"), LinkLocal},
			{netip.MustParsePrefix("127.0.0.0/8"), LinkLocal},
		}
	}
	scopes := make([]scope4, len(of))
	for i, s := range of {
		scopes[i] = scope4{blockOf(s.Prefix), s.Scope}
	}
	slices.SortFunc(scopes, func(a, b scope4) int { return cmp.Compare(b.bits, a.bits) })
	return scopes
}

// Scope returns the scope of an address, which may be a multicast address.
func (s *Selector) Scope(a netip.Addr) Scope {
	a = a.Unmap()
	switch {
	case a.Is4() && a.IsLinkLocalMulticast():
		return LinkLocal
	case a.Is4():
		w := wordOf(a)
		for i := range s.scopes {
			if s.scopes[i].holds(w) {
				return s.scopes[i].scope
			}
		}
		return Global
	case a.IsMulticast():
		return Scope(a.As16()[1] & 0x0f)
	case a.IsLoopback(), a.IsLinkLocalUnicast():
		return LinkLocal
	case siteLocal.Contains(a.WithZone("")):
		return SiteLocal
	}
	return Global
}
