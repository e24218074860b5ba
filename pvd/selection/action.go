package selection

import (
	"errors"
	"fmt"

	"github.com/pvdstack/pvdstack/pvd"
)

// An Action is what a [Rule] has happen: what [Choose], [Use], [Refuse], [Pass] and [Ask]
// return. The zero Action is Pass.
type Action struct {
	kind   actionKind
	ref    pvd.Ref
	rs     Requirements
	policy *Policy
	open   bool
	next   bool
}

type actionKind uint8

const (
	pass actionKind = iota
	use
	choose
	ask
)

// Choose takes the best PvD that fulfils the requirements. That may be a particular one
// ([Named]) or one of a group ([InGroup]). If there is none, the call fails with a
// [*NoneError].
func Choose(rs ...Requirement) Action { return Action{kind: choose, rs: rs} }

// Use takes a PvD that is attached, [pvd.SystemDefault] or [pvd.Null]. A PvD that is gone
// fails the call with [pvd.ErrNoPvD].
func Use(ref pvd.Ref) Action { return Action{kind: use, ref: ref} }

// Refuse takes the null PvD: the call fails at once.
func Refuse() Action { return Use(pvd.Null) }

// Pass has no opinion and looks at no further rule: the system default is taken.
func Pass() Action { return Action{} }

// Ask has a person choose from the PvDs that fulfil the requirements, by [Config.Ask].
func Ask(rs ...Requirement) Action { return Action{kind: ask, rs: rs} }

// By returns the action with a policy of its own, in the place of that of the application
// and the manager. Groups are still the manager's.
func (a Action) By(p Policy) Action {
	a.policy = &p
	return a
}

// Opening returns the action, of [Choose], as one that may open networks on demand.
func (a Action) Opening() Action {
	a.open = true
	return a
}

// OrNext returns the action, of [Choose], as one that gives way: if nothing fulfils the
// requirements, the next rule that the call meets decides.
func (a Action) OrNext() Action {
	a.next = true
	return a
}

// A prepared is an action at work.
type prepared struct {
	Action

	query *query
	own   bool // whether the query has a policy of the action's own
}

func (m *Manager) prepare(a Action) (*prepared, error) {
	p := &prepared{Action: a}
	if a.kind == use && !a.ref.Attached() && a.ref != pvd.Null && a.ref != pvd.SystemDefault {
		return nil, fmt.Errorf("%v is no PvD to use", a.ref)
	}
	if (a.open || a.next) && a.kind != choose {
		return nil, errors.New("only Choose opens networks or gives way")
	}
	if a.kind != choose && a.kind != ask {
		return p, nil
	}
	var err error
	if p.query, err = newQuery(a.rs, m.policy); err != nil {
		return nil, err
	}
	p.query.quiet = a.next
	if a.policy != nil {
		if err := a.policy.validate(); err != nil {
			return nil, err
		}
		p.query, p.own = p.query.by(a.policy.ordering()), true
	}
	return p, nil
}

// queryFor returns the action's query as it is for an application.
func (p *prepared) queryFor(m *Manager, app string) *query {
	q := p.query
	if o, ok := m.apps[app]; ok && !p.own {
		q = q.by(o)
	}
	return m.permit(q, app)
}
