package stack

import (
	"net"
	"net/netip"
	"slices"
	"syscall"
)

// JoinGroup makes a datagram socket receive what is sent to a multicast group on a link,
// in each PvD that the socket is in, or comes to be in, and that is on the link. Without a
// name, that is the link of the group's zone, or the first of each PvD's.
//
// The error is EINVAL for what is no group of the socket's family, ENODEV where the host
// has no such link, EADDRINUSE when the socket is in the group there already, ENOBUFS when it
// is in 20 groups, and EPROTO for a stream.
func (s *Socket) JoinGroup(link string, group netip.Addr) error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap(opSet, "setsockopt", netip.AddrPort{}, s.joinGroup(link, group))
}

func (s *Socket) joinGroup(link string, group netip.Addr) error {
	m, err := s.membership(link, group)
	if err != nil {
		return err
	}
	if _, ok := s.host.link(m.link); !ok && m.link != "" {
		return syscall.ENODEV
	}
	s.opts.mu.Lock()
	switch {
	case slices.Contains(s.opts.groups, m):
		err = syscall.EADDRINUSE
	case len(s.opts.groups) >= maxGroups:
		err = syscall.ENOBUFS
	default:
		s.opts.groups = append(s.opts.groups, m)
	}
	s.opts.mu.Unlock()
	if err != nil {
		return err
	}
	w, _ := s.whereIs()
	w.visits = nil // which receive nothing
	s.each(w, func(p *presence) {
		_ = p.udp.JoinGroup(m.link, m.group) // fails where the PvD is not on the link
	})
	return nil
}

// LeaveGroup undoes JoinGroup: EADDRNOTAVAIL if the socket is not in the group there.
func (s *Socket) LeaveGroup(link string, group netip.Addr) error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap(opSet, "setsockopt", netip.AddrPort{}, s.leaveGroup(link, group))
}

func (s *Socket) leaveGroup(link string, group netip.Addr) error {
	m, err := s.membership(link, group)
	if err != nil {
		return err
	}
	s.opts.mu.Lock()
	i := slices.Index(s.opts.groups, m)
	if i >= 0 {
		s.opts.groups = slices.Delete(s.opts.groups, i, i+1)
	}
	s.opts.mu.Unlock()
	if i < 0 {
		return syscall.EADDRNOTAVAIL
	}
	w, _ := s.whereIs()
	w.visits = nil
	s.each(w, func(p *presence) {
		_ = p.udp.LeaveGroup(m.link, m.group) // see joinGroup
	})
	return nil
}

// membership checks a group and its link.
func (s *Socket) membership(link string, group netip.Addr) (membership, error) {
	if s.isClosed() {
		return membership{}, net.ErrClosed
	}
	if s.isStream() {
		return membership{}, syscall.EPROTO
	}
	l := literalOf(group)
	if !l.addr.IsMulticast() || !s.ipFamily().allows(l.addr) {
		return membership{}, syscall.EINVAL
	}
	if link == "" {
		link = l.zone
	}
	return membership{link, l.addr}, nil
}

// SetMulticastLink names the link by which datagrams to groups leave, where neither the
// destination's zone nor a [pvd.PktInfo] does. With "", as at first, it is the first of
// the PvD's. ENODEV if the host has no such link.
func (s *Socket) SetMulticastLink(link string) error {
	s.op.Lock()
	defer s.op.Unlock()
	var err error
	_, known := s.host.link(link)
	switch {
	case s.isClosed():
		err = net.ErrClosed
	case s.isStream():
		err = syscall.ENOPROTOOPT
	case link != "" && !known:
		err = syscall.ENODEV
	}
	if err != nil {
		return s.wrap(opSet, "setsockopt", netip.AddrPort{}, err)
	}
	s.opts.mu.Lock()
	s.opts.link = link
	s.opts.mu.Unlock()
	w, _ := s.whereIs()
	s.each(w, func(p *presence) {
		o := &p.udp.multicast
		o.mu.Lock()
		defer o.mu.Unlock()
		o.link = link
	})
	return nil
}
