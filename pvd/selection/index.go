package selection

import (
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// An index holds the facts of every PvD, in order of attachment. Its owner locks.
type index struct {
	all    []*facts
	lent   bool // all is being read elsewhere, and has to be copied before it changes
	by     map[pvd.Ref]*facts
	lastID uint64
}

// snapshot returns the facts as they are. They may be read without a lock.
func (x *index) snapshot() []*facts {
	x.lent = true
	return x.all
}

func (x *index) own() {
	if x.lent {
		x.all = slices.Clone(x.all)
		x.lent = false
	}
}

// put takes note of a description, unless a newer one is known. keys are the elements in
// which it differs from before, if that is not nil.
func (x *index) put(i, before *pvd.Info, keys []pvd.AnyKey) bool {
	old := x.by[i.Ref()]
	switch {
	case old == nil:
		x.lastID++
		f := newFacts(i, nil, nil)
		f.seq = x.lastID
		x.own()
		x.all = append(x.all, f)
		x.by[f.ref] = f
	case old.version >= i.Version():
		return false
	default:
		if before == nil || before.Version() != old.version {
			keys = nil // they are relative to something else
		}
		f := newFacts(i, old, keys)
		f.seq = old.seq
		x.own()
		x.all[x.at(old)] = f
		x.by[f.ref] = f
	}
	return true
}

// remove forgets a PvD.
func (x *index) remove(ref pvd.Ref) bool {
	old := x.by[ref]
	if old == nil {
		return false
	}
	x.own()
	at := x.at(old)
	x.all = slices.Delete(x.all, at, at+1)
	delete(x.by, ref)
	return true
}

func (x *index) at(f *facts) int {
	at, _ := slices.BinarySearchFunc(x.all, f.seq, func(g *facts, seq uint64) int {
		switch {
		case g.seq < seq:
			return -1
		case g.seq > seq:
			return 1
		}
		return 0
	})
	return at
}
