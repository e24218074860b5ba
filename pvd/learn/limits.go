package learn

import "time"

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

	// maxRemarks is how many remarks are kept, the latest ones.
	maxRemarks = 64

	// maxRouters is how many routers' reachability an [Observation] may tell of: as many as
	// a link may have.
	maxRouters = 64
)

// attachWait is how long a PvD may have no usable link-local address before DHCPv6 is done
// without; there is no other source for its packets (RFC 8415 section 16).
const attachWait = 30 * time.Second
