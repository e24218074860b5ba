package selection

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Failover keeps the system default on the first of a list that can be used: that has a
// route and an address of the same family. It is never a PvD that is not in the list; with
// none that can be used it is [pvd.Null]. Whatever else sets the default is undone.
//
// When the default is lost, the next one takes its place at once. To go back, the earlier
// one must have been usable for the hold time, which doubles each time that it is lost
// soon after having been chosen. A default that can be used stays although another PvD at
// the same place of the list would be better.
type Failover struct {
	// Order are the places of the list, the preferred one first: usually [Named], or
	// [InGroup] and [Technologies], which several PvDs may fulfil.
	Order []Property

	// Hold is the hold time to begin with. 0: [HoldTime]; negative: none.
	Hold time.Duration

	// MaxHold is what the hold time can grow to, and how long the default has to have been
	// the default to lose without consequence. 0: [MaxHoldTime].
	MaxHold time.Duration
}

// A failover is a Failover at work, all in one goroutine.
type failover struct {
	m             *Manager
	places        []*failoverPlace
	hold, maxHold time.Duration
	at            int     // of the default, -1 for none
	ref           pvd.Ref // the default
	chosen        time.Duration
	begun         bool
}

type failoverPlace struct {
	query *query
	best  *facts // nil: nothing to use here
	since time.Duration
	hold  time.Duration
}

func newFailover(m *Manager, c Failover) (*failover, error) {
	if len(c.Order) > MaxFailover {
		return nil, fmt.Errorf("selection: failover: %d places, at most %d", len(c.Order), MaxFailover)
	}
	f := &failover{m: m, hold: c.Hold, maxHold: c.MaxHold, at: -1, ref: pvd.Null}
	if f.hold == 0 {
		f.hold = HoldTime
	}
	f.hold = max(f.hold, 0)
	if f.maxHold == 0 {
		f.maxHold = MaxHoldTime
	}
	if f.maxHold < f.hold {
		return nil, fmt.Errorf("selection: failover: the hold time %v is longer than its maximum, %v", f.hold, f.maxHold)
	}
	for i, p := range c.Order {
		q, err := newQuery(Requirements{Require(p), Require(Routed)}, m.policy)
		if err != nil {
			return nil, fmt.Errorf("selection: failover: place %d: %w", i+1, err)
		}
		f.places = append(f.places, &failoverPlace{query: q, hold: f.hold})
	}
	return f, nil
}

// run follows the PvDs until ctx ends.
func (f *failover) run(ctx context.Context) {
	wake := make(chan struct{}, 1)
	timer := f.m.clock.AfterFunc(f.maxHold, func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	defer timer.Stop()
	for {
		all, changed, err := f.m.await(ctx)
		if err != nil {
			return
		}
		timer.Stop()
		if wait, ok := f.evaluate(all, f.m.clock.Monotonic()); ok {
			timer.Reset(wait)
		}
		select {
		case <-changed:
		case <-wake:
		case <-ctx.Done():
			return
		}
	}
}

// evaluate sets the default to what it should be now, and returns after what time to look
// again if nothing changes.
func (f *failover) evaluate(all []*facts, now time.Duration) (wait time.Duration, ok bool) {
	for i, p := range f.places {
		had := p.best
		p.best = p.query.best(all, target{})
		if i == f.at {
			if held := find(all, f.ref); held != nil && p.query.fulfils(held) {
				p.best = held
			}
		}
		if p.best != nil && had == nil {
			p.since = now
		}
	}
	if f.at >= 0 && f.places[f.at].best == nil {
		f.lost(now)
	}
	at, wait, ok := f.choose(now)
	f.begun = true
	if at != f.at {
		f.at, f.chosen = at, now
	}
	ref := pvd.Null
	if at >= 0 {
		ref = f.places[at].best.ref
	}
	f.set(ref)
	return wait, ok
}

// lost takes note that the default can not be used any more.
func (f *failover) lost(now time.Duration) {
	p := f.places[f.at]
	if now-f.chosen < f.maxHold {
		p.hold = min(max(2*p.hold, 1), f.maxHold)
	} else {
		p.hold = f.hold
	}
	f.at = -1
}

// choose returns the place of the default, -1 for none, and when an earlier place will
// have been usable for long enough.
func (f *failover) choose(now time.Duration) (at int, wait time.Duration, ok bool) {
	at = f.at
	for i, p := range f.places {
		if i == at {
			break
		}
		if p.best == nil {
			continue
		}
		held := now - p.since
		if held >= p.hold || !f.begun {
			return i, wait, ok
		}
		if left := p.hold - held; !ok || left < wait {
			wait, ok = left, true
		}
	}
	if at < 0 {
		// There is nothing better than what is on trial.
		for i, p := range f.places {
			if p.best != nil {
				return i, wait, ok
			}
		}
	}
	return at, wait, ok
}

func (f *failover) set(ref pvd.Ref) {
	f.ref = ref
	old := f.m.registry.Default()
	if old == ref {
		return
	}
	// One that has gone in the meantime is an event that is on its way.
	if err := f.m.registry.SetDefault(ref); err != nil && !errors.Is(err, pvd.ErrNoPvD) {
		f.m.log.Warn("the system default stays", "op", "failover", "pvd", ref, "err", err)
		return
	}
	f.m.log.Info("system default changed", "op", "failover", "pvd", ref, "old", old)
}
