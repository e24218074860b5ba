package stack_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// rename gives the PvD of a world's link 0 another name.
func (w *world) rename(t *testing.T, name string) {
	t.Helper()
	c := config("wire0", "192.168.1.2/24", "fd00::2/64", "fe80::2/64")
	c.Name = name
	if err := w.host.Update(t.Context(), w.ref(0), c); err != nil {
		t.Fatal(err)
	}
}

// TestR10_R23_DefaultByAnotherName has the default hidden, and seen again, because it is
// called something else: whoever watches hears of another default, whatever else he asked for.
func TestR10_R23_DefaultByAnotherName(t *testing.T) {
	w := newWorld(t, 2, false)
	setPolicy(t, w.host, gameMay("secret", pvd.Hidden))
	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	a := w.host.App("game")
	for what, f := range map[string]pvd.Filter{
		"all":               {},
		"the default only":  {Kinds: []pvd.EventKind{pvd.DefaultChanged}},
		"another PvD":       {Refs: []pvd.Ref{w.ref(1)}},
		"whichever it is":   {Refs: []pvd.Ref{pvd.SystemDefault}},
		"of no interest":    {Match: func(*pvd.Info) bool { return false }},
		"another element's": {Keys: []pvd.AnyKey{pvd.MTU.Any()}},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), longest)
		var got []string
		for e, err := range a.Watch(ctx, f) {
			if err != nil {
				t.Errorf("%s: %q, then %v", what, got, err)
				break
			}
			if e.Info != nil && e.Info.Name() == "secret" {
				t.Errorf("%s: %v of the hidden PvD", what, e.Kind)
			}
			if e.Kind == pvd.DefaultChanged {
				got = append(got, fmt.Sprint(e.Ref, " ", e.Info != nil))
				switch len(got) {
				case 2:
					w.rename(t, "public")
				case 3:
					cancel()
				}
			}
			if e.Kind == pvd.Synced {
				w.rename(t, "secret")
			}
			if len(got) == 3 {
				break
			}
		}
		cancel()
		want := fmt.Sprintf("%v true, null false, %v true", w.ref(0), w.ref(0))
		if s := strings.Join(got, ", "); s != want {
			t.Errorf("%s: %s, want %s", what, s, want)
		}
		w.rename(t, "net0")
	}
}

// TestR23_HiddenDefaultGone removes a default that an App does not see: there is none for
// the App, as before. One that it saw is one that is gone.
func TestR23_HiddenDefaultGone(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("game")
	setPolicy(t, w.host, gameMay("net0", pvd.Hidden))
	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	first := func() (e pvd.Event) {
		for e, err := range a.Watch(t.Context(), pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}}) {
			if err != nil {
				t.Error(err)
			}
			return e
		}
		return e
	}
	check := func(want pvd.Ref, dialled error) {
		t.Helper()
		if got := a.SystemDefault(); got != want {
			t.Errorf("default %v, want %v", got, want)
		}
		if got := a.Scope(t.Context()); got != want {
			t.Errorf("scope %v, want %v", got, want)
		}
		if e := first(); e.Ref != want {
			t.Errorf("watched %v, want %v", e.Ref, want)
		}
		wantOpError(t, dialErr(t.Context(), a, "tcp", "192.168.1.1:80"), dialled)
	}
	check(pvd.Null, syscall.ENETUNREACH)
	if err := w.host.Remove(t.Context(), w.ref(0)); err != nil {
		t.Fatal(err)
	}
	check(pvd.Null, syscall.ENETUNREACH)
	setPolicy(t, w.host, nil)
	check(w.ref(0), pvd.ErrNoPvD)
	setPolicy(t, w.host, gameMay("net1", pvd.Hidden))
	check(w.ref(0), pvd.ErrNoPvD)
	if err := errors.Join(w.host.SetDefault(w.ref(1)), w.host.Remove(t.Context(), w.ref(1))); err != nil {
		t.Fatal(err)
	}
	check(pvd.Null, syscall.ENETUNREACH)
}

// TestR23_ErrorsTellNothing asks for links of a PvD that is hidden, and for what a selector
// has chosen that the App does not see.
func TestR23_ErrorsTellNothing(t *testing.T) {
	w := newWorld(t, 2, false)
	a := w.host.App("game")
	setPolicy(t, w.host, gameMay("net0", pvd.Hidden))
	sameError(t, w.ref(0), pvd.Ref(99999), func(ref pvd.Ref) error {
		return dialErr(t.Context(), a.In(ref), "tcp", "[fe80::1%wire0]:80")
	})
	sameError(t, w.ref(0), pvd.Ref(99999), func(ref pvd.Ref) error {
		return listenErr(t.Context(), a.In(ref), "tcp", "[fe80::2%wire0]:80")
	})
	w.host.SetSelector(selectorFunc(func(context.Context, pvd.Call) (pvd.Ref, error) { return w.ref(0), nil }))
	if got := a.Scope(t.Context()); got != pvd.Null {
		t.Errorf("a selector lets it know of %v", got)
	}
	wantOpError(t, dialErr(t.Context(), a, "tcp", "192.168.1.1:80"), pvd.ErrNoPvD)
	// What refers to a default that it does not see is what has none.
	if err := w.host.SetDefault(w.ref(0)); err != nil {
		t.Fatal(err)
	}
	w.host.SetSelector(selectorFunc(func(context.Context, pvd.Call) (pvd.Ref, error) { return pvd.SystemDefault, nil }))
	wantOpError(t, dialErr(t.Context(), a, "tcp", "192.168.1.1:80"), syscall.ENETUNREACH)
}
