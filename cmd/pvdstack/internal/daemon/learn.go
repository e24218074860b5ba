package daemon

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/pvdstack/pvdstack/cmd/pvdstack/internal/config"
	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
	"github.com/pvdstack/pvdstack/stack"
)

// absent is a Ref that no attachment gets: they are counted from below.
const absent pvd.Ref = math.MaxUint64

// discover has the PvDs of links learned.
func (d *daemon) discover(c *config.Config) error {
	roots, err := loadRoots(c.Roots)
	if err != nil {
		return err
	}
	var leases stack.Leases
	if d.state != nil {
		leases = d.state
	}
	for _, l := range c.Links {
		if l.Discover == (config.Discover{}) {
			continue
		}
		err := d.host.Discover(l.Name, stack.Discovery{
			RA: l.Discover.RA, DHCPv4: l.Discover.DHCP4, DHCPv6: l.Discover.DHCP6,
			Temporary: l.Discover.Temporary, Prefixes: l.Discover.Prefixes, IPv6Only: l.Discover.IPv6Only,
			Information: l.Discover.Information, Roots: roots, Rules: c.Learn, Leases: leases,
		})
		if err != nil {
			return fmt.Errorf("link %s: %w", l.Name, err)
		}
	}
	return nil
}

// A learner knows which PvDs have the names of the configuration that are for what is
// learned, at this moment.
type learner struct {
	names map[string]*learn.Rule // nil: the name is an ID

	mu   sync.RWMutex
	refs map[string][]pvd.Ref
}

// newLearner returns what knows the names in c that PvDs have when they are learned. The network
// can call a PvD what it likes: one that bears such a name has to meet what the configuration
// says of it, too.
func newLearner(c *config.Config) *learner {
	l := &learner{names: make(map[string]*learn.Rule), refs: make(map[string][]pvd.Ref)}
	for i := range c.Learn {
		if r := &c.Learn[i]; r.Name != "" {
			l.names[r.Name] = r
		}
	}
	named := append([]string{c.Default}, c.Failover...)
	for _, r := range c.Rules {
		named = append(named, r.PvD)
	}
	for _, p := range c.Proxies {
		named = append(named, p.PvD)
	}
	for _, s := range c.Stubs {
		named = append(named, s.PvD)
	}
	for _, e := range c.Steer.Table {
		named = append(named, e.PvD)
	}
	named = append(named, c.Steer.Trust...)
	for _, n := range named {
		if n != "" && n != config.SystemDefault && c.IsLearned(n) && l.names[n] == nil {
			l.names[n] = nil
		}
	}
	return l
}

// has reports whether a PvD is what a name stands for.
func (l *learner) has(name string, i *pvd.Info) bool {
	rule, ok := l.names[name]
	switch {
	case !ok:
		return false
	case rule == nil:
		id, err := pvd.ParseID(name)
		return err == nil && i.ID() == id
	}
	m := &rule.Match
	if i.Name() != name || i.ID() != m.ID {
		return false
	}
	origins, _ := learn.Learned.Get(i) // none of what is not learned
	return slices.ContainsFunc(origins, func(o learn.Origin) bool {
		return (m.Link == "" || m.Link == o.Link) && (!m.Router.IsValid() || slices.Contains(o.Routers, m.Router))
	})
}

// ref returns the PvD that a name stands for, [pvd.ErrNoPvD] if it is not there, or
// [pvd.ErrAmbiguous] if there are several.
func (l *learner) ref(name string) (pvd.Ref, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	switch refs := l.refs[name]; len(refs) {
	case 0:
		return pvd.Unspecified, fmt.Errorf("pvd %s has not been learned: %w", name, pvd.ErrNoPvD)
	case 1:
		return refs[0], nil
	default:
		// No request may be in one of several (one PvD a request).
		return pvd.Unspecified, fmt.Errorf("pvd %s: %w: %v", name, errors.Join(pvd.ErrAmbiguous, pvd.ErrNoPvD), refs)
	}
}

// take takes in what a PvD is now; nil: it is gone. It reports whether a name has another
// PvD, or none, because of that.
func (l *learner) take(ref pvd.Ref, i *pvd.Info) (changed bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name := range l.names {
		at := slices.Index(l.refs[name], ref)
		has := i != nil && l.has(name, i)
		switch {
		case has == (at >= 0):
			continue
		case has:
			l.refs[name] = append(l.refs[name], ref)
		default:
			l.refs[name] = slices.Delete(l.refs[name], at, at+1)
		}
		changed = true
	}
	return changed
}

// retain forgets the PvDs that are not among those there are.
func (l *learner) retain(there map[pvd.Ref]bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, refs := range l.refs {
		l.refs[name] = slices.DeleteFunc(refs, func(r pvd.Ref) bool { return !there[r] })
	}
}

// follow is the task that keeps up with what is learned.
func (d *daemon) follow(c *config.Config) func(context.Context) error {
	return func(ctx context.Context) error {
		settle := func() {
			if err := d.settle(c); err != nil {
				d.log.Warn("what was learned is not in use", "op", "learn", "err", err)
			}
		}
		there := make(map[pvd.Ref]bool) // nil: all that there are have been told
		for e, err := range d.host.Watch(ctx, pvd.Filter{Kinds: []pvd.EventKind{pvd.Added, pvd.Changed, pvd.Removed}}) {
			switch {
			case errors.Is(err, pvd.ErrLagged):
				there = make(map[pvd.Ref]bool)
				continue
			case ctx.Err() != nil, errors.Is(err, pvd.ErrClosed):
				return nil
			case err != nil:
				return err
			case e.Kind == pvd.Synced:
				d.learner.retain(there)
				there = nil
				settle()
				continue
			}
			changed := d.learner.take(e.Ref, e.Info)
			switch {
			case there != nil:
				there[e.Ref] = true
			case changed:
				settle()
			}
		}
		return nil
	}
}

// settle puts the names' PvDs to use: in rules, and as the default. A default that is gone
// remains what it is, so that requests fail rather than go elsewhere.
func (d *daemon) settle(c *config.Config) error {
	var errs []error
	if d.manager != nil && slices.ContainsFunc(c.Rules, func(r config.Rule) bool { return d.isLearned(r.PvD) }) {
		errs = append(errs, d.manager.SetRules(d.rules(c)))
	}
	if ref, err := d.learner.ref(c.Default); err == nil && ref != d.host.Default() {
		if err := d.host.SetDefault(ref); err != nil && !errors.Is(err, pvd.ErrNoPvD) { // it has gone meanwhile, which is told
			errs = append(errs, fmt.Errorf("default %s: %w", c.Default, err))
		}
	}
	return errors.Join(errs...)
}

func (d *daemon) isLearned(name string) bool {
	_, ok := d.learner.names[name]
	return ok
}

// find returns the PvD that a name in the configuration stands for.
func (d *daemon) find(name string) (pvd.Ref, error) {
	if d.isLearned(name) {
		return d.learner.ref(name)
	}
	return d.refs[name], nil
}

// named returns the PvD that a name in the configuration stands for, or [absent].
func (d *daemon) named(name string) pvd.Ref {
	if ref, err := d.find(name); err == nil {
		return ref
	}
	return absent
}
