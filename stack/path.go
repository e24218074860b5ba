package stack

import (
	"context"
	"net/netip"
	"slices"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

// A path is how packets get to a destination: link, source and next hop, chosen
// together.
type path struct {
	nic tcpip.NICID
	src netip.Addr // without zone

	// natural means that gVisor, left to itself on nic, picks src as well: there is no
	// need to bind.
	natural bool
}

// path chooses how to reach dst. A valid src has been chosen already and is kept. The
// zone of dst, where it has one, decides the link. While the only addresses that would
// do are tentative it waits, until ctx ends.
//
// The error is EADDRNOTAVAIL when the PvD has no address of dst's family, ENETUNREACH
// when no route leads there, EINVAL when dst needs a zone that it does not have, and
// EADDRNOTAVAIL when src is not the PvD's.
func (d *domain) path(ctx context.Context, src, dst netip.Addr) (path, error) {
	for {
		changed := d.addressesChanged()
		p, err := d.findPath(src.Unmap(), dst.Unmap())
		if err != errTentative {
			return p, err
		}
		select {
		case <-changed:
		case <-d.gone:
			return path{}, pvd.ErrNoPvD
		case <-ctx.Done():
			return path{}, context.Cause(ctx)
		}
	}
}

// pathNow is path for those who can not wait: a tentative address counts as none.
func (d *domain) pathNow(src, dst netip.Addr) (path, error) {
	p, err := d.findPath(src.Unmap(), dst.Unmap())
	if err == errTentative {
		err = syscall.EADDRNOTAVAIL
	}
	return p, err
}

// errTentative is findPath's word that waiting may help.
const errTentative = syscall.EAGAIN

func (d *domain) findPath(src, dst netip.Addr) (path, error) {
	p := d.plan.Load()
	switch {
	case dst.IsUnspecified(), dst.IsLoopback(), isOwn(p, dst):
		return d.localPath(p, src, dst)
	case src.IsValid() && src.IsLoopback():
		return path{}, syscall.EADDRNOTAVAIL // 127/8 never leaves the PvD
	}
	zone := dst.Zone()
	if needsLink(dst) {
		return d.linkPath(p, src, dst.WithZone(""), zone)
	}
	return d.routedPath(p, src, dst.WithZone(""), zone)
}

// needsLink reports whether dst is of the kind that a link has to be chosen for, since
// routes do not lead there.
func needsLink(dst netip.Addr) bool {
	return dst.IsMulticast() || dst == limitedBroadcast || dst.Is6() && dst.IsLinkLocalUnicast()
}

var limitedBroadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// isOwn reports whether dst is the PvD's own address. One that is also valid on another
// link is the PvD's own only with the right zone.
func isOwn(p *plan, dst netip.Addr) bool {
	return slices.ContainsFunc(p.addrs, func(a pvd.AddressInfo) bool {
		return a.State.Usable() && a.Prefix.Addr() == dst.WithZone("") && (dst.Zone() == "" || dst.Zone() == a.Link)
	})
}

// localPath leads to the PvD itself.
func (d *domain) localPath(p *plan, src, dst netip.Addr) (path, error) {
	if dst.IsUnspecified() || dst.IsLoopback() {
		if err := d.loopback(); err != nil {
			return path{}, err
		}
	}
	if src.IsValid() && !src.IsUnspecified() {
		nic, err := d.local(src)
		return path{nic: nic, src: src.WithZone("")}, err
	}
	// gVisor's HandleLocal answers from the destination itself.
	if dst.IsUnspecified() || dst.IsLoopback() {
		return path{nic: loopbackNIC, natural: true}, nil
	}
	nic, err := d.local(dst)
	return path{nic: nic, src: dst.WithZone(""), natural: true}, err
}

// linkPath leads to a destination on a link: the one that the zone or the source names,
// or the only one.
func (d *domain) linkPath(p *plan, src, dst netip.Addr, zone string) (path, error) {
	if zone == "" && src.IsValid() && !src.IsUnspecified() {
		nic, err := d.local(src)
		if err != nil {
			return path{}, err
		}
		zone = d.zoneOf(nic)
	}
	if zone == "" {
		// Multicast and broadcast go by the first link that can carry them.
		if !dst.IsMulticast() && dst != limitedBroadcast && len(p.links) > 1 {
			return path{}, syscall.EINVAL
		}
		zone = p.firstLink(dst)
	}
	l, ok := p.link(zone)
	if !ok {
		return path{}, syscall.ENETUNREACH
	}
	return d.sourceOn(p, l, src, dst)
}

// firstLink returns the first link that has an address of dst's family, else the first.
func (p *plan) firstLink(dst netip.Addr) string {
	for _, l := range p.links {
		for _, a := range p.addrs {
			if a.Link == l.name && a.Prefix.Addr().Is4() == dst.Is4() {
				return l.name
			}
		}
	}
	if len(p.links) > 0 {
		return p.links[0].name
	}
	return ""
}

// routedPath leads to a destination by the routes. Of the routes to the longest prefix,
// the first one that has a source wins; shorter prefixes only count where the longer ones
// have none.
func (d *domain) routedPath(p *plan, src, dst netip.Addr, zone string) (path, error) {
	found, tentative := false, false
	for r := range p.fib.routes(dst) {
		l, ok := p.link(r.link)
		if !ok || (zone != "" && zone != r.link) {
			continue
		}
		found = true
		var from netip.Prefix
		if !src.IsValid() || src.IsUnspecified() {
			from = r.from
		} else if !r.serves(src.WithZone("")) {
			continue
		}
		if via := r.via; via.IsValid() && l.port.hopless(via) {
			continue
		}
		pa, err := d.sourceFrom(p, l, from, src, dst)
		switch err {
		case nil:
			return pa, nil
		case errTentative:
			tentative = true
		}
	}
	switch {
	case tentative:
		return path{}, errTentative
	case !p.hasFamily(dst):
		return path{}, syscall.EADDRNOTAVAIL
	case found && src.IsValid() && !src.IsUnspecified():
		// A route, but none that the source may take: the caller's own choice of source.
		if _, err := d.local(src); err != nil {
			return path{}, err
		}
	}
	return path{}, syscall.ENETUNREACH
}

func (p *plan) hasFamily(dst netip.Addr) bool {
	for _, a := range p.addrs {
		own := a.Prefix.Addr()
		if own.Is4() == dst.Is4() && (own.Is4() || !own.IsLinkLocalUnicast()) && a.State != pvd.Duplicate {
			return true
		}
	}
	return false
}

func (d *domain) sourceOn(p *plan, l planLink, src, dst netip.Addr) (path, error) {
	return d.sourceFrom(p, l, netip.Prefix{}, src, dst)
}

// sourceFrom chooses the source on link l, among the addresses in from if that is valid.
func (d *domain) sourceFrom(p *plan, l planLink, from netip.Prefix, src, dst netip.Addr) (path, error) {
	if src.IsValid() && !src.IsUnspecified() {
		nic, err := d.local(src.WithZone(l.name))
		if err != nil && src.Is4() {
			nic, err = d.local(src)
		}
		if err != nil {
			return path{}, err
		}
		if nic != l.nic {
			return path{}, syscall.ENETUNREACH // strong host: a source leaves by its own link
		}
		return path{nic: l.nic, src: src.WithZone("")}, nil
	}
	best, tentative := netip.Addr{}, false
	var bestInfo pvd.AddressInfo
	for _, a := range p.addrs {
		own := a.Prefix.Addr()
		if a.Link != l.name || own.Is4() != dst.Is4() || (from.IsValid() && !from.Contains(own)) {
			continue
		}
		if a.State == pvd.Tentative {
			tentative = true
		}
		if a.State.Usable() && (!best.IsValid() || betterSource(a, bestInfo, dst)) {
			best, bestInfo = own, a
		}
	}
	if !best.IsValid() {
		if tentative {
			return path{}, errTentative
		}
		return path{}, syscall.EADDRNOTAVAIL
	}
	return path{nic: l.nic, src: best, natural: d.natural(l.nic, best, dst)}, nil
}

// natural reports whether gVisor would choose src for dst on the NIC by itself.
func (d *domain) natural(nic tcpip.NICID, src, dst netip.Addr) bool {
	r, err := d.stk.FindRoute(nic, tcpip.Address{}, toAddr(dst), protocolOf(dst), false)
	if err != nil {
		return false
	}
	defer r.Release()
	return r.LocalAddress() == toAddr(src)
}
