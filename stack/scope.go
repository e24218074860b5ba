package stack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// A query is a call whose PvD is to be found.
type query struct {
	call    string // what the system calls it, for errors
	network string
	host    string // the destination as the application gave it
	remote  target // the same where it is a literal; its port in any case
	local   target
}

// Scope returns the PvD that a call with ctx is in, as far as that depends on no
// destination: the one that the network was made for, else the one that ctx carries, else
// the App's default, else the one that the [pvd.Selector] chooses, else the system's
// default. It is a PvD that was attached, [pvd.Null] or [pvd.All]. That it can be used is
// not said: its PvD may be gone, and policy may forbid it. Scope allocates nothing.
//
// It is what pvdhttp.Pool asks for.
func (n *Network) Scope(ctx context.Context) pvd.Ref {
	ref, err := n.choose(ctx, &query{})
	if err != nil {
		return pvd.Null // no PvD could be chosen
	}
	return ref
}

// named returns the PvD that the scopes down to the application's name for a call, the
// finest that names one: [pvd.Unspecified] if none does.
func (n *Network) named(ctx context.Context) pvd.Ref {
	if n.ref != pvd.Unspecified {
		return n.ref
	}
	if ref := pvd.FromContext(ctx); ref != pvd.Unspecified {
		return ref
	}
	return n.app.Default()
}

// choose finds the one PvD that a call is in: Null, All, or one that was attached. Zones
// that stand for a PvD are taken off the query's addresses; those that are left are names
// of links.
func (n *Network) choose(ctx context.Context, q *query) (pvd.Ref, error) {
	ref := n.named(ctx)
	var err error
	if q.remote.zone != "" || q.local.zone != "" {
		if ref, err = n.zoned(ref, q); err != nil {
			return pvd.Unspecified, callError(q.call, err)
		}
	}
	if ref == pvd.Unspecified {
		if ref, err = n.selected(ctx, q); err != nil {
			return pvd.Unspecified, callError(q.call, err)
		}
	}
	if ref == pvd.SystemDefault {
		ref = n.systemDefault()
	}
	return ref, nil
}

// place is choose for a call that needs a single PvD, which is at work.
func (n *Network) place(ctx context.Context, q *query) (*domain, error) {
	ref, err := n.choose(ctx, q)
	if err != nil {
		return nil, err
	}
	return n.use(ref, q.call)
}

// use returns the PvD at work that a scope has come down to, if the application may use it.
func (n *Network) use(ref pvd.Ref, call string) (*domain, error) {
	switch ref {
	case pvd.Null:
		return nil, callError(call, syscall.ENETUNREACH)
	case pvd.All:
		return nil, callError(call, syscall.EINVAL) // for listening only
	default:
		d, err := n.host.domain(ref)
		if err == nil {
			err = n.app.permit(d)
		}
		if err != nil {
			return nil, callError(call, err)
		}
		return d, nil
	}
}

// systemDefault returns the system default as the application sees it.
func (n *Network) systemDefault() pvd.Ref {
	if n.app == nil {
		return n.host.Default()
	}
	return n.app.SystemDefault()
}

// zoned returns the PvD that the zones of a query's addresses stand for, ref where they are
// names of links. They go before all scopes but the network's own, which they may not
// contradict, nor each other.
func (n *Network) zoned(ref pvd.Ref, q *query) (pvd.Ref, error) {
	if ref == pvd.Null && n.ref == ref {
		return ref, nil // nothing works there, whatever the address
	}
	links := n.linksOf(ref)
	fixed := n.ref
	if fixed == pvd.SystemDefault {
		fixed = n.systemDefault()
	}
	take := func(l *literal, noLink error) error {
		if l.zone == "" {
			return nil
		}
		stands, err := n.host.zone(n.app, *l, links, noLink)
		switch {
		case err != nil || stands == pvd.Unspecified:
			return err
		case fixed != pvd.Unspecified && fixed != stands:
			return fmt.Errorf("zone %q is not the PvD of the call: %w", l.zone, syscall.EINVAL)
		}
		fixed, ref = stands, stands
		l.zone = ""
		return nil
	}
	if err := take(&q.remote.literal, syscall.ENETUNREACH); err != nil {
		return pvd.Unspecified, err
	}
	if err := take(&q.local.literal, syscall.EADDRNOTAVAIL); err != nil {
		return pvd.Unspecified, err
	}
	return ref, nil
}

// linksOf returns what tells the names of the links in scope: those of a PvD that is named
// or, where the selector is to choose one, all.
func (n *Network) linksOf(ref pvd.Ref) func(name string) bool {
	if ref == pvd.Unspecified && n.host.selector.Load() != nil {
		return func(name string) bool { _, ok := n.host.link(name); return ok }
	}
	if ref == pvd.Unspecified || ref == pvd.SystemDefault {
		ref = n.systemDefault()
	}
	d, err := n.host.domain(ref)
	if err != nil || !n.app.sees(d.info.Load()) {
		return func(string) bool { return false }
	}
	return d.hasLink
}

// hasLink reports whether a name is that of one of the PvD's links, those that are not
// there at present included.
func (d *domain) hasLink(name string) bool {
	p := d.plan.Load()
	_, ok := p.link(name)
	return ok || slices.Contains(p.lost, name)
}

// zone returns the PvD that the zone of a literal stands for, Unspecified where it is the
// name of a link. Where it may be either, it is a link for addresses that are valid on one
// link only (RFC 4007 section 11), else a PvD. Where it is neither, the error is ErrNoPvD
// and, of an address that might have had a link, noLink too.
func (h *Host) zone(app *App, l literal, links func(name string) bool, noLink error) (pvd.Ref, error) {
	link := l.addr.Is6() && links(l.zone)
	if link && needsLink(l.addr) {
		return pvd.Unspecified, nil
	}
	ref, err := h.find(app, l.zone)
	switch {
	case err == nil:
		return ref, nil
	case !errors.Is(err, pvd.ErrNoPvD):
		return pvd.Unspecified, fmt.Errorf("zone %q: %w", l.zone, err)
	case link:
		return pvd.Unspecified, nil
	case l.addr.Is6():
		return pvd.Unspecified, fmt.Errorf("zone %q: %w, and no such link in the PvD: %w", l.zone, pvd.ErrNoPvD, noLink)
	}
	return pvd.Unspecified, fmt.Errorf("zone %q: %w", l.zone, pvd.ErrNoPvD)
}

// stripped returns the destination without a zone that stands for the PvD, which has to be
// the socket's own.
func (c *UDPConn) stripped(to target) (netip.AddrPort, error) {
	ref, err := c.d.host.zone(c.owner.app, to.literal, c.d.hasLink, syscall.ENETUNREACH)
	switch {
	case err != nil:
		return netip.AddrPort{}, err
	case ref == c.d.ref:
		to.zone = ""
	case ref != pvd.Unspecified:
		return netip.AddrPort{}, os.NewSyscallError("sendto", syscall.EACCES)
	}
	return to.addrPort(), nil
}
