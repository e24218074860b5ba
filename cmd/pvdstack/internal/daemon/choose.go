package daemon

import (
	"slices"
	"strconv"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/pvd/steer"
	"github.com/pvdstack/pvdstack/stack"
)

// newSelector puts what chooses among the PvDs to work: names, and then the manager.
func (d *daemon) newSelector(c *config.Config) error {
	if err := d.newManager(c); err != nil {
		return err
	}
	var selector pvd.Selector
	if d.manager != nil {
		selector = d.manager
	}
	if len(c.Steer.Table) > 0 || len(c.Steer.Trust) > 0 {
		var err error
		selector, err = steer.New(steer.Config{
			Host: d.host, Table: c.Steer.Table, Find: d.find, Next: selector,
			Trusted: func(i *pvd.Info) bool {
				return slices.ContainsFunc(c.Steer.Trust, func(name string) bool { return d.learner.has(name, i) })
			},
		})
		if err != nil {
			return err
		}
	}
	if selector != nil {
		d.host.SetSelector(selector)
	}
	d.selector = selector
	return nil
}

// newManager makes what chooses by rules, and by failover of the default.
// There is none where nothing is to be chosen.
func (d *daemon) newManager(c *config.Config) error {
	if len(c.Rules) == 0 && len(c.Failover) == 0 {
		return nil
	}
	m := selection.Config{Registry: d.host, Logger: d.log, Permit: d.permits(c.Policy), Rules: d.rules(c)}
	if len(c.Failover) > 0 {
		m.Failover = new(selection.Failover)
		for _, name := range c.Failover {
			m.Failover.Order = append(m.Failover.Order, d.place(name))
		}
	}
	var err error
	d.manager, err = selection.New(m)
	return err
}

// place returns what the PvD that has a place in the failover list is known by.
func (d *daemon) place(name string) selection.Property {
	if !d.isLearned(name) {
		return selection.Is(d.refs[name])
	}
	return selection.Has(pvd.NewCondition("name "+strconv.Quote(name), func(i *pvd.Info) bool { return d.learner.has(name, i) }))
}

// rules returns the rules, as the PvDs that they name are at this moment.
func (d *daemon) rules(c *config.Config) (rules []selection.Rule) {
	for _, r := range c.Rules {
		rule := r.Rule
		rule.Action = d.action(r)
		rules = append(rules, rule)
	}
	return rules
}

func (d *daemon) action(r config.Rule) selection.Action {
	switch {
	case r.PvD == config.SystemDefault:
		return selection.Use(pvd.SystemDefault)
	case r.PvD != "":
		return selection.Use(d.named(r.PvD))
	case r.Refuse:
		return selection.Refuse()
	case r.OrNext:
		return selection.Choose(r.Choose...).OrNext()
	}
	return selection.Choose(r.Choose...)
}

// permits returns what says where rules may choose for an app: what policy allows, and of an
// app that may be in one PvD at a time, the one where it is.
func (d *daemon) permits(policy *pvd.Policy) func(string) func(*pvd.Info) bool {
	return func(name string) func(*pvd.Info) bool {
		may := d.host.Permits(name)
		app := d.apps[name] // nil: the host itself
		if app == nil || policy.MayBridge(name) {
			return may
		}
		in := app.InUse()
		if len(in) == 0 {
			return may
		}
		return func(i *pvd.Info) bool { return in[i.Ref()] > 0 && (may == nil || may(i)) }
	}
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
