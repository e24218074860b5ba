package tun

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
)
