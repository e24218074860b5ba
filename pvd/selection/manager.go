package selection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Registry is what a [Manager] works on. [pvd.Registry] and stack.Host are such.
type Registry interface {
	Watch(ctx context.Context, f pvd.Filter) iter.Seq2[pvd.Event, error]
	Info(ref pvd.Ref) (*pvd.Info, error)
	List() []pvd.Ref
	Default() pvd.Ref
	SetDefault(ref pvd.Ref) error
}

// A Config says how a [Manager] is made. Only Registry is required.
type Config struct {
	Registry Registry

	// Clock is where time comes from. Nil: [pvd.SystemClock].
	Clock pvd.Clock

	// Logger gets what the manager has to say. Nil: it says nothing.
	Logger *slog.Logger

	// Policy orders PvDs for all who have none of their own.
	Policy Policy

	// Apps are the policies of applications, by name: their own, or an operator's for
	// them. They have no Groups: those are Policy's.
	Apps map[string]Policy

	// Permit returns what reports whether an application may use a PvD, to be chosen for it
	// by a rule or for a [Request]; nil if it may use all. It is asked for each choice, so
	// that what it says may change: see [Manager.Reconsider]. Neither it nor the function
	// that it returns may use the Manager, or wait. [pvd.Policy.Permits] and the method
	// Permits of stack.Host are such. The function is asked about networks on demand too, by
	// an Info of what they are to be, whose Ref is Unspecified. Nil: all may use all.
	Permit func(app string) func(*pvd.Info) bool

	// Rules decide calls for which no scope down to the application's names a PvD; see
	// [Manager.SetRules].
	Rules []Rule

	// Ask puts a question to a person, for rules whose action is [Ask]. Nil: there is
	// nobody, and such a call fails with [ErrNoAnswer].
	Ask func(context.Context, Question) (pvd.Ref, error)

	// AnswerTime is how long an answer is remembered. 0: [AnswerTime]; negative: not.
	AnswerTime time.Duration

	// Failover, if not nil, keeps the system default.
	Failover *Failover

	// Providers open networks on demand.
	Providers []Provider

	// IdleTime is how long a network that was opened on demand stays open when nobody
	// needs it. 0: [IdleTime]; negative: not at all.
	IdleTime time.Duration

	// InUse reports whether a PvD carries connections, beside its leases. It is asked
	// before a network is closed. Nil: only leases count.
	InUse func(pvd.Ref) bool
}

// A Manager selects PvDs for a host. It follows the host's PvDs by their events. Its
// methods may be called concurrently. It is a [pvd.Selector].
type Manager struct {
	registry Registry
	clock    pvd.Clock
	log      *slog.Logger
	policy   *Policy
	apps     map[string]ordering
	permits  func(app string) func(*pvd.Info) bool // nil: all
	rules    atomic.Pointer[ruleSet]
	asker    *asker
	idleTime time.Duration
	inUse    func(pvd.Ref) bool

	stop context.CancelFunc
	done chan struct{} // closed when the manager is, or the registry
	wg   sync.WaitGroup

	mu       sync.Mutex
	index    index
	synced   chan struct{} // closed when the index is complete for the first time
	changed  chan struct{} // closed and replaced when anything has changed
	ended    error         // why the manager no longer works
	networks []*network
	leases   map[pvd.Ref]map[*Lease]struct{} // by PvD
	nLeases  int
}

var _ pvd.Selector = (*Manager)(nil)

// New returns a manager at work. Close ends it.
func New(c Config) (*Manager, error) {
	if c.Registry == nil {
		return nil, errors.New("selection: a manager needs a registry")
	}
	ctx, stop := context.WithCancel(context.Background())
	m := &Manager{
		registry: c.Registry, clock: c.Clock, log: c.Logger, policy: &c.Policy,
		apps: make(map[string]ordering), permits: c.Permit, idleTime: c.IdleTime, inUse: c.InUse,
		stop: stop, done: make(chan struct{}),
		index:  index{by: make(map[pvd.Ref]*facts)},
		synced: make(chan struct{}), changed: make(chan struct{}),
		leases: make(map[pvd.Ref]map[*Lease]struct{}),
	}
	if m.clock == nil {
		m.clock = pvd.SystemClock()
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if m.idleTime == 0 {
		m.idleTime = IdleTime
	}
	m.asker = newAsker(m.clock, c.Ask, c.AnswerTime)
	failover, err := m.configure(c)
	if err != nil {
		stop()
		return nil, err
	}
	// Both end with Close, or with the registry.
	m.wg.Go(func() { m.follow(ctx) })
	if failover != nil {
		m.wg.Go(func() { failover.run(ctx) })
	}
	return m, nil
}

// configure checks what can be wrong with a configuration.
func (m *Manager) configure(c Config) (*failover, error) {
	if err := c.Policy.validate(); err != nil {
		return nil, err
	}
	for _, name := range sorted(maps.Keys(c.Apps)) {
		p := c.Apps[name]
		if err := p.validate(); err != nil {
			return nil, fmt.Errorf("selection: application %q: %w", name, err)
		}
		if p.Groups != nil {
			return nil, fmt.Errorf("selection: application %q: groups belong into the manager's policy", name)
		}
		m.apps[name] = p.ordering()
	}
	if err := m.SetRules(c.Rules); err != nil {
		return nil, err
	}
	if err := m.provide(c.Providers); err != nil {
		return nil, err
	}
	if c.Failover == nil {
		return nil, nil
	}
	return newFailover(m, *c.Failover)
}

// follow keeps the index up to date.
func (m *Manager) follow(ctx context.Context) {
	var seen map[pvd.Ref]bool // in the snapshot in progress
	for ev, err := range m.registry.Watch(ctx, pvd.Filter{}) {
		switch {
		case errors.Is(err, pvd.ErrLagged):
			m.log.Debug("missed changes", "op", "watch")
			seen = make(map[pvd.Ref]bool)
		case err != nil:
			m.end(err)
			return
		default:
			if seen != nil && ev.Ref.Attached() {
				seen[ev.Ref] = true
			}
			m.take(ev, seen)
			if ev.Kind == pvd.Synced {
				seen = nil
			}
		}
	}
	m.end(ErrClosed)
}

// take follows an event. seen are those in the snapshot that is complete with Synced, if
// it is not the first.
func (m *Manager) take(ev pvd.Event, seen map[pvd.Ref]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch ev.Kind {
	case pvd.Removed:
		m.removeLocked(ev.Ref)
	case pvd.Synced:
		if seen != nil {
			m.forgetLocked(seen)
		}
		select {
		case <-m.synced:
		default:
			close(m.synced)
		}
		m.notifyLocked()
	case pvd.DefaultChanged:
		m.notifyLocked()
	default:
		if ev.Info != nil {
			m.putLocked(ev.Info, ev.Old, ev.Keys)
		}
	}
}

// forgetLocked removes those that are gone. Those in a snapshot that was just told are not.
func (m *Manager) forgetLocked(seen map[pvd.Ref]bool) {
	for ref := range m.index.by {
		if seen[ref] {
			continue
		}
		if _, err := m.registry.Info(ref); err != nil {
			m.removeLocked(ref)
		}
	}
}

func (m *Manager) putLocked(i, before *pvd.Info, keys []pvd.AnyKey) {
	if m.index.put(i, before, keys) {
		m.notifyLocked()
	}
}

func (m *Manager) removeLocked(ref pvd.Ref) {
	if m.index.remove(ref) {
		m.lostLocked(ref)
		m.notifyLocked()
	}
}

// notifyLocked wakes all who wait.
func (m *Manager) notifyLocked() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// catchUp makes the index what the registry is, which may be ahead of its events.
func (m *Manager) catchUp() {
	refs := m.registry.List()
	m.mu.Lock()
	defer m.mu.Unlock()
	there := 0
	for _, ref := range refs {
		if i, err := m.registry.Info(ref); err == nil {
			there++
			m.putLocked(i, nil, nil)
		}
	}
	if there == len(m.index.by) {
		return
	}
	m.forgetLocked(nil)
}

// current reports whether the facts of a PvD are those of its newest description. If not,
// the index has those afterwards.
func (m *Manager) current(f *facts) bool {
	i, err := m.registry.Info(f.ref)
	if err == nil && i.Version() == f.version {
		return true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.removeLocked(f.ref)
	} else {
		m.putLocked(i, nil, nil)
	}
	return false
}

// await waits for the index to be complete, and returns it and a channel that is closed
// when it changes.
func (m *Manager) await(ctx context.Context) ([]*facts, <-chan struct{}, error) {
	select {
	case <-m.synced:
	case <-m.done:
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index.snapshot(), m.changed, m.ended
}

// end makes everything that waits fail with err, and ends what is out.
func (m *Manager) end(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ended != nil {
		return
	}
	m.ended = err
	close(m.done)
	m.endLeasesLocked(err)
	m.notifyLocked()
}

// Reconsider has all look again who wait for something: for when what [Config.Permit] says
// has changed, of which no PvD tells. Calls that are to come need no such hint. Leases stay.
func (m *Manager) Reconsider() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notifyLocked()
}

// permit returns a query as one of an application, which may not use everything.
func (m *Manager) permit(q *query, app string) *query {
	if m.permits == nil {
		return q
	}
	of := *q
	of.permit = func() func(*pvd.Info) bool { return m.permits(app) }
	return &of
}

// Close ends the manager: what waits fails with [ErrClosed], leases end with it, networks
// that were opened on demand are closed. The system default stays as it is. Close returns
// when every goroutine of the manager has ended.
func (m *Manager) Close() error {
	m.end(ErrClosed)
	m.stop()
	m.wg.Wait()
	return nil
}
