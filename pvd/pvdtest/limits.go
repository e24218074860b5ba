package pvdtest

import "time"

// The lab's limits. They keep a test that goes wrong from taking the machine with it.
const (
	// maxMACs bounds a switch's table of learned addresses. When it is full, further
	// addresses are flooded.
	maxMACs = 4096

	// sendWait is how long a switch or a router waits for a full port before it drops
	// the frame: as long as the stack itself waits, long enough for a reader that is
	// merely late, short enough that two that wait for each other come free.
	sendWait = 5 * time.Millisecond

	// queueFrames is how many frames a pipe between a machine and its switch holds. As
	// many as a window of full segments takes.
	queueFrames = 1024

	// maxNeighbors bounds the neighbours that one interface of a router knows. The one
	// heard of longest ago makes room.
	maxNeighbors = 1024

	// maxNeighborQueue bounds the packets that wait for one neighbour's hardware
	// address. The oldest is dropped (RFC 1122 section 2.3.2.2 asks for one at least).
	maxNeighborQueue = 16

	// neighborTries and neighborRetry are MAX_MULTICAST_SOLICIT and RETRANS_TIMER of
	// RFC 4861 section 10, used for ARP too.
	neighborTries = 3
	neighborRetry = time.Second

	// neighborLife is how long a neighbour is believed without hearing from it again.
	neighborLife = 60 * time.Second

	// maxMappings bounds a router's NAT table. It is well below the number of ports, so
	// that a free one is found soon.
	maxMappings = 4096

	// firstNATPort is the lowest outside port that NAT gives away: RFC 4787 section 4.2
	// keeps the well-known ones apart.
	firstNATPort = 1024

	// natUDPTimeout, natICMPTimeout, natTCPTimeout and natTCPClosing are the idle times
	// after which mappings end: RFC 4787 REQ-5, RFC 5508 REQ-1, RFC 5382 REQ-5.
	natUDPTimeout  = 5 * time.Minute
	natICMPTimeout = 60 * time.Second
	natTCPTimeout  = 2*time.Hour + 4*time.Minute
	natTCPClosing  = 4 * time.Minute

	// maxAdvertisers and maxAdvertisements bound what one router advertises: more addresses
	// than hosts take routers for, and more messages than they need.
	maxAdvertisers    = 128
	maxAdvertisements = 64

	// initialRAs, initialInterval, finalRAs, minRAGap and maxRADelay are RFC 4861 section
	// 10's MAX_INITIAL_RTR_ADVERTISEMENTS, MAX_INITIAL_RTR_ADVERT_INTERVAL,
	// MAX_FINAL_RTR_ADVERTISEMENTS, MIN_DELAY_BETWEEN_RAS (that of RFC 6275 section 7.5)
	// and MAX_RA_DELAY_TIME.
	initialRAs      = 3
	initialInterval = 16 * time.Second
	finalRAs        = 3
	minRAGap        = 30 * time.Millisecond
	maxRADelay      = 500 * time.Millisecond

	// maxLeases bounds a router's pool of addresses, and its leases.
	maxLeases = 256

	// offerHold is how long an offered address is kept for the client that may ask for it,
	// and declineHold how long one that somebody else has is given to nobody.
	offerHold   = time.Minute
	declineHold = 10 * time.Minute

	// MaxAsked bounds the requests that an [HTTPS] server remembers, and the questions that a
	// [BadDNS] does.
	MaxAsked = 1024

	// MaxJunk bounds the datagrams that a [BadDNS] sends before one answer: as many as there
	// are IDs to be guessed.
	MaxJunk = 1 << 16

	// Junk comes in bursts of junkBurst, which a socket has room for, and pauses of junkPause,
	// in which it is read: what floods a socket keeps the right answer out as well, and is
	// another test.
	junkBurst = 64
	junkPause = time.Millisecond

	// maxBadDNS bounds the questions and connections that a [BadDNS] is at.
	maxBadDNS = 256

	// hugeBody is how long a huge answer is: far more than anybody takes, and less than
	// what a machine has.
	hugeBody = 32 << 20

	// maxAnswers bounds the answers to solicitations that one advertiser owes.
	maxAnswers = 64

	// maxReassemblies and reassemblyTimeout bound the datagrams that a router is putting
	// together, for NAT or for itself. The time is that of RFC 1122 section 3.3.2.
	maxReassemblies   = 64
	reassemblyTimeout = 60 * time.Second
	// maxFragments bounds the fragments of one datagram: 64 KB in pieces of 512.
	maxFragments = 128

	// maxQuote4 and maxQuote6 are the lengths that a whole ICMP error keeps within: RFC
	// 1812 section 4.3.2.3, RFC 4443 section 2.4 (c).
	maxQuote4 = 576
	maxQuote6 = 1280

	// maxTraceFrames and maxTraceBytes bound the last frames kept of each link, for a
	// capture if the test fails.
	maxTraceFrames = 4096
	maxTraceBytes  = 8 << 20

	// maxTimeline bounds the lines kept of what happened in a lab.
	maxTimeline = 4096

	// maxSources bounds the different senders that the isolation oracle tells apart on
	// one link. More than that fails the assertion: the oracle would be blind.
	maxSources = 4096

	// getTimeout bounds a whole Get, so that a test fails before it hangs.
	getTimeout = 10 * time.Second

	// maxBody bounds what Get reads of a page.
	maxBody = 16 << 20

	// readyTimeout bounds the wait for an address: DAD takes about a second, the rest
	// is for a machine with too much to do.
	readyTimeout = 20 * time.Second

	// readyManual does the same by a manual clock, which costs nothing: a lease that is
	// declined, or a router that is late.
	readyManual = 5 * time.Minute

	// closeTimeout bounds the end of a host under test: PvDs go within a fraction of a
	// second each.
	closeTimeout = 20 * time.Second

	// settleSamples is how often in a row the lab must be found at rest before it
	// counts as settled, settlePause the time between, and settleTimeout when the wait
	// is given up because something runs without pause.
	settleSamples = 4
	settlePause   = 50 * time.Microsecond
	settleTimeout = 10 * time.Second
)
