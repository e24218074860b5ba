package stack

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"
	"gvisor.dev/gvisor/pkg/waiter"
)

// A UDPConn sends and receives datagrams in a PvD. Dialled it is a [net.Conn] with one
// peer, listening a [net.PacketConn] with many. Its methods are those of [net.UDPConn],
// apart from those that hand out a file descriptor or control messages, and may be
// called concurrently.
type UDPConn struct {
	socket

	family family // of an unconnected socket's destinations
	port   uint16 // its own
	peer   netip.AddrPort
	echo   bool // it sends ICMP echo requests; their identifier is the port
	visits bool // it only sends, and gVisor's endpoint knows nothing of it

	readMu sync.Mutex // serializes readers
	reader tcpip.SliceWriter

	writeMu sync.Mutex // serializes writers
	writer  slicePayload
	to      tcpip.FullAddress
	last    sentTo

	broadcast atomic.Bool
	multicast multicastOptions
}

var (
	_ net.Conn       = (*UDPConn)(nil)
	_ net.PacketConn = (*UDPConn)(nil)
)

// newUDP makes a connection of a new endpoint. The caller has entered the domain.
func (d *domain) newUDP(network string, proto tcpip.NetworkProtocolNumber) (*UDPConn, error) {
	wq := new(waiter.Queue)
	ep, terr := d.stk.NewEndpoint(udp.ProtocolNumber, proto, wq)
	if terr != nil {
		return nil, stackError("socket", terr)
	}
	// gVisor would forbid routers to fragment, but does not heed what they answer.
	if terr := ep.SetSockOptInt(tcpip.MTUDiscoverOption, int(tcpip.PMTUDiscoveryDont)); terr != nil {
		ep.Close()
		return nil, stackError("setsockopt", terr)
	}
	c := &UDPConn{}
	c.init(d, network, ep, wq)
	return c, nil
}

// listenUDP opens a socket that receives what comes to an address of its own.
func (d *domain) listenUDP(o owner, network string, f family, at netip.AddrPort) (*UDPConn, error) {
	nic, err := d.local(at.Addr())
	if err != nil {
		return nil, callError("bind", err)
	}
	if err := d.enter(); err != nil {
		return nil, err
	}
	defer d.leave()
	c, err := d.newUDP(network, listenProtocol(f, at.Addr()))
	if err != nil {
		return nil, err
	}
	c.own(o)
	if err := c.bind(f, nic, at); err != nil {
		_ = c.close() // it was never open
		return nil, err
	}
	return c, nil
}

// bind binds a socket that receives from anybody. The caller has entered the domain.
func (c *UDPConn) bind(f family, nic tcpip.NICID, at netip.AddrPort) error {
	c.ep.SocketOptions().SetV6Only(f == family6 || !at.Addr().IsUnspecified())
	proto := udp.ProtocolNumber
	if c.echo {
		proto = header.ICMPv4ProtocolNumber
	}
	if err := c.bindPort(proto, nic, at); err != nil {
		return err
	}
	c.bound(udp.ProtocolNumber, f, nic, at.Addr())
	c.port = c.local.(*net.UDPAddr).AddrPort().Port()
	c.family = f
	if !at.Addr().IsUnspecified() {
		c.family = family6
		if at.Addr().Is4() {
			c.family = family4
		}
	}
	return callError("bind", c.track())
}

// Read reads a datagram; see [net.Conn]. What does not fit in b is lost.
func (c *UDPConn) Read(b []byte) (int, error) {
	if len(b) == 0 {
		if err := c.failed(); err != nil {
			return 0, c.opError(opRead, err)
		}
		return 0, nil
	}
	n, _, err := c.receive(b)
	return n, err
}

// ReadFrom reads a datagram and returns its sender, a *net.UDPAddr; see
// [net.PacketConn]. What does not fit in b is lost.
func (c *UDPConn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.receive(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(c.d.addrPort(from)), nil
}

// ReadFromUDP is ReadFrom with the address's type.
func (c *UDPConn) ReadFromUDP(b []byte) (int, *net.UDPAddr, error) {
	n, from, err := c.receive(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(c.d.addrPort(from)), nil
}

// ReadFromUDPAddrPort is ReadFrom without memory for an address. An IPv4 sender has an
// IPv4 address, not one in IPv6 form.
func (c *UDPConn) ReadFromUDPAddrPort(b []byte) (int, netip.AddrPort, error) {
	n, from, err := c.receive(b)
	if err != nil {
		return n, netip.AddrPort{}, err
	}
	return n, c.d.addrPort(from), nil
}

func (c *UDPConn) receive(b []byte) (int, tcpip.FullAddress, error) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	for {
		err := c.check(&c.readUntil)
		if err == nil {
			var n int
			var from tcpip.FullAddress
			if n, from, err = c.receiveNow(b); err == nil {
				return n, from, nil
			}
		}
		if errors.Is(err, errWouldBlock) {
			err = c.wait(&c.in, &c.readUntil)
		}
		if err != nil {
			return 0, tcpip.FullAddress{}, c.opError(opRead, err)
		}
	}
}

// receiveNow reads a datagram that is there. The caller holds readMu.
func (c *UDPConn) receiveNow(b []byte) (int, tcpip.FullAddress, error) {
	res, err := c.readNow(b)
	return res.Count, res.RemoteAddr, err
}

// readNow is receiveNow with all that there is to say of the datagram.
func (c *UDPConn) readNow(b []byte) (tcpip.ReadResult, error) {
	c.reader = b
	res, terr := c.ep.Read(&c.reader, tcpip.ReadOptions{NeedRemoteAddr: true})
	c.reader = nil
	switch terr.(type) {
	case nil:
		return res, nil
	case *tcpip.ErrBadBuffer:
		res.Count = 0
		return res, nil // b has no room at all
	case *tcpip.ErrWouldBlock:
		return tcpip.ReadResult{}, errWouldBlock
	case *tcpip.ErrClosedForReceive:
		if err := c.failed(); err != nil {
			return tcpip.ReadResult{}, err
		}
		return tcpip.ReadResult{}, io.EOF
	}
	call := "recvfrom"
	if c.peer.IsValid() {
		call = "read"
	}
	return tcpip.ReadResult{}, stackError(call, terr)
}

// Close closes the connection.
func (c *UDPConn) Close() error {
	if err := c.close(); err != nil {
		return c.opError(opClose, err)
	}
	return nil
}

// SetBroadcast says whether datagrams may be sent to an IPv4 broadcast address; otherwise
// that is EACCES. By default they may not.
func (c *UDPConn) SetBroadcast(on bool) error {
	if err := c.failed(); err != nil {
		return c.setError(err)
	}
	c.broadcast.Store(on)
	c.ep.SocketOptions().SetBroadcast(on)
	return nil
}
