package stack

import (
	"context"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Route is how packets of a PvD get to a destination.
type Route struct {
	PvD     pvd.Ref
	Link    string     // empty: they do not leave the PvD
	Source  netip.Addr // the address that a connection has of its own
	NextHop netip.Addr // the router, or the destination where there is none on the way
}

// Route returns how a packet to dst would leave the PvD that the call is in, now. Nothing is
// sent, and the next one may go elsewhere. The error is a *net.OpError as of
// [Network.DialContext].
func (n *Network) Route(ctx context.Context, dst netip.Addr) (Route, error) {
	q := query{call: "connect", network: "ip", host: dst.String()}
	q.remote.literal, _ = parseLiteral(q.host)
	d, err := n.place(ctx, &q)
	if err == nil {
		dst = q.remote.addr.WithZone(q.remote.zone)
		var p path
		if p, err = d.path(ctx, netip.Addr{}, dst); err == nil {
			return d.routeOf(p, dst), nil
		}
		err = callError(q.call, err)
	}
	return Route{}, opError(opDial, "ip", nil, nil, err)
}

func (d *domain) routeOf(p path, dst netip.Addr) Route {
	r := Route{PvD: d.ref, Link: d.zoneOf(p.nic), Source: d.withZone(p.src, p.nic), NextHop: dst}
	if l, ok := d.plan.Load().linkOfNIC(p.nic); ok {
		if hop, ok := l.port.nextHop(p.src, dst.WithZone("")); ok {
			r.NextHop = d.withZone(hop, p.nic)
		}
	}
	return r
}
