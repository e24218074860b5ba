package pvd

// The constants of the sockets API have the same value on every system: they are this
// package's, not the kernel's.

// A Family is an address family of the sockets API.
type Family uint8

// Families.
const (
	INET  Family = 4
	INET6 Family = 6
)

// A SocketType is a type of socket.
type SocketType uint8

// Types of sockets.
const (
	Stream   SocketType = 1
	Datagram SocketType = 2
)

// A Protocol is an IP protocol number. 0 is the one that goes with the type: TCP or UDP.
type Protocol uint8

// Protocols.
const (
	ICMP   Protocol = 1
	TCP    Protocol = 6
	UDP    Protocol = 17
	ICMPv6 Protocol = 58
)
