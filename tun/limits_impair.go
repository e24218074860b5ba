package tun

import "time"

// Limits of the decorators and of the offload arithmetic.
const (
	// MaxSegments is the most packets that Segment makes of one frame: 65,535 octets in
	// segments of 32. The smallest MSS that Linux works with is 48, so that whoever
	// asks for more wants the work, not the packets.
	MaxSegments = 2048

	// maxVLANTags is how many VLAN tags are stepped over in search of IP: two are what
	// IEEE 802.1ad stacks.
	maxVLANTags = 2

	// maxExtensionHeaders is how many IPv6 extension headers are stepped over in search
	// of the transport header. RFC 8200 section 4.1 knows eight places for one.
	maxExtensionHeaders = 8

	// DefaultCaptureBytes is how long a capture file grows if nothing else is said: what
	// is left on a disk by accident, and about what Wireshark opens without a wait.
	DefaultCaptureBytes = 256 << 20

	// MaxCaptureInterfaces is how many interfaces one capture file has. There is one for
	// each pair of link and PvD, and PvDs come and go; past this, nobody reads them.
	MaxCaptureInterfaces = 4096

	// maxInterfaceName is the longest interface name in a capture, in octets: a domain
	// name is no longer (RFC 1035 section 2.3.4).
	maxInterfaceName = 255

	// DefaultQueue is how many frames the bottleneck of an Impairment holds: what Linux
	// gives an Ethernet device (txqueuelen).
	DefaultQueue = 1000

	// ImpairMaxFrames and ImpairMaxOctets are how much each direction of an Impaired
	// holds at most: 50 ms of 1,500-octet packets at 3.9 Gbit/s, or of any at 5 Gbit/s.
	// What would be more is dropped.
	ImpairMaxFrames = 16384
	ImpairMaxOctets = 32 << 20

	// impairRetry and impairRetryMax bound the time between tries to pass on what the
	// link inside was too full for. Send, WaitSend and Recv try too; this is for when
	// nobody calls them.
	impairRetry    = time.Millisecond
	impairRetryMax = 64 * time.Millisecond

	// impairReady is how many frames wait for the Recv of an Impaired before the link
	// inside is left to hold them: as many as 16 segments of 64 KB make.
	impairReady = 1024

	// DefaultReorderBy is how long a reordered frame is held back: longer than the gap
	// between packets at any usual rate, shorter than the time after which TCP gives one
	// up.
	DefaultReorderBy = time.Millisecond

	// MaxImpairDelay bounds each of Delay, Jitter and ReorderBy; a day reaches beyond
	// every timer of TCP, and sums of it are far from overflow.
	MaxImpairDelay = 24 * time.Hour

	// MinImpairRate is the slowest bottleneck, in bits a second: slower than any modem,
	// and the longest queue of the longest frames still leaves within months, far from
	// overflow.
	MinImpairRate = 100
)
