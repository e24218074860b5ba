package stack

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// SetSelector makes s choose the PvD of each call for which no scope down to the
// application's names one, from the next call on. The system default is for calls that s
// has no opinion on, or, with a nil s, for all.
//
// Each call asks once, with what is known of it. A call that a scope refers to the system
// default by name ([pvd.SystemDefault]) does not ask.
func (h *Host) SetSelector(s pvd.Selector) {
	if s == nil {
		h.selector.Store(nil)
		return
	}
	h.selector.Store(&s)
}

// selected returns the PvD that the selector chooses for a call, if there is one.
func (n *Network) selected(ctx context.Context, q *query) (pvd.Ref, error) {
	s := n.host.selector.Load()
	if s == nil {
		return pvd.SystemDefault, nil
	}
	ref, err := (*s).SelectPvD(ctx, n.callOf(q))
	switch {
	case ctx.Err() != nil:
		return pvd.Unspecified, contextError(ctx)
	case err != nil:
		return pvd.Unspecified, fmt.Errorf("selecting a PvD: %w", err)
	case ref == pvd.Unspecified:
		return pvd.SystemDefault, nil
	case ref == pvd.All:
		return pvd.Unspecified, fmt.Errorf("selecting a PvD: %v is no single one: %w", ref, syscall.EINVAL)
	}
	if i, err := n.host.Info(ref); ref.Attached() && err == nil && !n.app.sees(i) {
		return pvd.Unspecified, pvd.ErrNoPvD // not even its Ref is for the application
	}
	return ref, nil
}

// callOf returns what a selector is told of a call.
func (n *Network) callOf(q *query) pvd.Call {
	c := pvd.Call{
		Network: q.network,
		Host:    q.host,
		Scope:   q.remote.zone,
		Link:    q.remote.zone,
		Mark:    n.mark,
		ToS:     n.tos,
	}
	if n.app != nil {
		c.App = n.app.name
	}
	if c.Link == "" {
		c.Link = q.local.zone
	}
	if q.remote.addr.IsValid() || q.remote.port != 0 {
		c.Remote = q.remote.addrPort()
	}
	if q.local.addr.IsValid() || q.local.port != 0 {
		c.Local = netip.AddrPortFrom(q.local.at(), q.local.port)
	}
	return c
}
