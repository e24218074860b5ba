package pvd

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A dispatcher wakes those who watch a registry. It is what keeps their number from
// mattering to the writer, which leaves it one token however much there is to tell.
type dispatcher struct {
	registry *Registry
	news     chan struct{} // holds one token while something has changed
	done     chan struct{} // closed when run has ended

	count atomic.Int64 // of watchers

	mu       sync.Mutex
	watching map[Ref]map[*watcher]struct{} // by the PvD; by watchesAll and watchesDefault

	// What follows is run's.
	changed  []*record // what has changed, for its memory
	first    lane      // those who watch the PvDs that have changed
	firstSeq uint64    // the journal's, when first was last filled
	def      Ref       // the default, when the journal was last read

	rest     lane          // those who watch all PvDs, one after the other
	restSeq  uint64        // the journal's, when rest was last filled
	restCost time.Duration // what waking one of them counts as

	until time.Time // when all that was spent will have been earned
}

// Where in the dispatcher's index those watchers are who watch no PvDs by their names.
const (
	watchesAll     = Unspecified
	watchesDefault = SystemDefault
)

func newDispatcher(r *Registry) *dispatcher {
	return &dispatcher{
		registry: r,
		news:     make(chan struct{}, 1),
		done:     make(chan struct{}),
		watching: make(map[Ref]map[*watcher]struct{}),
	}
}

// places are where a watcher is in the index.
func places(w *watcher) []Ref {
	switch {
	case w.all || w.follows:
		return []Ref{watchesAll}
	case len(w.refs) == 0:
		return []Ref{watchesDefault}
	case w.sees != nil && w.filter.has(DefaultChanged):
		return append(slices.Clone(w.refs), watchesDefault)
	}
	return w.refs
}

// add has w woken from now on.
func (d *dispatcher) add(w *watcher) {
	d.count.Add(1)
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range places(w) {
		if d.watching[at] == nil {
			d.watching[at] = make(map[*watcher]struct{})
		}
		d.watching[at][w] = struct{}{}
	}
}

func (d *dispatcher) remove(w *watcher) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range places(w) {
		delete(d.watching[at], w)
		if len(d.watching[at]) == 0 {
			delete(d.watching, at)
		}
	}
	d.count.Add(-1)
}

// tell has the dispatcher look what has changed. The caller has written it down, under the
// registry's lock: who begins to watch after this finds it there.
func (d *dispatcher) tell() {
	if d.count.Load() == 0 {
		return
	}
	select {
	case d.news <- struct{}{}:
	default: // it is on its way already
	}
}

// run is the dispatcher. It ends when the writer has, and has everybody woken then: who
// begins to watch after this finds the registry closed.
func (d *dispatcher) run() {
	defer close(d.done)
	defer d.wakeAll()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if d.first.empty() && d.rest.empty() {
			select {
			case <-d.news:
			case <-d.registry.done:
				return
			}
		}
		d.look()
		// It is this machine's time that has to last, so no Clock is asked.
		rest := d.spend(d.wake(), time.Now())
		if rest <= 0 {
			continue
		}
		timer.Reset(rest)
		select {
		case <-timer.C:
		case <-d.registry.done:
			return
		}
	}
}

// look finds out who has to be woken. Nobody is left out for long: those who watch all
// PvDs are found only when all who were found before have been woken.
func (d *dispatcher) look() {
	changed, _ := d.since(&d.firstSeq)
	d.mu.Lock()
	for _, p := range changed {
		d.pushFirst(p.ref)
		if p.ref == d.def {
			d.pushFirst(watchesDefault) // who may see it no more, or see it now
		}
	}
	d.mu.Unlock()
	if !d.rest.empty() {
		return
	}
	changed, everyone := d.since(&d.restSeq)
	d.restCost = wakeCost + time.Duration(len(changed))*eventCost
	d.mu.Lock()
	defer d.mu.Unlock()
	for at, ws := range d.watching {
		if !everyone && (at != watchesAll || len(changed) == 0) {
			continue
		}
		for w := range ws {
			d.rest.push(w)
		}
	}
}

func (d *dispatcher) pushFirst(at Ref) {
	for w := range d.watching[at] {
		if !w.queued {
			w.queued = true
			d.first.push(w)
		}
	}
}

// since returns the PvDs that have changed since a moment in the journal, up to the next
// call, and moves that to now. Everyone is concerned when the default has changed, or when
// the PvDs are too many to be found.
func (d *dispatcher) since(seq *uint64) (changed []*record, everyone bool) {
	r := d.registry
	clear(d.changed)
	r.mu.RLock()
	defer r.mu.RUnlock()
	changed, ok := r.journal.since(*seq, d.changed[:0])
	everyone = !ok || r.journal.defaultSeq > *seq
	*seq, d.changed, d.def = r.journal.seq, changed, r.def
	return changed, everyone
}

// wake wakes some of those who have to be, and returns what that counts as.
func (d *dispatcher) wake() (spent time.Duration) {
	for spent < wakeSlice {
		switch {
		case !d.first.empty():
			w := d.first.pop()
			w.queued = false
			w.poke()
			spent += wakeCost + eventCost
		case !d.rest.empty():
			d.rest.pop().poke()
			spent += d.restCost
		default:
			return spent
		}
	}
	return spent
}

func (d *dispatcher) wakeAll() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, ws := range d.watching {
		for w := range ws {
			w.poke()
		}
	}
}

// spend returns how long to rest after something has been spent.
func (d *dispatcher) spend(cost time.Duration, now time.Time) time.Duration {
	if earliest := now.Add(-wakeBurst); d.until.Before(earliest) {
		d.until = earliest
	}
	d.until = d.until.Add(cost)
	return d.until.Sub(now)
}

// A lane is a queue of watchers.
type lane struct {
	watchers []*watcher
	at       int // the first that is still in it
}

func (l *lane) empty() bool { return l.at == len(l.watchers) }

func (l *lane) push(w *watcher) {
	if l.at > 0 && len(l.watchers) == cap(l.watchers) {
		n := copy(l.watchers, l.watchers[l.at:])
		clear(l.watchers[n:])
		l.watchers, l.at = l.watchers[:n], 0
	}
	l.watchers = append(l.watchers, w)
}

func (l *lane) pop() *watcher {
	w := l.watchers[l.at]
	l.watchers[l.at] = nil
	l.at++
	if l.empty() {
		l.watchers, l.at = l.watchers[:0], 0
	}
	return w
}
