package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/pvdstack/pvdstack/pvd"
)

// Connect gives the socket a peer; for a stream socket it is a handshake. Source, route and
// PvD are chosen as for [Socket], so that LocalAddr of a datagram socket then is the source
// that its datagrams have. The zero AddrPort takes the peer away again: a stream socket is
// reset.
//
// On a socket that does not block, a handshake that has begun is EINPROGRESS; when it is
// over, which is a [pvd.EventWrite], the next call of Connect or [pvd.OptError] tells what
// came of it. Another call before that is EALREADY, after that EISCONN. When ctx ends first
// the handshake is given up.
//
// Other errors are ENETUNREACH and EHOSTUNREACH where there is no way to the peer,
// EPROTONOSUPPORT where the PvD has no address of the peer's family, and EADDRNOTAVAIL where
// all it has is still tentative and the socket does not block, or for port 0 of a stream.
func (s *Socket) Connect(ctx context.Context, to netip.AddrPort) error {
	var err error
	switch {
	case !to.Addr().IsValid():
		err = s.disconnect()
	case s.isStream():
		err = s.connectStream(ctx, to)
	default:
		err = s.connectDatagram(ctx, to)
	}
	return s.wrap("connect", "connect", to, err)
}

// remoteAddress checks that a destination is one that the socket can have. IPv4 addresses
// lose their IPv6 form, and the unspecified address is the PvD itself, as on Linux.
func (s *Socket) remoteAddress(to netip.AddrPort) (target, error) {
	a := to.Addr()
	mapped := a.Is4In6()
	switch {
	case s.family == pvd.INET && !a.Is4():
		return target{}, syscall.EAFNOSUPPORT
	case s.family == pvd.INET6 && a.Is4():
		if s.proto != pvd.UDP { // which takes IPv4's own form too
			return target{}, syscall.EAFNOSUPPORT
		}
		mapped = true
	}
	if mapped && s.ipFamily() == family6 {
		return target{}, syscall.ENETUNREACH
	}
	l := literalOf(a)
	if l.addr.IsUnspecified() {
		l.addr = loopbackOf(l.addr)
	}
	return target{l, to.Port()}, nil
}

// advance takes note of a handshake that is over.
func (s *Socket) advance() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state != stateConnecting {
		return
	}
	over, err := s.one.tcp.connected()
	switch {
	case !over:
	case err != nil:
		s.state, s.err = stateFailed, err
	default:
		s.state = stateConnected
	}
}

// takeError returns what became of the handshake, once.
func (s *Socket) takeError() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.err
	s.err = nil
	return err
}

func (s *Socket) connectStream(ctx context.Context, to netip.AddrPort) error {
	s.op.Lock()
	p, err := s.startConnecting(ctx, to)
	s.op.Unlock()
	switch {
	case err != nil || p == nil:
		return err
	case s.nonblock.Load():
		return syscall.EINPROGRESS
	}
	err = s.block(ctx, func(w whereabouts, _ socketState) error {
		s.advance()
		if w.one != p {
			return syscall.ECONNABORTED // by Shutdown, or by another Connect
		}
		_, state := s.whereIs()
		switch state {
		case stateConnecting:
			return errWouldBlock
		case stateConnected:
			return s.report()
		default:
			return nil
		}
	})
	if errors.Is(err, syscall.EAGAIN) {
		return syscall.EINPROGRESS // the socket does not block from now on
	}
	s.op.Lock()
	defer s.op.Unlock()
	w, state := s.whereIs()
	switch {
	case w.one != p || state == stateConnected:
		return err
	case state == stateFailed:
		if failed := s.takeError(); failed != nil {
			err = failed
		}
	}
	s.retreat()
	return err
}

// report notes that Connect has told of the connection.
func (s *Socket) report() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reported = true
	return nil
}

// startConnecting begins a handshake. It returns neither presence nor error when there is a
// connection that Connect has not told of yet. The caller holds op.
func (s *Socket) startConnecting(ctx context.Context, to netip.AddrPort) (*presence, error) {
	s.advance()
	w, state := s.whereIs()
	switch state {
	case stateClosed:
		return nil, net.ErrClosed
	case stateConnecting:
		return nil, syscall.EALREADY
	case stateListening:
		return nil, syscall.EISCONN
	case stateConnected:
		s.mu.Lock()
		told := s.reported
		s.mu.Unlock()
		if told {
			return nil, syscall.EISCONN
		}
		return nil, s.report()
	case stateFailed:
		err := s.takeError()
		s.retreat()
		if err == nil {
			err = syscall.ECONNABORTED // it has been told by SO_ERROR
		}
		return nil, err
	default:
	}
	r, err := s.remoteAddress(to)
	if err != nil {
		return nil, err
	}
	d, err := s.toward(ctx, w, &r)
	if err != nil {
		return nil, err
	}
	if r.addr.IsMulticast() || r.addr == limitedBroadcast {
		return nil, syscall.ENETUNREACH
	}
	if r.port == 0 {
		return nil, syscall.EADDRNOTAVAIL
	}
	p, err := s.pathFrom(ctx, d, r.at())
	if err != nil {
		return nil, err
	}
	return s.handshake(d, p, r.addrPort())
}

// toward finds the PvD in which to reach a destination. A zone that stands for it is taken
// off.
func (s *Socket) toward(ctx context.Context, w whereabouts, r *target) (*domain, error) {
	s.mu.Lock()
	scope, bound := s.scope, s.bound
	s.mu.Unlock()
	// What only Connect has put into a PvD may be put into another.
	if w.one != nil && (bound || s.isStream()) {
		scope = w.one.base().d.ref
	}
	q := query{call: "connect", host: r.addr.String(), remote: *r}
	d, err := s.place(ctx, scope, &q)
	if err != nil {
		return nil, err
	}
	r.literal = q.remote.literal
	return d, nil
}

// source returns the address that the socket is bound to, invalid if that is any.
func (s *Socket) source() netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.at.Addr(); s.bound && !a.IsUnspecified() {
		return a
	}
	return netip.Addr{}
}

// pathFrom chooses how to reach dst in d. While all that would do is tentative it waits,
// unless the socket does not block. The caller holds op.
func (s *Socket) pathFrom(ctx context.Context, d *domain, dst netip.Addr) (path, error) {
	src := s.source()
	if src.IsValid() && src.Is4() != dst.Is4() {
		return path{}, otherFamily(dst)
	}
	return s.await(ctx, d, func() (path, error) {
		p, err := d.findPath(src, dst)
		return p, s.noFamily(d, src, dst, err)
	})
}

// otherFamily is Linux's word for a destination of another family than the source.
func otherFamily(dst netip.Addr) error {
	if dst.Is4() {
		return syscall.ENETUNREACH
	}
	return syscall.EAFNOSUPPORT
}

// noFamily returns an error as the sockets API has it: where the reason is that the PvD has
// no address of dst's family, that is EPROTONOSUPPORT.
func (s *Socket) noFamily(d *domain, src, dst netip.Addr, err error) error {
	if errors.Is(err, syscall.EADDRNOTAVAIL) && !src.IsValid() && !d.plan.Load().hasFamily(dst) {
		return syscall.EPROTONOSUPPORT
	}
	return err
}

// await calls find until waiting for an address would no longer help.
func (s *Socket) await(ctx context.Context, d *domain, find func() (path, error)) (path, error) {
	for {
		changed := d.addressesChanged()
		p, err := find()
		if !errors.Is(err, errTentative) {
			return p, err
		}
		if s.nonblock.Load() {
			return path{}, syscall.EADDRNOTAVAIL
		}
		select {
		case <-changed:
		case <-d.gone:
			return path{}, pvd.ErrNoPvD
		case <-s.done:
			return path{}, net.ErrClosed
		case <-ctx.Done():
			return path{}, contextError(ctx)
		}
	}
}

// handshake begins a connection by p, in place of what the socket is bound to. The caller
// holds op.
func (s *Socket) handshake(d *domain, p path, to netip.AddrPort) (*presence, error) {
	s.mu.Lock()
	at := s.at
	old := whereabouts{s.one, s.all, s.visits}
	s.mu.Unlock()
	c := &presence{sock: s}
	dl := dialing{
		owner: s.owner(), d: d, network: s.network, proto: tcp.ProtocolNumber,
		prepare: func(conn *TCPConn) {
			c.tcp = conn
			s.opts.apply(c)
		},
	}
	if at.Port() != 0 {
		dl.local = netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
		if !p.src.IsValid() {
			p.src = to.Addr() // so gVisor would choose: between the PvD and itself
		}
	}
	old.close() // or its port would be taken
	conn, err := dl.startTCP(p, to)
	if err != nil {
		s.retreat()
		return nil, err
	}
	c.tcp = conn
	c.watch()
	if err := s.settle(whereabouts{one: c}, at, stateConnecting); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.reported, s.err = false, nil
	s.mu.Unlock()
	return c, nil
}

// connectDatagram gives a datagram socket one peer. It may have had another.
func (s *Socket) connectDatagram(ctx context.Context, to netip.AddrPort) error {
	s.op.Lock()
	defer s.op.Unlock()
	w, state := s.whereIs()
	if state == stateClosed {
		return net.ErrClosed
	}
	r, err := s.remoteAddress(to)
	if err != nil {
		return err
	}
	if r.port == 0 && !s.echoes() {
		return syscall.EADDRNOTAVAIL
	}
	d, err := s.toward(ctx, w, &r)
	if err != nil {
		return err
	}
	p, err := s.pathFrom(ctx, d, r.at())
	if err != nil {
		return err
	}
	var port uint16
	if state != stateIdle {
		if port = s.ownPort(w); !p.src.IsValid() {
			p.src = r.addr // see handshake
		}
	}
	w.close() // or its port would be taken
	c, err := s.openConnected(d, p, port, r.addrPort())
	if err != nil {
		s.retreat()
		return err
	}
	s.mu.Lock()
	at := s.at
	s.visits = nil
	s.mu.Unlock()
	return s.settle(whereabouts{one: c}, at, stateConnected)
}

// ownPort returns the port that the socket has.
func (s *Socket) ownPort(w whereabouts) uint16 {
	if w.one != nil {
		return addrPortOf(w.one.base().local).Port()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at.Port()
}

// openConnected gives a datagram socket a presence with a peer.
func (s *Socket) openConnected(d *domain, p path, port uint16, to netip.AddrPort) (*presence, error) {
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	c, err := s.newPresence(d, protocolOf(to.Addr()))
	if err != nil {
		return nil, err
	}
	if err := c.udp.connect(p, port, to); err != nil {
		_ = c.base().close() // it was never open
		return nil, err
	}
	c.watch()
	return c, nil
}

// disconnect takes the peer away.
func (s *Socket) disconnect() error {
	s.op.Lock()
	defer s.op.Unlock()
	s.advance()
	w, state := s.whereIs()
	switch state {
	case stateClosed:
		return net.ErrClosed
	case stateIdle, stateBound:
		return nil
	case stateListening:
		s.backlog.Store(0)
	case stateConnected:
		if s.isStream() {
			_ = w.one.tcp.SetLinger(0) // what is not connected any more has no data to send
		}
	default:
	}
	s.retreat()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = nil
	if s.isStream() && state == stateConnected {
		s.err = syscall.ECONNRESET // for the next who sends or receives
	}
	return nil
}
