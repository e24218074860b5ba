package stack

import (
	"slices"
	"sync"
	"syscall"
)

// An endpointSet holds the sockets that are open in a domain, in no particular order. Each
// knows its place, so that to come and to go take the same time however many there are.
type endpointSet struct {
	mu  sync.Mutex
	all []*socket
}

// add takes a socket in: EMFILE if there are too many, EADDRINUSE if it is a listener that
// has a rival.
func (s *endpointSet) add(e *socket) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.all) >= maxSockets {
		return syscall.EMFILE
	}
	if e.listens.port != 0 && slices.ContainsFunc(s.all, e.rivals) {
		return syscall.EADDRINUSE
	}
	s.all = append(s.all, e)
	e.place = int32(len(s.all)) // maxSockets and less
	return nil
}

// remove takes a socket out, and reports whether it was there.
func (s *endpointSet) remove(e *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.place == 0 {
		return false
	}
	last := s.all[len(s.all)-1]
	s.all[e.place-1], last.place = last, e.place
	s.all[len(s.all)-1] = nil
	s.all = s.all[:len(s.all)-1]
	e.place = 0
	return true
}

func (s *endpointSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.all)
}

// endAll ends every socket that there is a reason for. It calls none of them with the lock
// held, since they remove themselves.
func (s *endpointSet) endAll(why func(*socket) error) {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, e := range all {
		if err := why(e); err != nil {
			e.end(err)
		}
	}
}
