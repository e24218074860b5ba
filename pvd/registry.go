package pvd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// A Registry holds the PvDs of one host. Whoever has something to say of a PvD
// proposes it; one goroutine, the writer, applies one proposal after the other and
// publishes what came of it as an [Info]. Readers never wait for the writer.
type Registry struct {
	config RegistryConfig
	ops    chan op
	wake   chan struct{} // holds one token while stale is not empty
	stop   chan struct{}
	done   chan struct{} // closed when the writer has ended
	close  sync.Once

	watchers *dispatcher

	mu      sync.RWMutex
	pvds    map[Ref]*record
	journal journal
	order   []Ref // in the order of attachment
	def     Ref
	defWas  *Info         // the default as it was when it went; nil while it is there
	changed chan struct{} // closed and replaced at each change

	staleMu sync.Mutex
	stale   map[Ref]struct{}

	last Ref // the writer's
}

// A RegistryConfig says how a [Registry]'s changes become real. Its functions run on the
// writer, and can not call those methods of the Registry that wait for it: Add, Update,
// Remove, Serialize and Close.
type RegistryConfig struct {
	// Apply carries a change out before anybody sees it. old is nil when the PvD is
	// being added, next is nil when it is being removed. An error refuses the change,
	// and nothing of it may remain then; a removal can not be refused.
	// Nil: nothing to do.
	Apply func(ctx context.Context, old, next *Info) error

	// Observe adds to a description what only the one who carries it out can know, such
	// as the states of addresses. It runs after Apply and whenever Refresh was called.
	// Nil: nothing to add.
	Observe func(Ref, *Builder)
}

type op struct {
	run  func() error
	errc chan error
}

// ErrClosed reports an operation on a registry, or its host, that has been closed.
var ErrClosed = errors.New("pvd: host closed")

// registries counts those of the process, each of which has Refs of its own: one of another
// host's is unknown rather than somebody else. A registry makes no more than 2^refBits.
var registries atomic.Uint64

const refBits = 40

// NewRegistry returns a registry without PvDs, whose default is [Null]. Its goroutines
// end with Close.
func NewRegistry(c RegistryConfig) *Registry {
	if c.Apply == nil {
		c.Apply = func(context.Context, *Info, *Info) error { return nil }
	}
	if c.Observe == nil {
		c.Observe = func(Ref, *Builder) {}
	}
	r := &Registry{
		config:  c,
		ops:     make(chan op),
		wake:    make(chan struct{}, 1),
		stop:    make(chan struct{}),
		done:    make(chan struct{}),
		pvds:    make(map[Ref]*record),
		def:     Null,
		changed: make(chan struct{}),
		stale:   make(map[Ref]struct{}),
		last:    firstRef - 1 + Ref(registries.Add(1)-1)<<refBits,
	}
	r.watchers = newDispatcher(r)
	go r.write()
	go r.watchers.run()
	return r
}

// write is the writer. It ends when the registry is closed.
func (r *Registry) write() {
	defer close(r.done)
	for {
		select {
		case o := <-r.ops:
			o.errc <- o.run()
		case <-r.wake:
			r.observeStale()
		case <-r.stop:
			return
		}
	}
}

// Close ends the writer, after the operation in progress, and all watchers. The PvDs stay
// as they are.
func (r *Registry) Close() {
	r.close.Do(func() { close(r.stop) })
	<-r.done
	<-r.watchers.done
}

// isClosed reports whether the writer has ended.
func (r *Registry) isClosed() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// do has the writer run f. The context can only prevent it from beginning: what has
// begun is waited for, so that nothing is half-applied.
func (r *Registry) do(ctx context.Context, f func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	o := op{run: f, errc: make(chan error, 1)}
	select {
	case r.ops <- o:
		return <-o.errc
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.stop:
		return ErrClosed
	}
}

// Add attaches a new PvD, which edit describes, and returns its Ref.
func (r *Registry) Add(ctx context.Context, edit func(*Builder)) (Ref, error) {
	var ref Ref
	err := r.do(ctx, func() error {
		if n := r.count(); n >= MaxPvDs {
			return fmt.Errorf("pvd: %d PvDs are attached, which is the limit", n)
		}
		b := newBuilder(nil)
		edit(b)
		// A Ref is used up even if the PvD is refused, so that none is ever seen twice.
		r.last++
		ref = r.last
		if err := r.config.Apply(ctx, nil, b.info(ref, nil)); err != nil {
			return err
		}
		r.observe(ref, b, nil)
		return nil
	})
	if err != nil {
		return Unspecified, err
	}
	return ref, nil
}

// Update changes a PvD as edit says, which begins with what is. Like Remove it follows
// [SystemDefault]. When nothing comes to differ there is no new version of the PvD.
func (r *Registry) Update(ctx context.Context, ref Ref, edit func(*Builder)) error {
	return r.do(ctx, func() error {
		old, err := r.Info(ref)
		if err != nil {
			return err
		}
		ref := old.ref // not a reserved value
		b := newBuilder(old)
		edit(b)
		if err := r.config.Apply(ctx, old, b.info(ref, old)); err != nil {
			return err
		}
		r.observe(ref, b, old)
		return nil
	})
}

// Remove detaches a PvD. When it returns nil, nothing of the PvD is left.
func (r *Registry) Remove(ctx context.Context, ref Ref) error {
	return r.RemoveIf(ctx, ref, func(*Info) bool { return true })
}

// RemoveIf is Remove, if the PvD is at that moment as holds wants it. Otherwise it does
// nothing.
func (r *Registry) RemoveIf(ctx context.Context, ref Ref, holds func(*Info) bool) error {
	return r.do(ctx, func() error {
		old, err := r.Info(ref)
		if err != nil {
			return err
		}
		if !holds(old) {
			return nil
		}
		// Nobody may find the PvD while it is being taken apart.
		r.withdraw(old.ref)
		if err := r.config.Apply(ctx, old, nil); err != nil {
			return fmt.Errorf("pvd: %v is removed, but not cleanly: %w", old.Name(), err)
		}
		return nil
	})
}

// Serialize has the writer run f between two changes, for work that no change may
// overlap.
func (r *Registry) Serialize(ctx context.Context, f func() error) error { return r.do(ctx, f) }

// Refresh asks the writer to have ref observed again. It never waits and may be called
// from anywhere; requests that the writer is late for are merged.
func (r *Registry) Refresh(ref Ref) {
	r.staleMu.Lock()
	r.stale[ref] = struct{}{}
	r.staleMu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default: // the writer is on its way already
	}
}

func (r *Registry) observeStale() {
	r.staleMu.Lock()
	stale := r.stale
	r.stale = make(map[Ref]struct{})
	r.staleMu.Unlock()
	for ref := range stale {
		old, err := r.Info(ref)
		if err != nil {
			continue // gone in the meantime
		}
		r.observe(old.ref, newBuilder(old), old)
	}
}

// observe completes a description and publishes it, unless it is what old is.
func (r *Registry) observe(ref Ref, b *Builder, old *Info) {
	r.config.Observe(ref, b)
	i := b.info(ref, old)
	if old != nil && i.sameAs(old) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p, ok := r.pvds[ref]
	if !ok {
		p = &record{ref: ref}
		r.pvds[ref] = p
		r.order = append(r.order, ref)
	}
	p.info.Store(i)
	r.journal.enter(p)
	r.notifyLocked()
}

func (r *Registry) withdraw(ref Ref) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pvds[ref]
	if ref == r.def {
		r.defWas = p.info.Load()
	}
	delete(r.pvds, ref)
	r.order = slices.DeleteFunc(r.order, func(o Ref) bool { return o == ref })
	p.info.Store(nil)
	r.journal.enter(p)
	r.notifyLocked()
}

func (r *Registry) notifyLocked() {
	close(r.changed)
	r.changed = make(chan struct{})
	r.watchers.tell()
}

func (r *Registry) count() int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.pvds)
}

// Info returns the newest description of a PvD. The error is [ErrNoPvD] if it is not
// attached. [SystemDefault] is followed; the other reserved values have no Info.
func (r *Registry) Info(ref Ref) (*Info, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if ref == SystemDefault {
		ref = r.def
	}
	p, ok := r.pvds[ref]
	if !ok {
		return nil, ErrNoPvD
	}
	return p.info.Load(), nil
}

// List returns the PvDs that are attached, in the order in which they were.
func (r *Registry) List() []Ref {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Clone(r.order)
}

// Default returns the system default PvD, [Null] if there is none. It may be one that
// is gone: that is an error for those who use it, and nobody takes its place.
func (r *Registry) Default() Ref {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.def
}

// SetDefault makes ref, an attached PvD or [Null], the system default.
func (r *Registry) SetDefault(ref Ref) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.pvds[ref]; !ok && ref != Null {
		return ErrNoPvD
	}
	if r.def != ref {
		r.def, r.defWas = ref, nil
		r.journal.renewDefault()
		r.notifyLocked()
	}
	return nil
}

// Changed returns a channel that is closed at the next change of any PvD or of the
// default. Take it before reading what is to be watched.
func (r *Registry) Changed() <-chan struct{} {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.changed
}

// Wait waits until all conditions hold of ref. When ctx ends first, the error names
// those that do not and wraps the context's; when the PvD goes, it is [ErrNoPvD].
func (r *Registry) Wait(ctx context.Context, ref Ref, conds ...Condition) error {
	for {
		changed := r.Changed()
		i, err := r.Info(ref)
		if err != nil {
			return err
		}
		lacking := slices.Clone(conds)
		lacking = slices.DeleteFunc(lacking, func(c Condition) bool { return c.Holds(i) })
		if len(lacking) == 0 {
			return nil
		}
		select {
		case <-changed:
		case <-r.stop:
			return ErrClosed
		case <-ctx.Done():
			return fmt.Errorf("pvd: %s has no %s: %w", i.Name(), joinNames(lacking), context.Cause(ctx))
		}
	}
}

func joinNames(conds []Condition) string {
	names := make([]string, len(conds))
	for i, c := range conds {
		names[i] = c.name
	}
	return strings.Join(names, ", no ")
}
