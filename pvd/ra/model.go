package ra

import (
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// ModelAddresses returns the PvD's addresses as the model has them, on a link. The state
// of each is left to who has checked for duplicates. Date is the time of day of a moment.
//
// An address has the length of its prefix only while the prefix is on the link: that an
// address was made of it does not mean that (RFC 5942 section 4).
func (p *PvD) ModelAddresses(link string, date func(time.Duration) time.Time) []pvd.AddressInfo {
	infos := make([]pvd.AddressInfo, 0, len(p.Addresses))
	for _, a := range p.Addresses {
		prefix := a.Prefix
		ll := prefix.Addr().IsLinkLocalUnicast()
		if !ll && !p.isOnLink(prefix.Masked()) {
			prefix = netip.PrefixFrom(prefix.Addr(), 128)
		}
		info := pvd.AddressInfo{Automatic: ll}
		info.Address = pvd.Address{Prefix: prefix, Link: link, Temporary: a.Temporary, Deprecated: a.Deprecated}
		if a.Preferred != Infinite {
			info.PreferredUntil = date(a.Preferred)
		}
		if a.Valid != Infinite {
			info.ValidUntil = date(a.Valid)
		}
		infos = append(infos, info)
	}
	return infos
}

func (p *PvD) isOnLink(prefix netip.Prefix) bool {
	return slices.ContainsFunc(p.Prefixes, func(x Prefix) bool { return x.Prefix == prefix && x.OnLink != 0 })
}

// ModelRoutes returns the PvD's routes as the model has them, on a link: those through
// routers, and those to prefixes on the link of which the PvD has no address.
//
// Where more than one router leads to the same place, each gets one more route for the
// sources in each prefix that it advertises: packets from there should go by such a
// router, whatever the preferences (RFC 8028 section 3.1).
func (p *PvD) ModelRoutes(link string) (routes []pvd.Route) {
	for _, r := range p.Routes {
		m := pvd.Route{To: r.To, Via: r.Via, Link: link, Preference: r.Preference}
		routes = append(routes, m)
		if !slices.ContainsFunc(p.Routes, func(o Route) bool { return o.To == r.To && o.Via != r.Via }) {
			continue
		}
		for _, x := range p.Prefixes {
			if x.Router == r.Via {
				m.From = x.Prefix
				routes = append(routes, m)
			}
		}
	}
	for _, x := range p.Prefixes {
		m := pvd.Route{To: x.Prefix, Link: link}
		of := func(a Address) bool { return a.Prefix.Masked() == x.Prefix }
		if x.OnLink != 0 && !slices.ContainsFunc(p.Addresses, of) && !slices.Contains(routes, m) {
			routes = append(routes, m)
		}
	}
	return routes
}
