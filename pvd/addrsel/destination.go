package addrsel

import (
	"cmp"
	"net/netip"
	"slices"
)

// A Target is a destination with what is known of the way there.
type Target struct {
	Addr netip.Addr

	// Unusable says that the destination is known to be out of reach, or that no source
	// leads there. Source has no meaning then, and no rule about it is met.
	Unusable bool

	// Source is the source that packets to the destination would have.
	Source Candidate

	// Tunnel says that the way there is an encapsulating transition mechanism.
	Tunnel bool
}

// Sort orders destinations by the rules of RFC 6724 section 6, the best first. Those that
// no rule tells apart keep their order (rule 10).
//
// Rule 9 compares destinations of the same family only. Where destinations of both
// families are equal by all other rules, the places of each family stay as they were, and
// rule 9 decides which of the family's has which: comparing by pairs would go in circles.
func (s *Selector) Sort(targets []Target) {
	slices.SortStableFunc(targets, s.compare)
	for len(targets) > 0 {
		n := 1
		for n < len(targets) && s.compare(targets[0], targets[n]) == 0 {
			n++
		}
		s.sortEqual(targets[:n])
		targets = targets[n:]
	}
}

// compare compares two destinations by rules 1 to 8.
func (s *Selector) compare(a, b Target) int { return cmp.Compare(s.worth(&b), s.worth(&a)) }

// sortEqual applies rule 9 to destinations that are equal by the others.
func (s *Selector) sortEqual(equal []Target) {
	if len(equal) == 1 || !s.on.has(DestLongest) {
		return
	}
	six := func(t Target) bool { return t.Addr.Unmap().Is6() }
	first := six(equal[0])
	if !slices.ContainsFunc(equal, func(t Target) bool { return six(t) != first }) {
		slices.SortStableFunc(equal, s.longer)
		return
	}
	for _, family := range []bool{true, false} {
		var of []Target
		for _, t := range equal {
			if six(t) == family {
				of = append(of, t)
			}
		}
		slices.SortStableFunc(of, s.longer)
		for i, t := range equal {
			if six(t) == family {
				equal[i], of = of[0], of[1:]
			}
		}
	}
}

// longer is rule 9 for two destinations of the same family.
func (s *Selector) longer(a, b Target) int {
	rule := DestLongest4
	if a.Addr.Unmap().Is6() {
		rule = DestLongest6
	}
	if !s.on.has(rule) || a.Unusable || b.Unusable {
		return 0
	}
	return cmp.Compare(b.Source.common(wordOf(b.Source.Prefix.Addr()), wordOf(b.Addr)),
		a.Source.common(wordOf(a.Source.Prefix.Addr()), wordOf(a.Addr)))
}

// worth turns rules 1 to 8 into a number, each a digit: the larger, the better.
func (s *Selector) worth(t *Target) uint64 {
	dst, scope := wordOf(t.Addr), s.Scope(t.Addr)
	entry := s.lookup(dst)
	var n uint64
	digit := func(rule Rules, width int, value uint64) {
		n <<= width
		if s.on.has(rule) {
			n |= value
		}
	}
	digit(DestUnusable, 1, uint64(bit(!t.Unusable)))
	if t.Unusable {
		n <<= 5 // nothing can be said of a source
	} else {
		src := t.Source.Prefix.Addr()
		digit(DestScope, 1, uint64(bit(scope == s.Scope(src))))
		digit(DestDeprecated, 1, uint64(bit(!t.Source.deprecated())))
		digit(DestHome, 2, uint64(mobility(&t.Source, false)))
		digit(DestLabel, 1, uint64(bit(entry.label == s.lookup(wordOf(src)).label)))
	}
	digit(DestPrecedence, 31, uint64(entry.precedence))
	digit(DestNative, 1, uint64(bit(!t.Tunnel)))
	digit(DestSmaller, 4, uint64(maxScope-scope))
	return n
}
