package pvd

import "sync/atomic"

// A record is what a registry keeps of one PvD. It outlives the PvD for as long as
// watchers may have to be told of its end.
type record struct {
	ref  Ref
	info atomic.Pointer[Info] // nil: gone

	// The journal's, under its registry's lock.
	seq          uint64
	older, newer *record
}

// A journal has the records of PvDs in the order of their last changes. What a watcher has
// not heard of yet is at its end, however slow the watcher is, and costs nothing more for
// there being many of them.
type journal struct {
	seq        uint64 // counts the changes, of PvDs and of the default
	defaultSeq uint64 // the last change of the default
	last       *record

	gone      []*record // those whose PvD is gone, in order
	forgotten uint64    // the last change that is not to be found here any more
}

// enter takes note that a PvD has changed.
func (j *journal) enter(p *record) {
	if p.seq != 0 {
		j.takeOut(p)
	}
	j.seq++
	p.seq, p.older, p.newer = j.seq, j.last, nil
	if j.last != nil {
		j.last.newer = p
	}
	j.last = p
	if p.info.Load() != nil {
		return
	}
	j.gone = append(j.gone, p)
	if len(j.gone) > MaxPending {
		oldest := j.gone[0]
		j.gone[0], j.gone = nil, j.gone[1:]
		j.takeOut(oldest)
		j.forgotten = oldest.seq
	}
}

func (j *journal) takeOut(p *record) {
	if p.older != nil {
		p.older.newer = p.newer
	}
	if p.newer != nil {
		p.newer.older = p.older
	} else {
		j.last = p.older
	}
	p.older, p.newer = nil, nil
}

func (j *journal) renewDefault() {
	j.seq++
	j.defaultSeq = j.seq
}

// since appends to changed the records of PvDs that have changed after seq, the latest
// first. It is false if there are more than [MaxPending], or if some are forgotten.
func (j *journal) since(seq uint64, changed []*record) ([]*record, bool) {
	if seq < j.forgotten {
		return changed, false
	}
	for p := j.last; p != nil && p.seq > seq; p = p.older {
		if len(changed) == MaxPending {
			return changed, false
		}
		changed = append(changed, p)
	}
	return changed, true
}
