package learn

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/ra"
)

// A Proposal is what a link's network, and the modifiers for it, say of one PvD. It is not
// changed once it has been handed out, and must not be.
type Proposal struct {
	// Key tells the PvDs of a link apart. The zero Key is that of the implicit PvD of a link
	// that no router has advertised anything on, which has a lease of DHCPv4 only.
	Key ra.Key

	// Instance is a number that no other PvD of the machine has had. A PvD that ended and
	// came again is another one (RFC 7556 section 2).
	Instance uint64

	// Link is where it was learned, and Name what people call it.
	Link, Name string

	Addresses []pvd.AddressInfo // their states are left to who checks for duplicates
	Routes    []pvd.Route
	Servers   []netip.AddrPort // for DNS
	Search    []string
	MTU       int // in octets; 0: nobody says
	Elements  []pvd.Element
}

// Clone returns a copy of p that may be changed.
func (p *Proposal) Clone() *Proposal {
	c := *p
	c.Addresses = slices.Clone(p.Addresses)
	c.Routes = slices.Clone(p.Routes)
	c.Servers = slices.Clone(p.Servers)
	c.Search = slices.Clone(p.Search)
	c.Elements = slices.Clone(p.Elements)
	return &c
}
