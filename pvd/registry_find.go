package pvd

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Leave makes known that a PvD is about to go, at a time of day: it has [Ends] from now on,
// and watchers get [Leaving]. The zero time takes that back. Whoever says so removes the
// PvD then; the registry does not.
func (r *Registry) Leave(ctx context.Context, ref Ref, at time.Time) error {
	return r.Update(ctx, ref, func(b *Builder) {
		if at.IsZero() {
			Ends.Clear(b)
			return
		}
		Ends.Set(b, at.Round(0)) // a time of day has no use for a monotonic reading
	})
}

// On returns the PvDs that have an interface on a link, in the order in which they were
// attached. The links of a PvD are its [Links].
func (r *Registry) On(link string) []Ref {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var refs []Ref
	for _, ref := range r.order {
		if r.pvds[ref].info.Load().isOn(link) {
			refs = append(refs, ref)
		}
	}
	return refs
}

// DefaultAmong is [Registry.Default] for somebody who sees some PvDs only: where the default
// is none of them it is [Null]. One that is gone counts as what it was. sees must not call
// the Registry.
func (r *Registry) DefaultAmong(sees func(*Info) bool) Ref {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.defaultAmongLocked(sees)
}

func (r *Registry) defaultAmongLocked(sees func(*Info) bool) Ref {
	i := r.defWas
	if p := r.pvds[r.def]; p != nil {
		i = p.info.Load()
	}
	if i != nil && !sees(i) {
		return Null
	}
	return r.def
}

// ErrAmbiguous reports that a name is that of several PvDs.
var ErrAmbiguous = errors.New("several provisioning domains have the name")

// Find returns the PvD that a person means by a name: the string of its Ref, which goes
// before all others, its name, or its ID. If it is nobody's the error is [ErrNoPvD], if it
// is several PvDs' it is [ErrAmbiguous].
func (r *Registry) Find(name string) (Ref, error) {
	return r.FindAmong(name, func(*Info) bool { return true })
}

// FindAmong is [Registry.Find] among those PvDs that are seen; the others are nobody. sees
// must not call the Registry.
func (r *Registry) FindAmong(name string, sees func(*Info) bool) (Ref, error) {
	id, err := ParseID(name)
	if err != nil {
		id = "" // which is no PvD's to be found by
	}
	found, err := r.find(name, id, sees)
	switch {
	case err != nil:
		return Unspecified, err
	case found == Unspecified:
		return Unspecified, fmt.Errorf("pvd: %q: %w", name, ErrNoPvD)
	}
	return found, nil
}

func (r *Registry) find(name string, id ID, sees func(*Info) bool) (found Ref, err error) {
	if name == "" {
		return Unspecified, nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if ref, ok := parseRef(name); ok && r.pvds[ref] != nil && sees(r.pvds[ref].info.Load()) {
		return ref, nil
	}
	for _, ref := range r.order {
		i := r.pvds[ref].info.Load()
		if i.name != name && (id == "" || i.id != id) || !sees(i) {
			continue
		}
		if found != Unspecified {
			return Unspecified, fmt.Errorf("pvd: %q: %w: %v and %v", name, ErrAmbiguous, found, ref)
		}
		found = ref
	}
	return found, nil
}
