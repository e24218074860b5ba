package selection

import (
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// A ContradictionError says that no PvD could fulfil the requirements, or that they both
// want something and want it not.
type ContradictionError struct {
	Of Requirements // those that contradict each other
}

// Error implements error.
func (e *ContradictionError) Error() string {
	return "selection: " + joined(e.Of, " contradicts ", Requirement.String)
}

// contradiction returns the first contradiction, or nil.
func (rs Requirements) contradiction() error {
	all := rs.effective()
	for i, b := range all {
		for _, a := range all[:i] {
			if a.contradicts(b) {
				return &ContradictionError{Of: Requirements{a, b}}
			}
		}
	}
	for _, find := range []func() Requirements{all.noFamily, all.noTechnology} {
		if of := find(); of != nil {
			return &ContradictionError{Of: of}
		}
	}
	return nil
}

// contradicts reports whether two requirements can not both be meant.
func (r Requirement) contradicts(o Requirement) bool {
	switch {
	case r.Level == Indifferent || o.Level == Indifferent:
		return false
	case r.Level == Required && o.Level == Required:
		return r.Property.excludes(o.Property)
	case r.Level == Required && o.Level == Prohibited:
		return r.Property.implies(o.Property)
	case r.Level == Prohibited && o.Level == Required:
		return o.Property.implies(r.Property)
	}
	// Of one property, both sides; wanting something of which a part is to be avoided
	// is no contradiction.
	same := r.Property.implies(o.Property) && o.Property.implies(r.Property)
	return same && (r.Level > 0) != (o.Level > 0)
}

// noFamily returns the requirements by which no address family remains.
func (rs Requirements) noFamily() Requirements {
	var of Requirements
	prohibited := make(map[Trait]bool)
	required := false
	for _, r := range rs {
		switch p, _ := r.Property.(Trait); {
		case r.Level == Prohibited && (p == IPv4 || p == IPv6):
			prohibited[p] = true
			of = append(of, r)
		case r.Level == Required && p.implies(Available):
			required = true
			of = append(of, r)
		}
	}
	if len(prohibited) == 2 && required {
		return of
	}
	return nil
}

// noTechnology returns the requirements by which no technology remains.
func (rs Requirements) noTechnology() Requirements {
	var of Requirements
	var words []pvd.Technology
	required := false
	for _, r := range rs {
		ts, ok := r.Property.(technologies)
		if !ok || !r.Level.must() {
			continue
		}
		of = append(of, r)
		if r.Level == Required {
			required = true
			words = append(words, ts.words()...)
		}
	}
	if !required {
		return nil
	}
	for kind, parent := range kinds {
		if slices.Contains(words, parent) {
			words = append(words, kind)
		}
	}
	if slices.ContainsFunc(words, of.admit) {
		return nil
	}
	return of
}

// admit reports whether requirements that are all about technologies, and musts, admit t.
func (rs Requirements) admit(t pvd.Technology) bool {
	for _, r := range rs {
		if ts, ok := r.Property.(technologies); ok && ts.admits(t) != (r.Level == Required) {
			return false
		}
	}
	return true
}
