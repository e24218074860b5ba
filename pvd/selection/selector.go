package selection

import (
	"context"
	"errors"
	"hash/maphash"

	"github.com/pvdstack/pvdstack/pvd"
)

// SelectPvD implements [pvd.Selector] by the manager's rules.
func (m *Manager) SelectPvD(ctx context.Context, c pvd.Call) (pvd.Ref, error) {
	k := newCall(c)
	for rule, action := range m.rules.Load().matching(&k) {
		ref, err := m.act(ctx, action, &k)
		_, none := errors.AsType[*NoneError](err)
		switch {
		case err == nil:
			return ref, nil
		case !action.next || !none:
			return pvd.Null, rule.describe(err)
		}
	}
	return pvd.Unspecified, nil
}

func (m *Manager) act(ctx context.Context, a *prepared, c *call) (pvd.Ref, error) {
	switch a.kind {
	case use:
		return a.ref, nil
	case choose:
		q := a.queryFor(m, c.App)
		if a.open {
			return m.openFor(ctx, q, c)
		}
		return m.best(ctx, q, c.target())
	case ask:
		return m.ask(ctx, a.queryFor(m, c.App), c)
	default:
		return pvd.Unspecified, nil
	}
}

// openFor is best, but opens a network where nothing that is attached will do as well.
// The network is not leased: it stays for the idle time, and for as long as it is used.
func (m *Manager) openFor(ctx context.Context, q *query, c *call) (pvd.Ref, error) {
	l, err := m.acquire(ctx, acquisition{query: q, target: c.target(), app: c.App, now: true})
	if err != nil {
		return pvd.Null, err
	}
	defer l.Release()
	return l.Ref(), nil
}

func hashOf(s string) uint64 { return max(maphash.String(hashSeed, s), 1) }
