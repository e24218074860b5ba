package stack

import (
	"errors"
	"iter"
	"net/netip"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// ways is the search for a way to a destination by the routes. The methods that look for
// one take only routers that answer, or only those that have lately not.
type ways struct {
	d    *domain
	p    *plan
	src  netip.Addr // with its zone, if it has one; the zero Addr: to be chosen
	dst  netip.Addr // without zone
	zone string     // the link to use; empty: any

	why error // what was wrong with the ways that were not taken
	end error // if not nil, why it is of no use to look on
}

// find looks for a way in the order that the PvD's policy has.
func (w *ways) find(hopless bool) (path, bool) {
	switch {
	case w.src.IsValid():
		return w.given(hopless)
	case w.p.selector.Order() == addrsel.RouteFirst:
		return w.routeFirst(hopless)
	case w.p.selector.Order() == addrsel.SourceFirst:
		return w.sourceFirst(hopless)
	}
	return w.joint(hopless)
}

// possible returns the routes that can be taken, the best first, with their links.
func (w *ways) possible(hopless bool) iter.Seq2[fibRoute, planLink] {
	// What is small enough to be inlined takes no memory.
	return func(yield func(fibRoute, planLink) bool) { w.each(hopless, yield) }
}

func (w *ways) each(hopless bool, yield func(fibRoute, planLink) bool) {
	bare := w.src.WithZone("")
	for r := range w.p.fib.routes(w.dst) {
		if w.zone != "" && w.zone != r.link || !r.serves(bare) {
			continue
		}
		l, ok := w.p.link(r.link)
		if !ok || !l.port.link.up.Load() {
			w.fail(syscall.ENETDOWN)
			continue
		}
		if hopless != (r.via.IsValid() && l.port.hopless(r.via)) {
			continue
		}
		if !r.via.IsValid() && l.port.link.table.Load().ownedByOther(w.dst, l.port) {
			w.end = syscall.EHOSTUNREACH // that is another PvD, to which no way leads inside the host
			return
		}
		if !yield(r, l) {
			return
		}
	}
}

func (w *ways) fail(err error) { w.why = worse(w.why, err) }

// given finds the way for a source that is the caller's choice. It is on the source's own
// link, but that a weak host may take any.
func (w *ways) given(hopless bool) (path, bool) {
	for _, l := range w.possible(hopless) {
		pa, err := w.d.givenSource(l, w.src)
		if errors.Is(err, syscall.ENETUNREACH) && w.p.weak && !w.src.IsLinkLocalUnicast() {
			pa.src = w.src.WithZone("")
			pa.nic, err = w.d.local(w.src)
		}
		if err == nil {
			return pa, true
		}
		w.fail(err)
	}
	return path{}, false
}

// routeFirst takes the best route, whatever sources there are for it.
func (w *ways) routeFirst(hopless bool) (path, bool) {
	q := w.p.selector.For(w.dst)
	for r, l := range w.possible(hopless) {
		pa, _, err := w.d.sourceFor(w.p, &q, l, r, w.dst)
		w.end = err
		return pa, err == nil
	}
	return path{}, false
}

// joint takes the best route that has a source. Among equally good routes, the one whose
// source is better by other rules than the longest match goes first: which link leads to
// what is not to be guessed from addresses.
func (w *ways) joint(hopless bool) (found path, ok bool) {
	q := w.p.selector.For(w.dst)
	var of fibRoute
	var rank addrsel.Rank
	for r, l := range w.possible(hopless) {
		if ok && !of.equal(&r) {
			break
		}
		pa, has, err := w.d.sourceFor(w.p, &q, l, r, w.dst)
		if err != nil {
			w.fail(err)
			continue
		}
		if !ok || has.Coarse() > rank.Coarse() {
			found, of, rank, ok = pa, r, has, true
		}
	}
	return found, ok
}

// sourceFirst takes the best source that any route is for, and the best route for it.
func (w *ways) sourceFirst(hopless bool) (found path, ok bool) {
	q := w.p.selector.For(w.dst)
	var rank addrsel.Rank
	for r, l := range w.possible(hopless) {
		pa, has, err := w.d.sourceFor(w.p, &q, l, r, w.dst)
		if err != nil {
			w.fail(err)
			continue
		}
		if !ok || has > rank {
			found, rank, ok = pa, has, true
		}
	}
	return found, ok
}
