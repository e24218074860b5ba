package stack

import (
	"context"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/nat64"
)

// translate puts the addresses by which a translator of the PvD's is reached in the place of
// IPv4 addresses that the PvD has no way to (RFC 8305 section 7, RFC 6147 section 5.1.7).
// Where there is no translator they stay, for the error that they are worth.
func (dl *dialing) translate(ctx context.Context, addrs []netip.Addr) []netip.Addr {
	if !dl.translates(addrs) {
		return addrs
	}
	prefixes := dl.translators(ctx)
	if len(prefixes) == 0 {
		return addrs
	}
	var made []netip.Addr
	for _, a := range addrs {
		if !translatable(a) {
			made = append(made, a)
			continue
		}
		for _, p := range prefixes {
			if six, err := nat64.Synthesize(p, a); err == nil && !slices.Contains(made, six) {
				made = append(made, six)
			}
		}
	}
	if len(made) == 0 {
		return addrs
	}
	return made
}

// translates reports whether some of the addresses have to be translated.
func (dl *dialing) translates(addrs []netip.Addr) bool {
	return dl.family != family4 && slices.ContainsFunc(addrs, translatable) && dl.d.lacks(true, dl.local.Addr())
}

// translatable reports whether an address is one that a translator can stand for: of IPv4,
// and not about the PvD or its links.
func translatable(a netip.Addr) bool {
	return a.Is4() && a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() && a != limitedBroadcast
}

// lacks reports whether the PvD can have no packet of a family leave for anywhere beyond its
// links, from a source of the caller's if that is valid.
func (d *domain) lacks(v4 bool, src netip.Addr) bool {
	if src.IsValid() && src.Is4() == v4 && !src.IsUnspecified() {
		return false // it is the caller's wish
	}
	return !d.plan.Load().configured(v4)
}

// configured reports whether there is an address of a family. A link-local one of IPv6, which
// comes by itself, does not count.
func (p *plan) configured(v4 bool) bool {
	return slices.ContainsFunc(p.addrs, func(a pvd.AddressInfo) bool {
		own := a.Prefix.Addr()
		return own.Is4() == v4 && (v4 || !own.IsLinkLocalUnicast()) && (a.State.Usable() || a.State == pvd.Tentative)
	})
}

// translators returns the prefixes of the PvD's translators: those that it is known to
// have, or else those that its name servers know (RFC 7050), which are asked again when what
// they said is over. Who dials a name server can not wait for what that one would say.
func (dl *dialing) translators(ctx context.Context) []netip.Prefix {
	known, ok := pvd.NAT64.Get(dl.d.info.Load())
	if ok || dl.resolves {
		return known
	}
	addrs, err := dl.d.lookup(ctx, "ip6", nat64.Name)
	if err != nil {
		return nil
	}
	return nat64.Prefixes(addrs)
}
