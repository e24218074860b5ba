package selection_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// P13: those who need something now and then need it at the same time.
func TestP13_Periodic(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		r := w.radio("radio")
		m := w.manager(Config{Providers: []Provider{r}})
		ctx, cancel := context.WithCancel(t.Context())
		served := [3]int{}
		var all sync.WaitGroup
		for i, period := range []time.Duration{10 * time.Minute, 20 * time.Minute, 20 * time.Minute} {
			all.Go(func() {
				time.Sleep(time.Duration(i) * time.Minute) // whenever they begin
				for l, err := range m.Every(ctx, period, needs()) {
					if err != nil {
						if !errors.Is(err, context.Canceled) {
							t.Error(err)
						}
						continue
					}
					served[i]++
					time.Sleep(time.Second)
					if l.Err() != nil {
						t.Error(l.Err())
					}
				}
			})
		}
		time.Sleep(time.Hour + time.Minute)
		cancel()
		all.Wait()
		if served != [3]int{6, 3, 3} {
			t.Errorf("served %v", served)
		}
		r.expect(t, 6, 6)
		for _, err := range m.Every(t.Context(), time.Millisecond, needs()) {
			if err == nil {
				t.Error("no shortest period")
			}
		}
	})
}

// MaxLeases is where it ends.
func TestLeaseLimit(t *testing.T) {
	w := newWorld(t)
	w.add("a")
	m := w.manager(Config{})
	var leases []*Lease
	for range MaxLeases {
		l, err := m.Acquire(t.Context(), needs())
		if err != nil {
			t.Fatal(err)
		}
		leases = append(leases, l)
	}
	if _, err := m.Acquire(t.Context(), needs()); !errors.Is(err, ErrBusy) {
		t.Error(err)
	}
	leases[0].Release()
	if _, err := m.Acquire(t.Context(), needs()); err != nil {
		t.Error(err)
	}
}

// A network that does not close counts as closed after a time, and what it had is free.
func TestCloseTime(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		stuck, other := w.radio("stuck"), w.radio("other")
		stuck.offer.Resource, other.offer.Resource, stuck.stuck = "modem", "modem", true
		m := w.manager(Config{Providers: []Provider{stuck, other}, IdleTime: time.Second})
		acquire(t, m, needs(Require(Named("stuck")))).Release()
		time.Sleep(time.Second)
		begin := time.Now()
		l := acquire(t, m, needs(Require(Named("other"))))
		if took := time.Since(begin); took != CloseTime+other.takes {
			t.Errorf("after %v", took)
		}
		l.Release()
	})
}

// Whatever many do at once, no two networks have one resource, everything ends, and
// nothing stays open.
func TestAcquireStorm(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		var inUse atomic.Int32
		var ps []Provider
		for i, name := range []string{"a", "b", "c", "alone"} {
			r := &exclusive{radio: w.radio(name), inUse: &inUse, t: t}
			r.takes = time.Duration(i+1) * 300 * time.Millisecond
			if i == 2 {
				r.fail = errors.New("now and then")
			}
			if r.offer.Resource = "modem"; name == "alone" {
				r.offer.Resource, r.inUse = "", new(atomic.Int32)
			}
			ps = append(ps, r)
		}
		m := w.manager(Config{Providers: ps, IdleTime: time.Second})
		var all sync.WaitGroup
		for worker := range 8 {
			all.Go(func() {
				r := rand.New(rand.NewPCG(uint64(worker), 1))
				for range 150 {
					request := needs(Require(Named([]string{"a", "b", "c", "alone"}[r.IntN(4)])))
					if r.IntN(3) == 0 {
						request = needs(Prefer(Named("b")))
					}
					request.Priority = r.IntN(4)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(r.IntN(4000))*time.Millisecond)
					l, err := m.Acquire(ctx, request)
					cancel()
					if err != nil {
						continue
					}
					select {
					case <-l.Done():
						if err := l.Err(); !errors.Is(err, ErrPreempted) && !errors.Is(err, pvd.ErrNoPvD) {
							t.Error(err)
						}
					case <-time.After(time.Duration(r.IntN(3000)) * time.Millisecond):
					}
					if r.IntN(8) == 0 {
						_ = w.reg.Remove(t.Context(), l.Ref()) // the network drops out
					}
					l.Release()
				}
			})
		}
		all.Wait()
		time.Sleep(time.Hour)
		if n := len(w.reg.List()); n != 0 || inUse.Load() != 0 {
			t.Errorf("%d PvDs are left, and %d resources in use", n, inUse.Load())
		}
		if _, err := m.Acquire(t.Context(), needs(Require(Named("a")))); err != nil {
			t.Error(err)
		}
	})
}

// exclusive is a radio that sees to it that nobody else has what it needs.
type exclusive struct {
	*radio

	inUse *atomic.Int32
	t     *testing.T
}

func (r *exclusive) Attach(ctx context.Context) (pvd.Ref, error) {
	if r.inUse.Add(1) > 1 {
		r.t.Error("two have the modem")
	}
	ref, err := r.radio.Attach(ctx)
	if err != nil {
		r.inUse.Add(-1)
	}
	return ref, err
}

func (r *exclusive) Detach(ctx context.Context, ref pvd.Ref) error {
	time.Sleep(100 * time.Millisecond)
	defer r.inUse.Add(-1)
	return r.radio.Detach(ctx, ref)
}

// Nothing is opened for want of what has just been attached.
func TestAcquireSeesWhatIsThere(t *testing.T) {
	w := newWorld(t)
	r := w.radio("radio")
	r.takes = 0
	m := w.manager(Config{Providers: []Provider{r}})
	for range 100 {
		ref := w.add("there")
		if l, err := m.Acquire(t.Context(), needs()); err != nil || l.Ref() != ref {
			t.Fatal(w.name(l.Ref()), err)
		}
		w.remove(ref)
	}
}

// An odd provider says that its network is a PvD that is none of its own, or is gone already.
type odd struct {
	ref      func() pvd.Ref
	detached chan pvd.Ref
}

func (o *odd) Offer() Offer { return Offer{Name: "odd"} }

func (o *odd) Attach(context.Context) (pvd.Ref, error) { return o.ref(), nil }

func (o *odd) Detach(_ context.Context, ref pvd.Ref) error {
	o.detached <- ref
	return nil
}

// What a provider attaches has to be a PvD that is there, or opening has failed, at once.
func TestProviderOfNothing(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		there := w.add("there", down)
		gone := w.add("gone")
		if err := w.reg.SetDefault(there); err != nil {
			t.Fatal(err)
		}
		w.remove(gone)
		for _, ref := range []pvd.Ref{gone, pvd.SystemDefault, pvd.Unspecified, pvd.Null, pvd.All} {
			o := &odd{func() pvd.Ref { return ref }, make(chan pvd.Ref, 1)}
			m := w.manager(Config{Providers: []Provider{o}})
			begin := time.Now()
			_, err := m.Acquire(t.Context(), needs())
			if took := time.Since(begin); !errors.Is(err, pvd.ErrNoPvD) || took > 0 {
				t.Errorf("%v: %v after %v", ref, err, took)
			}
			if got := <-o.detached; got != ref {
				t.Errorf("%v is detached, want %v", got, ref)
			}
			_ = m.Close()
		}
	})
}
