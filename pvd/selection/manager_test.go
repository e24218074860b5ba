package selection_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// inTime runs a test in virtual time, with a world of its own.
func inTime(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.virtual = true
		f(t, w)
	})
}

// P1, P13: what is waited for is said by what it has to be.
func TestP13_WaitFor(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		m := w.manager(Config{})
		rs := Requirements{Require(Technologies(pvd.WLAN)), Prohibit(Metered)}
		got := make(chan pvd.Ref, 1)
		go func() {
			ref, err := m.WaitFor(t.Context(), rs)
			if err != nil {
				t.Error(err)
			}
			got <- ref
		}()
		w.add("wired", access(pvd.Wired))
		hotel := w.add("hotel", access(pvd.WLAN), with(pvd.Metered, true))
		home := w.add("home", access(pvd.WLAN), down)
		synctest.Wait()
		select {
		case ref := <-got:
			t.Fatalf("%s fulfils them", w.name(ref))
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := m.WaitFor(ctx, rs)
		const want = "selection: no PvD fulfils: require a usable address, require wlan, prohibit metered; wired does not: require wlan; " +
			"hotel does not: prohibit metered; home does not: require a usable address: context deadline exceeded"
		var none *NoneError
		if err == nil || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &none) {
			t.Errorf("%v\nwant %s", err, want)
		}
		w.update(home, up)
		if ref := <-got; ref != home {
			t.Errorf("%s, want home", w.name(ref))
		}
		w.remove(home)
		w.update(hotel, without(pvd.Metered))
		if ref, err := m.WaitFor(t.Context(), rs); ref != hotel {
			t.Errorf("%v, %v", ref, err)
		}
		if _, err := m.WaitFor(t.Context(), Requirements{Require(Metered), Prohibit(Metered)}); err == nil {
			t.Error("waited for a contradiction")
		}
	})
}

// P5, R4: a group is always one of its members.
func TestP5_SnapResolvesToOneMember(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		m := w.manager(Config{
			Policy: Policy{Groups: []Group{{Name: "internet", Members: []string{"home wlan", "office.example", "operator"}}}},
			Rules:  []Rule{{Action: Choose(Require(InGroup("internet")))}},
		})
		operator := w.add("operator", access(pvd.Cellular))
		w.add("mms", access(pvd.Wired), groups("mms"))
		w.selects(m, to("192.0.2.1", 80), "operator")
		w.add("joined by itself", access(pvd.Wired), groups("internet"))
		w.selects(m, to("192.0.2.1", 80), "operator")
		office := w.add("office", id("office.example"))
		w.selects(m, to("192.0.2.1", 80), "office")
		home := w.add("home wlan", with(pvd.Metric, 100))
		w.selects(m, to("192.0.2.1", 80), "home wlan")
		refs, err := m.Rank(t.Context(), Requirements{Require(InGroup("internet"))})
		if err != nil || len(refs) != 4 {
			t.Errorf("%v, %v", refs, err)
		}
		w.remove(home)
		w.update(office, down)
		w.selects(m, to("192.0.2.1", 80), "operator")
		w.remove(operator)
		w.selects(m, to("192.0.2.1", 80), "joined by itself")
		if ref, err := m.Best(t.Context(), Requirements{Require(InGroup("nobody's"))}); err == nil || ref != pvd.Null {
			t.Errorf("%v, %v", ref, err)
		}
	})
}

// P6, X4: who holds a member is told of a better one, of its loss, and ahead of that.
func TestP6_BetterLostLeaving(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		m := w.manager(Config{Policy: Policy{Order: []pvd.Technology{pvd.WLAN}}})
		next, stop := iter.Pull2(m.Follow(t.Context(), Requirements{Require(InGroup("snap")), Prohibit(Metered)}))
		defer stop()
		expect := func(kind EventKind, now, old pvd.Ref) Event {
			t.Helper()
			ev, err, _ := next()
			if err != nil || ev.Kind != kind || ev.Ref != now || ev.Old != old {
				t.Fatalf("%v %s, was %s, %v; want %v %s, was %s", ev.Kind, w.name(ev.Ref), w.name(ev.Old), err, kind, w.name(now), w.name(old))
			}
			return ev
		}
		settle := synctest.Wait
		settle()
		if ev := expect(Found, pvd.Null, pvd.Unspecified); ev.Kind.String() != "found" || EventKind(9).String() != "event 9" {
			t.Errorf("%v, %v", ev.Kind, EventKind(9))
		}
		cell := w.add("cellular", groups("snap"))
		expect(Found, cell, pvd.Unspecified)
		home := w.add("home", groups("snap"), access(pvd.WLAN))
		settle()
		expect(Better, home, cell)
		ends := time.Now().Add(time.Hour).Round(0)
		w.update(home, with(pvd.Ends, ends))
		settle()
		if ev := expect(Leaving, cell, home); !ev.Ends.Equal(ends) {
			t.Errorf("ends at %v, want %v", ev.Ends, ends)
		}
		w.update(home, without(pvd.Ends))
		settle()
		expect(Better, home, cell)
		w.update(home, with(pvd.Metered, true))
		settle()
		if ev := expect(Lost, cell, home); len(ev.Lacks) != 1 || ev.Lacks[0] != Prohibit(Metered) {
			t.Errorf("lacks %v", ev.Lacks)
		}
		w.update(cell, with(pvd.Ends, ends))
		settle()
		expect(Leaving, cell, cell) // there is no other
		w.remove(cell)
		settle()
		if ev := expect(Lost, pvd.Null, cell); ev.Lacks != nil {
			t.Errorf("lacks %v", ev.Lacks)
		}
		w.update(home, without(pvd.Metered))
		expect(Found, home, pvd.Unspecified)
		_ = m.Close()
		if _, err, _ := next(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestFollowEnds(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		m := w.manager(Config{})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			time.Sleep(time.Second)
			cancel()
		}()
		var last error
		n := 0
		for _, err := range m.Follow(ctx, nil) {
			n++
			last = err
		}
		if n != 2 || !errors.Is(last, context.Canceled) {
			t.Errorf("%d pairs, then %v", n, last)
		}
		for _, err := range m.Follow(t.Context(), Requirements{{}}) {
			last = err
		}
		if last == nil {
			t.Error("followed nothing")
		}
		w.reg.Close()
		if _, err := m.WaitFor(t.Context(), nil); !errors.Is(err, pvd.ErrClosed) {
			t.Error(err)
		}
	})
}

// P11: what is best is looked at again when attributes change, and only then.
func TestP11_AttributesChange(t *testing.T) {
	security := pvd.NewKey[uint8]("security level", nil)
	inTime(t, func(t *testing.T, w *world) {
		a, b := w.add("a"), w.add("b")
		m := w.manager(Config{
			Policy: Policy{Criteria: []Criterion{Lowest(pvd.Cost), Highest(security), Highest(pvd.Speed), Lowest(pvd.Latency)}},
			Rules:  []Rule{{Action: Choose()}},
		})
		next, stop := iter.Pull2(m.Follow(t.Context(), nil))
		defer stop()
		expect := func(want pvd.Ref) {
			t.Helper()
			if ev, err, _ := next(); err != nil || ev.Ref != want {
				t.Fatalf("%+v, %v, want %s", ev, err, w.name(want))
			}
			w.selects(m, to("192.0.2.1", 80), w.name(want))
		}
		synctest.Wait()
		expect(a)
		for i, tt := range []struct {
			ref  pvd.Ref
			e    edit
			want pvd.Ref
		}{
			{b, with(pvd.Latency, time.Second), b},
			{a, with(pvd.Latency, time.Millisecond), a},
			{b, with(pvd.Speed, 100), b},
			{a, with[uint8](security, 1), a},
			{b, with[uint32](pvd.Cost, 0), b},
			{a, down, 0}, // no change for who holds b
			{b, down, pvd.Null},
		} {
			w.update(tt.ref, tt.e)
			synctest.Wait()
			if tt.want == pvd.Null {
				if ev, err, _ := next(); err != nil || ev.Kind != Lost {
					t.Errorf("step %d: %+v, %v", i, ev, err)
				}
			} else if tt.want != 0 {
				expect(tt.want)
			}
		}
	})
}

// P26, P53: the system default follows a list, and nothing else.
func TestP53_FailoverOfTheDefault(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		w.add("stranger", access(pvd.Wired))
		home := w.add("home")
		w.manager(Config{Failover: &Failover{Order: []Property{Named("office"), Named("home"), AnyCellular}}})
		expect := func(want string) {
			t.Helper()
			synctest.Wait()
			if got := w.name(w.reg.Default()); got != want {
				t.Fatalf("the default is %s, want %s", got, want)
			}
		}
		expect("home")
		office := w.add("office")
		cell := w.add("umts", access("umts"))
		expect("home") // office is on trial
		time.Sleep(HoldTime - time.Second)
		expect("home")
		time.Sleep(time.Second)
		expect("office")
		w.update(office, routes()) // an address without a route is no use
		expect("home")
		w.update(home, down)
		expect("umts")
		w.remove(cell)
		expect("null")
		w.update(home, up)
		expect("home") // there is nothing else
		if err := w.reg.SetDefault(pvd.Null); err != nil {
			t.Fatal(err)
		}
		expect("home")
		// Another attachment under the same name is as good.
		w.add("home")
		w.remove(home)
		expect("home")
	})
}

// P26: a default that comes and goes is waited for longer and longer.
func TestP26_FailoverHysteresis(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		flapping := w.add("flapping")
		w.add("steady")
		w.manager(Config{Failover: &Failover{Order: []Property{Named("flapping"), Named("steady")}}})
		changes := 0
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() {
			for ev := range w.reg.Watch(ctx, pvd.Filter{Kinds: []pvd.EventKind{pvd.DefaultChanged}}) {
				if ev.Kind == pvd.DefaultChanged {
					changes++
				}
			}
		})
		synctest.Wait()
		had := changes
		for range 600 { // for ten minutes
			w.update(flapping, down)
			time.Sleep(time.Second / 2)
			w.update(flapping, up)
			time.Sleep(time.Second / 2)
		}
		synctest.Wait()
		if changes != had+1 || w.name(w.reg.Default()) != "steady" {
			t.Errorf("%d changes, to %s", changes-had, w.name(w.reg.Default()))
		}
		// It doubles with each return: 20 s, 40 s, and so on, to the limit.
		for _, hold := range []time.Duration{2, 4, 8, 16, 30, 30} {
			time.Sleep(hold*HoldTime - time.Second)
			synctest.Wait()
			if got := w.name(w.reg.Default()); got != "steady" {
				t.Errorf("%s before %v", got, hold*HoldTime)
			}
			time.Sleep(time.Second)
			synctest.Wait()
			if got := w.name(w.reg.Default()); got != "flapping" {
				t.Errorf("%s after %v", got, hold*HoldTime)
			}
			w.update(flapping, down)
			synctest.Wait()
			w.update(flapping, up)
			synctest.Wait()
		}
		// All is forgiven after a long time as the default.
		time.Sleep(MaxHoldTime * 3)
		w.update(flapping, down)
		synctest.Wait()
		w.update(flapping, up)
		time.Sleep(HoldTime)
		synctest.Wait()
		if got := w.name(w.reg.Default()); got != "flapping" {
			t.Errorf("%s after the first hold time", got)
		}
		cancel()
		watching.Wait()
	})
}

// A configuration that makes no sense is an error when the manager is made.
func TestBadConfig(t *testing.T) {
	w := newWorld(t)
	places := make([]Property, MaxFailover+1)
	for i := range places {
		places[i] = Named("x")
	}
	for name, c := range map[string]Config{
		"policy":         {Policy: Policy{Tie: 9}},
		"app":            {Apps: map[string]Policy{"a": {Tie: 9}}},
		"app's groups":   {Apps: map[string]Policy{"a": {Groups: []Group{{Name: "g"}}}}},
		"rule":           {Rules: []Rule{{Networks: []string{""}}}},
		"failover":       {Failover: &Failover{Order: places}},
		"failover times": {Failover: &Failover{Hold: time.Hour}},
		"failover place": {Failover: &Failover{Order: []Property{nil}}},
		"provider":       {Providers: []Provider{nil}},
		"offer":          {Providers: []Provider{&radio{}}},
		"providers":      {Providers: make([]Provider, MaxProviders+1)},
	} {
		c.Registry = w.reg
		if m, err := New(c); err == nil {
			_ = m.Close()
			t.Errorf("%s: no error", name)
		}
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no registry: no error")
	}
}
