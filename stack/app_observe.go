package stack

import (
	"context"
	"errors"
	"iter"
	"slices"

	"github.com/pvdstack/pvdstack/pvd"
)

// sees reports whether policy lets the application know of a PvD. No application is the
// host itself.
func (a *App) sees(i *pvd.Info) bool { return a.permission(i) != pvd.Hidden }

// List returns the PvDs that the App sees, in the order in which they were attached.
func (a *App) List() []pvd.Ref { return a.seen(a.host.List()) }

// On returns the PvDs that the App sees and that have an interface on a link, as [Host.On]
// does.
func (a *App) On(link string) []pvd.Ref { return a.seen(a.host.On(link)) }

// seen returns those of some PvDs that the App sees. It keeps them in the same memory.
func (a *App) seen(refs []pvd.Ref) []pvd.Ref {
	return slices.DeleteFunc(refs, func(ref pvd.Ref) bool {
		_, err := a.Info(ref)
		return err != nil
	})
}

// Info returns the newest description of a PvD that the App sees, or [pvd.ErrNoPvD].
// [pvd.SystemDefault] is followed.
func (a *App) Info(ref pvd.Ref) (*pvd.Info, error) {
	i, err := a.host.Info(ref)
	if err != nil || !a.sees(i) {
		return nil, pvd.ErrNoPvD
	}
	return i, nil
}

// Find returns the PvD with a name, an ID or the string of a Ref, as [Host.Find] does, among
// those that the App sees.
func (a *App) Find(name string) (pvd.Ref, error) { return a.host.find(a, name) }

// find is Find for an application, or for the host itself.
func (h *Host) find(a *App, name string) (pvd.Ref, error) {
	if a == nil || h.policy.Load() == nil {
		return h.registry.Find(name)
	}
	return h.registry.FindAmong(name, a.sees)
}

// errOtherPolicy is why a loop over what Watch returned begins anew.
var errOtherPolicy = errors.New("another policy")

// Watch returns the PvDs that the App sees and what changes of them, as [Host.Watch] does. A
// PvD that policy hides is not mentioned, and as the system default it is [pvd.Null]. When
// another policy is set the loop gets [pvd.ErrLagged], and a new snapshot.
func (a *App) Watch(ctx context.Context, f pvd.Filter) iter.Seq2[pvd.Event, error] {
	return func(yield func(pvd.Event, error) bool) {
		for a.watch(ctx, f, yield) {
			if !yield(pvd.Event{}, pvd.ErrLagged) {
				return
			}
		}
	}
}

// watch is Watch under one policy. It reports whether there is another one.
func (a *App) watch(ctx context.Context, f pvd.Filter, yield func(pvd.Event, error) bool) bool {
	policy := a.host.policyInForce()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(policy, func() { cancel(errOtherPolicy) })()
	for e, err := range a.host.registry.WatchAmong(ctx, f, a.sees) {
		if errors.Is(err, errOtherPolicy) {
			return true
		}
		if !yield(e, err) {
			return false
		}
	}
	return false
}
