package stack

import (
	"context"
	"net"
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/pvd"
)

// Ready is poll without waiting: which of the events want hold now. EventHangUp and
// EventError are told whether wanted or not.
func (s *Socket) Ready(want pvd.Events) pvd.Events {
	return s.events() & (want | pvd.EventHangUp | pvd.EventError)
}

// Wait is poll: it waits until at least one of the events want holds, or EventHangUp or
// EventError does, and returns those that do. The error is net.ErrClosed when the socket
// is closed meanwhile, or why ctx has ended.
func (s *Socket) Wait(ctx context.Context, want pvd.Events) (pvd.Events, error) {
	for {
		rung := s.bell.wait()
		if s.isClosed() {
			return 0, s.wrap("poll", "poll", netip.AddrPort{}, net.ErrClosed)
		}
		if got := s.Ready(want); got != 0 {
			return got, nil
		}
		w, _ := s.whereIs()
		select {
		case <-rung:
		case <-w.ended():
		case <-s.done:
		case <-ctx.Done():
			return 0, s.wrap("poll", "poll", netip.AddrPort{}, contextError(ctx))
		}
	}
}

// events returns the events that hold.
func (s *Socket) events() pvd.Events {
	s.advance()
	w, state := s.whereIs()
	const over = pvd.EventRead | pvd.EventWrite | pvd.EventReadHangUp | pvd.EventHangUp
	switch {
	case w.failed() != nil || state == stateClosed || state == stateFailed && s.hasError():
		return over | pvd.EventError
	case state == stateFailed:
		return over
	}
	if !s.isStream() {
		return s.datagramEvents(w)
	}
	switch state {
	case stateIdle, stateBound:
		return pvd.EventWrite | pvd.EventHangUp // as on Linux
	case stateListening:
		if w.one != nil {
			return w.one.events() & pvd.EventRead
		}
		return w.anyReadable()
	case stateConnected:
		return w.one.events()
	default:
		return 0
	}
}

func (s *Socket) hasError() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

func (s *Socket) datagramEvents(w whereabouts) pvd.Events {
	e := pvd.EventWrite // as long as there is no endpoint that is full
	switch {
	case w.one != nil:
		e = w.one.events()
	case w.all != nil:
		e |= w.anyReadable()
	}
	if s.isShut(pvd.ShutRead) {
		e |= pvd.EventRead | pvd.EventReadHangUp
	}
	if s.isShut(pvd.ShutRead) && s.isShut(pvd.ShutWrite) {
		e |= pvd.EventHangUp
	}
	return e
}

// anyReadable returns EventRead if a presence has something.
func (w whereabouts) anyReadable() pvd.Events {
	for _, p := range w.all.waiting() {
		if p.events()&pvd.EventRead != 0 {
			return pvd.EventRead
		}
	}
	return 0
}

// events returns what gVisor says of an endpoint.
func (p *presence) events() (e pvd.Events) {
	mask := p.readiness()
	for _, to := range []struct {
		from waiter.EventMask
		to   pvd.Events
	}{
		{waiter.ReadableEvents, pvd.EventRead},
		{waiter.WritableEvents, pvd.EventWrite},
		{waiter.EventRdHUp, pvd.EventReadHangUp},
		{waiter.EventHUp, pvd.EventHangUp},
		{waiter.EventErr, pvd.EventError},
	} {
		if mask&to.from != 0 {
			e |= to.to
		}
	}
	if p.tcp != nil && p.tcp.ep.State() != uint32(tcp.StateError) {
		e &^= pvd.EventError // gVisor's events for an orderly end are all that there are
	}
	return e
}

// readiness is the endpoint's, between two segments: gVisor tells of the end of what the peer
// sends before it has looked whether that is the end of the connection too.
func (p *presence) readiness() waiter.EventMask {
	if l, ok := p.base().ep.(interface {
		LockUser()
		UnlockUser()
	}); ok {
		l.LockUser()
		defer l.UnlockUser()
	}
	return p.base().ep.Readiness(readEvents | writeEvents)
}
