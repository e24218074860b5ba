package pvd_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A watching is a loop over what Watch returned, one event at a time.
type watching struct {
	t    *testing.T
	next func() (pvd.Event, error, bool)
}

// watch begins to watch, and reads up to Synced.
func watch(t *testing.T, r *pvd.Registry, f pvd.Filter) *watching {
	t.Helper()
	w := begin(t, r, f)
	for w.event().Kind != pvd.Synced {
	}
	return w
}

func begin(t *testing.T, r *pvd.Registry, f pvd.Filter) *watching {
	t.Helper()
	next, stop := iter.Pull2(r.Watch(t.Context(), f))
	t.Cleanup(stop)
	return &watching{t, next}
}

func (w *watching) event() pvd.Event {
	w.t.Helper()
	e, err, ok := w.next()
	if err != nil || !ok {
		w.t.Fatalf("%v, %v", err, ok)
	}
	return e
}

// expect reads events and compares them with what their String would be.
func (w *watching) expect(want ...string) {
	w.t.Helper()
	for _, s := range want {
		if got := describe(w.event()); got != s {
			w.t.Fatalf("got %s, want %s", got, s)
		}
	}
}

// describe returns an event in a form like "changed pvd#16 1→3 [mtu]", with the versions of
// its Infos.
func describe(e pvd.Event) string {
	version := func(i *pvd.Info) string {
		if i == nil {
			return ""
		}
		if i.Ref() != e.Ref {
			return "of " + i.Ref().String()
		}
		return fmt.Sprint(i.Version())
	}
	s := fmt.Sprintf("%v %v %s→%s", e.Kind, inFirst(e.Ref), version(e.Old), version(e.Info))
	if e.Keys != nil {
		s += fmt.Sprint(" ", e.Keys)
	}
	if !e.Ends.IsZero() {
		s += " " + e.Ends.Format("15:04")
	}
	return s
}

// inFirst returns the Ref that the first registry of a process would have made.
func inFirst(r pvd.Ref) pvd.Ref { return r & (1<<pvd.RefBits - 1) }

// bubble runs f in virtual time with a registry. In it, synctest.Wait returns when every
// watcher has told all that there is to tell, or is busy.
func bubble(t *testing.T, f func(t *testing.T, r *pvd.Registry)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newRegistry(t, pvd.RegistryConfig{})) })
}

func update(t *testing.T, r *pvd.Registry, ref pvd.Ref, edit func(b *pvd.Builder)) {
	t.Helper()
	if err := r.Update(t.Context(), ref, edit); err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, r *pvd.Registry, ref pvd.Ref) {
	t.Helper()
	if err := r.Remove(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
}

func setMTU(n int) func(*pvd.Builder) { return func(b *pvd.Builder) { pvd.MTU.Set(b, n) } }

func named(name string) pvd.Config { return pvd.Config{Name: name, Links: []string{"lan"}} }

// The set of PvDs, explicit and implicit ones alike, is told at first and when it changes.
func TestR1_Watch(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		explicit := add(t, r, pvd.Config{ID: "corp.example", Links: []string{"lan"}}) // pvd#16
		add(t, r, named("implicit"))                                                  // pvd#17
		if err := r.SetDefault(explicit); err != nil {
			t.Fatal(err)
		}
		w := begin(t, r, pvd.Filter{})
		w.expect("added pvd#16 →1", "added pvd#17 →1", "default changed pvd#16 →1", "synced unspecified →")
		add(t, r, named("third"))
		w.expect("added pvd#18 →1")
		remove(t, r, explicit)
		w.expect("removed pvd#16 1→")
	})
}

// Whoever watches learns which elements of a PvD have changed, what they were and are.
func TestR2_ChangedElements(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		ref := add(t, r, valid())
		w := watch(t, r, pvd.Filter{})
		c := valid()
		c.MTU, c.DNS.Search, c.Elements = 1300, nil, c.Elements[:1]
		update(t, r, ref, c.Describe)
		e := w.event()
		if got := describe(e); got != "changed pvd#16 1→2 [dns search groups mtu]" {
			t.Error(got)
		}
		old, _ := pvd.MTU.Get(e.Old)
		now, _ := pvd.MTU.Get(e.Info)
		if old != 1400 || now != 1300 {
			t.Errorf("MTU %d, then %d", old, now)
		}
		update(t, r, ref, c.Describe) // nothing new
		update(t, r, ref, func(b *pvd.Builder) { b.SetName("other") })
		w.expect("changed pvd#16 2→3")
		update(t, r, ref, func(b *pvd.Builder) { pvd.MTU.Clear(b) })
		w.expect("changed pvd#16 3→4 [mtu]")
	})
}

// The default is learned, and its changes without asking.
func TestR10_DefaultChanged(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		w := begin(t, r, pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}})
		w.expect("default changed null →", "synced unspecified →")
		a, b := add(t, r, named("a")), add(t, r, named("b"))
		for _, ref := range []pvd.Ref{a, a, pvd.Null, b} {
			if err := r.SetDefault(ref); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		w.expect("default changed pvd#17 →1") // the latest
		if err := r.SetDefault(a); err != nil {
			t.Fatal(err)
		}
		w.expect("default changed pvd#16 →1")
		remove(t, r, a) // nobody takes its place
		late := begin(t, r, pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}})
		late.expect("default changed pvd#16 →", "synced unspecified →")
	})
}

// What happens while a watcher is busy is told per PvD, and only as far as it still matters.
func TestCoalescing(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a, b := add(t, r, named("a")), add(t, r, named("b"))
		w := watch(t, r, pvd.Filter{})
		update(t, r, a, setMTU(1300))
		update(t, r, a, func(b *pvd.Builder) { pvd.Metered.Set(b, true) })
		update(t, r, a, setMTU(1400))
		c := add(t, r, named("c"))
		update(t, r, c, setMTU(1300))
		d := add(t, r, named("d"))
		remove(t, r, d)
		update(t, r, b, setMTU(1300))
		remove(t, r, b)
		w.expect("changed pvd#16 1→4 [metered mtu]", "added pvd#18 →2", "removed pvd#17 1→")

		// One that goes before its turn in the snapshot is not in it.
		late := begin(t, r, pvd.Filter{Kinds: []pvd.EventKind{pvd.Added, pvd.Removed}})
		late.expect("added pvd#16 →4")
		remove(t, r, c)
		late.expect("synced unspecified →")
		remove(t, r, a)
		late.expect("removed pvd#16 4→")
	})
}

// Ends that are known ahead of time are events of their own.
func TestX4_Leaving(t *testing.T) {
	at := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
	leave := func(t *testing.T, r *pvd.Registry, ref pvd.Ref, at time.Time) {
		t.Helper()
		if err := r.Leave(t.Context(), ref, at); err != nil {
			t.Fatal(err)
		}
	}
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a := add(t, r, named("a"))
		if err := r.SetDefault(a); err != nil {
			t.Fatal(err)
		}
		w := watch(t, r, pvd.Filter{})
		leave(t, r, pvd.SystemDefault, at)
		w.expect("leaving pvd#16 1→2 [ends] 12:00")
		leave(t, r, a, at)
		leave(t, r, a, at.Add(time.Hour))
		w.expect("leaving pvd#16 2→3 [ends] 13:00")
		update(t, r, a, setMTU(1300))
		leave(t, r, a, at)
		w.expect("changed pvd#16 3→5 [mtu]", "leaving pvd#16 3→5 [ends] 12:00")
		begin(t, r, pvd.Filter{}).expect("added pvd#16 →5", "leaving pvd#16 →5 12:00", "default changed pvd#16 →5")
		leave(t, r, a, time.Time{})
		w.expect("changed pvd#16 5→6 [ends]")
		leave(t, r, a, at)
		remove(t, r, a)
		w.expect("removed pvd#16 6→")
		if err := r.Leave(t.Context(), a, at); !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("of one that is gone: %v", err)
		}
	})
}

// A PvD that begins to be what a filter asks for has come, one that ends to be has gone.
func TestFilter(t *testing.T) {
	lan, wan := pvd.Config{Links: []string{"lan"}}, pvd.Config{Links: []string{"lan", "wan"}}
	for name, tt := range map[string]struct {
		filter func(a, b pvd.Ref) pvd.Filter
		want   []string // after the snapshot
	}{
		"nothing": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{} }, []string{
			"changed pvd#16 1→2 [links]", "changed pvd#17 1→2 [mtu]", "changed pvd#17 2→3 [metered]", "default changed pvd#17 →3",
			"changed pvd#16 2→3 [links]", "removed pvd#16 3→", "removed pvd#17 3→",
		}},
		"a PvD": {func(a, _ pvd.Ref) pvd.Filter { return pvd.Filter{Refs: []pvd.Ref{a}} }, []string{
			"changed pvd#16 1→2 [links]", "default changed pvd#17 →3", "changed pvd#16 2→3 [links]", "removed pvd#16 3→",
		}},
		"the default": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{Refs: []pvd.Ref{pvd.SystemDefault}} }, []string{
			"changed pvd#16 1→2 [links]", "removed pvd#16 2→", "added pvd#17 →3", "default changed pvd#17 →3", "removed pvd#17 3→",
		}},
		"none that can be": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{Refs: []pvd.Ref{pvd.Null}} }, []string{
			"default changed pvd#17 →3",
		}},
		"a link": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{Links: []string{"wan", "x"}} }, []string{
			"added pvd#16 →2", "default changed pvd#17 →3", "removed pvd#16 2→",
		}},
		"kinds": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{Kinds: []pvd.EventKind{pvd.Removed}} }, []string{
			"removed pvd#16 3→", "removed pvd#17 3→",
		}},
		"a key": {func(_, _ pvd.Ref) pvd.Filter { return pvd.Filter{Keys: []pvd.AnyKey{pvd.Metered.Any()}} }, []string{
			"changed pvd#17 1→3 [metered mtu]", "default changed pvd#17 →3", "removed pvd#16 1→", "removed pvd#17 3→",
		}},
		"a function": {func(_, _ pvd.Ref) pvd.Filter {
			return pvd.Filter{Match: func(i *pvd.Info) bool { _, ok := pvd.MTU.Get(i); return ok }}
		}, []string{
			"added pvd#17 →2", "changed pvd#17 2→3 [metered]", "default changed pvd#17 →3", "removed pvd#17 3→",
		}},
		"all of it": {func(a, _ pvd.Ref) pvd.Filter {
			return pvd.Filter{Refs: []pvd.Ref{a}, Links: []string{"wan"}, Kinds: []pvd.EventKind{pvd.Added}}
		}, []string{"added pvd#16 →2"}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *pvd.Registry) {
				a, b := add(t, r, lan), add(t, r, lan)
				if err := r.SetDefault(a); err != nil {
					t.Fatal(err)
				}
				var got []string
				go func() {
					synced := false
					for e, err := range r.Watch(t.Context(), tt.filter(a, b)) {
						if synced && err == nil {
							got = append(got, describe(e))
						}
						synced = synced || e.Kind == pvd.Synced
					}
				}()
				synctest.Wait()
				for _, step := range []func(){
					func() { update(t, r, a, wan.Describe) },
					func() { update(t, r, b, setMTU(1300)) },
					func() { update(t, r, b, func(b *pvd.Builder) { pvd.Metered.Set(b, true) }) },
					func() { _ = r.SetDefault(b) },
					func() { update(t, r, a, lan.Describe) },
					func() { remove(t, r, a) },
					func() { remove(t, r, b) },
				} {
					step()
					synctest.Wait()
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			})
		})
	}
}

// The end of a leave is told even to those who asked for other elements.
func TestFilterKeepsEnds(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a := add(t, r, named("a"))
		w := watch(t, r, pvd.Filter{Keys: []pvd.AnyKey{pvd.Metered.Any()}})
		at := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
		_ = r.Leave(t.Context(), a, at)
		w.expect("leaving pvd#16 1→2 [ends] 12:00")
		_ = r.Leave(t.Context(), a, time.Time{})
		w.expect("changed pvd#16 2→3 [ends]")
	})
}

// Who waits while more PvDs change than are kept for a watcher is told so, and begins anew;
// who has asked for one of them is not concerned.
func TestMaxPending(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a := add(t, r, named("a"))
		all, one := watch(t, r, pvd.Filter{}), watch(t, r, pvd.Filter{Refs: []pvd.Ref{a}})
		churn := func(n int) {
			for range n {
				remove(t, r, add(t, r, pvd.Config{}))
			}
			synctest.Wait()
		}
		churn(pvd.MaxPending - 1)
		update(t, r, a, setMTU(1300))
		all.expect("changed pvd#16 1→2 [mtu]") // of the others nothing is left to tell
		one.expect("changed pvd#16 1→2 [mtu]")

		churn(pvd.MaxPending)
		update(t, r, a, setMTU(1400))
		if e, err, ok := all.next(); !errors.Is(err, pvd.ErrLagged) || !ok || e.Kind != 0 {
			t.Fatalf("%v, %v, %v", e, err, ok)
		}
		all.expect("added pvd#16 →3", "default changed null →", "synced unspecified →")
		one.expect("changed pvd#16 2→3 [mtu]")

		churn(pvd.MaxPending)
		remove(t, r, a)
		churn(pvd.MaxPending) // nobody remembers that there was one
		one.expect("removed pvd#16 3→")
	})
}

// A loop says why it ends, and leaves nothing behind when it is left.
func TestWatchEnds(t *testing.T) {
	reason := errors.New("reason")
	for name, tt := range map[string]struct {
		end  func(r *pvd.Registry, cancel context.CancelCauseFunc)
		want error
	}{
		"cancelled":          {func(_ *pvd.Registry, cancel context.CancelCauseFunc) { cancel(nil) }, context.Canceled},
		"cancelled, and why": {func(_ *pvd.Registry, cancel context.CancelCauseFunc) { cancel(reason) }, reason},
		"cancelled, oddly":   {func(_ *pvd.Registry, cancel context.CancelCauseFunc) { cancel(pvd.ErrLagged) }, pvd.ErrLagged},
		"closed":             {func(r *pvd.Registry, _ context.CancelCauseFunc) { r.Close() }, pvd.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, r *pvd.Registry) {
				a := add(t, r, named("a"))
				ctx, cancel := context.WithCancelCause(t.Context())
				defer cancel(nil)
				var last pvd.Event
				var err error
				done := make(chan struct{})
				go func() {
					defer close(done)
					for last, err = range r.Watch(ctx, pvd.Filter{}) {
					}
				}()
				synctest.Wait()
				if err != nil || last.Kind != pvd.Synced {
					t.Fatalf("%v, %v", last, err)
				}
				update(t, r, a, setMTU(1300))
				synctest.Wait()
				tt.end(r, cancel)
				<-done
				if !errors.Is(err, tt.want) || last.Kind != 0 {
					t.Errorf("%v, %v", last, err)
				}
				if n := r.Watchers(); n != 0 {
					t.Errorf("%d watchers are left", n)
				}
			})
		})
	}
}

// What has changed before a registry is closed is told before a loop ends, and one that
// begins later has its snapshot.
func TestWatchOfClosedRegistry(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a := add(t, r, named("a"))
		w := watch(t, r, pvd.Filter{})
		update(t, r, a, setMTU(1300))
		r.Close()
		w.expect("changed pvd#16 1→2 [mtu]")
		if _, err, _ := w.next(); !errors.Is(err, pvd.ErrClosed) {
			t.Error(err)
		}
		w = watch(t, r, pvd.Filter{})
		if _, err, _ := w.next(); !errors.Is(err, pvd.ErrClosed) {
			t.Error(err)
		}
	})
}

// A loop whose context has ended hears nothing more, however much there is.
func TestWatchEndsWithinSnapshot(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		add(t, r, named("a"))
		add(t, r, named("b"))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n := 0
		for _, err := range r.Watch(ctx, pvd.Filter{}) {
			if err == nil {
				n++
				cancel()
			}
		}
		if n != 1 {
			t.Errorf("%d events", n)
		}
		for _, err := range r.Watch(ctx, pvd.Filter{}) {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("one that had ended before: %v", err)
			}
		}
	})
}

func TestWatchIsLeft(t *testing.T) {
	r := newRegistry(t, pvd.RegistryConfig{})
	ref := add(t, r, named("a"))
	before := runtime.NumGoroutine()
	for _, f := range []pvd.Filter{{}, {Refs: []pvd.Ref{ref}}, {Refs: []pvd.Ref{pvd.SystemDefault}}, {Kinds: []pvd.EventKind{pvd.DefaultChanged}}} {
		for range 10 {
			events := r.Watch(t.Context(), f) // which can be looped over more than once
			for range 2 {
				for range events {
					if r.Watchers() != 1 {
						t.Errorf("%d watchers in a loop", r.Watchers())
					}
					break
				}
				func() {
					defer func() { _ = recover() }()
					for range events {
						panic("left, too")
					}
				}()
			}
		}
	}
	if n := r.Watchers(); n != 0 {
		t.Errorf("%d watchers are left", n)
	}
	if n := runtime.NumGoroutine(); n > before {
		t.Errorf("%d goroutines, before %d", n, before)
	}
}

// Nobody is held up by a loop that does not go on.
func TestWatchHoldsNobodyUp(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a := add(t, r, named("a"))
		stuck, w := watch(t, r, pvd.Filter{}), watch(t, r, pvd.Filter{})
		update(t, r, a, setMTU(1300))
		stuck.expect("changed pvd#16 1→2 [mtu]")
		w.expect("changed pvd#16 1→2 [mtu]")
		for i := range 1000 {
			update(t, r, a, setMTU(2000+i))
			w.expect(fmt.Sprintf("changed pvd#16 %d→%d [mtu]", i+2, i+3))
		}
		stuck.expect("changed pvd#16 2→1002 [mtu]")
	})
}

// However many watch and whatever happens, waking them takes no more than its share; and
// when it is over all of them know.
func TestWakeCost(t *testing.T) {
	const (
		watchers = 2000
		storm    = 2 * time.Second
	)
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		a, b := add(t, r, named("a")), add(t, r, named("b"))
		told, latest := make([]atomic.Int64, watchers), make([]atomic.Uint64, watchers)
		for i := range watchers {
			go func() {
				for e, err := range r.Watch(t.Context(), pvd.Filter{Kinds: []pvd.EventKind{pvd.Changed}}) {
					if err == nil && e.Kind == pvd.Changed && e.Ref == a {
						told[i].Add(1)
						latest[i].Store(e.Info.Version())
					}
				}
			}()
		}
		var one atomic.Int64
		go func() {
			for e := range r.Watch(t.Context(), pvd.Filter{Refs: []pvd.Ref{b}, Kinds: []pvd.EventKind{pvd.Changed}}) {
				if e.Kind == pvd.Changed {
					one.Add(1)
				}
			}
		}()
		synctest.Wait()
		time.Sleep(time.Minute) // quiet
		update(t, r, a, setMTU(1280))
		synctest.Wait()
		for i := range watchers {
			if told[i].Load() != 1 {
				t.Fatalf("at a quiet time watcher %d is not told at once", i)
			}
		}
		began := time.Now()
		for i := 0; time.Since(began) < storm; i++ {
			update(t, r, a, setMTU(1281+i))
			if i%100 == 0 {
				update(t, r, b, setMTU(1281+i))
			}
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		sum := 0
		for i := range told {
			sum += int(told[i].Load())
		}
		if limit := int((storm+pvd.WakeBurst)/pvd.WakeCost) + 2*watchers; sum > limit || sum < limit/4 {
			t.Errorf("%d times in %v, want at most, and not much less than, %d", sum, storm, limit)
		}
		if one.Load() < 20 {
			t.Errorf("one who watches a PvD of few changes hears of %d of 20", one.Load())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		info, _ := r.Info(a)
		for i := range watchers {
			if latest[i].Load() != info.Version() {
				t.Fatalf("watcher %d knows version %d of %d", i, latest[i].Load(), info.Version())
			}
		}
	})
}

// Addresses and everything else come one by one, and each time it is told (RFC 7556
// section 2: what a PvD consists of need not be learned at once).
func TestS2_LearnedBitByBit(t *testing.T) {
	bubble(t, func(t *testing.T, r *pvd.Registry) {
		ref, err := r.Add(t.Context(), func(b *pvd.Builder) { pvd.Links.Set(b, []string{"lan"}) })
		if err != nil {
			t.Fatal(err)
		}
		w := watch(t, r, pvd.Filter{Refs: []pvd.Ref{ref}})
		addr := pvd.AddressInfo{Address: pvd.Address{Prefix: netip.MustParsePrefix("192.168.1.2/24"), Link: "lan"}}
		update(t, r, ref, func(b *pvd.Builder) { pvd.Addresses.Set(b, []pvd.AddressInfo{addr}) })
		w.expect("changed pvd#16 1→2 [addresses]")
		addr.State = pvd.Preferred
		update(t, r, ref, func(b *pvd.Builder) { pvd.Addresses.Set(b, []pvd.AddressInfo{addr}) })
		w.expect("changed pvd#16 2→3 [addresses]")
		update(t, r, ref, func(b *pvd.Builder) {
			pvd.DNSServers.Set(b, []netip.AddrPort{netip.MustParseAddrPort("192.168.1.1:53")})
		})
		w.expect("changed pvd#16 3→4 [dns servers]")
	})
}

func TestEventKindString(t *testing.T) {
	for k, want := range map[pvd.EventKind]string{
		0: "no event", pvd.Added: "added", pvd.Changed: "changed", pvd.Leaving: "leaving", pvd.Removed: "removed",
		pvd.DefaultChanged: "default changed", pvd.Synced: "synced", 99: "event 99",
	} {
		if got := k.String(); got != want {
			t.Errorf("%d: %q, want %q", k, got, want)
		}
	}
}
