//go:build !race

package addrsel_test

import (
	"testing"

	"github.com/pvdstack/pvdstack/pvd/addrsel"
)

// Choosing takes no memory.
func TestNoAllocation(t *testing.T) {
	s := selector(t, policy(row("fd11::/16", 45, 14)))
	cs := candidates("2001:db8:1::1, fd11::1 temporary, fe80::1, 2002::1 deprecated")
	dst := ip("2001:db8:9::1")
	var best addrsel.Rank
	if n := testing.AllocsPerRun(100, func() {
		q := s.For(dst)
		for i := range cs {
			best = max(best, q.Rank(&cs[i]))
		}
	}); n != 0 {
		t.Errorf("%v allocations for a source", n)
	}
	ts := make([]addrsel.Target, 8)
	for i := range ts {
		ts[i] = addrsel.Target{Addr: dst, Source: cs[i%len(cs)], Unusable: i == 3}
	}
	if n := testing.AllocsPerRun(100, func() { s.Sort(ts) }); n != 0 {
		t.Errorf("%v allocations for an order", n)
	}
}

func BenchmarkSource(b *testing.B) {
	cs := candidates("2001:db8:1::1, fd11::1 temporary, fe80::1, 2002::1 deprecated")
	dst := ip("2001:db8:9::1")
	for b.Loop() {
		source(addrsel.Default(), cs, dst)
	}
}
