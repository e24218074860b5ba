package learn

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// What learned PvDs have beside the elements of packages pvd and addinfo.
var (
	// Learned says how the PvD came about, on each of its links. A PvD that nobody has
	// learned does not have it.
	Learned = pvd.NewKey("learned", cloneOrigins)

	// Delegated are the prefixes that DHCPv6 has delegated (RFC 8415 section 6.3).
	Delegated = pvd.NewKey("delegated prefixes", slices.Clone[[]Delegation])
)

// An Origin says how a PvD was learned on a link.
type Origin struct {
	Link    string       // where
	Routers []netip.Addr // whose advertisements it is made of; none: DHCPv4 only

	// Legacy is the L flag of the PvD option, by which the PvD has the link's DHCPv4
	// (RFC 8801 section 3.1).
	Legacy bool

	// Managed and Other are the flags of advertisements (RFC 4861 section 4.2).
	Managed, Other bool

	// Server4 is the DHCPv4 server that the PvD's lease is from, and Lease4 until when;
	// they are zero where it has none, and Lease4 where it does not end.
	Server4 netip.Addr
	Lease4  time.Time

	// Shared is how many PvDs have that lease.
	Shared int

	// Portal is the URI of the captive portal's API (RFC 8910); empty: not known.
	Portal string
}

func cloneOrigins(os []Origin) []Origin {
	os = slices.Clone(os)
	for i := range os {
		os[i].Routers = slices.Clone(os[i].Routers)
	}
	return os
}

// A Delegation is a prefix that DHCPv6 has delegated, for as long as ValidUntil, beyond
// which it must not be used; the zero Time is never.
type Delegation struct {
	Prefix                     netip.Prefix
	PreferredUntil, ValidUntil time.Time
}
