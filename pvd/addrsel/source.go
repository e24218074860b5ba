package addrsel

import "net/netip"

// A Candidate is an address that packets may be sent from.
type Candidate struct {
	// Prefix is the address with the length of its on-link prefix.
	Prefix netip.Prefix

	// Deprecated says that the address should not begin new communication. IPv4 addresses
	// are never deprecated (RFC 6724 section 3.2).
	Deprecated bool

	// Home says that the address is a home address of Mobile IPv6. One that is not is a
	// care-of address; CareOf says that it is both.
	Home, CareOf bool

	// Temporary says that the address changes for privacy (RFC 8981).
	Temporary bool

	// Outgoing says that the address is on the interface that the packet leaves by.
	Outgoing bool

	// Advertised says that the next hop has advertised the address's prefix. For IPv4,
	// where routers advertise none, it may stand for a next hop on that prefix.
	Advertised bool
}

// Sources is the choice of a source for one destination.
type Sources struct {
	s     *Selector
	dst   word
	scope Scope
	label uint32
}

// For begins the choice of a source for packets to dst.
func (s *Selector) For(dst netip.Addr) Sources {
	w := wordOf(dst)
	return Sources{s: s, dst: w, scope: s.Scope(dst), label: s.lookup(w).label}
}

// A Rank says how good a source is for a destination, compared with another one's for the
// same destination: the one with the larger rank is preferred. Of equals it is the first.
type Rank uint32

// Coarse returns the rank without rule 8. The longest matching prefix is a guess at where
// things are, and not to be weighed against what is known of routes.
func (r Rank) Coarse() Rank { return r &^ (1<<commonBits - 1) }

// commonBits is the room in a Rank for the length of a prefix.
const commonBits = 8

// Rank returns the rank of a source by the rules of RFC 6724 section 5. The rules are
// the digits of the rank, the first one the highest, so that a later one counts only
// where all earlier ones are equal.
func (q *Sources) Rank(c *Candidate) Rank {
	s := q.s
	if s.first {
		return 0
	}
	addr := c.Prefix.Addr()
	src := wordOf(addr)
	var r Rank
	digit := func(rule Rules, width int, value Rank) {
		r <<= width
		if s.on.has(rule) {
			r |= value
		}
	}
	digit(SourceSame, 1, bit(src == q.dst))
	digit(SourceScope, 5, appropriate(s.Scope(addr), q.scope))
	digit(SourceDeprecated, 1, bit(!c.deprecated()))
	digit(SourceHome, 2, mobility(c, s.careOf))
	digit(SourceOutgoing, 1, bit(c.Outgoing))
	digit(SourceAdvertised, 1, bit(c.Advertised))
	digit(SourceLabel, 1, bit(s.lookup(src).label == q.label))
	digit(SourceTemporary, 1, bit(c.Temporary != s.public))
	digit(SourceLongest, commonBits, Rank(c.common(src, q.dst)))
	return r
}

func bit(b bool) Rank {
	if b {
		return 1
	}
	return 0
}

// appropriate turns rule 2 into a number: the smallest scope that is large enough is the
// best; of those that are too small it is the largest.
func appropriate(source, dst Scope) Rank {
	if source >= dst {
		return Rank(maxScope+1) + Rank(maxScope-source)
	}
	return Rank(source)
}

// mobility turns rule 4 into a number.
func mobility(c *Candidate, careOf bool) Rank {
	switch {
	case c.Home && c.CareOf:
		return 2
	case c.Home != careOf:
		return 1
	}
	return 0
}

// deprecated reports whether c counts as deprecated. What stands for an IPv4 address, and
// the loopback address, never does (RFC 6724 sections 3.2 to 3.4).
func (c *Candidate) deprecated() bool {
	addr := c.Prefix.Addr().Unmap()
	return c.Deprecated && addr.Is6() && !alwaysPreferred.holds(wordOf(addr))
}

// alwaysPreferred are the IPv4-compatible addresses and the loopback address.
var alwaysPreferred = blockOf(netip.MustParsePrefix("::/96"))

// common is CommonPrefixLen of RFC 6724 section 2.2: no longer than the source's own
// prefix.
func (c *Candidate) common(src, dst word) int {
	n, limit := src.common(dst), c.Prefix.Bits()
	if c.Prefix.Addr().Is4() {
		n = max(n-96, 0)
	}
	return min(n, limit)
}
