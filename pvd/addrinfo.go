package pvd

import "net/netip"

// An AddrInfo is what getaddrinfo returns for each way to reach a service (RFC 3493 section
// 6.1), with the PvD that it is in (ai_pvd of draft-kline-mif-mpvd-api-reqs-00).
type AddrInfo struct {
	Family   Family
	Type     SocketType
	Protocol Protocol
	Addr     netip.AddrPort // a zone is the name of a link
	Name     string         // the canonical name, in the first of several and if it was asked for
	PvD      Ref
}

// Hints say what getaddrinfo is to look for. The zero Hints are all that there is in the
// PvD of the scope.
type Hints struct {
	Flags    AddrInfoFlags
	Family   Family     // 0: both
	Type     SocketType // 0: stream and datagram sockets
	Protocol Protocol   // 0: that of the type
	PvD      Ref        // ai_pvd; Unspecified: as for any other call
}

// AddrInfoFlags are the ai_flags of [Hints].
type AddrInfoFlags uint8

// The flags of RFC 3493 section 6.1.
const (
	// AIPassive has a node that is not given stand for all own addresses instead of the
	// loopback address.
	AIPassive AddrInfoFlags = 1 << iota
	// AICanonName asks for the canonical name.
	AICanonName
	// AINumericHost and AINumericServ have the node be an address, and the service a number:
	// nobody is asked.
	AINumericHost
	AINumericServ
	// AIV4Mapped has IPv4 addresses in IPv6 form stand for those of [INET6] where there are
	// none, with AIAll beside them.
	AIV4Mapped
	AIAll
	// AIAddrConfig leaves families out of which the PvD has no address; names are not even
	// asked for those of them. Loopback addresses do not count, nor do link-local ones of
	// IPv6, which every link has.
	AIAddrConfig

	allAddrInfoFlags = 1<<iota - 1
)

// Valid reports whether there are no other flags in f.
func (f AddrInfoFlags) Valid() bool { return f&^allAddrInfoFlags == 0 }

// NameInfoFlags are those of getnameinfo.
type NameInfoFlags uint8

// The flags of RFC 3493 section 6.2.
const (
	// NINoFQDN leaves the PvD's own domain out of a name: the one of its search list that
	// the name is in.
	NINoFQDN NameInfoFlags = 1 << iota
	// NINumericHost and NINumericServ ask for an address and a number as text.
	NINumericHost
	NINumericServ
	// NINameReqd has an address without a name be an error.
	NINameReqd
	// NIDatagram has the service be one of UDP.
	NIDatagram
)
