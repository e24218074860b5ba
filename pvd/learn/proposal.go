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

// Config returns the proposal as the configuration of a PvD.
func (p *Proposal) Config() pvd.Config {
	c := pvd.Config{
		ID: p.Key.ID, Name: p.Name, Links: []string{p.Link},
		Routes: slices.Clone(p.Routes), MTU: p.MTU, Elements: slices.Clone(p.Elements),
		DNS: pvd.DNS{Servers: slices.Clone(p.Servers), Search: slices.Clone(p.Search)},
	}
	for _, a := range p.Addresses {
		c.Addresses = append(c.Addresses, a.Address)
	}
	return c
}

// Describe makes b what p says. Addresses that are new begin as tentative; the others keep
// their state. The proposal's Config must be valid.
func (p *Proposal) Describe(b *pvd.Builder) {
	p.Config().Describe(b)
	infos, _ := pvd.Addresses.Of(b)
	for i := range infos {
		for _, a := range p.Addresses {
			if a.Prefix.Addr() == infos[i].Prefix.Addr() {
				infos[i].PreferredUntil, infos[i].ValidUntil = a.PreferredUntil, a.ValidUntil
			}
		}
	}
	pvd.Addresses.Set(b, infos)
}
