package pvd

import "net/netip"

// A SocketOption names an option of a socket, whatever the system's name and level for it
// are. A value is an int64: 0 or 1 where an option is on or off.
type SocketOption uint8

// Options of sockets.
const (
	// OptPvD is IP_PVD and IPV6_PVD: the PvD, as a [Ref], whose addresses and routes a
	// socket uses. With [Unspecified] the context, the App and the system decide.
	OptPvD SocketOption = iota + 1

	// OptRecvPvD is IP_RECVPVD and IPV6_RECVPVD: whether a received message says which
	// PvD it arrived in.
	OptRecvPvD

	OptRecvPktInfo  // IP_PKTINFO and IPV6_RECVPKTINFO: on or off
	OptRecvToS      // IP_RECVTOS and IPV6_RECVTCLASS: on or off
	OptRecvHopLimit // IP_RECVTTL and IPV6_RECVHOPLIMIT: on or off

	OptToS      // IP_TOS and IPV6_TCLASS: 0 to 255
	OptHopLimit // IP_TTL and IPV6_UNICAST_HOPS: 1 to 255, or -1 for the default

	OptMark // SO_MARK: 0 to 2^32-1, for the [Selector] to choose by

	OptV6Only     // IPV6_V6ONLY: an INET6 socket leaves IPv4 alone; before it is bound
	OptReuseAddr  // SO_REUSEADDR: on or off; before it is bound
	OptBroadcast  // SO_BROADCAST: on or off
	OptRecvBuffer // SO_RCVBUF: octets
	OptSendBuffer // SO_SNDBUF: octets

	OptNoDelay      // TCP_NODELAY: on or off
	OptLinger       // SO_LINGER: seconds, or -1 for none; 0 resets the connection on Close
	OptKeepAlive    // SO_KEEPALIVE: on or off
	OptKeepIdle     // TCP_KEEPIDLE: seconds
	OptKeepInterval // TCP_KEEPINTVL: seconds
	OptKeepCount    // TCP_KEEPCNT: probes

	OptMulticastHopLimit // IP_MULTICAST_TTL and IPV6_MULTICAST_HOPS: 1 to 255
	OptMulticastLoop     // IP_MULTICAST_LOOP and IPV6_MULTICAST_LOOP: on or off

	// Those below can only be asked for.

	OptError     // SO_ERROR: the pending error's number, which is none after that; 0: none
	OptListening // SO_ACCEPTCONN: whether the socket listens
	OptFamily    // SO_DOMAIN: a [Family]
	OptType      // SO_TYPE: a [SocketType]
	OptProtocol  // SO_PROTOCOL: a [Protocol]
)

// A PktInfo says where a packet arrived, or where it is to leave: IP_PKTINFO and
// IPV6_PKTINFO (RFC 3542 section 6.1). Either field may have its zero value, for no matter.
type PktInfo struct {
	Link string     // by name, as everywhere; links have no numbers
	Addr netip.Addr // the destination of what was received; the source of what is sent
}

// A Control is the control messages that go with one message. The zero Control is none.
type Control struct {
	// PvD is the PvD that a message arrived in or is to be sent in. Unspecified: not
	// said.
	PvD Ref

	// PktInfo says where a message arrived or is to leave.
	PktInfo PktInfo

	// ToS is the IPv4 type of service or IPv6 traffic class (RFC 2474), HopLimit the time
	// to live or hop limit. Nil: not said.
	ToS, HopLimit *uint8
}

// A Shutdown says which directions of a connection end.
type Shutdown uint8

// Directions that end.
const (
	ShutRead  Shutdown = 1
	ShutWrite Shutdown = 2
	ShutBoth  Shutdown = ShutRead | ShutWrite
)

// Events are what a socket can be waited for, as poll(2) has them.
type Events uint8

// Events of sockets. EventHangUp and EventError are reported whether asked for or not.
const (
	EventRead       Events = 1 << iota // POLLIN: there is something to receive or to accept
	EventWrite                         // POLLOUT: there is room to send, or the handshake is over
	EventReadHangUp                    // POLLRDHUP: the peer sends nothing more
	EventHangUp                        // POLLHUP: neither direction is open
	EventError                         // POLLERR: there is an error to ask for
)
