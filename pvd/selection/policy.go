package selection

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Policy says how PvDs are ordered that fulfil the requirements equally well. Its zero
// value is the default: by metric, by technology in [DefaultOrder], then the one that was
// attached first. It must not be changed while in use.
type Policy struct {
	// Criteria are compared in this order. Nil: [ByMetric], [ByTechnology]. Empty: none.
	Criteria []Criterion

	// Order is what [ByTechnology] goes by, the preferred technology first. Those that are
	// not in it come after all that are. Nil: [DefaultOrder].
	Order []pvd.Technology

	// Groups gives groups members, and an order among them.
	Groups []Group

	// Tie says what decides between those that no criterion tells apart.
	Tie Tie
}

// A Group names PvDs that lead to the same place, such as the access points of one
// operator. A PvD can also say by [pvd.Groups] that it is a member; those come after the
// ones that are named here.
type Group struct {
	Name string

	// Members are names or IDs of PvDs, the preferred one first.
	Members []string
}

// A Tie is what decides between PvDs that no criterion tells apart.
type Tie uint8

// Ties.
const (
	// TieFirst: the one that was attached first.
	TieFirst Tie = iota

	// TieSpread: destinations are spread over them, each destination always going to the
	// same one as long as that is there (RFC 4311 section 3 has it for routers). Without a
	// destination it is TieFirst.
	TieSpread
)

// A Criterion compares two PvDs.
type Criterion struct {
	name    string
	compare func(*Policy) func(a, b *facts) int
}

// String returns what the criterion goes by.
func (c Criterion) String() string { return c.name }

var (
	// ByMetric prefers the lower [pvd.Metric]; a PvD without counts as 0.
	ByMetric = Criterion{"metric", func(*Policy) func(a, b *facts) int {
		return func(a, b *facts) int { return cmp.Compare(a.metric, b.metric) }
	}}

	// ByTechnology prefers what comes first in the policy's Order.
	ByTechnology = Criterion{"technology", func(p *Policy) func(a, b *facts) int {
		order := p.order()
		return func(a, b *facts) int {
			if a.technology == b.technology {
				return 0
			}
			return cmp.Compare(place(order, a), place(order, b))
		}
	}}
)

// Lowest prefers the PvD whose element with key k is lower; one without comes after all
// with.
func Lowest[T cmp.Ordered](k pvd.Key[T]) Criterion {
	return Criterion{"lowest " + k.String(), func(*Policy) func(a, b *facts) int {
		return compareBy(k, 1)
	}}
}

// Highest prefers the PvD whose element with key k is higher; one without comes after all
// with.
func Highest[T cmp.Ordered](k pvd.Key[T]) Criterion {
	return Criterion{"highest " + k.String(), func(*Policy) func(a, b *facts) int {
		return compareBy(k, -1)
	}}
}

func compareBy[T cmp.Ordered](k pvd.Key[T], sign int) func(a, b *facts) int {
	read := reader(k)
	return func(a, b *facts) int {
		va, okA := read(a)
		vb, okB := read(b)
		switch {
		case okA && okB:
			return sign * cmp.Compare(va, vb)
		case okA:
			return -1
		case okB:
			return 1
		}
		return 0
	}
}

// ordering makes the policy ready for use.
func (p *Policy) ordering() ordering {
	o := ordering{tie: p.Tie}
	criteria := p.Criteria
	if criteria == nil {
		criteria = []Criterion{ByMetric, ByTechnology}
	}
	for _, c := range criteria {
		o.criteria = append(o.criteria, c.compare(p))
	}
	return o
}

func (p *Policy) order() []pvd.Technology {
	if p.Order == nil {
		return DefaultOrder
	}
	return p.Order
}

// place returns where a PvD's technology, or else what it is a kind of, is in an order.
func place(order []pvd.Technology, f *facts) int {
	if i := slices.Index(order, f.technology); i >= 0 {
		return i
	}
	if i := slices.Index(order, f.kind); i >= 0 && f.kind != "" {
		return i
	}
	return len(order)
}

// places returns where the policy puts the members of a group, by name and ID. It is nil
// where the policy knows no such group.
func (p *Policy) places(group string) map[string]int {
	i := slices.IndexFunc(p.Groups, func(g Group) bool { return g.Name == group })
	if i < 0 {
		return nil
	}
	places := make(map[string]int)
	for at, m := range p.Groups[i].Members {
		places[m] = at
		if id, err := pvd.ParseID(m); err == nil && id != "" {
			places[string(id)] = at
		}
	}
	return places
}

// validate reports what is wrong with the policy.
func (p *Policy) validate() error {
	if p.Tie > TieSpread {
		return fmt.Errorf("selection: policy: there is no tie %d", p.Tie)
	}
	if len(p.Groups) > MaxGroups {
		return fmt.Errorf("selection: policy: %d groups, at most %d", len(p.Groups), MaxGroups)
	}
	for _, c := range p.Criteria {
		if c.compare == nil {
			return errors.New("selection: policy: a criterion without a meaning: use ByMetric, ByTechnology, Lowest or Highest")
		}
	}
	names := make(map[string]bool)
	for _, g := range p.Groups {
		switch {
		case g.Name == "":
			return errors.New("selection: policy: a group without a name")
		case names[g.Name]:
			return fmt.Errorf("selection: policy: two groups %q", g.Name)
		case len(g.Members) > MaxMembers:
			return fmt.Errorf("selection: policy: group %q has %d members, at most %d", g.Name, len(g.Members), MaxMembers)
		}
		names[g.Name] = true
	}
	return nil
}
