package selection_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// A radio is a provider in a world.
type radio struct {
	w     *world
	offer Offer
	edits []edit
	takes time.Duration
	fail  error

	mu       sync.Mutex
	stuck    bool // never closes
	attached int  // how often
	detached int
	ref      pvd.Ref
}

func (r *radio) Offer() Offer { return r.offer }

func (r *radio) Attach(ctx context.Context) (pvd.Ref, error) {
	select {
	case <-time.After(r.takes):
	case <-ctx.Done():
		return pvd.Null, ctx.Err()
	}
	if r.fail != nil {
		return pvd.Null, r.fail
	}
	ref := r.w.attach(r.offer.Name, r.edits...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.attached++
	r.ref = ref
	return ref, nil
}

func (r *radio) Detach(ctx context.Context, ref pvd.Ref) error {
	if r.stuck {
		<-ctx.Done()
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.detached++
	if ref != r.ref {
		return errors.New("not mine")
	}
	return r.w.reg.Remove(ctx, ref)
}

func (r *radio) counts() (attached, detached int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.attached, r.detached
}

func (r *radio) expect(t *testing.T, attached, detached int) {
	t.Helper()
	synctest.Wait()
	if a, d := r.counts(); a != attached || d != detached {
		t.Errorf("%s: attached %d and detached %d times, want %d and %d", r.offer.Name, a, d, attached, detached)
	}
}

func (w *world) radio(name string, elements ...pvd.Element) *radio {
	return &radio{w: w, offer: Offer{Name: name, Elements: elements, Traits: []Trait{IPv4, Internet}}, takes: 3 * time.Second}
}

func acquire(t *testing.T, m *Manager, r Request) *Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	l, err := m.Acquire(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func needs(rs ...Requirement) Request { return Request{Requirements: rs} }

// P3: applications share a connection that is opened at the first need.
func TestP3_Shared(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("internet", pvd.Access.With(pvd.Cellular))
		r.edits = []edit{access(pvd.Cellular)}
		m := w.manager(Config{Providers: []Provider{r}})
		time.Sleep(time.Hour)
		r.expect(t, 0, 0)
		var leases [5]*Lease
		var all sync.WaitGroup
		for i := range leases {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Second) // before and after it is open
				leases[i] = acquire(t, m, needs(Require(AnyCellular), Require(Internet)))
			})
		}
		all.Wait()
		r.expect(t, 1, 0)
		for _, l := range leases {
			if l.Ref() != leases[0].Ref() || l.Err() != nil {
				t.Errorf("%v and %v: %v", l.Ref(), leases[0].Ref(), l.Err())
			}
		}
	})
}

// P13: what is opened on demand closes when it has been idle for a time, and not before.
func TestP13_IdleCloses(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("internet")
		m := w.manager(Config{Providers: []Provider{r}})
		a := acquire(t, m, needs())
		b := acquire(t, m, needs())
		r.expect(t, 1, 0)
		if a.Ref() != b.Ref() || w.name(a.Ref()) != "internet" || a.Err() != nil {
			t.Errorf("%v, %v, %v", a.Ref(), b.Ref(), a.Err())
		}
		time.Sleep(time.Hour)
		a.Release()
		a.Release()
		if !errors.Is(a.Err(), ErrReleased) {
			t.Error(a.Err())
		}
		time.Sleep(time.Hour)
		r.expect(t, 1, 0)
		b.Release()
		time.Sleep(IdleTime - time.Second)
		r.expect(t, 1, 0)
		c := acquire(t, m, needs()) // in the nick of time
		time.Sleep(IdleTime)
		r.expect(t, 1, 0)
		c.Release()
		time.Sleep(IdleTime)
		r.expect(t, 1, 1)
		if len(w.reg.List()) != 0 {
			t.Error("the PvD is still there")
		}
		d := acquire(t, m, needs())
		r.expect(t, 2, 1)
		_ = m.Close()
		r.expect(t, 2, 2)
		if err := d.Err(); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := m.Acquire(t.Context(), needs()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

// P13: a rule opens what a call needs; it stays for as long as it is used.
func TestP13_OpenedByRule(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("mms gateway", pvd.Groups.With([]string{"mms"}))
		r.edits = []edit{groups("mms")}
		var busy atomic.Bool
		m := w.manager(Config{
			Providers: []Provider{r},
			InUse:     func(ref pvd.Ref) bool { return busy.Load() && w.name(ref) == "mms gateway" },
			Rules: []Rule{
				{Apps: []string{"closed"}, Action: Choose(Require(InGroup("mms")))},
				{Action: Choose(Require(InGroup("mms"))).Opening()},
			},
		})
		if ref, err := m.SelectPvD(t.Context(), by("closed", pvd.Call{})); err == nil {
			t.Errorf("%v was opened", ref)
		}
		w.selects(m, pvd.Call{}, "mms gateway")
		r.expect(t, 1, 0)
		for range 5 { // each call begins the time anew
			time.Sleep(IdleTime - time.Second)
			w.selects(m, by("closed", pvd.Call{}), "mms gateway")
		}
		busy.Store(true)
		time.Sleep(10 * IdleTime)
		r.expect(t, 1, 0)
		busy.Store(false)
		time.Sleep(IdleTime)
		r.expect(t, 1, 1)
		if err := m.SetRules([]Rule{{Action: Choose(Require(IPv6)).Opening()}}); err != nil {
			t.Fatal(err)
		}
		var none *NoneError
		if _, err := m.SelectPvD(t.Context(), pvd.Call{}); !errors.As(err, &none) || len(none.Candidates) != 1 {
			t.Error(err) // at once: nothing on offer will do
		}
	})
}

// P12: where a resource can not be shared, the higher priority has it, and the lower one
// has its connection back when the conflict is over.
func TestP12_HigherPriorityPreempts(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		voice, data := w.radio("voice"), w.radio("data")
		voice.offer.Resource, data.offer.Resource = "modem", "modem"
		m := w.manager(Config{Providers: []Provider{voice, data}})
		low := acquire(t, m, Request{App: "mail", Requirements: Requirements{Require(Named("data"))}, Priority: 1})
		data.expect(t, 1, 0)

		// An equal one has to wait.
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := m.Acquire(ctx, Request{Requirements: Requirements{Require(Named("voice"))}, Priority: 1})
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, ErrBusy) || !strings.Contains(err.Error(), "data has the modem that voice needs") {
			t.Error(err)
		}
		if low.Err() != nil {
			t.Error(low.Err())
		}

		high := acquire(t, m, Request{App: "phone", Requirements: Requirements{Require(Named("voice"))}, Priority: 2})
		<-low.Done()
		if err := low.Err(); !errors.Is(err, ErrPreempted) || !strings.Contains(err.Error(), "phone") {
			t.Error(err)
		}
		data.expect(t, 1, 1)
		voice.expect(t, 1, 0)
		got := make(chan *Lease)
		go func() {
			l, err := m.Acquire(t.Context(), Request{Requirements: Requirements{Require(Named("data"))}, Priority: 1})
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		time.Sleep(time.Hour)
		voice.expect(t, 1, 0)
		high.Release() // at once, not when it has been idle
		time.Sleep(4 * time.Second)
		voice.expect(t, 1, 1)
		data.expect(t, 2, 1)
		(<-got).Release()

		// One that is still opening gives way too, and its request goes on waiting.
		time.Sleep(time.Hour)
		go func() {
			l, err := m.Acquire(t.Context(), Request{Requirements: Requirements{Require(Named("data"))}})
			if err != nil {
				t.Error(err)
			}
			got <- l
		}()
		time.Sleep(time.Second)
		high = acquire(t, m, Request{Requirements: Requirements{Require(Named("voice"))}, Priority: 9})
		voice.expect(t, 2, 1)
		data.expect(t, 2, 2)
		high.Release()
		(<-got).Release()
		data.expect(t, 3, 2)
	})
}

// P12, P31: what is open is shared before anything else is opened, unless a preference
// says otherwise.
func TestP12_Bundled(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		wlan := w.radio("wlan", pvd.Access.With(pvd.WLAN), pvd.Cost.With(1))
		wlan.edits = []edit{access(pvd.WLAN)}
		cell := w.radio("cell", pvd.Access.With(pvd.Cellular), pvd.Cost.With(9))
		cell.edits = []edit{access(pvd.Cellular)}
		m := w.manager(Config{
			Providers: []Provider{cell, wlan}, Policy: Policy{Criteria: []Criterion{Lowest(pvd.Cost)}},
			Apps: map[string]Policy{"rich": {Criteria: []Criterion{Highest(pvd.Cost)}}},
		})
		for app, want := range map[string]string{"": "wlan", "rich": "cell"} { // by the policy that holds
			l := acquire(t, m, Request{App: app})
			if got := w.name(l.Ref()); got != want {
				t.Errorf("%q gets %s, want %s", app, got, want)
			}
			l.Release()
			time.Sleep(time.Hour)
		}
		first := acquire(t, m, needs(Require(AnyCellular)))
		second := acquire(t, m, needs())
		if first.Ref() != second.Ref() {
			t.Error("a second network was opened")
		}
		third := acquire(t, m, needs(Prefer(Technologies(pvd.WLAN))))
		if w.name(third.Ref()) != "wlan" {
			t.Errorf("%s", w.name(third.Ref()))
		}
		cell.expect(t, 2, 1)
		wlan.expect(t, 2, 1)
		first.Release()
		second.Release()
		time.Sleep(IdleTime)
		cell.expect(t, 2, 2)
		wlan.expect(t, 2, 1)
	})
}

// What a provider says fails over to the next one, and in the end to the caller.
func TestProviderFails(t *testing.T) {
	errJammed := errors.New("jammed")
	inTime(t, func(t *testing.T, w *world) {
		bad, liar, good := w.radio("bad"), w.radio("liar", pvd.Speed.With(10)), w.radio("good")
		bad.fail = errJammed
		m := w.manager(Config{Providers: []Provider{bad, liar, good}})
		if l := acquire(t, m, needs(Prefer(Named("bad")))); w.name(l.Ref()) != "liar" {
			t.Errorf("%s", w.name(l.Ref()))
		}
		_, err := m.Acquire(t.Context(), needs(Require(Named("bad"))))
		if !errors.Is(err, errJammed) || !strings.Contains(err.Error(), "bad: jammed") {
			t.Error(err)
		}
		for _, l := range []*Lease{acquire(t, m, needs())} {
			l.Release()
		}
	})
	inTime(t, func(t *testing.T, w *world) {
		liar := w.radio("liar", pvd.Speed.With(10))
		m := w.manager(Config{Providers: []Provider{liar}})
		_, err := m.Acquire(t.Context(), needs(Require(MinSpeed(5))))
		if _, ok := errors.AsType[*NoneError](err); !ok {
			t.Error(err)
		}
		time.Sleep(IdleTime)
		liar.expect(t, 1, 1)
	})
}

// A network that never becomes usable, and an Attach that does not end, end by time.
func TestOpenTime(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		never, slow := w.radio("never"), w.radio("slow")
		never.edits, slow.takes = []edit{down}, time.Hour
		m := w.manager(Config{Providers: []Provider{never, slow}})
		begin := time.Now()
		_, err := m.Acquire(t.Context(), needs())
		if took := time.Since(begin); took != 2*OpenTime || !errors.Is(err, context.DeadlineExceeded) ||
			!strings.Contains(err.Error(), "never: no usable address") || !strings.Contains(err.Error(), "slow: context deadline") {
			t.Errorf("after %v: %v", took, err)
		}
		never.expect(t, 1, 1)
		slow.expect(t, 0, 0)
	})
}

// Opening is given up when nobody waits for it any more.
func TestOpeningGivenUp(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("slow")
		r.takes = 10 * time.Second
		m := w.manager(Config{Providers: []Provider{r}})
		var all sync.WaitGroup
		for i := range 2 {
			all.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i+1)*time.Second)
				defer cancel()
				if _, err := m.Acquire(ctx, needs()); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		all.Wait()
		time.Sleep(time.Hour)
		r.expect(t, 0, 0)
		acquire(t, m, needs()).Release()
		r.expect(t, 1, 0)
		// And when the manager is closed meanwhile.
		time.Sleep(time.Hour)
		all.Go(func() {
			if _, err := m.Acquire(t.Context(), needs()); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		_ = m.Close()
		all.Wait()
		r.expect(t, 1, 1)
	})
}

// A lease ends with its PvD, on demand or not.
func TestLeaseOfWhatGoes(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("radio")
		m := w.manager(Config{Providers: []Provider{r}, IdleTime: -1})
		wired := w.add("wired", access(pvd.Wired))
		a, b := acquire(t, m, needs()), acquire(t, m, needs(Require(Named("radio"))))
		if a.Ref() != wired {
			t.Errorf("%s", w.name(a.Ref()))
		}
		w.remove(wired)
		w.remove(b.Ref())
		for _, l := range []*Lease{a, b} {
			<-l.Done()
			if !errors.Is(l.Err(), pvd.ErrNoPvD) {
				t.Error(l.Err())
			}
			l.Release()
		}
		r.expect(t, 1, 1) // the radio is switched off all the same
		c := acquire(t, m, needs())
		r.expect(t, 2, 1)
		c.Release()
		r.expect(t, 2, 2) // there is no idle time
	})
}
