package pvd

import (
	"context"
	"errors"
	"iter"
	"slices"
)

// Watch returns what there is and what changes, for as long as the loop over it goes on.
// It begins with a snapshot: an Added event for each PvD, one DefaultChanged, and Synced.
// Changes follow. Each loop over what Watch returns begins anew.
//
// Watching holds nobody up. What changes while the loop's body is busy is kept per PvD, so
// that only the outcome is told: several changes are one, with the Keys of all; a PvD
// that came and went is not mentioned. The events of different PvDs may so change places.
// DefaultChanged comes after those of the PvDs. When changes are many, and the
// watchers too, all of them hear later, and less, rather than the host doing nothing else.
//
// When more than [MaxPending] PvDs have changed meanwhile, the loop gets [ErrLagged] and a
// new snapshot; one that has Refs never does. Any other error is the last pair of the loop
// and says why it ends: that of ctx, or [ErrClosed], before which all changes have been told.
func (r *Registry) Watch(ctx context.Context, f Filter) iter.Seq2[Event, error] {
	return r.watch(ctx, f, nil)
}

// WatchAmong is [Registry.Watch] for somebody who sees some PvDs only. The others are not
// there for him; as the default they are [Null]. What he sees of a PvD may depend on nothing
// but its Info. sees must not call the Registry.
func (r *Registry) WatchAmong(ctx context.Context, f Filter, sees func(*Info) bool) iter.Seq2[Event, error] {
	return r.watch(ctx, f, sees)
}

func (r *Registry) watch(ctx context.Context, f Filter, sees func(*Info) bool) iter.Seq2[Event, error] {
	f = f.clone()
	return func(yield func(Event, error) bool) {
		w := newWatcher(ctx, r, &f, yield)
		w.sees = sees
		r.watchers.add(w)
		defer r.watchers.remove(w)
		if err := w.run(); !errors.Is(err, errBroken) {
			yield(Event{}, err)
		}
	}
}

// Why a watcher does not go on as it did, besides what may come from its context.
var (
	errBroken = errors.New("pvd: loop left")
	errBehind = errors.New("pvd: more has changed than is kept")
)

// A watcher is one loop over what Watch returned. All of it but wake is its goroutine's.
type watcher struct {
	ctx      context.Context //nolint:containedctx // it lives as long as the call that it came with
	registry *Registry
	filter   *Filter
	sees     func(*Info) bool // nil: all
	yield    func(Event, error) bool
	wake     chan struct{} // holds one token while there may be something to see

	refs    []Ref // the PvDs that are asked for, unless it is all
	all     bool
	follows bool // the default too, whichever it is

	seq    uint64        // the journal's, when the watcher last looked
	known  map[Ref]*Info // what the loop has been told last
	def    Ref           // the default, when the watcher last looked
	seen   Ref           // the same, if it is one that is seen
	told   Ref           // and what the loop has been told
	news   []*record     // what has to be told, for its memory
	keys   []AnyKey      // likewise
	shared []AnyKey      // the keys of the last event; events have them, so they never change

	queued bool // the dispatcher's
}

func newWatcher(ctx context.Context, r *Registry, f *Filter, yield func(Event, error) bool) *watcher {
	w := &watcher{
		ctx: ctx, registry: r, filter: f, yield: yield,
		wake: make(chan struct{}, 1), known: make(map[Ref]*Info),
	}
	if f.has(Added) || f.has(Changed) || f.has(Leaving) || f.has(Removed) {
		w.all = len(f.Refs) == 0
		w.follows = slices.Contains(f.Refs, SystemDefault)
		w.refs = slices.DeleteFunc(slices.Clone(f.Refs), func(r Ref) bool { return !r.Attached() })
	}
	return w
}

// poke has the watcher look again.
func (w *watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default: // it is on its way already
	}
}

// run tells the loop everything, until it must not go on.
func (w *watcher) run() error {
	for {
		err := w.snapshot()
		if err == nil {
			err = w.follow()
		}
		if !errors.Is(err, errBehind) {
			return err
		}
		if !w.yield(Event{}, ErrLagged) {
			return errBroken
		}
	}
}

// snapshot tells what there is.
func (w *watcher) snapshot() error {
	if err := context.Cause(w.ctx); err != nil {
		return err
	}
	clear(w.known)
	w.told = Unspecified // no default can be that
	w.lookAtAll()
	if err := w.tellAll(); err != nil {
		return err
	}
	return w.send(Event{Kind: Synced})
}

// follow tells of changes. It waits on nothing but its own channel: with many watchers,
// getting in and out of the queue of a channel that all of them share is most of the work.
func (w *watcher) follow() error {
	stop := context.AfterFunc(w.ctx, w.poke)
	defer stop()
	for closed := false; !closed; {
		if closed = w.registry.isClosed(); !closed {
			<-w.wake
			closed = w.registry.isClosed()
		}
		if w.ctx.Err() != nil {
			return context.Cause(w.ctx)
		}
		if !w.look() {
			return errBehind
		}
		if err := w.tellAll(); err != nil {
			return err
		}
	}
	return ErrClosed
}

// lookAtAll finds all PvDs that there are, in the order of attachment where all are asked for.
func (w *watcher) lookAtAll() {
	r := w.registry
	r.mu.RLock()
	defer r.mu.RUnlock()
	w.lookAtDefault()
	if !w.all {
		w.lookAtRefs()
		return
	}
	w.news = slices.Grow(w.news, len(r.order))
	for _, ref := range r.order {
		w.news = append(w.news, r.pvds[ref])
	}
}

// look finds the PvDs that have changed since the watcher last did. It is false if they are
// too many.
func (w *watcher) look() (ok bool) {
	r := w.registry
	r.mu.RLock()
	defer r.mu.RUnlock()
	since, before := w.seq, w.def
	w.lookAtDefault()
	if w.all {
		w.news, ok = r.journal.since(since, w.news)
		slices.Reverse(w.news)
		return ok
	}
	if w.follows {
		w.lookAt(before)
	}
	w.lookAtRefs()
	return true
}

func (w *watcher) lookAtDefault() {
	r := w.registry
	w.seq, w.def, w.seen = r.journal.seq, r.def, r.def
	if w.sees != nil {
		w.seen = r.defaultAmongLocked(w.sees)
	}
}

func (w *watcher) lookAtRefs() {
	for _, ref := range w.refs {
		w.lookAt(ref)
	}
	if w.follows {
		w.lookAt(w.def)
	}
}

// lookAt finds one PvD, or that it is gone.
func (w *watcher) lookAt(ref Ref) {
	p := w.registry.pvds[ref]
	if p == nil && w.known[ref] != nil {
		p = &record{ref: ref}
	}
	if p != nil {
		w.news = append(w.news, p)
	}
}

// tellAll tells what has been found.
func (w *watcher) tellAll() error {
	defer w.forgetNews()
	for _, p := range w.news {
		if err := w.tell(p); err != nil {
			return err
		}
	}
	ref := w.seen
	info, _ := w.registry.Info(ref) // none of Null, nor of one that is gone
	if info != nil && !w.mayTell(info) {
		ref, info = Null, nil // since the watcher looked; it will again
	}
	if w.told == ref {
		return nil
	}
	w.told = ref
	return w.send(Event{Kind: DefaultChanged, Ref: ref, Info: info})
}

func (w *watcher) mayTell(i *Info) bool { return w.sees == nil || w.sees(i) }

// keepNews is how many records a watcher that waits keeps room for: what an ordinary
// change needs, and little even where there are many watchers.
const keepNews = 64

func (w *watcher) forgetNews() {
	clear(w.news)
	w.news = w.news[:0]
	if cap(w.news) > keepNews {
		w.news = nil
	}
}

// tell tells what a PvD is at this moment, if the loop does not know.
func (w *watcher) tell(p *record) error {
	old, now := w.known[p.ref], p.info.Load()
	if now == old && !w.follows {
		return nil // it was told before its turn
	}
	if now != nil && (!w.mayTell(now) || !w.filter.wants(now, w.def)) {
		now = nil
	}
	switch {
	case now == old:
		return nil
	case old == nil:
		w.known[p.ref] = now
		if err := w.send(Event{Kind: Added, Ref: p.ref, Info: now}); err != nil {
			return err
		}
		return w.tellEnd(Event{Ref: p.ref, Info: now})
	case now == nil:
		delete(w.known, p.ref)
		return w.send(Event{Kind: Removed, Ref: p.ref, Old: old})
	}
	return w.tellChange(old, now)
}

func (w *watcher) tellChange(old, now *Info) error {
	e := Event{Kind: Changed, Ref: now.ref, Old: old, Info: now, Keys: w.difference(old, now)}
	renamed := now.name != old.name || now.id != old.id
	if len(e.Keys) == 0 && !renamed || !w.filter.cares(e.Keys) {
		return nil // the loop goes on knowing what it does, for a later difference
	}
	w.known[now.ref] = now
	isEnd := func(k AnyKey) bool { return k == Ends.Any() }
	ending := now.elems.value(Ends.base) != nil && slices.ContainsFunc(e.Keys, isEnd)
	if ending {
		e.Keys = slices.DeleteFunc(slices.Clone(e.Keys), isEnd)
	}
	if len(e.Keys) > 0 || renamed {
		if err := w.send(e); err != nil {
			return err
		}
	}
	if !ending {
		return nil
	}
	e.Keys = []AnyKey{Ends.Any()}
	return w.tellEnd(e)
}

// tellEnd makes e a Leaving event, if the PvD is about to go.
func (w *watcher) tellEnd(e Event) error {
	at, ok := Ends.Get(e.Info)
	if !ok {
		return nil
	}
	e.Kind, e.Ends = Leaving, at
	return w.send(e)
}

// difference returns the keys of the elements in which a PvD is not what it was. It
// allocates only where the last event had others.
func (w *watcher) difference(old, now *Info) []AnyKey {
	if now.version == old.version+1 {
		return now.changed
	}
	w.keys = now.elems.difference(old.elems, w.keys[:0])
	switch {
	case slices.Equal(w.keys, now.changed):
		return now.changed
	case !slices.Equal(w.keys, w.shared):
		w.shared = slices.Clone(w.keys)
	}
	return w.shared
}

// send gives the loop an event that it wants.
func (w *watcher) send(e Event) error {
	if e.Kind != Synced && !w.filter.has(e.Kind) {
		return nil
	}
	if !w.yield(e, nil) {
		return errBroken
	}
	if w.ctx.Err() != nil {
		return context.Cause(w.ctx)
	}
	return nil
}
