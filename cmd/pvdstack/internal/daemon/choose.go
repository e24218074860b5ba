package daemon

import (
	"context"
	"net/netip"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/stack/socks5"
)

// newManager puts what chooses among the PvDs to work: rules, and failover of the default.
// There is none where nothing is to be chosen.
func (d *daemon) newManager(c *config.Config) error {
	if len(c.Rules) == 0 && len(c.Failover) == 0 {
		return nil
	}
	m := selection.Config{Registry: d.host, Logger: d.log}
	for _, r := range c.Rules {
		rule := r.Rule
		rule.Action = d.action(r)
		m.Rules = append(m.Rules, rule)
	}
	if len(c.Failover) > 0 {
		m.Failover = new(selection.Failover)
		for _, name := range c.Failover {
			m.Failover.Order = append(m.Failover.Order, selection.Is(d.refs[name]))
		}
	}
	var err error
	d.manager, err = selection.New(m)
	return err
}

func (d *daemon) action(r config.Rule) selection.Action {
	switch {
	case r.PvD == config.SystemDefault:
		return selection.Use(pvd.SystemDefault)
	case r.PvD != "":
		return selection.Use(d.refs[r.PvD])
	case r.Refuse:
		return selection.Refuse()
	case r.OrNext:
		return selection.Choose(r.Choose...).OrNext()
	}
	return selection.Choose(r.Choose...)
}

// app returns the application of a name, which is one for all its proxies.
func (d *daemon) app(name string) *stack.App {
	a, ok := d.apps[name]
	if !ok {
		a = d.host.App(name)
		d.apps[name] = a
	}
	return a
}

// A chooser chooses the network that a request is carried out in.
type chooser func(ctx context.Context, r *socks5.Request) (socks5.Network, error)

// forApp returns the chooser of an application's proxy. It comes down to one PvD, for
// looking the name up and for all that is dialled: a rule for the name says nothing of the
// addresses that it turns out to have, and the default may change in between.
func (d *daemon) forApp(c config.Proxy) chooser {
	app := d.app(c.App)
	return func(ctx context.Context, r *socks5.Request) (socks5.Network, error) {
		ref := pvd.Unspecified
		if d.manager != nil {
			call := pvd.Call{App: c.App, Network: "tcp", Host: r.Host, Mark: c.Mark, ToS: c.ToS}
			addr, _ := netip.ParseAddr(r.Host) // for a name it is the zero Addr
			call.Remote = netip.AddrPortFrom(addr, r.Port)
			var err error
			if ref, err = d.manager.SelectPvD(ctx, call); err != nil {
				return nil, err
			}
		}
		if ref == pvd.Unspecified || ref == pvd.SystemDefault {
			ref = app.SystemDefault()
		}
		return app.In(ref).WithToS(c.ToS), nil
	}
}

// forDefault returns the chooser of a proxy of the default.
func (d *daemon) forDefault(c config.Proxy) chooser {
	return func(context.Context, *socks5.Request) (socks5.Network, error) {
		return d.host.In(d.host.Default()).WithToS(c.ToS), nil
	}
}
