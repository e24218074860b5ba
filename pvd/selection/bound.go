package selection

import (
	"cmp"
	"fmt"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// AtLeast returns the property that the element with key k is there and at least v.
func AtLeast[T cmp.Ordered](k pvd.Key[T], v T) Property { return &bound[T]{key: k, v: v, least: true} }

// AtMost returns the property that the element with key k is there and at most v.
func AtMost[T cmp.Ordered](k pvd.Key[T], v T) Property { return &bound[T]{key: k, v: v} }

// MinSpeed returns the property of being known to have at least so many bits a second.
func MinSpeed(bits uint64) Property { return AtLeast(pvd.Speed, bits) }

// MaxCost returns the property of being known to cost no more than that ([pvd.Cost]).
func MaxCost(cost uint32) Property { return AtMost(pvd.Cost, cost) }

// MaxLatency returns the property of being known to have no more latency than that.
func MaxLatency(d time.Duration) Property { return AtMost(pvd.Latency, d) }

type bound[T cmp.Ordered] struct {
	key   pvd.Key[T]
	v     T
	least bool
}

func (b *bound[T]) String() string {
	if b.least {
		return fmt.Sprintf("%v of at least %v", b.key, b.v)
	}
	return fmt.Sprintf("%v of at most %v", b.key, b.v)
}

func (b *bound[T]) test(*Policy) func(*facts) bool {
	read := reader(b.key)
	if b.least {
		return func(f *facts) bool {
			v, ok := read(f)
			return ok && v >= b.v
		}
	}
	return func(f *facts) bool {
		v, ok := read(f)
		return ok && v <= b.v
	}
}

// of returns other as a bound on the same element.
func (b *bound[T]) of(other Property) (*bound[T], bool) {
	o, ok := other.(*bound[T])
	return o, ok && o.key.Any() == b.key.Any()
}

func (b *bound[T]) implies(other Property) bool {
	o, ok := b.of(other)
	if !ok || o.least != b.least {
		return false
	}
	return b.least && b.v >= o.v || !b.least && b.v <= o.v
}

func (b *bound[T]) excludes(other Property) bool {
	o, ok := b.of(other)
	if !ok || o.least == b.least {
		return false
	}
	least, most := b, o
	if o.least {
		least, most = o, b
	}
	return least.v > most.v
}
