package stack

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/waiter"

	"github.com/pvdstack/pvdstack/pvd"
)

// A bell wakes all who wait for something to change.
type bell struct {
	mu   sync.Mutex
	rung chan struct{} // closed when it rings; nil until somebody waits
}

// wait returns a channel that is closed when the bell rings next.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung == nil {
		b.rung = make(chan struct{})
	}
	return b.rung
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rung != nil {
		close(b.rung)
		b.rung = nil
	}
}

// A presence is a Socket in one PvD: an endpoint there. When the socket's state changes in
// a way that endpoints can not follow, it gets another.
type presence struct {
	sock  *Socket
	tcp   *TCPConn // of a stream socket, listening or not
	udp   *UDPConn // of any other
	entry waiter.Entry
}

func (p *presence) base() *socket {
	if p.tcp != nil {
		return &p.tcp.socket
	}
	return &p.udp.socket
}

// NotifyEvent is called by gVisor, with locks held.
func (p *presence) NotifyEvent(waiter.EventMask) { p.sock.bell.ring() }

// watch has the socket's bell ring for the presence. What happened before is to be looked
// at after it.
func (p *presence) watch() {
	p.entry.Init(p, readEvents|writeEvents)
	p.base().wq.EventRegister(&p.entry)
}

func (p *presence) close() {
	p.base().wq.EventUnregister(&p.entry)
	_ = p.base().close() // nobody else closes it
}

// newPresence makes an endpoint for the socket in d, which the caller has entered.
func (s *Socket) newPresence(d *domain, proto tcpip.NetworkProtocolNumber) (*presence, error) {
	p := &presence{sock: s}
	switch {
	case s.isStream():
		wq := new(waiter.Queue)
		ep, terr := d.stk.NewEndpoint(tcp.ProtocolNumber, proto, wq)
		if terr != nil {
			return nil, stackError("socket", terr)
		}
		p.tcp = newTCPConn(d, s.network, ep, wq)
	case s.echoes():
		wq := new(waiter.Queue)
		ep, terr := d.stk.NewEndpoint(s.protocol(), proto, wq)
		if terr != nil {
			return nil, stackError("socket", terr)
		}
		p.udp = &UDPConn{echo: true}
		p.udp.init(d, s.network, ep, wq)
	default:
		c, err := d.newUDP(s.network, proto)
		if err != nil {
			return nil, err
		}
		p.udp = c
	}
	p.base().own(s.owner())
	s.opts.apply(p)
	return p, nil
}

// open gives the socket a presence that is bound in d. Whether it shares its address is
// decided when Bind is called.
func (s *Socket) open(d *domain, at netip.AddrPort, share bool) (*presence, error) {
	nic, err := d.local(at.Addr())
	if err != nil {
		return nil, callError("bind", err)
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	f := s.ipFamily()
	p, err := s.newPresence(d, listenProtocol(f, at.Addr()))
	if err != nil {
		return nil, err
	}
	p.base().ep.SocketOptions().SetReuseAddress(share)
	if p.udp != nil {
		err = p.udp.bind(f, nic, at)
	} else {
		err = p.tcp.bind(f, nic, at)
	}
	if err != nil {
		_ = p.base().close() // it was never open
		return nil, err
	}
	p.watch()
	return p, nil
}

// bind binds a connection that is to be. The caller has entered the domain.
func (c *TCPConn) bind(f family, nic tcpip.NICID, at netip.AddrPort) error {
	c.ep.SocketOptions().SetV6Only(f == family6 || !at.Addr().IsUnspecified())
	if err := c.bindPort(tcp.ProtocolNumber, nic, at); err != nil {
		return err
	}
	c.bound(tcp.ProtocolNumber, f, nic, at.Addr())
	return callError("bind", c.track())
}

// openAll gives the socket a presence in every PvD that its App may use.
func (s *Socket) openAll(at netip.AddrPort) (*everywhere[*presence], netip.AddrPort, error) {
	share := s.opts.is(pvd.OptReuseAddr)
	e := &everywhere[*presence]{
		via:  (*presence).base,
		shut: (*presence).close,
		rang: s.bell.ring,
		open: func(d *domain) (*presence, error) {
			p, err := s.open(d, at, share)
			if backlog := s.backlog.Load(); err == nil && backlog > 0 {
				if err = p.listen(int(backlog)); err != nil {
					p.close()
				}
			}
			return p, err
		},
	}
	e.init(s.host, s.owner())
	err := e.listenEverywhere(context.Background(), at, func(port uint16) { at = netip.AddrPortFrom(at.Addr(), port) })
	if err != nil {
		return nil, at, err
	}
	return e, at, nil
}

// A whereabouts is where a socket is, or was.
type whereabouts struct {
	one    *presence
	all    *everywhere[*presence]
	visits map[*domain]*visit
}

func (w whereabouts) close() {
	if w.one != nil {
		w.one.close()
	}
	if w.all != nil {
		_ = w.all.close() // the host may have closed it already
	}
	for _, v := range w.visits {
		v.close()
	}
}

// detachLocked takes the socket from where it is, which is to be closed.
func (s *Socket) detachLocked() whereabouts {
	w := whereabouts{s.one, s.all, s.visits}
	s.one, s.all, s.visits = nil, nil, nil
	return w
}

// settle puts the socket where w says, unless it has been closed, and into a state. The
// caller holds op.
func (s *Socket) settle(w whereabouts, at netip.AddrPort, state socketState) error {
	s.mu.Lock()
	if s.state == stateClosed {
		s.mu.Unlock()
		w.close()
		return net.ErrClosed
	}
	s.one, s.all, s.at, s.state = w.one, w.all, at, state
	s.mu.Unlock()
	s.bell.ring()
	return nil
}

// retreat takes the socket back to what it was bound to, after a connection or an attempt
// at one. Where that is no longer to be had it is as new. The caller holds op.
func (s *Socket) retreat() {
	s.mu.Lock()
	if s.state == stateClosed {
		s.mu.Unlock()
		return
	}
	at, bound, anchor := s.at, s.bound, s.anchor
	old := s.detachLocked()
	s.state, s.at, s.bound, s.anchor, s.reported = stateIdle, netip.AddrPort{}, false, nil, false
	s.mu.Unlock()
	old.close()
	if bound {
		_ = s.bindAt(anchor, at) // see above
	}
	s.bell.ring()
}

// whereIs returns where the socket is, and its state.
func (s *Socket) whereIs() (whereabouts, socketState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return whereabouts{s.one, s.all, s.visits}, s.state
}

// ended returns a channel that is closed when what the socket stands on is gone.
func (w whereabouts) ended() <-chan struct{} {
	switch {
	case w.one != nil:
		return w.one.base().ended()
	case w.all != nil:
		return w.all.done
	}
	return nil
}

// failed returns why the socket is nowhere any more.
func (w whereabouts) failed() error {
	switch {
	case w.one != nil:
		return w.one.base().failed()
	case w.all != nil:
		select {
		case <-w.all.done:
			return net.ErrClosed
		default:
		}
	}
	return nil
}

// block calls try until it has something else to say than errWouldBlock, or waiting has no
// point any more. What try is to look at is handed to it.
func (s *Socket) block(ctx context.Context, try func(whereabouts, socketState) error) error {
	for first := true; ; first = false {
		var rung <-chan struct{}
		if !first {
			rung = s.bell.wait()
		}
		w, state := s.whereIs()
		if state == stateClosed {
			return net.ErrClosed
		}
		err := try(w, state)
		if err != errWouldBlock { //nolint:errorlint // try returns it as it is
			return err
		}
		if err := w.failed(); err != nil {
			return err
		}
		if s.nonblock.Load() {
			return syscall.EAGAIN
		}
		if first {
			continue
		}
		select {
		case <-rung:
		case <-w.ended():
		case <-s.done:
		case <-ctx.Done():
			return contextError(ctx)
		}
	}
}
