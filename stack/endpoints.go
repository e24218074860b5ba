package stack

import (
	"maps"
	"slices"
	"sync"
)

// An ender is an application's endpoint as its domain sees it: something that has to
// end when what it stands on goes.
type ender interface {
	// lost returns why the endpoint can not go on as the PvD is now, nil if it can.
	lost() error

	// end aborts the endpoint: blocked calls and all later ones return err, inside a
	// *net.OpError. It does not wait.
	end(err error)
}

// An endpointSet holds the endpoints that are open in a domain.
type endpointSet struct {
	mu  sync.Mutex
	set map[ender]struct{}
}

// remove takes an endpoint out, and reports whether it was there.
func (s *endpointSet) remove(e ender) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, there := s.set[e]
	delete(s.set, e)
	return there
}

// endAll ends every endpoint that there is a reason for. It calls none of them with the
// lock held, since they remove themselves.
func (s *endpointSet) endAll(why func(ender) error) {
	s.mu.Lock()
	all := slices.Collect(maps.Keys(s.set))
	s.mu.Unlock()
	for _, e := range all {
		if err := why(e); err != nil {
			e.end(err)
		}
	}
}
