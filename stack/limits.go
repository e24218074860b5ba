package stack

import "time"

// The limits and timers of the data path and of what changes it. Each bounds memory or
// time that a peer, an application or a configuration could otherwise claim without end.
const (
	// sendWait is how long a sender waits for room on a full link. A round trip in a
	// data centre; longer, and one slow link would stall the PvD's others, whose TCP
	// shares the goroutine.
	sendWait = 5 * time.Millisecond

	// copyLimit is the length, in octets, up to which a received frame is copied into a
	// buffer of its size. A view into the 64 KB that a read may fill would keep all of
	// them in memory for as long as the frame is queued.
	copyLimit = 8192

	// maxViews is how many pieces a frame is sent in; one with more is put together
	// first. The kernel takes 1,024, but a large one has about 20.
	maxViews = 64

	// maxHopQueue is how many packets wait for one neighbour's hardware address, the
	// latest ones (RFC 1122 section 2.3.2.2, RFC 4861 section 7.2.2).
	maxHopQueue = 32

	// maxPendingHops is how many neighbours may be in resolution on one port at once, so
	// that a scan of a prefix costs no more than this many queues.
	maxPendingHops = 64

	// hopRetry is how long a router that did not answer is passed over where another
	// one leads to the same place (RFC 4191 section 3.5: probe at most once a minute).
	hopRetry = 60 * time.Second

	// maxFailedHops is how many such routers a port remembers.
	maxFailedHops = 64

	// maxRedirects is how many redirects a port follows at once. For each one beyond them the
	// oldest is forgotten, and its router has to say so again.
	maxRedirects = 64

	// redirectLifetime is how long one is followed. RFC 4861 gives it no end, and so none to
	// a forged one, or one to a router that routes no longer. The router that gave it is
	// asked again as often as a path is for its MTU.
	redirectLifetime = 10 * time.Minute

	// maxPaths is how many paths with an MTU of their own a port remembers. For each one
	// beyond them another is forgotten, and has to be found out again.
	maxPaths = 1024

	// pathLifetime is how long a path's MTU is remembered (RFC 8201 section 4: at least
	// five minutes, ten by recommendation).
	pathLifetime = 10 * time.Minute

	// meetInterval is how often a link whose PvDs have to be told apart asks for their
	// routers when strangers are heard.
	meetInterval = time.Second

	// agentQueue is how many frames wait for a link's agent. They are for it alone, but for
	// ARP; what does not fit is lost, and repeated by who said it.
	agentQueue = 256

	// refusedRetry is how long a learned PvD that was refused waits before it is tried
	// again: what was in its way may have gone.
	refusedRetry = 30 * time.Second

	// suspendCheck is how often an agent looks whether the machine has slept: the timers of
	// those that do not look go on as if nothing had happened.
	suspendCheck = 10 * time.Second

	// minSleep is for how long a machine has slept at least. Less is the two clocks' not
	// being read at once.
	minSleep = 500 * time.Millisecond

	// maxLinks on a host: a reader goroutine each.
	maxLinks = 4096

	// maxPvDsPerLink bounds the copies that one multicast frame can cost.
	maxPvDsPerLink = 16384

	// abortWait bounds how long a removal goes on aborting endpoints that others create
	// from packets still on their way; 150 runs under a flood of SYNs took 7 ms at most.
	abortWait = 500 * time.Millisecond

	// gvisorLines is how many of gVisor's log lines wait for a host's logger.
	gvisorLines = 64

	// destroyWait is how long a removal waits for the stack's goroutines to end before
	// it reports that they have not.
	destroyWait = 2 * time.Second
)

// Buffer sizes of TCP and UDP endpoints, in octets. Receive buffers grow from the
// default to the maximum as a connection fills them.
const (
	tcpBufferMin     = 4 << 10
	tcpBufferDefault = 1 << 20
	tcpBufferMax     = 16 << 20
	udpBufferDefault = 1 << 20 // gVisor's 32 KB hold a dozen datagrams of a burst
	udpBufferMax     = 8 << 20
)
