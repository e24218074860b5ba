package selection

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Property is something that a PvD has or has not: a [Trait], or what [Technologies],
// [Named], [InGroup], [Is], [AtLeast], [AtMost], [MinSpeed], [MaxCost], [MaxLatency] and
// [Has] return. Its String completes "the PvD has to be/have …".
type Property interface {
	fmt.Stringer

	// test returns a function that tells whether a PvD has the property.
	test(*Policy) func(*facts) bool

	// implies reports whether every PvD with the property has other too, and excludes
	// whether none has. Both may be false for what is true but can not be told.
	implies(other Property) bool
	excludes(other Property) bool
}

// A Trait is a property without a value.
type Trait uint8

// Traits.
const (
	// Available: the PvD has an address that can be used. IPv6 link-local addresses do not
	// count.
	Available Trait = 1 + iota
	// IPv4 and IPv6: it has one of the family.
	IPv4
	// IPv6 is described with IPv4.
	IPv6
	// Routed: it has a route beyond its on-link prefixes, and an address of the same
	// family that can be used.
	Routed
	// Internet: it has a default route, an address of the same family that can be used,
	// and is not marked as one that leads to some destinations only ([pvd.NoInternet]).
	Internet
	// Metered: traffic is counted or paid for.
	Metered
	// Captive: a captive portal is in the way.
	Captive

	lastTrait = Captive
)

// String returns the trait's name.
func (t Trait) String() string {
	names := [...]string{"no trait", "a usable address", "IPv4", "IPv6", "a route", "the internet", "metered", "captive"}
	if int(t) < len(names) {
		return names[t]
	}
	return "trait " + strconv.Itoa(int(t))
}

// traits is a set of traits.
type traits uint16

func (s traits) has(t Trait) bool { return t <= lastTrait && s&(1<<t) != 0 }

func (s *traits) set(t Trait, on bool) {
	if on {
		*s |= 1 << t
	}
}

func (t Trait) test(*Policy) func(*facts) bool {
	return func(f *facts) bool { return f.traits.has(t) }
}

func (t Trait) implies(other Property) bool {
	o, ok := other.(Trait)
	switch {
	case !ok:
		return false
	case o == t:
		return true
	case o == Available:
		return t == IPv4 || t == IPv6 || t == Routed || t == Internet
	case o == Routed:
		return t == Internet
	}
	return false
}

func (Trait) excludes(Property) bool { return false }

// Named returns the property of having a name, or an ID, or being called name by the
// string of the Ref.
func Named(name string) Property { return named(name) }

type named string

func (n named) String() string { return "the name " + strconv.Quote(string(n)) }

func (n named) test(*Policy) func(*facts) bool {
	id, err := pvd.ParseID(string(n))
	if err != nil || id == "" {
		id = noID
	}
	ref := parseRef(string(n))
	return func(f *facts) bool { return f.name == string(n) || f.id == id || f.ref == ref }
}

// noID is no PvD's ID.
const noID pvd.ID = "."

// parseRef returns the attachment that a string, such as "pvd#17", names, else
// [pvd.Null], which none is.
func parseRef(s string) pvd.Ref {
	digits, _ := strings.CutPrefix(s, "pvd#")
	n, err := strconv.ParseUint(digits, 10, 64)
	if ref := pvd.Ref(n); err == nil && ref.Attached() && ref.String() == s {
		return ref
	}
	return pvd.Null
}

func (n named) implies(other Property) bool { return other == Property(n) }
func (named) excludes(Property) bool        { return false } // a PvD has a name and an ID

// Is returns the property of being one particular attachment.
func Is(ref pvd.Ref) Property { return identity(ref) }

type identity pvd.Ref

func (r identity) String() string { return pvd.Ref(r).String() }

func (r identity) test(*Policy) func(*facts) bool {
	return func(f *facts) bool { return f.ref == pvd.Ref(r) }
}

func (r identity) implies(other Property) bool { return other == Property(r) }

func (r identity) excludes(other Property) bool {
	o, ok := other.(identity)
	return ok && o != r
}

// InGroup returns the property of being a member of a group: by [pvd.Groups], or by the
// [Policy]. The members of a group lead to the same place.
func InGroup(name string) Property { return inGroup(name) }

type inGroup string

func (g inGroup) String() string { return "the group " + strconv.Quote(string(g)) }

func (g inGroup) test(p *Policy) func(*facts) bool {
	places := p.places(string(g))
	return func(f *facts) bool {
		_, ok := f.placeIn(string(g), places)
		return ok
	}
}

func (g inGroup) implies(other Property) bool { return other == Property(g) }
func (inGroup) excludes(Property) bool        { return false }

// Has returns the property of fulfilling a condition, whatever it is about. The condition
// may be asked very often and has to be quick; it can not use the [Manager]. A network that
// is not open yet does not have it.
func Has(c pvd.Condition) Property { return &condition{c} }

type condition struct{ c pvd.Condition }

func (c *condition) String() string { return c.c.String() }

func (c *condition) test(*Policy) func(*facts) bool {
	return func(f *facts) bool { return f.open() && c.c.Holds(f.info) }
}

func (c *condition) implies(other Property) bool { return other == Property(c) }
func (*condition) excludes(Property) bool        { return false }
