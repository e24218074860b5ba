package selection

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// sorted returns strings in order, so that what is first is always the same.
func sorted(names iter.Seq[string]) []string { return slices.Sorted(names) }

// Best returns the best PvD that fulfils the requirements now. The error is a [*NoneError]
// if there is none.
func (m *Manager) Best(ctx context.Context, rs Requirements) (pvd.Ref, error) {
	q, err := newQuery(rs, m.policy)
	if err != nil {
		return pvd.Null, err
	}
	return m.best(ctx, q, target{})
}

// best asks a query, of the registry as it is.
func (m *Manager) best(ctx context.Context, q *query, t target) (pvd.Ref, error) {
	for {
		all, changed, err := m.await(ctx)
		if err != nil {
			return pvd.Null, err
		}
		f := q.best(all, t)
		switch {
		case f != nil && m.current(f):
			m.used(f.ref)
			return f.ref, nil
		case f == nil:
			m.catchUp()
			select {
			case <-changed:
			default:
				return pvd.Null, q.none(all)
			}
		}
		// There is something new. That can not go on without end unless the registry
		// changes all the time, and ctx ends that.
		if ctx.Err() != nil {
			return pvd.Null, context.Cause(ctx)
		}
	}
}

// Rank returns those PvDs that fulfil the requirements now, the best one first.
func (m *Manager) Rank(ctx context.Context, rs Requirements) ([]pvd.Ref, error) {
	q, err := newQuery(rs, m.policy)
	if err != nil {
		return nil, err
	}
	all, _, err := m.await(ctx)
	if err != nil {
		return nil, err
	}
	var refs []pvd.Ref
	for _, f := range q.rank(all, target{}) {
		refs = append(refs, f.ref)
	}
	return refs, nil
}

// WaitFor waits until a PvD fulfils the requirements and returns the best one. It opens
// nothing: see [Manager.Acquire]. When ctx ends first, the error is a [*NoneError] too,
// and wraps the context's.
func (m *Manager) WaitFor(ctx context.Context, rs Requirements) (pvd.Ref, error) {
	q, err := newQuery(rs, m.policy)
	if err != nil {
		return pvd.Null, err
	}
	for {
		all, changed, err := m.await(ctx)
		if err != nil {
			return pvd.Null, err
		}
		if f := q.best(all, target{}); f != nil && m.current(f) {
			return f.ref, nil
		} else if f != nil {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return pvd.Null, fmt.Errorf("%w: %w", q.none(all), context.Cause(ctx))
		}
	}
}
