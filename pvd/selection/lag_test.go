package selection_test

import (
	"context"
	"errors"
	"iter"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"

	"github.com/pvdstack/pvdstack/pvd"
	. "github.com/pvdstack/pvdstack/pvd/selection"
)

// A registry that is ahead of its events is asked itself.
func TestAheadOfEvents(t *testing.T) {
	w := newWorld(t)
	m := w.manager(Config{Rules: []Rule{{Action: Choose()}}})
	for range 200 {
		ref := w.add("now")
		w.selects(m, to("192.0.2.1", 80), "now")
		w.update(ref, down)
		if got, err := m.SelectPvD(t.Context(), to("192.0.2.1", 80)); !errors.Is(err, syscall.ENETUNREACH) {
			t.Fatalf("%v, %v", got, err)
		}
		w.remove(ref)
	}
}

// A manager that lags behind learns all anew, and forgets what is gone.
func TestLagging(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		lag := &laggard{Registry: w.reg, lag: make(chan struct{})}
		m, err := New(Config{Registry: lag})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		gone, stays := w.add("gone"), w.add("stays")
		l, err := m.Acquire(t.Context(), Request{Requirements: Requirements{Require(Is(gone))}})
		if err != nil {
			t.Fatal(err)
		}
		lag.lag <- struct{}{}
		synctest.Wait()
		w.remove(gone) // which is not told
		lag.lag <- struct{}{}
		<-l.Done()
		if err := l.Err(); !errors.Is(err, pvd.ErrNoPvD) {
			t.Error(err)
		}
		if refs, err := m.Rank(t.Context(), nil); err != nil || len(refs) != 1 || refs[0] != stays {
			t.Errorf("%v, %v", refs, err)
		}
	})
}

// A laggard is a registry whose watcher lags, when told so, until told again.
type laggard struct {
	*pvd.Registry
	lag chan struct{}
}

func (l *laggard) Watch(ctx context.Context, f pvd.Filter) iter.Seq2[pvd.Event, error] {
	return func(yield func(pvd.Event, error) bool) {
		first, cancel := context.WithCancel(ctx)
		var watched sync.WaitGroup
		watched.Go(func() {
			for ev, err := range l.Registry.Watch(first, f) {
				if err != nil || !yield(ev, nil) {
					return
				}
			}
		})
		select {
		case <-l.lag:
		case <-ctx.Done():
		}
		cancel()
		watched.Wait()
		if ctx.Err() != nil {
			yield(pvd.Event{}, ctx.Err())
			return
		}
		<-l.lag
		if yield(pvd.Event{}, pvd.ErrLagged) {
			l.Registry.Watch(ctx, f)(yield)
		}
	}
}

// A straggler is a registry whose one watcher misses changes when the test says so.
type straggler struct {
	*pvd.Registry

	miss, catchUp chan struct{}
}

func (l *straggler) Watch(ctx context.Context, _ pvd.Filter) iter.Seq2[pvd.Event, error] {
	return func(yield func(pvd.Event, error) bool) {
		told := func() bool {
			for _, ref := range l.List() {
				i, err := l.Info(ref)
				if err == nil && !yield(pvd.Event{Kind: pvd.Added, Ref: ref, Info: i}, nil) {
					return false
				}
			}
			return true
		}
		if !told() || !yield(pvd.Event{Kind: pvd.Synced}, nil) {
			return
		}
		<-l.miss
		if !yield(pvd.Event{}, pvd.ErrLagged) || !told() {
			return
		}
		<-l.catchUp
		if yield(pvd.Event{Kind: pvd.Synced}, nil) {
			<-ctx.Done()
			yield(pvd.Event{}, ctx.Err())
		}
	}
}

// What is attached while a snapshot is on its way is not taken for gone at the snapshot's end.
func TestAttachedDuringSnapshot(t *testing.T) {
	inTime(t, func(t *testing.T, w *world) {
		gone := w.add("gone")
		l := &straggler{w.reg, make(chan struct{}), make(chan struct{})}
		m, err := New(Config{Registry: l, Rules: []Rule{{Action: chooseNamed("new")}}})
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		old := acquire(t, m, needs(Require(Named("gone"))))
		w.remove(gone)
		close(l.miss)
		synctest.Wait()
		w.add("new")
		w.selects(m, pvd.Call{}, "new")
		held := acquire(t, m, needs(Require(Named("new"))))
		close(l.catchUp)
		synctest.Wait()
		if err := held.Err(); err != nil {
			t.Errorf("a lease on what is there: %v", err)
		}
		if err := old.Err(); !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("a lease on what is gone: %v", err)
		}
	})
}
