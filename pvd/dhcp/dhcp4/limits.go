package dhcp4

import "time"

// What is believed of a message; the rest is left out and said in [Lease.Problems].
const (
	// MaxRouters of option 3.
	MaxRouters = 8

	// MaxRoutes of options 121 and 33, and the default route beside.
	MaxRoutes = 256

	// MaxDNS servers of option 6.
	MaxDNS = 16

	// maxProblems that are remembered of one message.
	maxProblems = 16

	// maxMessage is the longest message that is read, in octets: what fits a jumbo frame.
	// Servers are told maxSize.
	maxMessage = 9000

	// maxSize is the longest message that servers may send, with its IP and UDP headers
	// (option 57): what fits an Ethernet frame.
	maxSize = 1500

	// maxRecord is the length of a lease record: the longest message in base64, and a bit.
	maxRecord = maxMessage*4/3 + 256

	// maxClientID is what fits an option.
	maxClientID = 255

	// minMTU is what every host has to take (RFC 791 section 3.2); a link with less would
	// not carry DHCP.
	minMTU = 576
)

// Times and counts.
const (
	// startDelay before the first message, at most, so that hosts that a power cut has
	// stopped do not all ask at once. RFC 2131 section 4.4.1 has 1 to 10 s, which no client
	// lets its user wait any more.
	startDelay = time.Second

	// firstWait for an answer doubles with each try until maxWait, and is jitter more or
	// less (RFC 2131 section 4.1).
	firstWait = 4 * time.Second
	maxWait   = 64 * time.Second
	jitter    = time.Second

	// requestTries for what has been offered (RFC 2131 section 3.1.5).
	requestTries = 4

	// rebootTries for what was leased before. There is nothing to lose by asking for
	// another address afterwards.
	rebootTries = 3

	// minRenewWait between tries to renew or rebind (RFC 2131 section 4.4.5).
	minRenewWait = 60 * time.Second

	// minLease that is accepted, in seconds. One cannot renew faster without flooding.
	minLease = 5

	// declineWait after an address turned out to be taken (RFC 2131 section 3.1.5).
	declineWait = 10 * time.Second

	// nakWait after a DHCPNAK doubles with each until maxWait; a lease resets it.
	nakWait = 4 * time.Second

	// minV6OnlyWait is MIN_V6ONLY_WAIT (RFC 8925 section 3.4).
	minV6OnlyWait = 300
)
