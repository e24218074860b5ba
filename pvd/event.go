package pvd

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// An EventKind says what has happened.
type EventKind uint8

const (
	// Added: the PvD is there. A watcher gets one for each PvD that there is when it begins.
	Added EventKind = iota + 1

	// Changed: elements of the PvD, its name or its ID are not what they were.
	Changed

	// Leaving: the PvD is about to go, or the moment at which it will has moved.
	Leaving

	// Removed: the PvD is gone.
	Removed

	// DefaultChanged: another PvD, or none, is the system default.
	DefaultChanged

	// Synced: what came before is all that there was when the watcher began.
	Synced
)

// String returns the kind's name in lower case.
func (k EventKind) String() string {
	names := [...]string{"no event", "added", "changed", "leaving", "removed", "default changed", "synced"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event %d", uint8(k))
}

// An Event is something that a watcher of a [Registry] learns.
type Event struct {
	Kind EventKind

	// Ref is the PvD. Of DefaultChanged it is the new default, which may be [Null] or, as
	// when a watcher begins, a PvD that is gone; of Synced it is [Unspecified].
	Ref Ref

	// Old is what the watcher knows the PvD as: the Info of its last event. Added has none.
	// Info is what the PvD is now. Removed has none; DefaultChanged has it of a default that
	// is attached.
	Old, Info *Info

	// Keys are, of Changed and Leaving, those of the elements in which Info is not what Old
	// is, in the order of their names. There are none where only the name or the ID has
	// changed. They are shared with other watchers and are not to be modified.
	Keys []AnyKey

	// Ends is, of Leaving, when the PvD will go.
	Ends time.Time
}

// A Filter says what a watcher wants to hear of. Its zero value is everything. A PvD has to
// meet all of Refs, Links and Match; one that begins to is Added to the watcher, and one
// that no longer does is Removed, wherever else it may go on to be.
type Filter struct {
	// Refs are the PvDs. [SystemDefault] is whichever PvD is that.
	Refs []Ref

	// Links are those of which the PvD has an interface on at least one.
	Links []string

	// Match reports whether the watcher wants to hear of a PvD. It is called in the
	// watcher's goroutine, for each Info that the watcher comes across, and holds nobody
	// else up.
	Match func(*Info) bool

	// Keys are the elements whose changes are wanted. What else changes is no event by
	// itself; it is among the Keys of the next one.
	Keys []AnyKey

	// Kinds are the kinds of events. Synced comes in any case. DefaultChanged depends on
	// nothing but this.
	Kinds []EventKind
}

// ErrLagged reports that a watcher has missed changes. It is to forget what it knows: a
// new snapshot follows, up to another [Synced].
var ErrLagged = errors.New("pvd: watcher too slow")

func (f Filter) clone() Filter {
	f.Refs = slices.Clone(f.Refs)
	f.Links = slices.Clone(f.Links)
	f.Keys = slices.Clone(f.Keys)
	f.Kinds = slices.Clone(f.Kinds)
	return f
}

// has reports whether events of a kind are wanted.
func (f *Filter) has(k EventKind) bool { return len(f.Kinds) == 0 || slices.Contains(f.Kinds, k) }

// wants reports whether a PvD is one to tell of; def is the system default.
func (f *Filter) wants(i *Info, def Ref) bool {
	if len(f.Refs) > 0 && !slices.Contains(f.Refs, i.ref) && (i.ref != def || !slices.Contains(f.Refs, SystemDefault)) {
		return false
	}
	if len(f.Links) > 0 && !slices.ContainsFunc(f.Links, i.isOn) {
		return false
	}
	return f.Match == nil || f.Match(i)
}

// cares reports whether a change of these keys is an event. The end of a PvD always is.
func (f *Filter) cares(keys []AnyKey) bool {
	if len(f.Keys) == 0 {
		return true
	}
	return slices.ContainsFunc(keys, func(k AnyKey) bool { return slices.Contains(f.Keys, k) || k == Ends.Any() })
}
