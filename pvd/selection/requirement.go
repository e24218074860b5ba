package selection

import (
	"fmt"
	"strings"
)

// A Level says how much a property matters. The five levels are those of RFC 9622
// section 6.2.
type Level int8

// Levels.
const (
	Prohibited  Level = -2 // select only PvDs without the property, else fail
	Avoided     Level = -1 // rather PvDs without it, else proceed
	Indifferent Level = 0  // no preference
	Preferred   Level = 1  // rather PvDs with it, else proceed
	Required    Level = 2  // select only PvDs with it, else fail
)

// String returns the level as a verb: "require", "prefer", "ignore", "avoid" or "prohibit".
func (l Level) String() string {
	names := [...]string{"prohibit", "avoid", "ignore", "prefer", "require"}
	if i := int(l - Prohibited); i >= 0 && i < len(names) {
		return names[i]
	}
	return fmt.Sprintf("level %d", int8(l))
}

// must reports whether a level excludes PvDs.
func (l Level) must() bool { return l == Required || l == Prohibited }

// A Requirement is a property and how much it matters.
type Requirement struct {
	Level    Level
	Property Property
}

// Require returns the requirement that p be there.
func Require(p Property) Requirement { return Requirement{Required, p} }

// Prefer returns the requirement that p be there, if possible.
func Prefer(p Property) Requirement { return Requirement{Preferred, p} }

// Ignore returns a requirement that asks for nothing. Ignore(Available) admits PvDs that
// can not be used yet.
func Ignore(p Property) Requirement { return Requirement{Indifferent, p} }

// Avoid returns the requirement that p not be there, if possible.
func Avoid(p Property) Requirement { return Requirement{Avoided, p} }

// Prohibit returns the requirement that p not be there.
func Prohibit(p Property) Requirement { return Requirement{Prohibited, p} }

// String returns the requirement in words, such as "avoid metered".
func (r Requirement) String() string {
	if r.Property == nil {
		return r.Level.String() + " nothing"
	}
	return r.Level.String() + " " + r.Property.String()
}

// Requirements are what a caller needs, and wants, of a PvD. Of preferences, the one
// stated first weighs more than all after it. [Available] is required unless the
// Requirements say something else of it. No requirements at all are fulfilled by every
// PvD that can be used.
type Requirements []Requirement

// String returns the requirements in words, separated by commas.
func (rs Requirements) String() string {
	if len(rs) == 0 {
		return "require " + Available.String()
	}
	return joined(rs, ", ", Requirement.String)
}

// Validate reports what is wrong with the requirements: too many, one without a
// property, a level that there is not, or a contradiction, which is a
// [*ContradictionError].
func (rs Requirements) Validate() error {
	if len(rs) > MaxRequirements {
		return fmt.Errorf("selection: %d requirements; at most %d can be told apart", len(rs), MaxRequirements)
	}
	for i, r := range rs {
		switch {
		case r.Property == nil:
			return fmt.Errorf("selection: requirement %d has no property", i+1)
		case r.Level < Prohibited || r.Level > Required:
			return fmt.Errorf("selection: requirement %d, %v: there is no %v", i+1, r.Property, r.Level)
		}
	}
	return rs.contradiction()
}

// effective returns the requirements with the one that goes without saying.
func (rs Requirements) effective() Requirements {
	for _, r := range rs {
		if r.Property == Available {
			return rs
		}
	}
	return append(Requirements{Require(Available)}, rs...)
}

// joined returns what f makes of each, with sep between.
func joined[T any](of []T, sep string, f func(T) string) string {
	var b strings.Builder
	for i, v := range of {
		if i > 0 {
			b.WriteString(sep)
		}
		b.WriteString(f(v))
	}
	return b.String()
}
