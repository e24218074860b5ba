package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
)

// Bind gives the socket an address and a port; see [Socket] for its three cases. Port 0 is
// one of the stack's choice. For an ICMP socket the port is the identifier of its echo
// requests.
//
// The error is EADDRNOTAVAIL when the address is not the PvD's or, without a PvD, nobody's;
// EINVAL when the socket is bound already, or the address needs a PvD or a link to be told
// from others; EADDRINUSE when the port is taken, in any PvD where the socket is to be in
// all.
func (s *Socket) Bind(at netip.AddrPort) error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap("bind", "bind", at, s.bind(at))
}

func (s *Socket) bind(at netip.AddrPort) error {
	if s.isClosed() {
		return net.ErrClosed
	}
	to, err := s.localAddress(at)
	if err != nil {
		return err
	}
	d, err := s.home(&to.literal)
	if err != nil {
		return err
	}
	s.advance()
	s.mu.Lock()
	state := s.state
	s.mu.Unlock()
	if state != stateIdle {
		return syscall.EINVAL
	}
	return s.bindAt(d, to.addrPort())
}

// localAddress checks that an address is one that the socket's family can have. IPv4
// addresses lose their IPv6 form.
func (s *Socket) localAddress(at netip.AddrPort) (target, error) {
	a := at.Addr()
	switch {
	case s.family == pvd.INET && !a.IsValid():
		a = netip.IPv4Unspecified() // so Linux takes AF_UNSPEC
	case s.family == pvd.INET && !a.Is4(), s.family == pvd.INET6 && !a.Is6():
		return target{}, syscall.EAFNOSUPPORT
	case a.Is4In6() && s.ipFamily() == family6:
		return target{}, syscall.EINVAL
	}
	if a.IsUnspecified() {
		a = netip.IPv6Unspecified() // as endpoints have it, whatever the family
	}
	return target{literalOf(a), at.Port()}, nil
}

// isEverywhere reports whether a socket for ref is in all PvDs where it is bound to no
// address.
func (s *Socket) isEverywhere(ref pvd.Ref) bool {
	return ref == pvd.All || ref == pvd.Unspecified && s.app.mayBridge()
}

// home finds the PvD to bind in, nil for all. A zone that stands for it is taken off.
func (s *Socket) home(a *literal) (*domain, error) {
	s.mu.Lock()
	scope := s.scope
	s.mu.Unlock()
	everywhere := s.isEverywhere(scope)
	switch {
	case scope == pvd.All && !s.app.mayBridge():
		return nil, syscall.EACCES
	case everywhere && a.addr.IsUnspecified() && a.zone == "":
		return nil, nil
	case scope == pvd.All:
		return nil, syscall.EADDRNOTAVAIL // no address is every PvD's
	case everywhere:
		return s.holder(a)
	case scope == pvd.Unspecified:
		scope = pvd.SystemDefault // the one PvD that the App may be in
	}
	q := query{call: "bind", local: target{literal: *a}}
	d, err := s.place(context.Background(), scope, &q)
	if err != nil {
		return nil, err
	}
	*a = q.local.literal
	_, err = d.local(a.at())
	return d, err
}

// holder finds the PvD that has an address, among those that the App may use.
func (s *Socket) holder(a *literal) (*domain, error) {
	holders := s.holders(a.at())
	switch {
	case len(holders) == 1:
		return holders[0], nil
	case len(holders) == 0 && a.zone == "":
		return nil, syscall.EADDRNOTAVAIL
	}
	scope, named := s.fallback(), false
	if a.zone != "" {
		// A link was looked for already.
		ref, err := s.host.zone(s.app, *a, func(string) bool { return false }, syscall.EADDRNOTAVAIL)
		switch {
		case err == nil:
			scope, named, a.zone = ref, true, ""
		case len(holders) == 0:
			return nil, err
		}
	}
	d, err := s.place(context.Background(), scope, &query{call: "bind"})
	switch {
	case err != nil && !named:
		return nil, syscall.EINVAL // several have it
	case err != nil:
		return nil, err
	}
	if _, err = d.local(a.at()); err != nil && !named {
		err = syscall.EINVAL
	}
	return d, err
}

// fallback returns the scope of a call that has no context and that no selector is to be
// asked about: the App's default, else the system's.
func (s *Socket) fallback() pvd.Ref {
	if ref := s.app.Default(); ref != pvd.Unspecified {
		return ref
	}
	return pvd.SystemDefault
}

// holders returns the PvDs that have an address, among those that the App may use. A
// loopback address is every PvD's.
func (s *Socket) holders(a netip.Addr) []*domain {
	var holders []*domain
	for _, ref := range s.host.List() {
		d, err := s.host.domain(ref)
		if err != nil || s.app.permit(d) != nil {
			continue
		}
		if !a.IsLoopback() {
			// Where several of a PvD's links have it, the PvD is sure all the same.
			if _, err := d.local(a); err != nil && !errors.Is(err, syscall.EINVAL) {
				continue
			}
		}
		holders = append(holders, d)
	}
	return holders
}

// bindAt binds the socket in d, or in all PvDs. The caller holds op.
func (s *Socket) bindAt(d *domain, at netip.AddrPort) error {
	var w whereabouts
	var err error
	if d == nil {
		w.all, at, err = s.openAll(at)
	} else {
		w.one, err = s.open(d, at, s.opts.is(pvd.OptReuseAddr))
	}
	if err != nil {
		return err
	}
	if w.one != nil {
		at = netip.AddrPortFrom(at.Addr(), addrPortOf(w.one.base().local).Port())
	}
	if err := s.settle(w, at, stateBound); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound, s.anchor = true, d
	return nil
}

// autobind binds a socket that is not to a port of the stack's choice, in d or, with nil, in
// all PvDs. The caller holds op.
func (s *Socket) autobind(d *domain) error {
	if err := s.bindAt(d, netip.AddrPortFrom(netip.IPv6Unspecified(), 0)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bound = false
	return nil
}
