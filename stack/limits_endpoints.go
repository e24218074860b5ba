package stack

import (
	"time"

	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
)

// The limits and timers of endpoints.
const (
	// maxSockets is how many endpoints applications may have open in one PvD. Past it,
	// opening one fails with EMFILE, and what waits to be accepted goes on waiting.
	maxSockets = 65536

	// listenBacklog is how many connections of one listener may wait for Accept, and how
	// many handshakes go on without SYN cookies.
	listenBacklog = 1024

	// maxPortTries is how many random ports are tried where a port has to be chosen here:
	// by a dial that binds, and for port 0 in all PvDs. With nine of ten ports taken, one
	// search in a thousand fails.
	maxPortTries = 64

	// copyBuffer is the length, in octets, of the buffers that ReadFrom and WriteTo
	// borrow: what one segment with offload holds, in whole segments of an Ethernet. The
	// few octets more that make 64 KB would leave in a frame of their own.
	copyBuffer = 45 * 1448

	// moderateAfter is how much, in octets, a reader takes before the receive buffer is
	// given the chance to grow. Each time costs the endpoint's lock.
	moderateAfter = 64 << 10

	// attemptDelay is the head start that each of several addresses has (RFC 8305
	// section 8).
	attemptDelay = 250 * time.Millisecond

	// resolutionDelay is how long the IPv4 addresses of a name wait for those of IPv6 (RFC 8305
	// section 8).
	resolutionDelay = 50 * time.Millisecond

	// maxAttempts is how many of them are tried at a time.
	maxAttempts = 8

	// pathLife is how long datagrams to one destination follow the path of the first: long
	// enough that most do not search, short enough to leave a router that fell silent.
	pathLife = time.Second

	// keepAliveIdle, keepAliveInterval and keepAliveCount are package net's, which are on
	// for every connection: three minutes after a peer fell silent, its connection ends.
	keepAliveIdle     = 15 * time.Second
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = tcp.DefaultKeepaliveCount

	// defaultHopLimit is that of packets which are made whole here, gVisor's own.
	defaultHopLimit = 64

	// maxGroups is how many multicast groups one socket of the sockets API may be in, as
	// many as on Linux. One more is ENOBUFS.
	maxGroups = 20

	// pingWait is how long Ping waits for the answer where the context has no deadline.
	pingWait = 10 * time.Second

	// pingLook is how often Ping looks whether the next hop is known not to answer.
	pingLook = 100 * time.Millisecond
)

// The longest payloads of a datagram: what 65,535 octets hold behind the headers of
// IPv4 (RFC 791, which counts its own) and IPv6 (RFC 8200, which does not) and UDP.
const (
	maxDatagram4 = 65535 - 20 - 8
	maxDatagram6 = 65535 - 8

	// maxDatagram is what a socket of the sockets API takes before it looks where to send
	// it, as Linux does.
	maxDatagram = 65535
)
