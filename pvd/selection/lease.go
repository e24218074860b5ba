package selection

import (
	"fmt"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Lease is a hold on a PvD. As long as there is one, a network that was opened on demand
// is not closed as idle. Its methods may be called concurrently.
type Lease struct {
	m        *Manager
	app      string
	query    *query
	priority int
	network  *network   // nil for a PvD that is there without the manager's doing
	opened   chan error // holds what came of opening the network, once that is known
	done     chan struct{}

	// The manager's lock guards these.
	ref pvd.Ref // Unspecified until granted, and constant then
	err error   // why it ended
}

// Ref returns the PvD.
func (l *Lease) Ref() pvd.Ref {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.ref
}

// Done returns a channel that is closed when the lease has ended.
func (l *Lease) Done() <-chan struct{} { return l.done }

// Err returns nil while the lease lasts, and then why it ended: [pvd.ErrNoPvD] when the
// PvD is gone, [ErrPreempted], [ErrReleased], or [ErrClosed].
func (l *Lease) Err() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	return l.err
}

// Release gives the lease back. Calls after the first, or after the lease's end, do
// nothing.
func (l *Lease) Release() {
	m := l.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if l.err != nil {
		return
	}
	m.releaseLocked(l)
}

func (m *Manager) releaseLocked(l *Lease) {
	m.endLocked(l, ErrReleased)
	if l.network != nil {
		m.idleLocked(l.network)
		m.notifyLocked() // for those who wait for the network's resource
	}
}

// grantLocked makes l a lease on a PvD.
func (m *Manager) grantLocked(l *Lease, ref pvd.Ref) {
	l.ref = ref
	of := m.leases[ref]
	if of == nil {
		of = make(map[*Lease]struct{})
		m.leases[ref] = of
	}
	of[l] = struct{}{}
	m.nLeases++
	if l.network != nil {
		l.network.claims[l] = struct{}{}
		m.idleLocked(l.network)
	}
}

// endLocked ends a lease.
func (m *Manager) endLocked(l *Lease, err error) {
	if l.err != nil {
		return
	}
	l.err = err
	close(l.done)
	if l.network != nil {
		delete(l.network.claims, l)
	}
	of := m.leases[l.ref]
	delete(of, l)
	if len(of) == 0 {
		delete(m.leases, l.ref)
	}
	m.nLeases--
}

// lostLocked ends what depends on a PvD that is gone.
func (m *Manager) lostLocked(ref pvd.Ref) {
	for l := range m.leases[ref] {
		m.endLocked(l, fmt.Errorf("selection: %v: %w", ref, pvd.ErrNoPvD))
	}
	if n := m.networkOfLocked(ref); n != nil {
		m.closeLocked(n)
	}
}

// endLeasesLocked ends all leases, and closes all networks.
func (m *Manager) endLeasesLocked(err error) {
	for _, of := range m.leases {
		for l := range of {
			m.endLocked(l, err)
		}
	}
	for _, n := range m.networks {
		m.closeLocked(n)
	}
}
