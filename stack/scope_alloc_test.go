//go:build !race

package stack_test

import (
	"context"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// scopes returns, by name, what finds the PvD of a call by each scope, and by a selector
// and under a policy.
func scopes(t testing.TB) map[string]func() pvd.Ref {
	t.Helper()
	h := newHost(t)
	pipe(t, "wire", h, nil)
	n := add(t, h, config("wire", "10.0.0.1/24"))
	if err := h.SetDefault(n.PvD()); err != nil {
		t.Fatal(err)
	}
	def, plain := h.App("default"), h.App("plain")
	if err := def.SetDefault(n.PvD()); err != nil {
		t.Fatal(err)
	}
	asking, held := newHost(t), newHost(t)
	asking.SetSelector(&fixed{n.PvD()})
	pipe(t, "wire", held, nil)
	if err := held.SetDefault(add(t, held, config("wire", "10.0.0.1/24")).PvD()); err != nil {
		t.Fatal(err)
	}
	if err := held.SetPolicy(&pvd.Policy{Rules: []pvd.PolicyRule{
		{Apps: []string{"a*", "b*"}, PvDs: []string{"corp"}, What: pvd.Hidden},
		{Apps: []string{"*"}, PvDs: []string{"*"}, What: pvd.Allowed},
	}}); err != nil {
		t.Fatal(err)
	}
	ctx, with := t.Context(), pvd.NewContext(t.Context(), n.PvD())
	scope := func(n interface {
		Scope(context.Context) pvd.Ref
	}, ctx context.Context,
	) func() pvd.Ref {
		return func() pvd.Ref { return n.Scope(ctx) }
	}
	return map[string]func() pvd.Ref{
		"call":     scope(n, ctx),
		"context":  scope(plain, with),
		"App":      scope(def, ctx),
		"system":   scope(plain, ctx),
		"selector": scope(asking.App("browser"), ctx),
		"policy":   scope(held.App("browser"), ctx),
	}
}

// A fixed is a selector that has one answer.
type fixed struct{ ref pvd.Ref }

func (f *fixed) SelectPvD(context.Context, pvd.Call) (pvd.Ref, error) { return f.ref, nil }

// TestR12_ScopeAllocations holds that finding the PvD of a call takes no memory.
func TestR12_ScopeAllocations(t *testing.T) {
	for name, scope := range scopes(t) {
		if !scope().Attached() {
			t.Errorf("%s: in %v", name, scope())
		}
		if n := testing.AllocsPerRun(100, func() { scope() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkScope(b *testing.B) {
	for name, scope := range scopes(b) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				scope()
			}
		})
	}
}
