package stack

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Msg is a message with all that goes with it: struct msghdr.
type Msg struct {
	// Data is what is to be sent, or where to put what is received.
	Data []byte

	// Addr is the destination, or the sender. The zero AddrPort is the peer.
	Addr netip.AddrPort

	// Control are the control messages. What a received message has depends on
	// [pvd.OptRecvPvD], [pvd.OptRecvPktInfo], [pvd.OptRecvToS] and [pvd.OptRecvHopLimit].
	Control pvd.Control

	// Truncated is MSG_TRUNC: Data had no room for all of a received message, whose
	// rest is lost.
	Truncated bool
}

// Send sends b to the peer, and returns how much of it. A message is sent whole or not at
// all; so is, on a socket that blocks, everything. EPIPE is the error of a stream without
// a peer, EDESTADDRREQ that of a datagram socket without one.
func (s *Socket) Send(ctx context.Context, b []byte) (int, error) {
	return s.SendMsg(ctx, &Msg{Data: b})
}

// SendTo sends a datagram to an address. A stream ignores the address.
func (s *Socket) SendTo(ctx context.Context, b []byte, to netip.AddrPort) (int, error) {
	return s.SendMsg(ctx, &Msg{Data: b, Addr: to})
}

// SendMsg sends a message. Its control messages say, for this datagram:
//
//   - the PvD. A socket that is bound to another PvD, but to no address of it, sends with a
//     source of this one, from its port, and gets no answers there. One that has a source
//     already, bound or connected, or by the message's PktInfo, sends it through another
//     PvD only where the policy allows its App to send across, and both PvDs are on the
//     link; otherwise that is EACCES.
//   - the source and the link, of the PvD's: EADDRNOTAVAIL, ENETUNREACH.
//   - type of service and hop limit, which may not be 0: EINVAL.
//
// A stream heeds the PvD only, which has to be its own.
func (s *Socket) SendMsg(ctx context.Context, m *Msg) (int, error) {
	var n int
	var err error
	if s.isStream() {
		if err = s.checkStreamPvD(m.Control.PvD); err == nil {
			n, err = s.sendStream(ctx, m.Data)
		}
	} else {
		n, err = s.sendDatagram(ctx, m)
	}
	return n, s.wrap(opWrite, "sendmsg", m.Addr, err)
}

// checkStreamPvD returns why a stream can not send in a PvD.
func (s *Socket) checkStreamPvD(ref pvd.Ref) error {
	w, _ := s.whereIs()
	if ref == pvd.Unspecified || w.one == nil || w.one.base().d.ref == ref {
		return nil
	}
	return syscall.EACCES
}

// Recv receives into b what comes next, and returns how much. The end of a stream, and of
// a socket that was shut down, is io.EOF.
func (s *Socket) Recv(ctx context.Context, b []byte) (int, error) {
	m := Msg{Data: b}
	return s.RecvMsg(ctx, &m)
}

// RecvFrom is Recv with the sender's address.
func (s *Socket) RecvFrom(ctx context.Context, b []byte) (int, netip.AddrPort, error) {
	m := Msg{Data: b}
	n, err := s.RecvMsg(ctx, &m)
	return n, m.Addr, err
}

// RecvMsg receives a message into m.Data and sets the other fields of m. For a stream Addr
// is the zero AddrPort.
func (s *Socket) RecvMsg(ctx context.Context, m *Msg) (int, error) {
	m.Addr, m.Control, m.Truncated = netip.AddrPort{}, pvd.Control{}, false
	var n int
	var err error
	if s.isStream() {
		n, err = s.recvStream(ctx, m.Data)
		if err == nil && s.opts.is(pvd.OptRecvPvD) {
			m.Control.PvD = s.PvD()
		}
	} else {
		n, err = s.recvDatagram(ctx, m)
	}
	if err == io.EOF { //nolint:errorlint // bare it is, and bare it is returned
		return 0, err
	}
	return n, s.wrap(opRead, "recvmsg", netip.AddrPort{}, err)
}

func (s *Socket) recvDatagram(ctx context.Context, m *Msg) (n int, err error) {
	receive := func(p *presence) (err error) {
		n, err = p.receive(m)
		return err
	}
	err = s.block(ctx, func(w whereabouts, _ socketState) error {
		err := errWouldBlock
		switch {
		case w.one != nil:
			err = receive(w.one)
		case w.all != nil:
			err = w.all.fetchNow(receive)
		}
		// On Linux only those who wait are told, and so the others are not here.
		if err == errWouldBlock && s.isShut(pvd.ShutRead) && !s.nonblock.Load() { //nolint:errorlint // as it is
			return io.EOF
		}
		return err
	})
	if err == nil {
		s.bell.ring() // what waits behind it is another's to receive
	}
	return n, err
}

func (s *Socket) isShut(how pvd.Shutdown) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.shut&how != 0
}

// receive receives a datagram that is there.
func (p *presence) receive(m *Msg) (int, error) {
	c := p.udp
	if err := c.failed(); err != nil {
		return 0, err
	}
	c.readMu.Lock()
	defer c.readMu.Unlock()
	res, err := c.readNow(m.Data)
	if err != nil {
		return 0, err
	}
	m.Addr = p.sock.shown(c.d.addrPort(res.RemoteAddr))
	m.Truncated = res.Total > res.Count
	if p.sock.opts.is(pvd.OptRecvPvD) {
		m.Control.PvD = c.d.ref
	}
	p.describe(&m.Control, &res.ControlMessages)
	return res.Count, nil
}

// describe puts what gVisor tells of a datagram into control messages.
func (p *presence) describe(c *pvd.Control, r *tcpip.ReceivableControlMessages) {
	d := p.udp.d
	info := func(nic tcpip.NICID, a tcpip.Address) {
		at := p.sock.shown(d.addrPort(tcpip.FullAddress{NIC: nic, Addr: a}))
		c.PktInfo = pvd.PktInfo{Link: d.zoneOf(nic), Addr: at.Addr()}
	}
	switch {
	case r.HasIPPacketInfo:
		info(r.PacketInfo.NIC, r.PacketInfo.DestinationAddr)
	case r.HasIPv6PacketInfo:
		info(r.IPv6PacketInfo.NIC, r.IPv6PacketInfo.Addr)
	}
	switch {
	case r.HasTOS:
		c.ToS = &r.TOS
	case r.HasTClass:
		c.ToS = new(uint8(r.TClass))
	}
	switch {
	case r.HasTTL:
		c.HopLimit = &r.TTL
	case r.HasHopLimit:
		c.HopLimit = &r.HopLimit
	}
}

// A datagram is one that is to be sent.
type datagram struct {
	data    []byte
	to      target // invalid: the peer
	src     netip.Addr
	link    string
	control *pvd.Control
	across  *domain // through which it is to go, if that is not the source's
}

func (s *Socket) sendDatagram(ctx context.Context, m *Msg) (int, error) {
	if s.isClosed() {
		return 0, net.ErrClosed
	}
	g, err := s.newDatagram(m)
	if err != nil {
		return 0, err
	}
	p, err := s.sender(ctx, g)
	if err != nil {
		return 0, err
	}
	if s.isShut(pvd.ShutWrite) {
		return 0, syscall.EPIPE
	}
	if err := s.sendFrom(ctx, p, g); err != nil {
		return 0, err
	}
	return len(m.Data), nil
}

// newDatagram checks what does not depend on where the datagram is to go.
func (s *Socket) newDatagram(m *Msg) (*datagram, error) {
	g := &datagram{data: m.Data, control: &m.Control, link: m.Control.PktInfo.Link, src: m.Control.PktInfo.Addr}
	if len(m.Data) > maxDatagram {
		return nil, syscall.EMSGSIZE
	}
	if h := m.Control.HopLimit; h != nil && *h == 0 {
		return nil, syscall.EINVAL
	}
	if s.echoes() && !isEchoRequest(s.proto, m.Data) {
		return nil, syscall.EINVAL
	}
	if a := g.src; a.IsValid() {
		at, err := s.localAddress(netip.AddrPortFrom(a, 0))
		if err != nil {
			return nil, syscall.EINVAL
		}
		if g.src = at.at(); g.src.IsUnspecified() {
			g.src = netip.Addr{}
		}
	}
	if !m.Addr.Addr().IsValid() {
		return g, nil
	}
	var err error
	if g.to, err = s.remoteAddress(m.Addr); err != nil {
		return nil, err
	}
	if g.to.port == 0 && !s.echoes() {
		return nil, syscall.EINVAL
	}
	return g, nil
}

// sender finds what sends a datagram, binding the socket if it is not.
func (s *Socket) sender(ctx context.Context, g *datagram) (*UDPConn, error) {
	w, state := s.whereIs()
	ref := g.control.PvD
	switch {
	case state == stateClosed:
		return nil, net.ErrClosed
	case !g.to.addr.IsValid() && state != stateConnected:
		return nil, syscall.EDESTADDRREQ
	case w.one != nil && ref == pvd.Unspecified && g.to.zone == "" && !g.src.IsValid():
		return w.one.udp, nil
	}
	d, err := s.sendingIn(ctx, w, g)
	if err != nil {
		return nil, err
	}
	if state == stateIdle {
		if w, err = s.bindToSend(d); err != nil {
			return nil, err
		}
	}
	if a := s.stranger(g.src, d); a != nil {
		return s.crossing(w, a, d, g)
	}
	switch {
	case w.one != nil && w.one.base().d == d:
		return w.one.udp, nil
	case w.one != nil && w.one.udp.addr.IsValid():
		return s.crossing(w, w.one.base().d, d, g)
	case w.one != nil:
		return s.visit(d, w)
	case w.all == nil:
		return nil, net.ErrClosed
	}
	p, ok := w.all.in(d)
	if !ok {
		if err := s.app.permit(d); err != nil {
			return nil, err
		}
		return nil, pvd.ErrNoPvD
	}
	return p.udp, nil
}

// sendingIn finds the PvD that a datagram is to be sent in: the one that it names, the one
// that the socket is in, or that of the scopes. Where its source says which it is, and
// nothing else does, it is that one.
func (s *Socket) sendingIn(ctx context.Context, w whereabouts, g *datagram) (*domain, error) {
	s.mu.Lock()
	scope := s.scope
	s.mu.Unlock()
	ref := g.control.PvD
	switch {
	case ref != pvd.Unspecified:
	case w.one != nil:
		ref = w.one.base().d.ref
	case scope == pvd.All:
		// It listens everywhere. A datagram is in one PvD.
	default:
		ref = scope
	}
	if ref == pvd.Unspecified && g.src.IsValid() {
		l := literalOf(g.src)
		d, err := s.holder(&l)
		g.src = l.at()
		return d, err
	}
	q := query{call: "sendmsg", remote: g.to}
	if g.to.addr.IsValid() {
		q.host = g.to.addr.String()
	}
	d, err := s.place(ctx, ref, &q)
	g.to.literal = q.remote.literal
	return d, err
}

// bindToSend binds a socket that is not: where it may be, by its own PvD.
func (s *Socket) bindToSend(d *domain) (whereabouts, error) {
	s.op.Lock()
	defer s.op.Unlock()
	w, state := s.whereIs()
	if state != stateIdle {
		return w, nil
	}
	s.mu.Lock()
	scope := s.scope
	s.mu.Unlock()
	var err error
	switch {
	case s.isEverywhere(scope):
		err = s.autobind(nil)
	case scope == pvd.Unspecified:
		err = s.autobind(d)
	default:
		// The datagram may be for another PvD than the socket is.
		var home *domain
		if home, err = s.home(&literal{addr: netip.IPv6Unspecified()}); err == nil {
			err = s.autobind(home)
		}
	}
	w, _ = s.whereIs()
	return w, err
}

// sendFrom sends a datagram by one of the socket's endpoints.
func (s *Socket) sendFrom(ctx context.Context, c *UDPConn, g *datagram) error {
	if g.across != nil {
		return callError("sendto", s.sendAcross(ctx, c, g))
	}
	raw := c.visits || g.src.IsValid() || g.link != "" || g.control.ToS != nil || g.control.HopLimit != nil
	to := netip.AddrPort{}
	var p path
	if g.to.addr.IsValid() || raw {
		if !g.to.addr.IsValid() {
			g.to = target{literalOf(c.peer.Addr()), c.peer.Port()}
		}
		to = g.to.addrPort()
		var err error
		if p, err = s.route(ctx, c, g); err != nil {
			return callError("sendto", err)
		}
	}
	if to.Addr().Is4() && len(g.data) > maxDatagram4 {
		return syscall.EMSGSIZE
	}
	return s.block(ctx, func(whereabouts, socketState) error {
		if err := c.failed(); err != nil {
			return err
		}
		c.writeMu.Lock()
		defer c.writeMu.Unlock()
		var terr tcpip.Error
		if raw {
			terr = c.sendRaw(g.data, to, p, c.headerFor(g))
		} else {
			terr = c.sendNow(g.data, to, p)
		}
		switch terr.(type) {
		case nil:
			return nil
		case *tcpip.ErrWouldBlock:
			return errWouldBlock
		}
		if err := c.failed(); err != nil {
			return err
		}
		return stackError("sendto", terr)
	})
}

// route finds the way that a datagram takes.
func (s *Socket) route(ctx context.Context, c *UDPConn, g *datagram) (path, error) {
	dst := g.to.at()
	src := g.src
	if !src.IsValid() && c.addr.IsValid() {
		src = c.d.withZone(c.addr, c.nic)
	}
	if src.IsValid() && src.Is4() != dst.Is4() || !c.allows(dst) {
		return path{}, otherFamily(dst)
	}
	p, err := s.await(ctx, c.d, func() (path, error) {
		if g.src.IsValid() || g.link != "" {
			p, err := c.d.pathVia(g.link, src, dst)
			return p, s.noFamily(c.d, src, dst, err)
		}
		c.writeMu.Lock()
		defer c.writeMu.Unlock()
		p, err := c.pathNow(dst)
		return p, s.noFamily(c.d, src, dst, err)
	})
	if err == nil && !p.src.IsValid() {
		p.src = dst.WithZone("") // between the PvD and itself
	}
	return p, err
}

// pathVia is findPath by a given link.
func (d *domain) pathVia(link string, src, dst netip.Addr) (path, error) {
	p := d.plan.Load()
	switch {
	case link == "" || dst.IsLoopback() || isOwn(p, dst):
		return d.findPath(src, dst)
	case !d.hasLink(link):
		return path{}, syscall.ENODEV
	case dst.Zone() != "" && dst.Zone() != link:
		return path{}, syscall.EINVAL
	case needsLink(dst):
		return d.linkPath(p, src, dst.WithZone(""), link)
	}
	return d.routedPath(p, src, dst.WithZone(""), link)
}
