package learn

import (
	"time"

	"github.com/pvdstack/pvdstack/pvd/ra"
)

// What a link's network may make a machine do and keep. The packages that it is made of
// have limits of their own: 64 PvDs, routers, prefixes and so on of a link (package ra).
const (
	// MaxFrame is the length in octets of the longest frame that is looked at: a jumbo frame.
	// Options fill a link's MTU at most, since what is in fragments is refused (RFC 6980).
	MaxFrame = 9216

	// maxExtensions is how many IPv6 extension headers are walked over in search of what is
	// behind them.
	maxExtensions = 8

	// maxFrames is how many frames wait to be taken by [Machine.Frames]. It is for owners
	// that do not: a machine says a handful at a time.
	maxFrames = 256

	// maxRecord is the length in octets of a record of leases: one of DHCPv4 and maxLeases6.
	maxRecord = 1 << 22

	// maxLeases6 is how many leases of DHCPv6 a link has, one for each PvD.
	maxLeases6 = ra.MaxPvDs

	// maxRemarks is how many remarks are kept, the latest ones.
	maxRemarks = 64
)

// verifyWait is how long after a link came back a router may take to be heard: three
// solicitations, verifyInterval apart (RFC 4861 section 10). One that is not heard is not
// there any more.
const (
	verifyInterval = 4 * time.Second
	verifyWait     = 3 * verifyInterval
)
