package stack_test

import (
	"context"
	"errors"
	"iter"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// manualHost returns a host with a link "wire" whose other end nobody reads, and its clock.
func manualHost(t *testing.T) (*stack.Host, *pvdtest.ManualClock) {
	t.Helper()
	clock := pvdtest.NewManualClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	h, err := stack.New(stack.Config{Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { clock.Run(func() { _ = h.Close() }) })
	l, r := tun.Pipe(tun.PipeConfig{})
	t.Cleanup(func() { _ = r.Close() })
	if err := h.AddLink("wire", l); err != nil {
		t.Fatal(err)
	}
	return h, clock
}

// events has a host watched up to Synced. What follows is for next.
func events(t *testing.T, h *stack.Host, f pvd.Filter) (next func() pvd.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	pull, stop := iter.Pull2(h.Watch(ctx, f))
	t.Cleanup(func() { stop(); cancel() })
	next = func() pvd.Event {
		t.Helper()
		e, err, _ := pull()
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	for next().Kind != pvd.Synced {
	}
	return next
}

// An end that is known ahead of time is told, can be moved and taken back, and comes by the
// host's clock.
func TestX4_Retire(t *testing.T) {
	h, clock := manualHost(t)
	ref, err := h.Add(t.Context(), config("wire", "192.168.1.2/24"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := h.Add(t.Context(), config("wire", "192.168.2.2/24"))
	if err != nil {
		t.Fatal(err)
	}
	next := events(t, h, pvd.Filter{Kinds: []pvd.EventKind{pvd.Changed, pvd.Leaving, pvd.Removed}})
	retire := func(at time.Time) {
		t.Helper()
		if err := h.Retire(t.Context(), ref, at); err != nil {
			t.Fatal(err)
		}
	}
	there := func(want bool) {
		t.Helper()
		if _, err := h.Info(ref); (err == nil) != want {
			t.Fatalf("at %v: %v", clock.Now(), err)
		}
	}
	first := clock.Now().Add(time.Hour)
	retire(first)
	if e := next(); e.Kind != pvd.Leaving || e.Ref != ref || !e.Ends.Equal(first) {
		t.Fatalf("%+v", e)
	}
	retire(first.Add(time.Hour))
	if e := next(); e.Kind != pvd.Leaving || !e.Ends.Equal(first.Add(time.Hour)) {
		t.Fatalf("%+v", e)
	}
	clock.Advance(time.Hour + time.Minute)
	there(true)
	retire(time.Time{})
	if e := next(); e.Kind != pvd.Changed || !slices.Equal(e.Keys, []pvd.AnyKey{pvd.Ends.Any()}) {
		t.Fatalf("%+v", e)
	}
	clock.Advance(time.Hour)
	there(true)
	retire(clock.Now().Add(time.Minute))
	if e := next(); e.Kind != pvd.Leaving {
		t.Fatalf("%+v", e)
	}
	clock.Advance(time.Minute - 1)
	there(true)
	clock.Advance(1)
	if e := next(); e.Kind != pvd.Removed || e.Ref != ref {
		t.Fatalf("%+v", e)
	}
	there(false)
	if err := h.Retire(t.Context(), ref, clock.Now()); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("of one that is gone: %v", err)
	}
	if err := errors.Join(h.SetDefault(other), h.Retire(t.Context(), pvd.SystemDefault, clock.Now().Add(-time.Second))); err != nil {
		t.Fatal(err)
	}
	for e := next(); e.Kind != pvd.Removed; e = next() {
		if e.Kind != pvd.Leaving || e.Ref != other {
			t.Fatalf("%+v", e)
		}
	}
}

// What waits for the end of a PvD goes with it, and with the host.
func TestRetireLeavesNothing(t *testing.T) {
	checkGoroutines(t)
	h := newHost(t)
	l, r := tun.Pipe(tun.PipeConfig{})
	t.Cleanup(func() { _ = r.Close() })
	if err := h.AddLink("wire", l); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		ref, err := h.Add(t.Context(), config("wire", "192.168.1.2/24"))
		if err != nil {
			t.Fatal(err)
		}
		soon := time.Now().Add(time.Duration(i%4) * time.Millisecond)
		for range 3 { // they race with the removal
			if err := h.Retire(t.Context(), ref, soon); err != nil && !errors.Is(err, pvd.ErrNoPvD) {
				t.Fatal(err)
			}
		}
		if err := h.Remove(t.Context(), ref); err != nil && !errors.Is(err, pvd.ErrNoPvD) {
			t.Fatal(err)
		}
	}
	ref, err := h.Add(t.Context(), config("wire", "192.168.1.2/24"))
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Retire(t.Context(), ref, time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
}

// A host that is closed has told of every removal before its watchers end.
func TestX4_CloseIsToldOf(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	add(t, h, config("wire", "192.168.1.2/24"))
	var kinds []pvd.EventKind
	var last error
	for e, err := range h.Watch(t.Context(), pvd.Filter{}) {
		if kinds = append(kinds, e.Kind); e.Kind == pvd.Synced {
			go h.Close()
		}
		last = err
	}
	if !slices.Contains(kinds, pvd.Removed) || !errors.Is(last, stack.ErrClosed) {
		t.Errorf("%v, %v", kinds, last)
	}
}

// The m:n mapping is answered in both directions, also for a link that is not there.
func TestS14_LinksAndPvDs(t *testing.T) {
	h := newHost(t)
	pipe(t, "lan", h, nil)
	pipe(t, "wan", h, nil)
	a := add(t, h, pvd.Config{Name: "a", Links: []string{"lan", "wan"}, Addresses: addressesOf("192.168.1.2/24")}).PvD()
	b := add(t, h, pvd.Config{Name: "b", ID: "b.example", Links: []string{"wan"}, Addresses: addressesOf("192.168.2.2/24")}).PvD()
	on := func(link string, want ...pvd.Ref) {
		t.Helper()
		if got := h.On(link); !slices.Equal(got, want) {
			t.Errorf("on %s: %v, want %v", link, got, want)
		}
	}
	on("lan", a)
	on("wan", a, b)
	on("none")
	info, err := h.Info(a)
	if err != nil {
		t.Fatal(err)
	}
	if links, _ := pvd.Links.Get(info); !slices.Equal(links, []string{"lan", "wan"}) {
		t.Errorf("links of a: %q", links)
	}
	if err := h.RemoveLink("wan"); err != nil {
		t.Fatal(err)
	}
	on("wan", a, b)
	for _, name := range []string{"b", "b.example", "B.example.", b.String()} {
		if got, err := h.Find(name); got != b || err != nil {
			t.Errorf("%q: %v, %v", name, got, err)
		}
	}
}

// An address that the configuration deprecates is deprecated, once it has been found to be
// nobody else's, and the others know when.
func TestR16_DeprecatedAddress(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	c := config("wire", "2001:db8::2/64", "192.168.1.2/24")
	c.Addresses[0].Deprecated, c.Addresses[0].Temporary = true, true
	ref := add(t, h, c).PvD()
	stateOf := func() pvd.AddressState {
		t.Helper()
		info, err := h.Info(ref)
		if err != nil {
			t.Fatal(err)
		}
		as, _ := pvd.Addresses.Get(info)
		i := slices.IndexFunc(as, func(a pvd.AddressInfo) bool { return a.Prefix == netip.MustParsePrefix("2001:db8::2/64") })
		if !as[i].Temporary {
			t.Errorf("a flag is lost: %+v", as[i])
		}
		return as[i].State
	}
	if got := stateOf(); got != pvd.Deprecated {
		t.Errorf("at first: %v", got)
	}
	next := events(t, h, pvd.Filter{Kinds: []pvd.EventKind{pvd.Changed}})
	for _, tt := range []struct {
		deprecated bool
		want       pvd.AddressState
	}{{false, pvd.Preferred}, {true, pvd.Deprecated}} {
		c.Addresses[0].Deprecated = tt.deprecated
		if err := h.Update(t.Context(), ref, c); err != nil {
			t.Fatal(err)
		}
		if got := stateOf(); got != tt.want {
			t.Errorf("deprecated %v: %v", tt.deprecated, got)
		}
		if e := next(); !slices.Equal(e.Keys, []pvd.AnyKey{pvd.Addresses.Any()}) {
			t.Errorf("keys %v", e.Keys)
		}
	}
}
