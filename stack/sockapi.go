package stack

import (
	"cmp"
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/header"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Socket is a socket of the sockets API, with PvDs: calls, states and errors are those
// of a Linux socket, and where a socket is and what it may talk to is a matter of PvDs.
// Its methods may be called concurrently.
//
// A socket has an option, [pvd.OptPvD], that says which PvD it is for. A new one has the
// default of its [App], else [pvd.Unspecified]. What that means depends on the call:
//
//   - Bind with the unspecified address restricts sources to the PvD; with a specific
//     address, which has to be the PvD's, or it is EADDRNOTAVAIL. Without a PvD, the first is
//     in all PvDs that the App may use, those to come included, and the second in the PvD
//     that has the address. Where several have it, that is the one of the App's or the
//     system's default; if that is none of them, the address says too little: EINVAL.
//   - Listen is heard in the PvD of Bind, or in all. Elsewhere the port is closed to TCP, and
//     unreachable for datagrams. A connection that is accepted is in the PvD that it came
//     in.
//   - Connect, and a datagram without a PvD of its own, are in the PvD that the context
//     carries, else the App's default, else the one that the [pvd.Selector] or the system
//     has: the scopes of [Network.Scope].
//
// From Bind to an address, or Connect, on the socket is in one PvD, and [Socket.PvD] says
// which. Another can not be set then: that is EINVAL.
//
// Addresses are those of the socket's family. On an INET6 socket that is not
// [pvd.OptV6Only], an IPv4 address has the IPv6 form of RFC 4291 section 2.5.5.2. Zones are
// as for [Network.DialContext]. The zero AddrPort is AF_UNSPEC: for Connect, it dissolves the
// association.
//
// Every error is a *net.OpError around one that errors.Is finds: those of [Network], the
// errno of the system call, net.ErrClosed for EBADF; and where the PvD has no address of
// the family, EPROTONOSUPPORT. The end of what a peer sends is io.EOF, bare.
//
// A call that has to wait does so until its context ends or the socket is closed; on a
// socket that does not block (SetNonblock) it is EAGAIN, and for Connect EINPROGRESS. See
// [Socket.Wait] for what comes then.
type Socket struct {
	host    *Host
	app     *App // nil: the host itself
	family  pvd.Family
	typ     pvd.SocketType
	proto   pvd.Protocol
	network string

	bell     bell // rings when anything may have changed
	nonblock atomic.Bool
	backlog  atomic.Int32 // of the listener that the socket is; 0: none
	opts     socketOptions
	done     chan struct{} // closed by Close

	op sync.Mutex // held by those who change the state, and while they find out to what

	mu       sync.Mutex // guards the following, and is never held while waiting
	state    socketState
	scope    pvd.Ref                // as it was set
	at       netip.AddrPort         // where it is bound; invalid: nowhere
	bound    bool                   // by Bind or Listen
	anchor   *domain                // where it is bound, nil for all PvDs
	one      *presence              // where the socket is, if in one PvD
	all      *everywhere[*presence] // the same, if in all
	visits   map[*domain]*visit     // where it sends without being there
	reported bool                   // whether Connect has told of the connection
	err      error                  // what became of the handshake, until it is told
	shut     pvd.Shutdown           // of a datagram socket
}

// A socketState is the state of a socket.
type socketState uint8

const (
	stateIdle       socketState = iota // no address, no peer
	stateBound                         // an address, no peer
	stateListening                     // stream only
	stateConnecting                    // likewise: the handshake goes on
	stateFailed                        // likewise: the handshake has failed, and nobody has been told
	stateConnected
	stateClosed
)

// Socket opens a socket. The family is INET or INET6, the type Stream or Datagram; the
// protocol 0, or the one of the type: TCP, UDP, or for echo requests and their replies
// ICMP or ICMPv6, after the family. The socket's PvD is the App's default, as if by
// SetPvD.
func (a *App) Socket(family pvd.Family, typ pvd.SocketType, proto pvd.Protocol) (*Socket, error) {
	return a.host.openSocket(a, family, typ, proto)
}

// Socket opens a socket of the host's own, as [App.Socket] does for an App. No PvD is set
// for it.
func (h *Host) Socket(family pvd.Family, typ pvd.SocketType, proto pvd.Protocol) (*Socket, error) {
	return h.openSocket(nil, family, typ, proto)
}

func (h *Host) openSocket(a *App, family pvd.Family, typ pvd.SocketType, proto pvd.Protocol) (*Socket, error) {
	s, err := h.newSocket(a, family, typ, proto)
	if err != nil {
		_, network, _ := socketProtocol(family, typ, proto)
		return nil, opError("socket", cmp.Or(network, "unknown"), nil, nil, callError("socket", err))
	}
	return s, nil
}

func (h *Host) newSocket(a *App, family pvd.Family, typ pvd.SocketType, proto pvd.Protocol) (*Socket, error) {
	proto, network, err := socketProtocol(family, typ, proto)
	if err != nil {
		return nil, err
	}
	if h.isClosed() {
		return nil, ErrClosed
	}
	s := &Socket{host: h, app: a, family: family, typ: typ, proto: proto, network: network, done: make(chan struct{})}
	s.scope = a.Default()
	return s, s.mayBe(s.scope)
}

// socketProtocol returns the protocol of a socket and what package net calls it.
func socketProtocol(family pvd.Family, typ pvd.SocketType, proto pvd.Protocol) (pvd.Protocol, string, error) {
	version := "4"
	switch family {
	case pvd.INET:
	case pvd.INET6:
		version = "6"
	default:
		return 0, "", syscall.EAFNOSUPPORT
	}
	switch {
	case typ != pvd.Stream && typ != pvd.Datagram:
		return 0, "", syscall.ESOCKTNOSUPPORT
	case typ == pvd.Stream && (proto == 0 || proto == pvd.TCP):
		return pvd.TCP, "tcp" + version, nil
	case typ == pvd.Datagram && (proto == 0 || proto == pvd.UDP):
		return pvd.UDP, "udp" + version, nil
	case typ == pvd.Datagram && proto == pvd.ICMP && family == pvd.INET:
		return proto, "ip4:icmp", nil
	case typ == pvd.Datagram && proto == pvd.ICMPv6 && family == pvd.INET6:
		return proto, "ip6:ipv6-icmp", nil
	}
	return 0, "", syscall.EPROTONOSUPPORT
}

// mayBe returns why the socket can not be for a PvD.
func (s *Socket) mayBe(ref pvd.Ref) error {
	switch ref {
	case pvd.Unspecified, pvd.Null, pvd.SystemDefault, pvd.All:
		return nil
	}
	d, err := s.host.domain(ref)
	if err != nil {
		return err
	}
	return s.app.permit(d)
}

// isStream reports whether the socket is a TCP socket.
func (s *Socket) isStream() bool { return s.typ == pvd.Stream }

// echoes reports whether the socket is for ICMP echo requests.
func (s *Socket) echoes() bool { return s.proto == pvd.ICMP || s.proto == pvd.ICMPv6 }

// ipFamily returns which addresses the socket can have and reach.
func (s *Socket) ipFamily() family {
	switch {
	case s.family == pvd.INET:
		return family4
	case s.proto == pvd.ICMPv6 || s.opts.is(pvd.OptV6Only):
		return family6
	}
	return anyFamily
}

// protocol returns gVisor's number of the socket's protocol.
func (s *Socket) protocol() tcpip.TransportProtocolNumber {
	switch s.proto {
	case pvd.TCP:
		return tcp.ProtocolNumber
	case pvd.ICMP:
		return header.ICMPv4ProtocolNumber
	case pvd.ICMPv6:
		return header.ICMPv6ProtocolNumber
	default:
		return udp.ProtocolNumber
	}
}

func (s *Socket) owner() owner { return owner{app: s.app} }

// SetPvD sets [pvd.OptPvD]: a PvD that is attached and that the App may use, or
// [pvd.Unspecified] to clear it, [pvd.SystemDefault] to follow that, [pvd.Null] to have
// everything fail, [pvd.All] to listen only. Once the socket is bound or connected it is
// EINVAL, unless the PvD is the one that the socket is in already.
func (s *Socket) SetPvD(ref pvd.Ref) error {
	s.op.Lock()
	defer s.op.Unlock()
	return s.wrap(opSet, "setsockopt", netip.AddrPort{}, s.setPvD(ref))
}

func (s *Socket) setPvD(ref pvd.Ref) error {
	err := s.mayBe(ref)
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == stateClosed:
		return net.ErrClosed
	case ref == s.pvdLocked():
		return nil
	case err != nil:
		return err
	case s.state != stateIdle:
		return syscall.EINVAL
	}
	s.scope = ref
	return nil
}

// PvD returns the PvD that the socket is in, as far as that is settled: by what it is bound
// or connected to. Otherwise it returns what was set, which may be a reserved value.
func (s *Socket) PvD() pvd.Ref {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pvdLocked()
}

func (s *Socket) pvdLocked() pvd.Ref {
	if s.one != nil {
		return s.one.base().d.ref
	}
	return s.scope
}

// SetNonblock says whether calls that would have to wait are EAGAIN instead. By default
// they wait.
func (s *Socket) SetNonblock(on bool) error {
	if s.isClosed() {
		return s.wrap(opSet, "fcntl", netip.AddrPort{}, net.ErrClosed)
	}
	s.nonblock.Store(on)
	return nil
}

func (s *Socket) isClosed() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

// LocalAddr is getsockname: the address that the socket is bound to, the unspecified one
// and port 0 if none.
func (s *Socket) LocalAddr() (netip.AddrPort, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == stateClosed:
		return netip.AddrPort{}, s.wrap("getsockname", "getsockname", netip.AddrPort{}, net.ErrClosed)
	case s.one != nil:
		return s.shown(addrPortOf(s.one.base().local)), nil
	case s.all != nil:
		return s.shown(s.at), nil
	}
	return s.shown(netip.AddrPortFrom(netip.IPv6Unspecified(), 0)), nil
}

// PeerAddr is getpeername: ENOTCONN if there is no peer, or none yet.
func (s *Socket) PeerAddr() (netip.AddrPort, error) {
	s.advance()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == stateClosed:
		return netip.AddrPort{}, s.wrap("getpeername", "getpeername", netip.AddrPort{}, net.ErrClosed)
	case s.state != stateConnected:
		return netip.AddrPort{}, s.wrap("getpeername", "getpeername", netip.AddrPort{}, syscall.ENOTCONN)
	}
	return s.shown(addrPortOf(s.one.base().remote)), nil
}

// shown returns an address in the form that it has on the socket's family.
func (s *Socket) shown(a netip.AddrPort) netip.AddrPort {
	switch {
	case s.family == pvd.INET && a.Addr().IsUnspecified():
		return netip.AddrPortFrom(netip.IPv4Unspecified(), a.Port())
	case s.family == pvd.INET6 && a.Addr().Is4():
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port())
	}
	return a
}

// addrPortOf returns an address of package net's that this package made.
func addrPortOf(a net.Addr) netip.AddrPort {
	ap, ok := a.(interface{ AddrPort() netip.AddrPort })
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.AddrPort().Addr().Unmap(), ap.AddrPort().Port())
}

// Close closes the socket. What has been written is still sent, in the background, as for
// [TCPConn.Close].
func (s *Socket) Close() error {
	s.mu.Lock()
	if s.state == stateClosed {
		s.mu.Unlock()
		return s.wrap(opClose, "close", netip.AddrPort{}, net.ErrClosed)
	}
	s.state = stateClosed
	close(s.done)
	old := s.detachLocked()
	s.mu.Unlock()
	old.close()
	s.bell.ring()
	return nil
}

// wrap is an error of the socket's, nil for nil: a *net.OpError around it.
func (s *Socket) wrap(op, call string, addr netip.AddrPort, err error) error {
	if err == nil {
		return nil
	}
	proto := udp.ProtocolNumber // of the address's form
	if s.isStream() {
		proto = tcp.ProtocolNumber
	}
	return opError(op, s.network, nil, addrOf(proto, addr), callError(call, err))
}

// place finds the PvD at work that a call is in, which names ref if not Unspecified.
func (s *Socket) place(ctx context.Context, ref pvd.Ref, q *query) (*domain, error) {
	q.network = s.network
	n := &Network{
		host: s.host, ref: ref, app: s.app,
		mark: uint32(s.opts.value(pvd.OptMark)), tos: uint8(s.opts.value(pvd.OptToS)),
	}
	return n.place(ctx, q)
}

// errnoIn returns the number in an error, for SO_ERROR.
func errnoIn(err error) syscall.Errno {
	var errno syscall.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, os.ErrDeadlineExceeded):
		return syscall.ETIMEDOUT
	}
	return syscall.ENETDOWN // the PvD is gone, for which not every system has a number
}
