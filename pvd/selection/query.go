package selection

import (
	"cmp"
	"hash/maphash"
	"net/netip"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A query is requirements and a policy, made ready to be asked of many PvDs. It does not
// change, and may be used by any number of goroutines.
type query struct {
	ordering

	musts   []check
	prefers []check // in the order of weight
	places  map[string]int
	group   string // that was required, if the policy orders its members

	quiet  bool                        // nobody reads why there is none
	permit func() func(*pvd.Info) bool // what the caller may use now; nil, and what it returns: all
}

// An ordering is what of a policy orders PvDs that a query does not tell apart.
type ordering struct {
	criteria []func(a, b *facts) int
	tie      Tie
}

// A check is a requirement at work.
type check struct {
	of    Requirement
	holds func(*facts) bool
	want  bool
}

func (c check) met(f *facts) bool { return c.holds(f) == c.want }

// A target is the destination of the call that a query is for. Its zero value is none.
type target struct {
	addr   netip.Addr // not known: invalid
	family Trait      // IPv4 or IPv6, where only that will do
	hash   uint64     // of the destination as it was given; 0: none
}

// hashSeed makes where destinations go unpredictable to those who choose them.
var hashSeed = maphash.MakeSeed()

func newQuery(rs Requirements, p *Policy) (*query, error) {
	if err := rs.Validate(); err != nil {
		return nil, err
	}
	if err := p.validate(); err != nil {
		return nil, err
	}
	q := &query{ordering: p.ordering()}
	for _, r := range rs.effective() {
		c := check{of: r, holds: r.Property.test(p), want: r.Level > Indifferent}
		switch {
		case r.Level.must():
			q.musts = append(q.musts, c)
		case r.Level != Indifferent:
			q.prefers = append(q.prefers, c)
		}
		if g, ok := r.Property.(inGroup); ok && r.Level == Required && q.places == nil {
			q.group, q.places = string(g), p.places(string(g))
		}
	}
	return q, nil
}

// by returns the query with another ordering.
func (q *query) by(o ordering) *query {
	other := *q
	other.ordering = o
	return &other
}

// permitted returns what the caller may use now.
func (q *query) permitted() func(*facts) bool {
	if q.permit != nil {
		if may := q.permit(); may != nil {
			return func(f *facts) bool { return may(f.info) }
		}
	}
	return func(*facts) bool { return true }
}

// fulfils reports whether a PvD has all that it must have, and may be used.
func (q *query) fulfils(f *facts) bool { return q.meets(f) && q.permitted()(f) }

// meets reports whether a PvD has all that it must have.
func (q *query) meets(f *facts) bool {
	for _, c := range q.musts {
		if !c.met(f) {
			return false
		}
	}
	return true
}

// lacks returns the musts that a PvD does not fulfil.
func (q *query) lacks(f *facts) (of Requirements) {
	for _, c := range q.musts {
		if !c.met(f) {
			of = append(of, c.of)
		}
	}
	return of
}

// A candidate is a PvD that fulfils a query, and what it is compared by.
type candidate struct {
	*facts

	score uint64 // a bit for each thing that counts, what weighs most at the top
	place int
	hash  uint64
}

func (q *query) candidate(f *facts, t *target) candidate {
	c := candidate{facts: f}
	if t.suits(f) {
		c.score = 1
	}
	c.score <<= 1
	if !f.leaving {
		c.score |= 1
	}
	for _, p := range q.prefers {
		c.score <<= 1
		if p.met(f) {
			c.score |= 1
		}
	}
	if q.places != nil {
		c.place, _ = f.placeIn(q.group, q.places)
	}
	if q.tie == TieSpread && t.hash != 0 {
		// The highest hash of destination and PvD wins, so that a PvD that goes or comes
		// moves no destination between the others.
		c.hash = maphash.Comparable(hashSeed, [2]uint64{t.hash, uint64(f.ref)})
	}
	return c
}

// suits reports whether a PvD leads to a call's destination, as far as that is known.
func (t *target) suits(f *facts) bool {
	switch {
	case !f.open():
		return true // nobody knows before it is open
	case t.family != 0 && !f.traits.has(t.family):
		return false
	case t.addr.IsValid():
		return f.reaches(t.addr)
	}
	return true
}

// compare orders candidates, the better one first. It is a total order.
func (q *query) compare(a, b *candidate) int {
	if a.score != b.score {
		return cmp.Compare(b.score, a.score)
	}
	if a.place != b.place {
		return cmp.Compare(a.place, b.place)
	}
	if a.open() != b.open() {
		if b.open() {
			return 1
		}
		return -1
	}
	for _, c := range q.criteria {
		if d := c(a.facts, b.facts); d != 0 {
			return d
		}
	}
	if a.hash != b.hash {
		return cmp.Compare(b.hash, a.hash)
	}
	return cmp.Compare(a.seq, b.seq)
}

// best returns the best of those who fulfil the query, nil if none does.
func (q *query) best(all []*facts, t target) *facts {
	var best candidate
	may := q.permitted()
	for _, f := range all {
		if !q.meets(f) {
			continue
		}
		c := q.candidate(f, &t)
		// Few get as far as being asked about.
		if (best.facts == nil || q.compare(&c, &best) < 0) && may(f) {
			best = c
		}
	}
	return best.facts
}

// rank returns those who fulfil the query, the best one first.
func (q *query) rank(all []*facts, t target) []*facts {
	var cs []candidate
	may := q.permitted()
	for _, f := range all {
		if q.meets(f) && may(f) {
			cs = append(cs, q.candidate(f, &t))
		}
	}
	slices.SortFunc(cs, func(a, b candidate) int { return q.compare(&a, &b) })
	ranked := make([]*facts, len(cs))
	for i, c := range cs {
		ranked[i] = c.facts
	}
	return ranked
}

// none returns the error that says why nobody fulfils the query. It does not mention those
// that the caller may not use: they may be hidden from it.
func (q *query) none(all []*facts) *NoneError {
	if q.quiet {
		return &NoneError{}
	}
	e := &NoneError{Candidates: make([]Candidate, 0, len(all))}
	for _, c := range q.musts {
		e.Musts = append(e.Musts, c.of)
	}
	may := q.permitted()
	for _, f := range all {
		if lacks := q.lacks(f); len(lacks) > 0 && may(f) {
			e.Candidates = append(e.Candidates, Candidate{Ref: f.ref, Name: f.name, Lacks: lacks})
		}
	}
	return e
}

// factsOf reads descriptions for queries without a destination.
func factsOf(infos []*pvd.Info) []*facts {
	all := make([]*facts, 0, len(infos))
	for i, info := range infos {
		if info == nil {
			continue
		}
		f := describe(info)
		f.seq = uint64(i)
		all = append(all, f)
	}
	return all
}
