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
//	os.ErrDeadlineExceeded, net.ErrClosed, context.Canceled, and package net's others
type Network struct {
	host *Host
	ref  pvd.Ref
	app  *App // whose defaults hold where ref is Unspecified; may be nil
}

var _ pvd.Network = (*Network)(nil)

// In returns the network of a PvD. Of the reserved values, [pvd.Null] gives one in which
// everything fails, [pvd.SystemDefault] one that follows the system default, [pvd.All]
// one that only listens, in every PvD, and [pvd.Unspecified] one that takes the PvD that
// the context carries, or else the system default.
func (h *Host) In(ref pvd.Ref) *Network { return &Network{host: h, ref: ref} }

// PvD returns the Ref that the network was made for. It may be a reserved value.
func (n *Network) PvD() pvd.Ref { return n.ref }

// scope returns the PvD that a call is in: Null, All, or one that was attached. The
// network's own goes before the context's, the application's and the system's.
func (n *Network) scope(ctx context.Context) pvd.Ref {
	app := pvd.Unspecified
	if n.app != nil {
		app = n.app.Default()
	}
	for _, ref := range []pvd.Ref{n.ref, pvd.FromContext(ctx), app} {
		switch ref {
		case pvd.Unspecified:
		case pvd.SystemDefault:
			return n.host.Default()
		default:
			return ref
		}
	}
	return n.host.Default()
}

// single returns the PvD at work that a scope has come down to, for one that needs a
// single PvD.
func (h *Host) single(ref pvd.Ref, call string) (*domain, error) {
	switch ref {
	case pvd.Null:
		return nil, callError(call, syscall.ENETUNREACH)
	case pvd.All:
		return nil, callError(call, syscall.EINVAL) // for listening only
	default:
		return h.domain(ref)
	}
}

// DialContext connects to an address, which is "host:port"; see [net.Dialer.DialContext].
// The network is tcp, tcp4, tcp6, udp, udp4 or udp6, and the connection a [*TCPConn] or
// [*UDPConn]. The host is a literal, whose zone is a link's name, or a name, which is
// looked up in the PvD and whose addresses are tried in turn.
//
// While the PvD's addresses are tentative, DialContext waits for them as long as ctx
// allows.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return n.DialFrom(ctx, network, "", address)
}

// DialFrom is DialContext from a local address, "host:port", one of the PvD's own. An
// empty host or port leaves that part to be chosen; an empty local address both.
func (n *Network) DialFrom(ctx context.Context, network, local, address string) (net.Conn, error) {
	dl := &dialing{network: network}
	var err error
	if dl.proto, dl.family, err = parseNetwork(network); err != nil {
		return nil, opError(opDial, network, nil, nil, err)
	}
	if local != "" {
		if dl.local, err = parseLocal(network, dl.family, local); err != nil {
			return nil, opError(opDial, network, nil, nil, err)
		}
	}
	if dl.host, dl.port, err = splitAddress(network, address); err != nil {
		return nil, dl.error(netip.AddrPort{}, err)
	}
	if dl.d, err = n.host.single(n.scope(ctx), "connect"); err != nil {
		var to netip.AddrPort
		if a, ok := dl.literal(); ok {
			to = netip.AddrPortFrom(a, dl.port)
		}
		return nil, dl.error(to, err)
	}
	return dl.dial(ctx)
}

// parseLocal parses a local address. An empty or unspecified host gives the unspecified
// address; it may not be a name.
func parseLocal(network string, f family, address string) (netip.AddrPort, error) {
	host, port, err := splitAddress(network, address)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), port), nil
	}
	a, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, &net.AddrError{Err: "not an address", Addr: host}
	}
	a = a.Unmap()
	if !f.allows(a) {
		return netip.AddrPort{}, &net.AddrError{Err: "no suitable address found", Addr: host}
	}
	if a.IsUnspecified() {
		a = netip.IPv6Unspecified()
	}
	return netip.AddrPortFrom(a, port), nil
}

// Listen waits for connections to an address, "host:port"; see [net.ListenConfig.Listen].
// The network is tcp, tcp4 or tcp6. The host is one of the PvD's own addresses, or empty
// or unspecified for all of them, of both families where the network is tcp; it is no
// name. Port 0 is one of the stack's choice. The listener is a [*TCPListener] or, in
// [pvd.All], an [*AllListener].
func (n *Network) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	at, f, err := parseListen(tcp.ProtocolNumber, network, address)
	var l net.Listener
	if err == nil {
		l, err = n.listen(ctx, network, f, at)
	}
	if err != nil {
		return nil, opError(opListen, network, nil, addrOf(tcp.ProtocolNumber, at), err)
	}
	return l, nil
}

func (n *Network) listen(ctx context.Context, network string, f family, at netip.AddrPort) (net.Listener, error) {
	ref := n.scope(ctx)
	if ref == pvd.All {
		return n.host.listenAll(ctx, network, f, at)
	}
	d, err := n.host.single(ref, "bind")
	if err != nil {
		return nil, err
	}
	return d.newListener(network, f, at)
}

// ListenPacket receives datagrams for an address, "host:port"; see
// [net.ListenConfig.ListenPacket]. The network is udp, udp4 or udp6; the address is as
// for [Network.Listen]. The connection is a [*UDPConn] or, in [pvd.All], an
// [*AllPacketConn].
func (n *Network) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	at, f, err := parseListen(udp.ProtocolNumber, network, address)
	var c net.PacketConn
	if err == nil {
		c, err = n.listenPacket(ctx, network, f, at)
	}
	if err != nil {
		return nil, opError(opListen, network, nil, addrOf(udp.ProtocolNumber, at), err)
	}
	return c, nil
}

func (n *Network) listenPacket(ctx context.Context, network string, f family, at netip.AddrPort) (net.PacketConn, error) {
	ref := n.scope(ctx)
	if ref == pvd.All {
		return n.host.listenPacketAll(ctx, network, f, at)
	}
	d, err := n.host.single(ref, "bind")
	if err != nil {
		return nil, err
	}
	return d.listenUDP(network, f, at)
}

// parseListen parses what a listener is asked to listen at.
func parseListen(want tcpip.TransportProtocolNumber, network, address string) (netip.AddrPort, family, error) {
	proto, f, err := parseNetwork(network)
	if err != nil {
		return netip.AddrPort{}, f, err
	}
	if proto != want {
		return netip.AddrPort{}, f, &net.AddrError{Err: "unexpected address type", Addr: address}
	}
	if address == "" {
		address = ":0"
	}
	at, err := parseLocal(network, f, address)
	return at, f, err
}
