package selection

import "github.com/pvdstack/pvdstack/pvd"

// Rank returns those PvDs that fulfil the requirements, the best one first, in the order
// that the package documents. The infos are in order of attachment, as a host lists them.
// The error is about the requirements: that nobody fulfils them is none.
func Rank(infos []*pvd.Info, rs Requirements) ([]*pvd.Info, error) {
	return new(Policy).Rank(infos, rs)
}

// Best returns the first that [Rank] would. The error is a [*NoneError] if there is none.
func Best(infos []*pvd.Info, rs Requirements) (*pvd.Info, error) {
	return new(Policy).Best(infos, rs)
}

// Rank is the function [Rank] by another policy than the default one.
func (p *Policy) Rank(infos []*pvd.Info, rs Requirements) ([]*pvd.Info, error) {
	q, err := newQuery(rs, p)
	if err != nil {
		return nil, err
	}
	ranked := q.rank(factsOf(infos), target{})
	of := make([]*pvd.Info, len(ranked))
	for i, f := range ranked {
		of[i] = f.info
	}
	return of, nil
}

// Best is the function [Best] by another policy than the default one.
func (p *Policy) Best(infos []*pvd.Info, rs Requirements) (*pvd.Info, error) {
	q, err := newQuery(rs, p)
	if err != nil {
		return nil, err
	}
	all := factsOf(infos)
	f := q.best(all, target{})
	if f == nil {
		return nil, q.none(all)
	}
	return f.info, nil
}
