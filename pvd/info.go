package pvd

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"time"
)

// An Info is what a PvD consisted of at one moment. It never changes, may be shared by
// any number of goroutines, and what is read from it may be kept and modified.
//
// Its elements are read by their keys: MTU.Get(info), Addresses.Get(info). A PvD need
// not have every element, and is rarely learned all at once.
type Info struct {
	ref     Ref
	id      ID
	name    string
	version uint64
	elems   elements
	changed []AnyKey // the elements in which it is not what the version before was
}

// Ref returns the attachment that the Info describes.
func (i *Info) Ref() Ref { return i.ref }

// ID returns the PvD's identifier, empty for an implicit PvD.
func (i *Info) ID() ID { return i.id }

// Name returns what people call the PvD; it is never empty.
func (i *Info) Name() string { return i.name }

// Version counts the changes of this PvD, from 1. Of two Infos with the same Ref, the
// one with the higher Version is the newer.
func (i *Info) Version() uint64 { return i.version }

// Keys returns the names of the elements that the PvD has, sorted.
func (i *Info) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, e := range i.elems {
			if !yield(e.key.name) {
				return
			}
		}
	}
}

// CurrentAddresses returns all IPv4 addresses of the PvD and all IPv6 addresses that are
// not deprecated (draft-kline-mif-mpvd-api-reqs-00 section 4.2), those that can not be used
// yet included.
func (i *Info) CurrentAddresses() []AddressInfo {
	all, _ := Addresses.Get(i)
	return slices.DeleteFunc(all, func(a AddressInfo) bool {
		return a.Prefix.Addr().Is6() && a.State == Deprecated
	})
}

// isOn reports whether the PvD has an interface on a link.
func (i *Info) isOn(link string) bool {
	links, _ := i.elems.value(Links.base).([]string)
	return slices.Contains(links, link)
}

// sameAs reports whether there is no difference between i and old, the version before.
func (i *Info) sameAs(old *Info) bool {
	return len(i.changed) == 0 && i.id == old.id && i.name == old.name
}

// A Key names one kind of element of a PvD and its type. Keys are made by [NewKey], by
// this package and by whoever has more to say of a PvD; two keys are the same only if
// they come from the same call.
type Key[T any] struct {
	base  *keyBase
	clone func(T) T
}

type keyBase struct {
	name   string
	number int // among all keys, in the order in which they were made
	copy   func(any) any
}

// NewKey returns a new key, to be kept in a package variable: [Keys] lists it from then on.
// The name is for people and should be the only one of its kind. Values of a type that
// shares memory when copied (slices, maps, pointers) need a clone function, which keeps
// an [Info] immutable; for others clone is nil.
func NewKey[T any](name string, clone func(T) T) Key[T] {
	k := Key[T]{base: &keyBase{name: name, copy: func(v any) any { return v }}, clone: clone}
	if clone != nil {
		k.base.copy = func(v any) any {
			t, ok := v.(T)
			if !ok {
				return v // a nil interface
			}
			return clone(t)
		}
	}
	k.base.register()
	return k
}

// String returns the key's name.
func (k Key[T]) String() string { return k.Any().String() }

// Get returns the element of i with this key, and whether there is one. A nil Info has none.
func (k Key[T]) Get(i *Info) (T, bool) {
	v, ok := i.value(k.base).(T)
	if ok && k.clone != nil {
		v = k.clone(v)
	}
	return v, ok
}

// value returns the value of an element, nil if there is none.
func (i *Info) value(k *keyBase) any {
	if i == nil {
		return nil
	}
	return i.elems.value(k)
}

// Set gives the PvD that b describes the element v. A nil interface is none, and the zero
// Key sets nothing.
func (k Key[T]) Set(b *Builder, v T) {
	if any(v) == nil || k.base == nil {
		k.Clear(b)
		return
	}
	if k.clone != nil {
		v = k.clone(v)
	}
	b.elems.set(elem{key: k.base, value: v})
}

// Of is Get for a description that is still being made.
func (k Key[T]) Of(b *Builder) (T, bool) {
	return k.Get(&Info{elems: b.elems})
}

// Clear takes the element away.
func (k Key[T]) Clear(b *Builder) { b.elems.clear(k.base) }

// A Builder is a PvD's description on the way to becoming an [Info]. It is valid only
// within the function that it was handed to.
type Builder struct {
	id    ID
	name  string
	elems elements
}

// SetID and SetName change what the PvD is called. An empty name means the ID or, if
// that is empty too, the Ref.
func (b *Builder) SetID(id ID) { b.id = id }

// SetName is described with SetID.
func (b *Builder) SetName(name string) { b.name = name }

func newBuilder(from *Info) *Builder {
	if from == nil {
		return &Builder{}
	}
	return &Builder{id: from.id, name: from.name, elems: slices.Clone(from.elems)}
}

// NewInfo returns the description of a PvD that is attached nowhere, such as one that could
// be. Its Ref is [Unspecified].
func NewInfo(describe func(*Builder)) *Info {
	b := newBuilder(nil)
	describe(b)
	return b.info(Unspecified, nil)
}

// info returns what b describes as the version after old, which is nil for the first.
func (b *Builder) info(ref Ref, old *Info) *Info {
	name := b.name
	if name == "" {
		name = string(b.id)
	}
	if name == "" {
		name = ref.String()
	}
	if old == nil {
		b.elems.date(nil, 1)
		return &Info{ref: ref, id: b.id, name: name, version: 1, elems: slices.Clone(b.elems)}
	}
	i := &Info{ref: ref, id: b.id, name: name, version: old.version + 1}
	b.elems.date(old.elems, i.version)
	i.elems = slices.Clone(b.elems)
	i.changed = i.elems.difference(old.elems, nil)
	return i
}

// The elements that pvdstack itself knows.
var (
	// Links are the links that the PvD has an interface on, in order of preference.
	Links = NewKey("links", slices.Clone[[]string])

	// Addresses are the PvD's unicast addresses and the state each is in.
	Addresses = NewKey("addresses", slices.Clone[[]AddressInfo])

	// Routes are the PvD's routes beyond the on-link prefixes of its addresses.
	Routes = NewKey("routes", slices.Clone[[]Route])

	// Neighbors are the fixed entries of the neighbour table.
	Neighbors = NewKey("neighbors", cloneNeighbors)

	// DNSServers are asked for names, in order.
	DNSServers = NewKey("dns servers", slices.Clone[[]netip.AddrPort])

	// DNSSearch is the search list for short names.
	DNSSearch = NewKey("dns search", slices.Clone[[]string])

	// MTU is the configured limit on the size of the PvD's packets, in octets.
	MTU = NewKey[int]("mtu", nil)
)

// An AddressInfo is one address of a PvD.
type AddressInfo struct {
	Address
	State AddressState

	// PreferredUntil and ValidUntil are when the address will be deprecated, and when it
	// will be gone (RFC 4862 section 5.5.4). The zero Time: never.
	PreferredUntil, ValidUntil time.Time

	// Automatic says that no configuration has it: it is the link-local address that goes
	// with IPv6.
	Automatic bool
}

// AddressState says how far an address may be used (RFC 4862 section 2).
type AddressState uint8

const (
	// Tentative: duplicate address detection is under way; the address can not be used yet.
	Tentative AddressState = iota
	// Preferred: the address can be used without restriction.
	Preferred
	// Deprecated is an address that still works but should not begin new communication.
	Deprecated
	// Duplicate: another node holds the address; it can not be used.
	Duplicate
	// Down: the address's link is down or gone.
	Down
)

// String returns the state's name in lower case.
func (s AddressState) String() string {
	names := [...]string{"tentative", "preferred", "deprecated", "duplicate", "down"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// Usable reports whether packets may be sent from an address in this state.
func (s AddressState) Usable() bool { return s == Preferred || s == Deprecated }
