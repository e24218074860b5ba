package stack

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"

	"github.com/pvdstack/pvdstack/pvd"
)

// Listen makes a stream socket wait for connections where it is bound. One that is bound
// to nothing gets a port of the stack's choice. The backlog is how many connections may
// wait for Accept, 1 to 1024; other values are taken for the nearest of these.
//
// The error is EINVAL where there is, or is about to be, a peer, and EADDRINUSE where
// another socket listens for the same connections.
func (s *Socket) Listen(backlog int) error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap(opListen, "listen", netip.AddrPort{}, s.listen(min(max(backlog, 1), listenBacklog)))
}

func (s *Socket) listen(backlog int) error {
	s.advance()
	_, state := s.whereIs()
	switch {
	case state == stateClosed:
		return net.ErrClosed
	case !s.isStream():
		return syscall.EOPNOTSUPP
	case state == stateIdle:
		d, err := s.home(&literal{addr: netip.IPv6Unspecified()})
		if err == nil {
			err = s.autobind(d)
		}
		if err != nil {
			return err
		}
		s.mu.Lock()
		s.bound = true // a listener keeps its port
		s.mu.Unlock()
	case state != stateBound && state != stateListening:
		return syscall.EINVAL
	}
	w, _ := s.whereIs()
	if err := s.listenIn(w, backlog); err != nil {
		return err
	}
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	return s.settle(w, at, stateListening)
}

// listenIn has the socket listen where it is. In all PvDs it does so in each or in none.
func (s *Socket) listenIn(w whereabouts, backlog int) error {
	if w.one != nil {
		return w.one.listen(backlog)
	}
	if w.all == nil {
		return net.ErrClosed
	}
	// On the writer nothing joins in the meantime.
	return s.host.do(func() error {
		members := w.all.all()
		for i, p := range members {
			if err := p.register(); err != nil {
				for _, p := range members[:i] {
					p.unregister()
				}
				return err
			}
		}
		s.backlog.Store(int32(backlog))
		for _, p := range members {
			_ = p.listen(backlog) // fails where the PvD is about to go
		}
		return nil
	})
}

// listen has the presence listen, or changes the backlog of one that does.
func (p *presence) listen(backlog int) error {
	if err := p.register(); err != nil {
		return err
	}
	if err := p.base().failed(); err != nil {
		return err
	}
	// A backlog that is shorter than what waits already is refused, to no one's harm.
	if terr := p.tcp.ep.Listen(backlog); terr != nil && p.tcp.ep.State() != uint32(tcp.StateListen) {
		p.unregister()
		return stackError("listen", terr)
	}
	return nil
}

// register makes the presence a listener that others may be rivals of; EADDRINUSE if it is
// a rival itself.
func (p *presence) register() error {
	s := p.base()
	set := &s.d.endpoints
	set.mu.Lock()
	defer set.mu.Unlock()
	if s.listens.port != 0 {
		return nil
	}
	f := p.sock.ipFamily()
	l := listening{port: addrPortOf(s.local).Port(), serves4: f != family6, serves6: f != family4}
	if s.addr.IsValid() {
		l.serves4, l.serves6 = s.addr.Is4(), s.addr.Is6()
	}
	s.listens = l
	if slices.ContainsFunc(set.all, func(o *socket) bool { return o != s && s.rivals(o) }) {
		s.listens = listening{}
		return callError("listen", syscall.EADDRINUSE)
	}
	return nil
}

func (p *presence) unregister() {
	s := p.base()
	s.d.endpoints.mu.Lock()
	defer s.d.endpoints.mu.Unlock()
	s.listens = listening{}
}

// stopListening has the presence refuse connections, those that wait included. Its port
// remains its own.
func (p *presence) stopListening() {
	_ = p.tcp.ep.Shutdown(tcpip.ShutdownRead) // it listens
	p.unregister()
}

// Accept returns the next connection of a listening socket, and its peer's address. The new
// socket is in the PvD that the connection came in, and has the options of the listener's
// but that it blocks.
//
// The error is EINVAL if the socket does not listen. EMFILE, when the PvD has as many sockets
// as it may, is one that passes.
func (s *Socket) Accept(ctx context.Context) (*Socket, netip.AddrPort, error) {
	c, err := s.accept(ctx)
	if err != nil {
		return nil, netip.AddrPort{}, s.wrap(opAccept, "accept", netip.AddrPort{}, err)
	}
	return c, c.shown(addrPortOf(c.one.base().remote)), nil
}

func (s *Socket) accept(ctx context.Context) (*Socket, error) {
	var conn *TCPConn
	take := func(p *presence) (err error) {
		conn, err = p.base().acceptNow()
		return err
	}
	err := s.block(ctx, func(w whereabouts, state socketState) error {
		switch {
		case !s.isStream():
			return syscall.EOPNOTSUPP
		case state != stateListening:
			return syscall.EINVAL
		case w.one != nil:
			return take(w.one)
		}
		return w.all.fetchNow(take)
	})
	if err != nil {
		return nil, err
	}
	s.bell.ring() // what waits behind it is another's to accept
	return s.child(conn), nil
}

// child returns the socket of a connection that the socket has accepted.
func (s *Socket) child(conn *TCPConn) *Socket {
	c := &Socket{
		host: s.host, app: s.app, family: s.family, typ: s.typ, proto: s.proto, network: s.network,
		done: make(chan struct{}), state: stateConnected, scope: conn.d.ref, reported: true,
	}
	c.opts.inherit(&s.opts)
	p := &presence{sock: c, tcp: conn}
	c.one = p
	c.opts.apply(p)
	p.watch()
	return c
}

// Shutdown ends one direction of a connection, or both. On a listening socket ShutRead has
// it listen no more, which Listen undoes. The error is EINVAL for other values of how, and
// ENOTCONN where there is no connection; a datagram socket is shut down all the same, as on
// Linux: what waits to receive returns.
func (s *Socket) Shutdown(how pvd.Shutdown) error {
	s.op.Lock()
	defer s.op.Unlock()
	err := s.shutdown(how)
	s.bell.ring()
	return s.wrap("shutdown", "shutdown", netip.AddrPort{}, err)
}

func (s *Socket) shutdown(how pvd.Shutdown) error {
	if s.isClosed() {
		return net.ErrClosed
	}
	if how == 0 || how&^pvd.ShutBoth != 0 {
		return syscall.EINVAL
	}
	s.advance()
	w, state := s.whereIs()
	if !s.isStream() {
		s.mu.Lock()
		s.shut |= how
		s.mu.Unlock()
		if state != stateConnected {
			return syscall.ENOTCONN
		}
		return nil
	}
	switch state {
	case stateConnecting: // as Linux has it
		s.retreat()
		return nil
	case stateListening:
		if how&pvd.ShutRead != 0 {
			return s.unlisten(w)
		}
		return nil
	case stateConnected:
		return s.shutdownStream(w.one, how)
	default:
		return syscall.ENOTCONN
	}
}

// unlisten has the socket listen no more.
func (s *Socket) unlisten(w whereabouts) error {
	s.backlog.Store(0)
	if w.one != nil {
		w.one.stopListening()
	} else {
		_ = s.host.do(func() error { // on the writer nothing joins in the meantime
			for _, p := range w.all.all() {
				p.stopListening()
			}
			return nil
		})
	}
	s.mu.Lock()
	at := s.at
	s.mu.Unlock()
	return s.settle(w, at, stateBound)
}

func (s *Socket) shutdownStream(p *presence, how pvd.Shutdown) error {
	if err := p.base().failed(); err != nil {
		return err
	}
	var flags tcpip.ShutdownFlags
	if how&pvd.ShutRead != 0 {
		flags |= tcpip.ShutdownRead
	}
	if how&pvd.ShutWrite != 0 {
		flags |= tcpip.ShutdownWrite
	}
	if terr := p.tcp.ep.Shutdown(flags); terr != nil {
		return stackError("shutdown", terr)
	}
	return nil
}
