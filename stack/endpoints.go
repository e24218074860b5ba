package stack

import (
	"net/netip"
	"sync"

	"gvisor.dev/gvisor/pkg/tcpip"
)

// An ender is an application's endpoint as its domain sees it: something that has to
// end when what it stands on goes.
type ender interface {
	// standsOn reports whether the endpoint uses the address on the NIC. An invalid
	// address asks about the NIC alone.
	standsOn(nic tcpip.NICID, a netip.Addr) bool

	// end aborts the endpoint: blocked calls and all later ones return err, inside a
	// *net.OpError. It does not wait.
	end(err error)
}

// An endpointSet holds the endpoints that are open in a domain.
type endpointSet struct {
	mu  sync.Mutex
	set map[ender]struct{}
}

func (s *endpointSet) remove(e ender) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.set, e)
}

// endAll ends every endpoint that match holds for. It calls none of them with the lock
// held, since they remove themselves.
func (s *endpointSet) endAll(err error, match func(ender) bool) {
	s.mu.Lock()
	matching := make([]ender, 0, len(s.set))
	for e := range s.set {
		if match(e) {
			matching = append(matching, e)
		}
	}
	s.mu.Unlock()
	for _, e := range matching {
		e.end(err)
	}
}
