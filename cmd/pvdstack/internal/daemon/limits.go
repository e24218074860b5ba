package daemon

import "time"

const (
	// readyTimeout is how long the addresses of all PvDs together may take to become
	// usable. Duplicate address detection takes one to two seconds (RFC 4862 section
	// 5.4, RFC 5227 section 2.1.1).
	readyTimeout = 15 * time.Second

	// pickPause goes by before it is looked again for a PvD that is to be learned.
	pickPause = 50 * time.Millisecond

	// maxPortTries is how often a port is asked for that is free for TCP and UDP.
	maxPortTries = 16

	// watchPause goes by before interfaces are watched again after something was missed,
	// so that a flood of changes does not keep the processor busy.
	watchPause = time.Second

	// closeTimeout bounds how long undoing everything may take, so that the process is
	// gone within two seconds of SIGTERM.
	closeTimeout = 1500 * time.Millisecond

	// maxState is the length in octets of the longest file of trust anchors or of a lease that
	// is read. A system's whole set of anchors is a quarter of that.
	maxState = 1 << 20
)
