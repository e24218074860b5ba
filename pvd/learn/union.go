package learn

import (
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Union is what one PvD is made of: one proposal, or one of each link for a PvD whose ID
// is trusted on several (RFC 8801 section 3.4). The first one's link is the preferred one.
type Union []*Proposal

// Config returns the union as the configuration of a PvD. Of what a PvD has only one the
// first proposal that has it counts; the MTU is the smallest.
func (u Union) Config() pvd.Config {
	c := pvd.Config{ID: u[0].Key.ID, Name: u[0].Name}
	var origins []Origin
	for _, p := range u {
		c.Links = append(c.Links, p.Link)
		for _, a := range p.Addresses {
			c.Addresses = append(c.Addresses, a.Address)
		}
		c.Routes = append(c.Routes, p.Routes...)
		for _, s := range p.Servers {
			if len(c.DNS.Servers) < pvd.MaxDNSServers && !slices.Contains(c.DNS.Servers, s) {
				c.DNS.Servers = append(c.DNS.Servers, s)
			}
		}
		for _, n := range p.Search {
			if len(c.DNS.Search) < pvd.MaxSearch && !slices.Contains(c.DNS.Search, n) {
				c.DNS.Search = append(c.DNS.Search, n)
			}
		}
		if p.MTU != 0 && (c.MTU == 0 || p.MTU < c.MTU) {
			c.MTU = p.MTU
		}
		for _, e := range p.Elements {
			if of, ok := e.Value().([]Origin); ok && e.Key() == Learned.Any() {
				origins = append(origins, of...)
			} else if !slices.ContainsFunc(c.Elements, func(o pvd.Element) bool { return o.Key() == e.Key() }) {
				c.Elements = append(c.Elements, e)
			}
		}
	}
	if len(origins) > 0 {
		c.Elements = append(c.Elements, Learned.With(origins))
	}
	return c
}

// Describe makes b what the union says. Addresses that are new begin as tentative; the
// others keep their state. The union's Config must be valid.
func (u Union) Describe(b *pvd.Builder) {
	u.Config().Describe(b)
	infos, _ := pvd.Addresses.Of(b)
	for i := range infos {
		for _, p := range u {
			for _, a := range p.Addresses {
				if p.Link == infos[i].Link && a.Prefix.Addr() == infos[i].Prefix.Addr() {
					infos[i].PreferredUntil, infos[i].ValidUntil = a.PreferredUntil, a.ValidUntil
				}
			}
		}
	}
	pvd.Addresses.Set(b, infos)
}
