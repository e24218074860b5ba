package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// hostLink is the name of the link that is measured.
const hostLink = "bench"

// A hostEngine is a pvdstack host, and one PvD of it.
type hostEngine struct {
	host    *stack.Host
	ref     pvd.Ref
	network *stack.Network // ref's, which applications keep too
}

// newHostEngine returns a host on l with one PvD. It owns l, even if it fails.
func newHostEngine(ctx context.Context, l tun.Link, a attachment) (*hostEngine, error) {
	h, err := stack.New(stack.Config{})
	if err != nil {
		l.Close() //nolint:errcheck // err says more
		return nil, err
	}
	if err := h.AddLink(hostLink, l); err != nil {
		l.Close() //nolint:errcheck // err says more
		h.Close() //nolint:errcheck // likewise
		return nil, err
	}
	e := &hostEngine{host: h}
	if e.ref, err = e.add(ctx, pvdOf("measured", a.prefix())); err != nil {
		h.Close() //nolint:errcheck // err says more
		return nil, err
	}
	e.network = h.In(e.ref)
	return e, nil
}

// pvdOf describes a PvD with one address.
func pvdOf(name string, addr netip.Prefix, routes ...pvd.Route) pvd.Config {
	return pvd.Config{Name: name, Links: []string{hostLink}, Addresses: []pvd.Address{{Prefix: addr}}, Routes: routes}
}

// add attaches a PvD and waits until it can be used.
func (e *hostEngine) add(ctx context.Context, c pvd.Config) (pvd.Ref, error) {
	ref, err := e.host.Add(ctx, c)
	if err != nil {
		return ref, err
	}
	return ref, e.host.WaitReady(ctx, ref)
}

// in returns the engine whose connections are another PvD's of the same host. It is not
// to be closed.
func (e *hostEngine) in(ref pvd.Ref) *hostEngine {
	return &hostEngine{host: e.host, ref: ref, network: e.host.In(ref)}
}

func (e *hostEngine) dial(ctx context.Context, to netip.AddrPort) (conn, error) {
	c, err := e.network.DialContext(ctx, "tcp4", to.String())
	if err != nil {
		return nil, err
	}
	tcp, ok := c.(*stack.TCPConn)
	if !ok {
		return nil, fmt.Errorf("a connection of type %T", c)
	}
	return tcp, nil
}

func (e *hostEngine) close() error { return e.host.Close() }
