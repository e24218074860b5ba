package learn

import (
	"fmt"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// An Op is what a [Modifier] does with an element, as the option modifiers of OpenBSD's
// dhclient do with an option (RFC 6419 section 3.2.2.3).
type Op uint8

// The operations.
const (
	opDefault Op = iota + 1
	opSupersede
	opPrepend
	opAppend
	opIgnore
)

// String returns the operation's name in lower case.
func (o Op) String() string {
	switch o {
	case opDefault:
		return "default"
	case opSupersede:
		return "supersede"
	case opPrepend:
		return "prepend"
	case opAppend:
		return "append"
	case opIgnore:
		return "ignore"
	}
	return "none"
}

// A Modifier says what becomes of one element of the PvDs that a [Rule] is for. It may be
// any element but the links: those of a [Proposal]'s own fields are modified by
// [pvd.Addresses], [pvd.Routes], [pvd.DNSServers], [pvd.DNSSearch] and [pvd.MTU].
//
// Of addresses and routes those of IPv4 and those of IPv6 count as two elements, since they
// are learned in different ways: an IPv4 address that supersedes leaves the IPv6 ones as they
// are. So do routes by routers and those to what is on the link. Only Ignore is for all of
// them. DNS servers that are superseded or ignored take the network's encrypted ones with
// them ([pvd.EncryptedDNS]). Link-local addresses of IPv6 always remain, since the host has
// made them itself. An address or route has no Link, and a link-local DNS server no zone: they
// are on the link that the PvD is learned on.
type Modifier struct {
	op    Op
	key   pvd.AnyKey
	value pvd.Element // the zero Element: ignore
}

// Default returns the modifier that gives a PvD an element if nothing of it was learned.
func Default(e pvd.Element) Modifier { return Modifier{opDefault, e.Key(), e} }

// Supersede returns the modifier that puts e in the place of whatever was learned.
func Supersede(e pvd.Element) Modifier { return Modifier{opSupersede, e.Key(), e} }

// Prepend returns the modifier that puts e, a list, before what was learned.
func Prepend(e pvd.Element) Modifier { return Modifier{opPrepend, e.Key(), e} }

// Append returns the modifier that puts e, a list, after what was learned.
func Append(e pvd.Element) Modifier { return Modifier{opAppend, e.Key(), e} }

// Ignore returns the modifier that takes away whatever was learned.
func Ignore(k pvd.AnyKey) Modifier { return Modifier{op: opIgnore, key: k} }

// Op returns what the modifier does.
func (m Modifier) Op() Op { return m.op }

// Key returns the key of the element that is modified.
func (m Modifier) Key() pvd.AnyKey { return m.key }

// String returns the operation, the key and the value.
func (m Modifier) String() string {
	if m.op == opIgnore {
		return fmt.Sprintf("ignore %v", m.key)
	}
	return fmt.Sprintf("%v %v %v", m.op, m.key, m.value.Value())
}

// The modifiers of one element, found in a rule.
type operations struct{ byDefault, supersede, prepend, append, ignore *Modifier }

// operations returns those of the rule's modifiers that are about an element.
func (r *Rule) operations(k pvd.AnyKey) (ops operations) {
	for i := range r.Modify {
		m := &r.Modify[i]
		if m.key != k {
			continue
		}
		switch m.op {
		case opDefault:
			ops.byDefault = m
		case opSupersede:
			ops.supersede = m
		case opPrepend:
			ops.prepend = m
		case opAppend:
			ops.append = m
		case opIgnore:
			ops.ignore = m
		}
	}
	return ops
}

// modifies reports whether the rule says anything about an element.
func (r *Rule) modifies(k pvd.AnyKey) bool {
	return slices.ContainsFunc(r.Modify, func(m Modifier) bool { return m.key == k })
}

// valueOf returns the list or number that a modifier has, the zero T without one.
func valueOf[T any](m *Modifier) (v T) {
	if m != nil {
		v, _ = m.value.Value().(T)
	}
	return v
}

// A kind says how the entries of a list are modified.
type kind[T any] struct {
	same  func(a, b T) bool // whether one would say what the other says already
	class func(T) int       // entries of different classes are different elements; nil: all are one
	stays func(T) bool      // whether an entry is never taken away; nil: none
	limit int               // how many entries there may be
}

// apply returns what becomes of a list. The result shares no memory with learned.
func (k kind[T]) apply(learned []T, ops operations) []T {
	stays := func(e T) bool { return k.stays != nil && k.stays(e) }
	instead := valueOf[[]T](ops.supersede)
	var kept []T
	for _, e := range learned {
		if stays(e) || ops.ignore == nil && !k.hasClass(instead, e, nil) {
			kept = append(kept, e)
		}
	}
	kept = append(kept, instead...)
	for _, e := range valueOf[[]T](ops.byDefault) {
		if !k.hasClass(learned, e, stays) {
			kept = append(kept, e)
		}
	}
	first, last := valueOf[[]T](ops.prepend), valueOf[[]T](ops.append)
	// A person's word goes before the network's where there is not room for both.
	kept = kept[:min(len(kept), max(0, k.limit-len(first)-len(last)))]
	return k.unique(slices.Concat(first, kept, last))
}

// hasClass reports whether a list has an entry of the class of e, other than those that are
// not to count.
func (k kind[T]) hasClass(list []T, e T, not func(T) bool) bool {
	return slices.ContainsFunc(list, func(o T) bool {
		return (k.class == nil || k.class(o) == k.class(e)) && (not == nil || !not(o))
	})
}

// unique removes entries that say what an earlier one does.
func (k kind[T]) unique(list []T) []T {
	out := list[:0]
	for _, e := range list {
		if !slices.ContainsFunc(out, func(o T) bool { return k.same(o, e) }) {
			out = append(out, e)
		}
	}
	return out
}
