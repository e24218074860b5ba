package selection

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Provider opens a network on demand: it dials, associates or logs in, and attaches a
// PvD. A [Manager] calls one of Attach and Detach at a time, each in a goroutine of the
// manager's. They must return when ctx ends.
type Provider interface {
	// Offer says what is known of the network before it is open. It is asked once.
	Offer() Offer

	// Attach opens the network and returns its PvD. The PvD need not be usable yet; the
	// manager waits for that. After an error nothing remains.
	Attach(ctx context.Context) (pvd.Ref, error)

	// Detach closes the network. Its PvD may be gone already.
	Detach(ctx context.Context, ref pvd.Ref) error
}

// An Offer is what a network on demand will be like. What it does not say, the network
// does not have, as far as choosing it goes; once it is open, its PvD speaks for itself.
type Offer struct {
	// Name is that of the PvD, and how people see the network. It is required.
	Name string

	// ID is the PvD's, if it is explicit.
	ID pvd.ID

	// Elements are what the PvD will have: its technology, cost, speed, groups.
	Elements []pvd.Element

	// Traits are what it will have that no element says: [IPv4], [IPv6], [Routed],
	// [Internet]. [Available] goes without saying.
	Traits []Trait

	// Resource names what the network needs for itself, such as a modem: of all networks
	// with the same resource, one is open at a time. Empty: nothing.
	Resource string
}

// facts returns what decides about an offer.
func (o *Offer) facts() *facts {
	elements := slices.DeleteFunc(slices.Clone(o.Elements), func(e pvd.Element) bool { return e.Key() == pvd.AnyKey{} })
	f := describe(pvd.NewInfo(pvd.Config{Name: o.Name, ID: o.ID, Elements: elements}.Describe))
	f.traits.set(Available, true)
	for _, t := range o.Traits {
		for all := Available; all <= lastTrait; all++ {
			f.traits.set(all, t.implies(all))
		}
	}
	return f
}

// A network is a provider's, and who needs it. The manager's lock guards it.
type network struct {
	provider Provider
	offer    Offer
	facts    *facts

	state  networkState
	ref    pvd.Ref             // while open
	claims map[*Lease]struct{} // leases, and those that are to become one
	cancel context.CancelFunc  // of opening
	idle   pvd.Timer           // runs while open without claims
	idles  uint64              // how often it was started
}

type networkState uint8

const (
	closed networkState = iota
	opening
	open
	closing
)

// provide takes the providers that there are, before anything else happens.
func (m *Manager) provide(ps []Provider) error {
	if len(ps) > MaxProviders {
		return fmt.Errorf("selection: %d providers, at most %d", len(ps), MaxProviders)
	}
	for i, p := range ps {
		if p == nil {
			return fmt.Errorf("selection: provider %d is nil", i+1)
		}
		n := &network{provider: p, offer: p.Offer(), claims: make(map[*Lease]struct{})}
		if n.offer.Name == "" {
			return fmt.Errorf("selection: provider %d: the offer has no name", i+1)
		}
		n.facts = n.offer.facts()
		n.facts.seq = uint64(i)
		m.networks = append(m.networks, n)
	}
	return nil
}

// priority returns the highest priority of those who need the network.
func (n *network) priority() (highest int, any bool) {
	for l := range n.claims {
		if !any || l.priority > highest {
			highest, any = l.priority, true
		}
	}
	return highest, any
}

// holderLocked returns the network that has what n needs for itself.
func (m *Manager) holderLocked(n *network) *network {
	if n.offer.Resource == "" {
		return nil
	}
	i := slices.IndexFunc(m.networks, func(o *network) bool {
		return o != n && o.state != closed && o.offer.Resource == n.offer.Resource
	})
	if i < 0 {
		return nil
	}
	return m.networks[i]
}

func (m *Manager) networkOfLocked(ref pvd.Ref) *network {
	for _, n := range m.networks {
		if n.state == open && n.ref == ref {
			return n
		}
	}
	return nil
}

// openLocked begins to open a network that is closed.
func (m *Manager) openLocked(n *network) {
	ctx, cancel := m.within(OpenTime)
	n.state, n.cancel = opening, cancel
	m.log.Info("opening", "op", "open", "pvd", n.offer.Name)
	// Ends when the network is open or closed, which ctx bounds.
	m.wg.Go(func() {
		defer cancel()
		ref, err := m.attach(ctx, n)
		m.opened(n, ref, err)
	})
}

// within returns a context that ends after a time by the manager's clock, and with the
// cancel function.
func (m *Manager) within(d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	t := m.clock.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		t.Stop()
		cancel(context.Canceled)
	}
}

// attach has the provider open its network, and waits until it can be used.
func (m *Manager) attach(ctx context.Context, n *network) (pvd.Ref, error) {
	ref, err := n.provider.Attach(ctx)
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err) // providers seldom say why their context ended
		}
		return pvd.Null, fmt.Errorf("selection: %s: %w", n.offer.Name, err)
	}
	if err := m.awaitUsable(ctx, ref); err != nil {
		if err := m.detach(n, ref); err != nil {
			m.log.Warn("closing failed", "op", "close", "pvd", n.offer.Name, "err", err)
		}
		return pvd.Null, fmt.Errorf("selection: %s: %w", n.offer.Name, err)
	}
	return ref, nil
}

// awaitUsable waits until a PvD that is attached can be used.
func (m *Manager) awaitUsable(ctx context.Context, ref pvd.Ref) error {
	if !ref.Attached() {
		return fmt.Errorf("%v: %w", ref, pvd.ErrNoPvD)
	}
	for {
		all, changed, err := m.await(ctx)
		if err != nil {
			return err
		}
		if f := find(all, ref); f != nil && f.traits.has(Available) {
			return nil
		}
		if _, err := m.registry.Info(ref); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("no usable address: %w", context.Cause(ctx))
		}
	}
}

func (m *Manager) detach(n *network, ref pvd.Ref) error {
	ctx, cancel := m.within(CloseTime)
	defer cancel()
	return n.provider.Detach(ctx, ref)
}

// opened takes note of what came of opening a network.
func (m *Manager) opened(n *network, ref pvd.Ref, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	wanted := n.state == opening // else it was given up while it opened
	n.cancel = nil
	if err != nil {
		m.log.Warn("opening failed", "op", "open", "pvd", n.offer.Name, "err", err)
		n.state = closed
		if wanted {
			m.answerLocked(n, err)
		}
		m.notifyLocked()
		return
	}
	n.state, n.ref = open, ref
	if !wanted || m.ended != nil {
		m.closeLocked(n)
		return
	}
	m.answerLocked(n, nil)
	if m.index.by[ref] == nil {
		m.closeLocked(n) // it has gone between being usable and now
		return
	}
	m.idleLocked(n)
	m.notifyLocked()
}

// answerLocked tells those who wait for a network to open what came of it: they have
// their lease, or are no longer among its claims.
func (m *Manager) answerLocked(n *network, err error) {
	f := m.index.by[n.ref]
	for l := range n.claims {
		if l.ref != pvd.Unspecified {
			continue
		}
		why := err
		switch {
		case err != nil:
		case f == nil:
			why = pvd.ErrNoPvD
		case !l.query.fulfils(f):
			why = l.query.none([]*facts{f}) // it is not what was offered
		}
		if why == nil {
			m.grantLocked(l, n.ref)
		} else {
			delete(n.claims, l)
		}
		l.opened <- why
	}
}

// closeLocked closes a network that is open, or gives up opening it. Its claims are the
// caller's to end.
func (m *Manager) closeLocked(n *network) {
	if n.idle != nil {
		n.idle.Stop()
		n.idle = nil
	}
	switch n.state {
	case closed, closing:
		return
	case opening:
		n.state = closing
		n.cancel()
	case open:
		ref := n.ref
		n.state, n.ref = closing, pvd.Unspecified
		m.log.Info("closing", "op", "close", "pvd", n.offer.Name)
		// Ends with the provider's Detach, which its context bounds.
		m.wg.Go(func() {
			err := m.detach(n, ref)
			m.mu.Lock()
			defer m.mu.Unlock()
			if err != nil {
				m.log.Warn("closing failed", "op", "close", "pvd", n.offer.Name, "err", err)
			}
			n.state = closed
			m.notifyLocked()
		})
	}
	m.notifyLocked()
}

// idleLocked has a network that is open and that nobody needs close after a time.
func (m *Manager) idleLocked(n *network) {
	if n.state != open {
		return
	}
	if n.idle != nil {
		n.idle.Stop()
		n.idle = nil
	}
	switch {
	case len(n.claims) > 0:
	case m.idleTime < 0:
		m.closeLocked(n)
	default:
		n.idles++
		nth := n.idles
		n.idle = m.clock.AfterFunc(m.idleTime, func() { m.idled(n, nth) })
	}
}

// idled closes a network that has been idle for long enough, by the timer that was the
// nth.
func (m *Manager) idled(n *network, nth uint64) {
	m.mu.Lock()
	ref := n.ref
	still := func() bool { return n.state == open && n.idle != nil && n.idles == nth }
	ok := still()
	m.mu.Unlock()
	if !ok {
		return
	}
	busy := m.inUse != nil && m.inUse(ref) // it may take locks of its own
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !still():
	case busy:
		m.idleLocked(n)
	default:
		m.closeLocked(n)
	}
}

// used takes note that a PvD was selected: if its network is idle, the time begins anew.
func (m *Manager) used(ref pvd.Ref) {
	if len(m.networks) == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.networkOfLocked(ref); n != nil {
		m.idleLocked(n)
	}
}
