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
