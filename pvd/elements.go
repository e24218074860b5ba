package pvd

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"
)

// elements are those of one PvD, in the order of their keys. There are a dozen: looking
// through them costs less than a map would, above all when they are copied and compared.
type elements []elem

type elem struct {
	key        *keyBase
	value      any
	since      uint64 // the version of the PvD that this value came with; 0: to be found out
	configured bool   // a Config's own, which the next Config may take away
}

func compareKeys(a, b *keyBase) int {
	return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(a.number, b.number))
}

// value returns the value of an element, nil if there is none.
func (es elements) value(k *keyBase) any {
	for i := range es {
		if es[i].key == k {
			return es[i].value
		}
	}
	return nil
}

func (es *elements) set(e elem) {
	i, ok := slices.BinarySearchFunc(*es, e.key, func(e elem, k *keyBase) int { return compareKeys(e.key, k) })
	if !ok {
		*es = slices.Insert(*es, i, elem{})
	}
	(*es)[i] = e
}

func (es *elements) clear(k *keyBase) {
	*es = slices.DeleteFunc(*es, func(e elem) bool { return e.key == k })
}

// configure makes given those that a Config has added, and takes those away that an
// earlier one has.
func (es *elements) configure(given []Element) {
	*es = slices.DeleteFunc(*es, func(e elem) bool {
		return e.configured && !slices.ContainsFunc(given, func(g Element) bool { return g.key == e.key })
	})
	for _, g := range given {
		es.set(elem{key: g.key, value: g.Value(), configured: true})
	}
}

// date gives those that have been set since old the version that they came with: old's if
// it has an equal one, else the new version. An equal value is dropped in favour of old's.
func (es elements) date(old elements, version uint64) {
	for i := range es {
		if es[i].since != 0 {
			continue
		}
		es[i].since = version
		at, ok := slices.BinarySearchFunc(old, es[i].key, func(e elem, k *keyBase) int { return compareKeys(e.key, k) })
		if ok && equal(old[at].value, es[i].value) {
			es[i].value, es[i].since = old[at].value, old[at].since
		}
	}
}

// difference appends to keys those of the elements that have come, changed or gone since
// the version that old is of. It compares no values: equal ones have the same version.
func (es elements) difference(old elements, keys []AnyKey) []AnyKey {
	for len(es) > 0 || len(old) > 0 {
		var order int
		switch {
		case len(old) == 0:
			order = -1
		case len(es) == 0:
			order = 1
		case es[0].key != old[0].key:
			order = compareKeys(es[0].key, old[0].key)
		}
		switch {
		case order < 0:
			keys = append(keys, AnyKey{es[0].key})
			es = es[1:]
		case order > 0:
			keys = append(keys, AnyKey{old[0].key})
			old = old[1:]
		default:
			if es[0].since != old[0].since {
				keys = append(keys, AnyKey{es[0].key})
			}
			es, old = es[1:], old[1:]
		}
	}
	return keys
}

// equal reports whether two values of an element are the same. The types that are compared
// often, or are long, do not need reflection.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []AddressInfo:
		return sameSlice(a, b)
	case []Route:
		return sameSlice(a, b)
	case []string:
		return sameSlice(a, b)
	case []netip.AddrPort:
		return sameSlice(a, b)
	case time.Time:
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	}
	return reflect.DeepEqual(a, b)
}

func sameSlice[E comparable](a []E, b any) bool {
	same, ok := b.([]E)
	return ok && slices.Equal(a, same)
}
