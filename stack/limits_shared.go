package stack

import "time"

// The limits and timers of addresses that several PvDs of one link share.
const (
	// maxSharers is how many PvDs may share ephemeral ports, as those do that have an
	// address in common. Each has the 64th part of them then, 774 ports, and a packet that
	// belongs to no connection costs the reader that many looks.
	maxSharers = 64

	// maxSharedFlows is of how many exchanges of datagrams with a shared address the PvDs
	// are remembered, the latest ones. For those that are forgotten the port
	// decides, which mostly comes to the same.
	maxSharedFlows = 8192

	// sharedFlowLife is how long such an exchange is remembered after the last datagram
	// that the PvD has sent (RFC 4787 section 4.3: five minutes by recommendation).
	sharedFlowLife = 5 * time.Minute

	// maxSharedFragments is of how many datagrams in fragments to a shared address it is
	// remembered whose the first fragment was, the latest ones. Later fragments of others go to all sharers.
	maxSharedFragments = 2048

	// sharedFragmentLife is how long that is, as long as gVisor waits for the missing ones
	// (RFC 791 section 3.2 has 15 seconds, RFC 1122 section 3.3.2 60 to 120).
	sharedFragmentLife = 30 * time.Second

	// announceInterval is the time between the two announcements of an address that another
	// PvD answers for from now on (RFC 5227 section 1.1, ANNOUNCE_INTERVAL).
	announceInterval = 2 * time.Second
)

// The ephemeral ports, of which a PvD that shares an address has a part: those that gVisor
// has by default.
const (
	firstEphemeral = 16000
	lastEphemeral  = 65535
)
