package selection

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// An EventKind says what has happened to whoever holds a PvD.
type EventKind uint8

// Kinds of events.
const (
	// Found: there is a PvD to use, or there is none to begin with.
	Found EventKind = 1 + iota
	// Better: another PvD is better than the one that was held, which can still be used.
	Better
	// Lost: the PvD that was held is gone, or no longer fulfils the requirements.
	Lost
	// Leaving: the PvD that was held is about to go.
	Leaving
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	names := [...]string{"no event", "found", "better", "lost", "leaving"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// An Event is something that [Manager.Follow] tells.
type Event struct {
	Kind EventKind

	// Ref is the PvD to use from now on, the best that there is: [pvd.Null] if there is
	// none. Of Leaving it may still be the one that will go.
	Ref pvd.Ref

	// Old is the PvD that was held, Unspecified of Found.
	Old pvd.Ref

	// Lacks are, of Lost, the musts that Old does not fulfil any more. It is empty if Old
	// is gone.
	Lacks Requirements

	// Ends is, of Leaving, when Old will go.
	Ends time.Time
}

// Follow tells which PvD is the best one by the requirements, and whenever that changes.
// The first event is Found. It assumes that the caller goes along with each event, by
// connecting anew in the new PvD; who stays with another watches that one by itself.
// Changes while the caller is busy are told as one. The last pair is a zero Event and why
// it ended: the context's error, [ErrClosed], or what is wrong with the requirements.
func (m *Manager) Follow(ctx context.Context, rs Requirements) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		q, err := newQuery(rs, m.policy)
		if err != nil {
			yield(Event{}, err)
			return
		}
		h := holder{query: q}
		for {
			all, changed, err := m.await(ctx)
			if err != nil {
				yield(Event{}, err)
				return
			}
			if ev, ok := h.next(all); ok {
				if !yield(ev, nil) {
					return
				}
				continue
			}
			select {
			case <-changed:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				yield(Event{}, context.Cause(ctx))
				return
			}
		}
	}
}

// A holder is who follows: a query and the PvD it is at.
type holder struct {
	query *query
	begun bool
	held  *facts
}

// next returns the event that leads from what is held to what there is.
func (h *holder) next(all []*facts) (Event, bool) {
	best := h.query.best(all, target{})
	ev := Event{Ref: pvd.Null}
	if best != nil {
		ev.Ref = best.ref
	}
	had, first := h.held, !h.begun
	h.held, h.begun = best, true
	if had == nil {
		ev.Kind = Found
		return ev, first || best != nil
	}
	ev.Old = had.ref
	now := find(all, had.ref)
	switch {
	case now == nil:
		ev.Kind = Lost
	case !h.query.fulfils(now):
		ev.Kind, ev.Lacks = Lost, h.query.lacks(now)
	case now.leaving && !had.leaving:
		ev.Kind = Leaving
		ev.Ends, _ = pvd.Ends.Get(now.info)
	case best.ref != had.ref:
		ev.Kind = Better
	default:
		return ev, false
	}
	return ev, true
}

func find(all []*facts, ref pvd.Ref) *facts {
	i := slices.IndexFunc(all, func(f *facts) bool { return f.ref == ref })
	if i < 0 {
		return nil
	}
	return all[i]
}
