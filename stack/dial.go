package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A dialing is one call of DialContext or DialFrom, once its arguments are understood.
type dialing struct {
	owner

	d       *domain
	network string
	proto   tcpip.TransportProtocolNumber
	family  family
	local   netip.AddrPort // invalid: to be chosen
	host    string         // as it was given
	addr    netip.Addr     // the same if it is an address; invalid: it is a name
	port    uint16
	only    [1]netip.Addr // addr, as a list

	resolves bool // to a server of the PvD's resolver: nothing may be looked up

	prepare func(*TCPConn) // sets options before the handshake; may be nil
}

// error is an error of the dialling as a whole, or with an address at.
func (dl *dialing) error(to netip.AddrPort, err error) error {
	return opError(opDial, dl.network, addrOf(dl.proto, dl.local), addrOf(dl.proto, to), err)
}

// dial connects to the first of the host's addresses that answers.
func (dl *dialing) dial(ctx context.Context) (net.Conn, error) {
	if !dl.addr.IsValid() {
		return dl.race(ctx, nil)
	}
	if !dl.family.allows(dl.addr) {
		return nil, dl.error(netip.AddrPort{}, &net.AddrError{Err: "no suitable address found", Addr: dl.host})
	}
	dl.only[0] = dl.addr
	addrs := dl.translate(ctx, dl.only[:])
	if len(addrs) > 1 {
		dl.d.sortDestinations(dl.local.Addr(), addrs)
		return dl.race(ctx, addrs)
	}
	to := netip.AddrPortFrom(addrs[0], dl.port)
	c, err := dl.dialOne(ctx, to)
	if err != nil {
		return nil, dl.error(to, err)
	}
	return c, nil
}

// dialOne connects to one address.
func (dl *dialing) dialOne(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	if l := dl.local.Addr(); l.IsValid() && !l.IsUnspecified() && l.Is4() != to.Addr().Is4() {
		return nil, &net.AddrError{Err: "local and remote address are not of one family", Addr: l.String()}
	}
	if to.Port() == 0 {
		return nil, callError("connect", syscall.EADDRNOTAVAIL)
	}
	p, err := dl.d.path(ctx, dl.local.Addr(), to.Addr())
	if err != nil {
		if ctx.Err() != nil {
			return nil, contextError(ctx)
		}
		return nil, callError("connect", err)
	}
	if dl.proto == udp.ProtocolNumber {
		return dl.dialUDP(p, to)
	}
	c, err := dl.startTCP(p, to)
	if err != nil {
		return nil, err
	}
	if err := c.waitConnected(ctx); err != nil {
		_ = c.close() // the error that counts is why
		return nil, err
	}
	return c, nil
}

// startTCP begins a handshake. Where gVisor would choose another source than the rules
// do, the port has to be chosen here too: binding to a source with port 0 would reserve
// the port against all destinations.
func (dl *dialing) startTCP(p path, to netip.AddrPort) (*TCPConn, error) {
	if dl.d.shares(p.src) != nil && p.src.IsValid() {
		return dl.connectShared(p, to)
	}
	if p.natural && dl.local.Port() == 0 {
		return dl.connectTCP(p, netip.AddrPort{}, to)
	}
	if dl.local.Port() != 0 {
		src := p.src
		if !src.IsValid() {
			src = netip.IPv6Unspecified() // whatever gVisor takes for the loopback
		}
		return dl.connectTCP(p, netip.AddrPortFrom(src, dl.local.Port()), to)
	}
	for range maxPortTries {
		from := netip.AddrPortFrom(p.src, dl.d.ephemeralPort())
		if from.Port() == to.Port() && from.Addr() == to.Addr().WithZone("") {
			continue // a connection with itself
		}
		c, err := dl.connectTCP(p, from, to)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) {
			return c, err
		}
	}
	return nil, callError("connect", syscall.EADDRNOTAVAIL)
}

// ephemeralPort returns a port that cannot be guessed (RFC 6056).
func (d *domain) ephemeralPort() uint16 {
	low, high := d.stk.PortRange()
	rng := d.stk.SecureRNG()
	return low + uint16(rng.Uint32()%(uint32(high)-uint32(low)+1))
}

// connectTCP makes an endpoint that connects, from an address and port if from is valid.
func (dl *dialing) connectTCP(p path, from, to netip.AddrPort) (*TCPConn, error) {
	if err := dl.d.enter(); err != nil {
		return nil, err
	}
	defer dl.d.leave()
	return dl.newTCP(p, from, to)
}

// newTCP is connectTCP for one who has entered the domain.
func (dl *dialing) newTCP(p path, from, to netip.AddrPort) (*TCPConn, error) {
	d := dl.d
	wq := new(waiter.Queue)
	ep, terr := d.stk.NewEndpoint(tcp.ProtocolNumber, protocolOf(to.Addr()), wq)
	if terr != nil {
		return nil, stackError("socket", terr)
	}
	c := newTCPConn(d, dl.network, ep, wq)
	c.own(dl.owner)
	c.lookOut()
	if dl.prepare != nil {
		dl.prepare(c)
	}
	if err := c.connect(p, from, to); err != nil {
		_ = c.close() // it was never open
		return nil, err
	}
	return c, nil
}

func (c *TCPConn) connect(p path, from, to netip.AddrPort) error {
	c.ep.SocketOptions().SetV6Only(true)
	if from.IsValid() {
		c.ep.SocketOptions().SetReuseAddress(true)
		if terr := c.ep.Bind(fullAddress(p.nic, from.Addr(), from.Port())); terr != nil {
			return stackError("bind", terr)
		}
	}
	peer := fullAddress(p.nic, to.Addr(), to.Port())
	terr := c.ep.Connect(peer)
	switch terr.(type) {
	case nil, *tcpip.ErrConnectStarted:
	case *tcpip.ErrBadLocalAddress:
		// So gVisor says that the port has a connection to the same peer already.
		if from.IsValid() {
			return callError("connect", syscall.EADDRINUSE)
		}
		return stackError("connect", terr)
	default:
		return stackError("connect", terr)
	}
	c.settle(p.nic, peer)
	return callError("connect", c.track())
}

// waitConnected waits for the end of the handshake.
func (c *TCPConn) waitConnected(ctx context.Context) error {
	for {
		if err := c.failed(); err != nil {
			return err
		}
		if over, err := c.connected(); over {
			return err
		}
		select {
		case <-c.out.ready:
		case <-ctx.Done():
			return contextError(ctx)
		}
	}
}

// dialUDP makes a socket with one peer.
func (dl *dialing) dialUDP(p path, to netip.AddrPort) (net.Conn, error) {
	d := dl.d
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	c, err := d.newUDP(dl.network, protocolOf(to.Addr()))
	if err != nil {
		return nil, err
	}
	c.own(dl.owner)
	if err := c.connect(p, dl.local.Port(), to); err != nil {
		_ = c.close() // it was never open
		return nil, err
	}
	return c, nil
}

func (c *UDPConn) connect(p path, port uint16, to netip.AddrPort) error {
	c.ep.SocketOptions().SetV6Only(true)
	if c.echo {
		if err := c.connectEcho(p, port, to.Addr()); err != nil {
			return err
		}
	} else if err := c.connectEndpoint(p, port, to); err != nil {
		return err
	}
	c.discard()                        // what came from others before there was a peer
	local, _ := c.ep.GetLocalAddress() // gVisor's never fails
	local.NIC = p.nic
	c.nic, c.addr, c.port = p.nic, fromAddr(local.Addr), local.Port
	c.local = net.UDPAddrFromAddrPort(c.d.addrPort(local))
	c.peer = netip.AddrPortFrom(c.d.withZone(to.Addr().WithZone(""), p.nic), to.Port())
	c.remote = net.UDPAddrFromAddrPort(c.peer)
	return callError("connect", c.track())
}

func (c *UDPConn) connectEndpoint(p path, port uint16, to netip.AddrPort) error {
	if s := c.d.shares(p.src); s != nil && p.src.IsValid() {
		return c.connectShared(s, p, port, to)
	}
	if !p.natural || port != 0 {
		if terr := c.ep.Bind(fullAddress(p.nic, p.src, port)); terr != nil {
			return stackError("bind", terr)
		}
	}
	if terr := c.ep.Connect(fullAddress(p.nic, to.Addr(), to.Port())); terr != nil {
		return stackError("connect", terr)
	}
	return nil
}

// discard drops the datagrams that have arrived.
func (c *UDPConn) discard() {
	var none tcpip.SliceWriter
	for {
		_, terr := c.ep.Read(&none, tcpip.ReadOptions{})
		switch terr.(type) {
		case nil, *tcpip.ErrBadBuffer:
		default:
			return
		}
	}
}
