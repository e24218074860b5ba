package selection

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
)

// A ruleSet is rules and where to find those that a call can meet. It does not change.
//
// A rule is entered once for each entry of one of its conditions, the one of which calls
// have a single value to look up by. What is found still has to be compared in full.
type ruleSet struct {
	rules   []Rule
	actions []*prepared

	byApp    map[string][]int32
	byDomain map[string][]int32
	byPrefix map[netip.Prefix][]int32
	lengths  [2][]int // of the prefixes, by family
	byMark   map[uint32][]int32
	byPort   map[uint16][]int32
	rest     []int32
}

// SetRules puts other rules in the place of all that there are. The first rule that a call
// meets decides; a call that meets none is left to the system default. Calls that are being
// decided go on by the rules before. The rules must not be changed afterwards.
func (m *Manager) SetRules(rules []Rule) error {
	if len(rules) > MaxRules {
		return fmt.Errorf("selection: %d rules, at most %d", len(rules), MaxRules)
	}
	s := &ruleSet{
		rules: slices.Clone(rules), actions: make([]*prepared, len(rules)),
		byApp: make(map[string][]int32), byDomain: make(map[string][]int32),
		byPrefix: make(map[netip.Prefix][]int32), byMark: make(map[uint32][]int32),
		byPort: make(map[uint16][]int32),
	}
	for i := range s.rules {
		r := &s.rules[i]
		err := r.validate()
		if err == nil {
			s.actions[i], err = m.prepare(r.Action)
		}
		if err != nil {
			return fmt.Errorf("selection: rule %d %q: %w", i+1, r.Name, err)
		}
		s.enter(int32(i), r)
	}
	for f := range s.lengths {
		slices.Sort(s.lengths[f])
		s.lengths[f] = slices.Compact(s.lengths[f])
	}
	m.rules.Store(s)
	return nil
}

// enter makes a rule findable.
func (s *ruleSet) enter(i int32, r *Rule) {
	switch {
	case len(r.Apps) > 0:
		for _, app := range r.Apps {
			enter(s.byApp, app, i)
		}
	case len(r.Destinations) > 0 || len(r.Domains) > 0:
		for _, d := range r.Domains {
			enter(s.byDomain, strings.ToLower(strings.TrimSuffix(d, ".")), i)
		}
		for _, p := range r.Destinations {
			enter(s.byPrefix, p, i)
			f := familyOf(p.Addr())
			s.lengths[f] = append(s.lengths[f], p.Bits())
		}
	case len(r.Marks) > 0 && !slices.ContainsFunc(r.Marks, func(m Mark) bool { return m.Mask != 0 && m.Mask != 1<<32-1 }):
		for _, m := range r.Marks {
			enter(s.byMark, m.Value, i)
		}
	case len(r.Ports) > 0 && !slices.ContainsFunc(r.Ports, func(p Ports) bool { return p.Last > p.First }):
		for _, p := range r.Ports {
			enter(s.byPort, p.First, i)
		}
	default:
		s.rest = append(s.rest, i)
	}
}

func enter[K comparable](index map[K][]int32, k K, i int32) {
	if at := index[k]; len(at) == 0 || at[len(at)-1] != i {
		index[k] = append(at, i)
	}
}

// matching returns the actions of the rules that a call meets, in order.
func (s *ruleSet) matching(c *call) iter.Seq2[*Rule, *prepared] {
	return func(yield func(*Rule, *prepared) bool) {
		var few [8][]int32 // seldom more
		lists := s.lists(c, few[:0])
		last := int32(-1)
		for {
			// The lists are in order, so the next rule is the least of their heads.
			next := int32(-1)
			for i, l := range lists {
				for len(l) > 0 && l[0] <= last {
					l = l[1:]
				}
				lists[i] = l
				if len(l) > 0 && (next < 0 || l[0] < next) {
					next = l[0]
				}
			}
			if next < 0 {
				return
			}
			last = next
			if r := &s.rules[next]; r.meets(c) && !yield(r, s.actions[next]) {
				return
			}
		}
	}
}

// lists returns the places of the index where rules that the call can meet are entered.
func (s *ruleSet) lists(c *call, to [][]int32) [][]int32 {
	add := func(l []int32) {
		if len(l) > 0 {
			to = append(to, l)
		}
	}
	add(s.rest)
	add(s.byApp[c.App])
	add(s.byMark[c.Mark])
	add(s.byPort[c.Remote.Port()])
	if len(s.byDomain) > 0 {
		for name := c.name; name != ""; _, name, _ = strings.Cut(name, ".") {
			add(s.byDomain[name])
		}
	}
	if c.remote.IsValid() {
		for _, bits := range s.lengths[familyOf(c.remote)] {
			if p, err := c.remote.Prefix(bits); err == nil {
				add(s.byPrefix[p])
			}
		}
	}
	return to
}

// describe returns how an error calls a rule.
func (r *Rule) describe(err error) error {
	if r.Name == "" {
		return err
	}
	return fmt.Errorf("rule %q: %w", r.Name, err)
}
