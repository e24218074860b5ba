package selection

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Every acquires a lease for a request again and again, and releases it when the loop's
// body ends: for what is needed now and then, such as looking for mail. The occasions of
// all who share a period, or whose periods are multiples of each other, are the same
// moments, so that a network that is opened for one serves all, and closes again. Who is
// still busy at an occasion misses it.
//
// An occasion for which nothing was to be had in time is a pair with a nil Lease and the
// error. The last pair has the error by which it ended: the context's, [ErrClosed], or
// what is wrong with the request; those are told apart by errors.Is.
func (m *Manager) Every(ctx context.Context, period time.Duration, r Request) iter.Seq2[*Lease, error] {
	return func(yield func(*Lease, error) bool) {
		if period < MinPeriod {
			yield(nil, fmt.Errorf("selection: a period of %v is shorter than %v", period, MinPeriod))
			return
		}
		if _, err := newQuery(r.Requirements, m.policy); err != nil {
			yield(nil, err)
			return
		}
		for {
			if err := m.awaitOccasion(ctx, period); err != nil {
				yield(nil, err)
				return
			}
			if !m.occasion(ctx, period, r, yield) {
				return
			}
		}
	}
}

// awaitOccasion waits for the next multiple of a period by the clock.
func (m *Manager) awaitOccasion(ctx context.Context, period time.Duration) error {
	come := make(chan struct{})
	t := m.clock.AfterFunc(period-m.clock.Monotonic()%period, func() { close(come) })
	defer t.Stop()
	select {
	case <-come:
		return nil
	case <-m.done:
		return m.whyEnded()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// occasion serves one occasion, and reports whether there are to be more.
func (m *Manager) occasion(ctx context.Context, period time.Duration, r Request, yield func(*Lease, error) bool) bool {
	limited, cancel := context.WithCancelCause(ctx)
	t := m.clock.AfterFunc(period, func() { cancel(context.DeadlineExceeded) })
	l, err := m.Acquire(limited, r)
	t.Stop()
	cancel(nil)
	if err != nil {
		over := ctx.Err() != nil || errors.Is(err, ErrClosed) || errors.Is(err, pvd.ErrClosed)
		return yield(nil, err) && !over
	}
	defer l.Release()
	return yield(l, nil)
}
