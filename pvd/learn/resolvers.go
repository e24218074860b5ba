package learn

import (
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/dhcp"
)

// addResolvers adds the encrypted DNS servers that are named for a PvD (RFC 9463), those of
// DHCP first, as with other servers. Those that can not be spoken to are left out.
func (m *Machine) addResolvers(p *Proposal, f *facts) {
	var all []pvd.EncryptedServer
	add := func(r dhcp.Resolver) {
		s := pvd.EncryptedServer{Priority: r.Priority, Name: r.Name}
		if err := s.ParseService(r.Params); err != nil {
			m.remark("encrypted DNS server %q: %v", r.Name, err)
			return
		}
		for _, a := range r.Addrs {
			s.Addrs = append(s.Addrs, m.zoned(a))
		}
		if len(s.Addrs) == 0 {
			return // its name would have to be looked up by other servers
		}
		same := func(o pvd.EncryptedServer) bool { return o.Name == s.Name && slices.Equal(o.Addrs, s.Addrs) }
		if len(all) < pvd.MaxDNSServers && !slices.ContainsFunc(all, same) {
			all = append(all, s)
		}
	}
	addAll := func(rs []dhcp.Resolver) {
		for _, r := range rs {
			add(r)
		}
	}
	if f.info6 != nil {
		addAll(f.info6.Resolvers)
	}
	if f.other6 != nil {
		addAll(f.other6.Resolvers)
	}
	if f.lease4 != nil {
		addAll(f.lease4.Resolvers)
	}
	if f.learned != nil {
		for _, r := range f.learned.Resolvers {
			add(dhcp.Resolver(r.Value))
		}
	}
	if len(all) > 0 {
		p.Elements = append(p.Elements, pvd.EncryptedDNS.With(all))
	}
}

// zoned returns an address with the link's name as its zone if it is link-local.
func (m *Machine) zoned(a netip.Addr) netip.Addr {
	if a.Is6() && a.IsLinkLocalUnicast() {
		return a.WithZone(m.config.Link)
	}
	return a
}
