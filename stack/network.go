package stack

import (
	"context"
	"net"
	"net/netip"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Network is one PvD as applications use it, with the methods of package net: what
// [net.Dialer], [net.ListenConfig] and [net.Resolver] do, within the PvD. Its methods may
// be called concurrently. It stays valid when its PvD goes; its methods then fail with
// [pvd.ErrNoPvD].
//
// Every error is a *net.OpError, or a *net.DNSError from lookups, around one that
// errors.Is finds:
//
//	pvd.ErrNoPvD                   the PvD is gone, or was while a call was blocked
//	syscall.ENETUNREACH            no route leads there
//	syscall.EHOSTUNREACH           the destination, or the next hop, does not answer
//	syscall.EADDRNOTAVAIL          no address of the family, or not the PvD's address
//	syscall.ENETDOWN               the link is gone
//	syscall.EACCES                 policy forbids the App to use the PvD
//	os.ErrDeadlineExceeded, net.ErrClosed, context.Canceled, and package net's others
type Network struct {
	host *Host
	ref  pvd.Ref
	app  *App // whose default holds where ref is Unspecified; nil: the host itself
	mark uint32
	tos  uint8

	resolves bool // its calls are those of the PvD's resolver
}

var (
	_ pvd.Network = (*Network)(nil)
	_ pvd.Scoped  = (*Network)(nil)
)

// In returns the network of a PvD. Of the reserved values, [pvd.Null] gives one in which
// everything fails, [pvd.SystemDefault] one that follows the system default, [pvd.All]
// one that only listens, in every PvD, and [pvd.Unspecified] one that takes the PvD that
// the context carries, or else the one that the [pvd.Selector] chooses, or else the system
// default. No [pvd.Policy] holds for the network: it is the host's own.
func (h *Host) In(ref pvd.Ref) *Network { return &Network{host: h, ref: ref} }

// PvD returns the Ref that the network was made for. It may be a reserved value.
func (n *Network) PvD() pvd.Ref { return n.ref }

// WithMark returns a network like n whose calls have a mark, for the [pvd.Selector] to
// choose by. It goes nowhere else.
func (n *Network) WithMark(mark uint32) *Network {
	c := *n
	c.mark = mark
	return &c
}

// WithToS returns a network like n whose packets have this IPv4 type of service or IPv6
// traffic class (RFC 2474), which a [pvd.Selector] is told as well. Of TCP's, the two bits
// of RFC 3168 are left alone; what answers a handshake has 0.
func (n *Network) WithToS(tos uint8) *Network {
	c := *n
	c.tos = tos
	return &c
}

// DialContext connects to an address, which is "host:port"; see [net.Dialer.DialContext].
// The network is tcp, tcp4, tcp6, udp, udp4 or udp6, and the connection a [*TCPConn] or
// [*UDPConn]. The host is a literal or a name, which is looked up in the PvD and whose
// addresses race (RFC 8305): in the order of RFC 6724 with the families taking turns, an
// attempt begins 250 ms after the one before, or when that has failed. It does not wait for
// all addresses to be known: the first attempt begins with the addresses of IPv6, or 50 ms
// after those of IPv4 have come, and later ones join in.
//
// The zone of a literal is the name of one of the PvD's links, or stands for a PvD: by its
// name, its ID, or its Ref as in "192.0.2.1%pvd#17:80". That is the PvD of the call then,
// whatever scope there is, but not against a network of another PvD: that is EINVAL. Of a
// link and a PvD of one name, the link goes first for addresses that are valid on one link
// only. A zone that is neither is [pvd.ErrNoPvD].
//
// While the PvD's addresses are tentative, DialContext waits for them as long as ctx
// allows.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialFrom(ctx, network, "", address)
}

// DialFrom is DialContext from a local address, "host:port", one of the PvD's own. An
// empty host or port leaves that part to be chosen; an empty local address both.
func (n *Network) DialFrom(ctx context.Context, network, local, address string) (net.Conn, error) {
	dl := &dialing{network: network, owner: n.owner(), resolves: n.resolves}
	var err error
	if dl.proto, dl.family, err = parseNetwork(network); err != nil {
		return nil, opError(opDial, network, nil, nil, err)
	}
	q := query{call: "connect", network: network}
	if local != "" {
		if q.local, err = parseLocal(network, dl.family, local); err != nil {
			return nil, opError(opDial, network, nil, nil, err)
		}
		dl.local = q.local.addrPort()
	}
	if dl.host, dl.port, err = splitAddress(network, address); err != nil {
		return nil, dl.error(netip.AddrPort{}, err)
	}
	q.host, q.remote = dl.host, target{hostLiteral(dl.host, dl.family), dl.port}
	dl.d, err = n.place(ctx, &q)
	dl.local, dl.addr = q.local.addrPort(), q.remote.at()
	if err != nil {
		var to netip.AddrPort
		if dl.addr.IsValid() {
			to = netip.AddrPortFrom(dl.addr, dl.port)
		}
		return nil, dl.error(to, err)
	}
	return dl.dial(ctx)
}

// For returns the network of the one PvD that [Network.DialContext] would be in with the
// same arguments, with n's mark and type of service: for calls that belong together, such
// as looking a name up and dialling what it stands for. Whether the PvD can be used shows
// in those.
func (n *Network) For(ctx context.Context, network, address string) (pvd.Network, error) {
	q := query{call: "connect", network: network}
	_, f, err := parseNetwork(network)
	if err == nil {
		q.host, q.remote.port, err = splitAddress(network, address)
	}
	c := *n
	if err == nil {
		q.remote.literal = hostLiteral(q.host, f)
		c.ref, err = n.choose(ctx, &q)
	}
	if err != nil {
		return nil, opError(opDial, network, nil, nil, err)
	}
	return &c, nil
}

// hostLiteral returns the address that the host of a destination is, none if it is a name.
// The unspecified address, written or not, is the PvD itself, as package net has it.
func hostLiteral(host string, f family) literal {
	l, ok := parseLiteral(host)
	if host != "" && (!ok || !l.addr.IsUnspecified()) {
		return l
	}
	if f == family6 {
		return literal{netip.IPv6Loopback(), l.zone}
	}
	return literal{loopbackOf(netip.IPv4Unspecified()), l.zone}
}

// parseLocal parses a local address. An empty or unspecified host gives the unspecified
// address; it may not be a name.
func parseLocal(network string, f family, address string) (target, error) {
	host, port, err := splitAddress(network, address)
	if err != nil {
		return target{}, err
	}
	if host == "" {
		return target{literal{addr: netip.IPv6Unspecified()}, port}, nil
	}
	l, ok := parseLiteral(host)
	switch {
	case !ok:
		return target{}, &net.AddrError{Err: "not an address", Addr: host}
	case !f.allows(l.addr):
		return target{}, &net.AddrError{Err: "no suitable address found", Addr: host}
	case l.addr.IsUnspecified():
		l.addr = netip.IPv6Unspecified()
	}
	return target{l, port}, nil
}

// Listen waits for connections to an address, "host:port"; see [net.ListenConfig.Listen].
// The network is tcp, tcp4 or tcp6. The host is one of the PvD's own addresses, or empty
// or unspecified for all of them, of both families where the network is tcp; it is no
// name. A zone is as for [Network.DialContext]. Port 0 is one of the stack's choice. The
// listener is a [*TCPListener] or, in
// [pvd.All], an [*AllListener].
func (n *Network) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	q := query{call: "bind", network: network}
	f, err := q.parseListen(tcp.ProtocolNumber, address)
	var l net.Listener
	if err == nil {
		l, err = n.listen(ctx, &q, f)
	}
	if err != nil {
		return nil, opError(opListen, network, nil, addrOf(tcp.ProtocolNumber, q.local.addrPort()), err)
	}
	return l, nil
}

func (n *Network) listen(ctx context.Context, q *query, f family) (net.Listener, error) {
	d, err := n.listenIn(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return n.host.listenAll(ctx, n.owner(), q.network, f, q.local.addrPort())
	}
	return d.newListener(n.owner(), q.network, f, q.local.addrPort())
}

// listenIn returns the PvD to listen in, nil for all.
func (n *Network) listenIn(ctx context.Context, q *query) (*domain, error) {
	ref, err := n.choose(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case ref != pvd.All:
		return n.use(ref, q.call)
	case !n.app.mayBridge():
		return nil, callError(q.call, syscall.EACCES)
	}
	return nil, nil
}

// ListenPacket receives datagrams for an address, "host:port"; see
// [net.ListenConfig.ListenPacket]. The network is udp, udp4 or udp6; the address is as
// for [Network.Listen]. The connection is a [*UDPConn] or, in [pvd.All], an
// [*AllPacketConn].
func (n *Network) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	q := query{call: "bind", network: network}
	f, err := q.parseListen(udp.ProtocolNumber, address)
	var c net.PacketConn
	if err == nil {
		c, err = n.listenPacket(ctx, &q, f)
	}
	if err != nil {
		return nil, opError(opListen, network, nil, addrOf(udp.ProtocolNumber, q.local.addrPort()), err)
	}
	return c, nil
}

func (n *Network) listenPacket(ctx context.Context, q *query, f family) (net.PacketConn, error) {
	d, err := n.listenIn(ctx, q)
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		return n.host.listenPacketAll(ctx, n.owner(), q.network, f, q.local.addrPort())
	}
	return d.listenUDP(n.owner(), q.network, f, q.local.addrPort())
}

// parseListen parses what a listener is asked to listen at.
func (q *query) parseListen(want tcpip.TransportProtocolNumber, address string) (family, error) {
	proto, f, err := parseNetwork(q.network)
	if err != nil {
		return f, err
	}
	if proto != want {
		return f, &net.AddrError{Err: "unexpected address type", Addr: address}
	}
	if address == "" {
		address = ":0"
	}
	q.local, err = parseLocal(q.network, f, address)
	return f, err
}
