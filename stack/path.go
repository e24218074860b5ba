package stack

import (
	"context"
	"errors"
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

	// hopless means that the only routers there are have lately not answered.
	hopless bool
}

// path chooses how to reach dst. A valid src has been chosen already and is kept. The
// zone of dst, where it has one, decides the link. While the only addresses that would
// do are tentative it waits, until ctx ends.
//
// The error is EADDRNOTAVAIL when the PvD has no address of dst's family, ENETUNREACH
// when no route leads there, EINVAL when dst needs a zone that it does not have, and
// EADDRNOTAVAIL when src is not the PvD's.
func (d *domain) path(ctx context.Context, src, dst netip.Addr) (path, error) {
	p, err := d.findPath(src, dst)
	for errors.Is(err, errTentative) {
		changed := d.addressesChanged()
		if p, err = d.findPath(src, dst); !errors.Is(err, errTentative) {
			break
		}
		select {
		case <-changed:
		case <-d.gone:
			return path{}, pvd.ErrNoPvD
		case <-ctx.Done():
			return path{}, context.Cause(ctx)
		}
	}
	return p, err
}

// errTentative is findPath's word that waiting may help.
const errTentative = syscall.EAGAIN

func (d *domain) findPath(src, dst netip.Addr) (path, error) {
	p := d.plan.Load()
	src, dst = src.Unmap(), dst.Unmap()
	if src.IsUnspecified() {
		src = netip.Addr{} // for us to choose
	}
	switch {
	case dst.IsUnspecified(), dst.IsLoopback(), isOwn(p, dst):
		return d.localPath(src, dst)
	case src.IsLoopback():
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
func (d *domain) localPath(src, dst netip.Addr) (path, error) {
	if dst.IsUnspecified() || dst.IsLoopback() {
		if err := d.loopback(); err != nil {
			return path{}, err
		}
	}
	if src.IsValid() {
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
	if zone == "" && src.IsValid() {
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
	switch {
	case !ok && slices.Contains(p.lost, zone), ok && !l.port.link.up.Load():
		return path{}, syscall.ENETDOWN
	case !ok:
		return path{}, syscall.ENETUNREACH
	}
	if src.IsValid() {
		return d.givenSource(l, src)
	}
	q := p.selector.For(dst)
	pa, _, err := d.sourceFor(p, &q, l, fibRoute{link: l.name}, dst)
	return pa, err
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
// have none. Routers that have lately not answered come last (RFC 4191 section 3.2). The
// PvD's policy may have another order.
func (d *domain) routedPath(p *plan, src, dst netip.Addr, zone string) (path, error) {
	w := ways{d: d, p: p, src: src, dst: dst, zone: zone, why: syscall.ENETUNREACH}
	for _, hopless := range []bool{false, true} {
		pa, ok := w.find(hopless)
		if ok {
			pa.hopless = hopless
			return pa, nil
		}
		if w.end != nil {
			return path{}, w.end
		}
	}
	if errors.Is(w.why, syscall.ENETUNREACH) && !p.hasFamily(dst) {
		w.why = syscall.EADDRNOTAVAIL
	}
	return path{}, w.why
}

// worse keeps of two reasons for which a path was not found the one that tells more: that
// waiting may help, then that a link is down, then what is wrong with the source.
func worse(a, b error) error {
	rank := func(err error) int {
		switch {
		case errors.Is(err, errTentative):
			return 3
		case errors.Is(err, syscall.ENETDOWN):
			return 2
		case errors.Is(err, syscall.EADDRNOTAVAIL):
			return 1
		}
		return 0
	}
	if rank(b) > rank(a) {
		return b
	}
	return a
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

// natural reports whether gVisor would choose src for dst on the NIC by itself.
func (d *domain) natural(nic tcpip.NICID, src, dst netip.Addr) bool {
	r, err := d.stk.FindRoute(nic, tcpip.Address{}, toAddr(dst), protocolOf(dst), false)
	if err != nil {
		return false
	}
	defer r.Release()
	return r.LocalAddress() == toAddr(src)
}
