package pvd

import (
	"iter"
	"slices"
	"sync"
)

// An Element is a value with its key: something that a [Config] says of a PvD beyond its
// own fields. Make one with [Key.With].
type Element struct {
	key   *keyBase
	value any
}

// With returns the element v. The caller may go on to change what v refers to.
func (k Key[T]) With(v T) Element {
	if k.clone != nil {
		v = k.clone(v)
	}
	return Element{key: k.base, value: v}
}

// Key returns the element's key, the zero AnyKey for the zero Element.
func (e Element) Key() AnyKey { return AnyKey{e.key} }

// Value returns a copy of the element's value, nil for the zero Element.
func (e Element) Value() any {
	if e.key == nil {
		return nil
	}
	return e.key.copy(e.value)
}

func (e Element) clone() Element { return Element{key: e.key, value: e.Value()} }

// An AnyKey is a [Key] whatever the type of its elements, for those who handle elements
// that they need not understand. It is comparable.
type AnyKey struct{ base *keyBase }

// Any returns k without its type.
func (k Key[T]) Any() AnyKey { return AnyKey{k.base} }

// String returns the key's name.
func (k AnyKey) String() string {
	if k.base == nil {
		return "no key"
	}
	return k.base.name
}

// Get returns a copy of the element of i with this key, and whether there is one. The zero
// AnyKey has none, nor has a nil Info.
func (k AnyKey) Get(i *Info) (any, bool) {
	v := i.value(k.base)
	if v == nil {
		return nil, false
	}
	return k.base.copy(v), true
}

// Elements returns the PvD's elements with their keys, in the order of the keys' names.
func (i *Info) Elements() iter.Seq2[AnyKey, any] {
	return func(yield func(AnyKey, any) bool) {
		for _, e := range i.elems {
			if !yield(AnyKey{e.key}, e.key.copy(e.value)) {
				return
			}
		}
	}
}

// known holds every key that there is. Keys are made once and for all, as package
// variables are, so nothing is ever taken out.
var known struct {
	sync.Mutex
	keys []*keyBase
}

func (k *keyBase) register() {
	known.Lock()
	defer known.Unlock()
	k.number = len(known.keys)
	known.keys = append(known.keys, k)
}

// Keys returns every key that any package of the program has made, in the order of their
// names.
func Keys() []AnyKey {
	known.Lock()
	defer known.Unlock()
	all := make([]AnyKey, len(known.keys))
	for i, k := range known.keys {
		all[i] = AnyKey{k}
	}
	slices.SortFunc(all, func(a, b AnyKey) int { return compareKeys(a.base, b.base) })
	return all
}

// KeyNamed returns the key of a name: of several, the one that was made first.
func KeyNamed(name string) (AnyKey, bool) {
	known.Lock()
	defer known.Unlock()
	for _, k := range known.keys {
		if k.name == name {
			return AnyKey{k}, true
		}
	}
	return AnyKey{}, false
}
