package stack

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Watch returns the host's PvDs and what changes of them, as [pvd.Registry.Watch] does. It
// ends with [ErrClosed] when the host is closed, after the removal of all PvDs.
func (h *Host) Watch(ctx context.Context, f pvd.Filter) iter.Seq2[pvd.Event, error] {
	return h.registry.Watch(ctx, f)
}

// On returns the PvDs that have an interface on a link, in the order in which they were
// attached, whether the link is there or not.
func (h *Host) On(link string) []pvd.Ref { return h.registry.On(link) }

// Find returns the PvD with a name, an ID or the string of a Ref: [pvd.ErrNoPvD] if there is
// none, [pvd.ErrAmbiguous] if there are several.
func (h *Host) Find(name string) (pvd.Ref, error) { return h.registry.Find(name) }

// Retire makes known that a PvD is about to go, by [pvd.Ends] and a [pvd.Leaving] event, and
// removes it at that time by the host's clock, at once if the time has come. A later call
// moves the time; the zero time takes it back.
func (h *Host) Retire(ctx context.Context, ref pvd.Ref, at time.Time) error {
	info, err := h.registry.Info(ref)
	if err != nil {
		return err
	}
	ref = info.Ref() // the same one throughout, whatever becomes of the default
	if err := h.registry.Leave(ctx, ref, at); err != nil {
		return err
	}
	d, err := h.domain(ref)
	if err != nil {
		return err
	}
	return d.retirement.arm(d)
}

// A retirement is the removal of a PvD that is still to come.
type retirement struct {
	mu    sync.Mutex
	timer pvd.Timer // nil: none
}

// arm has the timer go off when the PvD ends, which is what the registry says and not what
// the caller has just told it: calls may overtake each other.
func (r *retirement) arm(d *domain) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	info, err := d.host.registry.Info(d.ref)
	if err != nil || d.isGone() {
		return pvd.ErrNoPvD
	}
	if at, ok := pvd.Ends.Get(info); ok {
		r.timer = d.host.clock.AfterFunc(at.Sub(d.host.clock.Now()), d.retire)
	}
	return nil
}

// disarm is for a PvD that is gone.
func (r *retirement) disarm() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.timer != nil {
		r.timer.Stop()
	}
}

// retire removes the PvD, unless its end has been moved. It is what the timer calls, and
// ends with the removal or with the host.
func (d *domain) retire() {
	left := false
	err := d.host.registry.RemoveIf(context.Background(), d.ref, func(i *pvd.Info) bool {
		at, ok := pvd.Ends.Get(i)
		left = ok && !d.host.clock.Now().Before(at)
		return left
	})
	switch {
	case err != nil && left:
		d.log.Error("PvD is retired, but not cleanly", "op", "retire", "err", err)
	case err == nil && !left:
		// Its end has been moved without Retire, or the time of day was set back. If it is
		// gone, that is as good.
		_ = d.retirement.arm(d)
	}
}
