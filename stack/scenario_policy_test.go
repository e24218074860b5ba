package stack_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/selection"
	"github.com/pvdstack/pvdstack/stack"
)

// TestR23_Permits has a host say what its policy permits, for more applications than it keeps
// in mind.
func TestR23_Permits(t *testing.T) {
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	corp, home := pvd.NewInfo(func(b *pvd.Builder) { b.SetName("corp") }), pvd.NewInfo(func(b *pvd.Builder) { b.SetName("home") })
	if h.Permits("game") != nil {
		t.Error("no policy forbids something")
	}
	setPolicy(t, h, &pvd.Policy{Rules: []pvd.PolicyRule{{Apps: []string{"game*"}, PvDs: []string{"corp"}, What: pvd.Denied}}, Default: pvd.Allowed})
	for range 2 {
		for i := range 3000 {
			may := h.Permits(fmt.Sprint("game", i))
			if may == nil || may(corp) || !may(home) {
				t.Fatalf("game %d may use corp, or not home", i)
			}
		}
	}
	if h.Permits("") != nil || h.Permits("mail") != nil {
		t.Error("who may use everything may not")
	}
	setPolicy(t, h, &pvd.Policy{Default: pvd.Hidden})
	if may := h.Permits("game1"); may == nil || may(home) || h.Permits("") != nil {
		t.Error("another policy is not looked at")
	}
	setPolicy(t, h, nil)
	if h.Permits("game1") != nil {
		t.Error("a policy that is gone is looked at")
	}
}

// TestR23_SelectorKnowsPolicy has rules choose among what policy permits an App: its calls go
// by what is left, and errors do not mention what is hidden.
func TestR23_SelectorKnowsPolicy(t *testing.T) {
	w := newWorld(t, 2, false)
	m, err := selection.New(selection.Config{
		Registry: w.host, Permit: w.host.Permits, Rules: []selection.Rule{{Action: selection.Choose()}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	w.host.SetSelector(m)
	game, other := w.host.App("game"), w.host.App("other")
	for what, want := range map[*pvd.Policy]pvd.Ref{
		nil:                           w.ref(0),
		gameMay("net0", pvd.Denied):   w.ref(1),
		gameMay("net0", pvd.Hidden):   w.ref(1),
		gameMay("net1", pvd.Hidden):   w.ref(0),
		gameMay("nobody", pvd.Hidden): w.ref(0),
	} {
		setPolicy(t, w.host, what)
		for app, want := range map[*stack.App]pvd.Ref{game: want, other: w.ref(0)} {
			if got := app.Scope(t.Context()); got != want {
				t.Errorf("%s under %+v: %v, want %v", app.Name(), what, got, want)
			}
			c, err := app.DialContext(t.Context(), "udp", "192.168.1.1:80")
			if got, err := closed(c, err); got != want || err != nil {
				t.Errorf("%s under %+v: in %v, %v, want %v", app.Name(), what, got, err, want)
			}
		}
	}
	setPolicy(t, w.host, gameMay("*", pvd.Hidden))
	var none *selection.NoneError
	if err := dialErr(t.Context(), game, "tcp", "192.168.1.1:80"); !errors.As(err, &none) || len(none.Candidates) != 0 {
		t.Errorf("%v: %+v, want nothing to choose from", err, none)
	}
}
