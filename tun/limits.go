package tun

import "time"

// Limits of links.
const (
	// DefaultMTU is the MTU of links that are given none: Ethernet's (RFC 894).
	DefaultMTU = 1500

	// MinMTU is the smallest MTU of a link: the least that IPv4 works with (RFC 791).
	MinMTU = 68

	// MaxMTU is the largest MTU of a link: the longest IPv4 packet (RFC 791).
	MaxMTU = 65535

	// DefaultPipeQueue is how many frames wait in each direction of a Pipe that is not
	// told otherwise. TCP sends its window at once, 8 MB at most by default in most
	// stacks: 128 frames of 64 KB, and as many again for the others on the link.
	DefaultPipeQueue = 256

	// MaxPipeQueue is the most frames that wait in one direction of a Pipe: 64 KB each
	// make 1 GB of it.
	MaxPipeQueue = 16384

	// SendRing is how many frames a link to the kernel holds back while the kernel takes
	// none: as for a Pipe, since the same senders wait behind it.
	SendRing = DefaultPipeQueue

	// TxQueueLen is the transmit queue of TUN and TAP devices, in frames: what the kernel
	// sends while Recv is late, beyond which it drops. A frame dropped there costs the
	// kernel's TCP a retransmission timeout of 200 ms; Linux gives 500.
	TxQueueLen = 4096

	// packetBuffer is the socket buffer of AF_PACKET in octets, each way: 64 frames of
	// 64 KB wait while Recv is late.
	packetBuffer = 4 << 20

	// maxIovecs is how many pieces a frame may have in one system call (UIO_MAXIOV of
	// Linux), the link's own two not counted.
	maxIovecs = 1024 - 2

	// noBufferRetry is how long a frame waits that the kernel refused for want of memory,
	// of which it does not tell the end: 5 of them are in the time that a sender waits.
	noBufferRetry = time.Millisecond

	// noPollerRetry is how long Recv waits between attempts where it can not be woken: on
	// kernels before 5.3, after a device was deleted, until the first frame.
	noPollerRetry = 10 * time.Millisecond

	// reviveRetry is how often it is tried to make a deleted device anew, when that has
	// failed, without a change of any interface to prompt it.
	reviveRetry = time.Second

	// recvErrors is how many times in a row receiving may fail before it slows down, to
	// one attempt in recvPause: so short because frames that can not be received, and
	// that a peer may send on purpose, are such failures too.
	recvErrors = 16
	recvPause  = time.Millisecond
)

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
