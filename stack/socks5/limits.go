package socks5

import "time"

// Defaults of [Config].
const (
	// DefaultHandshakeTimeout is ample for six small messages over a bad link, and short
	// for those who only mean to hold a slot.
	DefaultHandshakeTimeout = 10 * time.Second

	// DefaultDialTimeout covers a name and four retransmitted SYNs (1+2+4+8 s), which is
	// longer than most clients wait.
	DefaultDialTimeout = 30 * time.Second

	// DefaultIdleTimeout is what RFC 5382 section 5 (REQ-5) asks of whatever keeps state
	// for others' TCP connections: not less than 2 hours and 4 minutes.
	DefaultIdleTimeout = 2*time.Hour + 4*time.Minute

	// DefaultMaxConns bounds memory: a relayed connection costs up to about 100 KB.
	DefaultMaxConns = 1024

	// DefaultMaxHandshakes is how many clients may be between accept and request. One
	// that behaves is there for two round trips.
	DefaultMaxHandshakes = 128
)

const (
	// maxAddresses is how many addresses of one name are tried. Whoever answers for the
	// name decides how many there are.
	maxAddresses = 16

	// minAttempt is the least time one of several addresses is given, as far as the dial
	// timeout allows: a SYN and one retransmission.
	minAttempt = 2 * time.Second

	// idleTicks is how many times in an idle timeout a relay looks whether data moved.
	// The timeout is kept to within two of these steps.
	idleTicks = 4

	// maxEarly is how much a client may send ahead of the reply to its request before it
	// has to wait, in octets.
	maxEarly = 4096

	// After a refusal the client has maxLinger to close and may send maxLate octets: to
	// close over data not read would be a reset, which may overtake the reply. RFC 1928
	// section 6 allows ten seconds.
	maxLinger = time.Second
	maxLate   = 64 << 10

	// A client may fail authFailures times to give a good user name and password, and
	// once more for each authInterval that has passed. Ten a minute finds no password
	// worth the name.
	authFailures = 10
	authInterval = 6 * time.Second

	// maxOffenders is how many clients the failures are remembered of.
	maxOffenders = 4096

	// After a failed Accept the server waits, first minAcceptDelay, then twice as long
	// each time up to maxAcceptDelay: what it lacks, descriptors as a rule, comes back
	// when connections end.
	minAcceptDelay = 5 * time.Millisecond
	maxAcceptDelay = time.Second

	// logInterval is how often at most reaching one limit is logged.
	logInterval = time.Minute
)
