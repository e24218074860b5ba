package stack

import (
	"hash/maphash"
	"net/netip"
)

// share spreads destinations over equally good routers (RFC 4311). Each destination draws
// by itself: every router has a weight for it, and the heaviest is taken. So a router that
// comes or goes moves no destinations but its own. The seed is secret, so that nobody can
// choose destinations that all go by one router (section 3 there).
//
// It is for a table that nobody uses yet.
func (f *fib) share(seed *maphash.Seed) {
	f.shared = seed
	for _, set := range f.table.All() {
		for i := range set {
			var h maphash.Hash
			h.SetSeed(*seed)
			_, _ = h.WriteString(set[i].link) // a hash never fails
			via := set[i].via.As16()
			_, _ = h.Write(via[:])
			set[i].draw = h.Sum64()
		}
	}
}

// drawn yields the routes to one prefix like [fib.routes], with the order of equally good
// routers drawn for dst. It is false when no more are wanted.
func (f *fib) drawn(set []fibRoute, dst netip.Addr, yield func(fibRoute) bool) bool {
	for len(set) > 0 {
		n := 1
		for n < len(set) && set[0].via.IsValid() && set[0].equal(&set[n]) {
			n++
		}
		if !f.draw(set[:n], dst, yield) {
			return false
		}
		set = set[n:]
	}
	return true
}

// draw yields equally good routes, the heaviest for dst first. Mostly the first is all that
// is wanted, so nothing is sorted.
func (f *fib) draw(equal []fibRoute, dst netip.Addr, yield func(fibRoute) bool) bool {
	if len(equal) == 1 {
		return yield(equal[0])
	}
	b := dst.As16()
	h := maphash.Bytes(*f.shared, b[:])
	last := -1
	var lastWeight uint64
	for range equal {
		best := -1
		var most uint64
		for i := range equal {
			w := weight(h, equal[i].draw)
			// Those of the last one's weight come in their order.
			after := last < 0 || w < lastWeight || w == lastWeight && i > last
			if after && (best < 0 || w > most) {
				best, most = i, w
			}
		}
		if !yield(equal[best]) {
			return false
		}
		last, lastWeight = best, most
	}
	return true
}

// weight mixes two hashes so that each bit of the outcome depends on all of both.
func weight(destination, router uint64) uint64 {
	x := destination ^ router
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
