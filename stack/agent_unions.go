package stack

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/learn"
)

// unions are the PvDs of trusted IDs, which are one on all links that they are learned on.
type unions struct {
	mu sync.Mutex // held while one changes; the registry's writer does not take it
	by map[pvd.ID]*union
}

type union struct {
	ref   pvd.Ref
	parts map[string]*learn.Proposal // by link
}

// whole returns the parts, in the order of their links' names.
func (u *union) whole() (w learn.Union) {
	for _, link := range slices.Sorted(maps.Keys(u.parts)) {
		w = append(w, u.parts[link])
	}
	return w
}

// put makes p the part of a PvD that is of p's link. When that is refused, the part is what
// it was.
func (s *unions) put(ctx context.Context, h *Host, p *learn.Proposal) (pvd.Ref, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := p.Key.ID
	u := s.by[id]
	if u == nil {
		u = &union{parts: make(map[string]*learn.Proposal)}
	}
	was := u.parts[p.Link]
	u.parts[p.Link] = p
	ref, err := h.propose(ctx, u.ref, u.whole())
	if err != nil {
		if u.parts[p.Link] = was; was == nil {
			delete(u.parts, p.Link)
			return pvd.Unspecified, err
		}
		return u.ref, err
	}
	u.ref = ref
	if s.by == nil {
		s.by = make(map[pvd.ID]*union)
	}
	s.by[id] = u
	return ref, nil
}

// drop takes p's part away, and with the last part the PvD.
func (s *unions) drop(ctx context.Context, h *Host, p *learn.Proposal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.by[p.Key.ID]
	if u == nil {
		return pvd.ErrNoPvD
	}
	delete(u.parts, p.Link)
	if len(u.parts) > 0 {
		_, err := h.propose(ctx, u.ref, u.whole())
		return err
	}
	delete(s.by, p.Key.ID)
	return h.registry.Remove(ctx, u.ref)
}
