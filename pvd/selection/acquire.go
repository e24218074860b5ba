package selection

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Request is what [Manager.Acquire] is asked for.
type Request struct {
	// App is the name of the application, whose policy holds. It may be empty.
	App string

	// Requirements are what the PvD has to fulfil.
	Requirements Requirements

	// Priority decides who gets a resource that can not be shared: the higher one.
	Priority int
}

// Acquire waits until a PvD fulfils a request, and returns a lease on the best one. Where
// nothing that is attached is as good, it has a [Provider] open its network: applications
// share what is open before another network is opened, unless a preference of theirs says
// otherwise.
//
// A network whose resource another network has is opened in its place if nobody needs that
// one, or only requests of lower priority: their leases end with [ErrPreempted]. Otherwise
// Acquire waits until the resource is free.
//
// When every provider that would do has failed, Acquire returns their errors. When ctx
// ends first, the error wraps the context's and says what was lacking.
func (m *Manager) Acquire(ctx context.Context, r Request) (*Lease, error) {
	q, err := newQuery(r.Requirements, m.policy)
	if err != nil {
		return nil, err
	}
	if o, ok := m.apps[r.App]; ok {
		q = q.by(o)
	}
	return m.acquire(ctx, acquisition{query: m.permit(q, r.App), app: r.App, priority: r.Priority})
}

// An acquisition is a request in progress.
type acquisition struct {
	query    *query
	target   target
	app      string
	priority int
	now      bool // fail rather than wait for what is not there

	failed []*network // those that were tried
	errs   []error    // and what came of it
}

// acquire serves an acquisition.
func (m *Manager) acquire(ctx context.Context, a acquisition) (*Lease, error) {
	if len(m.networks) > 0 {
		m.catchUp() // nothing is opened for want of what is there already
	}
	for {
		if _, _, err := m.await(ctx); err != nil {
			return nil, err
		}
		l, changed, err := m.tryAcquire(&a)
		switch {
		case err != nil:
			return nil, err
		case l == nil:
			if a.now && changed == nil {
				return nil, m.lacking(&a)
			}
			select {
			case <-changed:
				continue
			case <-ctx.Done():
				return nil, fmt.Errorf("%w: %w", m.lacking(&a), context.Cause(ctx))
			}
		case l.granted():
			if m.confirm(l) {
				return l, nil
			}
		default:
			if err := m.awaitOpen(ctx, &a, l); err != nil {
				return nil, err
			}
			if l.granted() {
				return l, nil
			}
		}
	}
}

func (l *Lease) granted() bool { return l.Ref() != pvd.Unspecified }

// tryAcquire returns a lease that is granted, or one that waits for its network to open;
// or a channel that is closed when it is worth another try, which is nil if that can only
// be because something new appears.
func (m *Manager) tryAcquire(a *acquisition) (l *Lease, changed <-chan struct{}, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return nil, nil, m.ended
	}
	if m.nLeases >= MaxLeases {
		return nil, nil, fmt.Errorf("%w: %d leases are out", ErrBusy, m.nLeases)
	}
	l = &Lease{m: m, app: a.app, query: a.query, priority: a.priority, opened: make(chan error, 1), done: make(chan struct{})}
	pool := slices.Clone(m.index.all)
	offers := make(map[*facts]*network)
	for _, n := range m.networks {
		if n.state != open && !slices.Contains(a.failed, n) {
			offers[n.facts] = n
			pool = append(pool, n.facts)
		}
	}
	waiting := false
	for {
		f := a.query.best(pool, a.target)
		switch n := offers[f]; {
		case f == nil && len(a.errs) > 0 && !waiting:
			return nil, nil, errors.Join(a.errs...)
		case f == nil && waiting:
			return nil, m.changed, nil
		case f == nil:
			if a.now {
				return nil, nil, nil
			}
			return nil, m.changed, nil
		case n == nil:
			l.network = m.networkOfLocked(f.ref)
			m.grantLocked(l, f.ref)
			return l, nil, nil
		default:
			switch m.claimLocked(l, n) {
			case claimed:
				return l, nil, nil
			case soon:
				waiting = true
			case busy:
				waiting = waiting || !a.now
			}
		}
		pool = slices.DeleteFunc(pool, func(g *facts) bool { return g == f })
	}
}

type claim uint8

const (
	claimed claim = iota
	soon          // the network, or what it needs, is being closed
	busy          // somebody else has what it needs
)

// claimLocked makes l one of those who wait for a network to open, if it can be opened now.
func (m *Manager) claimLocked(l *Lease, n *network) claim {
	if n.state == closing {
		return soon
	}
	if n.state == closed {
		if holder := m.holderLocked(n); holder != nil {
			return m.preemptLocked(holder, l)
		}
		m.openLocked(n)
	}
	l.network = n
	n.claims[l] = struct{}{}
	return claimed
}

// preemptLocked closes a network if l's priority is higher than that of all who need it.
func (m *Manager) preemptLocked(n *network, l *Lease) claim {
	highest, needed := n.priority()
	switch {
	case n.state == closing:
		return soon
	case needed && highest >= l.priority:
		return busy
	}
	m.log.Info("preempted", "op", "acquire", "pvd", n.offer.Name, "app", l.app, "priority", l.priority)
	for other := range n.claims {
		if other.ref == pvd.Unspecified {
			other.opened <- ErrPreempted
			delete(n.claims, other)
			continue
		}
		m.endLocked(other, fmt.Errorf("%w: %s for %q", ErrPreempted, n.offer.Resource, l.app))
	}
	m.closeLocked(n)
	return soon
}

// awaitOpen waits until l's network is open and l granted. It returns nil too if that came
// to nothing and there may be others to try.
func (m *Manager) awaitOpen(ctx context.Context, a *acquisition, l *Lease) error {
	n := l.network
	var err error
	select {
	case err = <-l.opened:
	case <-m.done:
		err = m.whyEnded()
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil || m.ended != nil:
		if l.ref != pvd.Unspecified {
			m.releaseLocked(l)
			return err
		}
		delete(n.claims, l)
		if n.state == opening && len(n.claims) == 0 {
			m.closeLocked(n) // there is nobody left to open it for
		}
		return err
	case err != nil && !errors.Is(err, ErrPreempted):
		a.failed, a.errs = append(a.failed, n), append(a.errs, err)
	}
	return nil
}

// confirm reports whether a lease that was just granted is on a PvD that still fulfils
// the request. If not it gives it back.
func (m *Manager) confirm(l *Lease) bool {
	ref := l.Ref()
	m.mu.Lock()
	f := m.index.by[ref]
	m.mu.Unlock()
	if f != nil && m.current(f) {
		return true
	}
	l.Release()
	return false
}

func (m *Manager) whyEnded() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ended
}

// lacking says why an acquisition has not succeeded.
func (m *Manager) lacking(a *acquisition) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := slices.Clone(m.index.all)
	var busy []error
	may := a.query.permitted()
	for _, n := range m.networks {
		if n.state == open {
			continue
		}
		all = append(all, n.facts)
		if holder := m.holderLocked(n); holder != nil && a.query.fulfils(n.facts) {
			name := "another network"
			if may(holder.facts) {
				name = holder.offer.Name
			}
			busy = append(busy, fmt.Errorf("%w: %s has the %s that %s needs", ErrBusy, name, n.offer.Resource, n.offer.Name))
		}
	}
	return errors.Join(append(busy, a.query.none(all))...)
}
