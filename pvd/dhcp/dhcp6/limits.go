package dhcp6

import (
	"math"
	"time"
)

// What is taken of a message; the rest is left out and said in the Problems.
const (
	// MaxAddrs and MaxPrefixes of one lease.
	MaxAddrs    = 16
	MaxPrefixes = 16

	// MaxDNS servers of option 23.
	MaxDNS = 16

	maxResolvers = 16
	maxProblems  = 16

	// maxAdvertises of which the best is taken; what comes later is as bad a sign as none.
	maxAdvertises = 16

	// maxMessage is the longest message that is read, in octets: what fits a jumbo frame.
	maxMessage = 9000

	// maxOptions of one message or option, as the cost of reading one.
	maxOptions = 512

	// minDUID and maxDUID are the lengths of the shortest and longest identifier, in octets
	// (RFC 8415 section 11.1): two of type, and 1 to 128.
	minDUID = 3
	maxDUID = 130

	// maxRecord is the length of a lease record: the longest message in base64, and the
	// items.
	maxRecord = maxMessage*4/3 + (MaxAddrs+MaxPrefixes)*256 + 1024

	// longestLifetime is what a message can say (RFC 8415 section 7.7).
	longestLifetime = math.MaxUint32 * time.Second
)

// params are how a message is sent again (RFC 8415 section 15).
type params struct {
	irt time.Duration // the first wait
	mrt time.Duration // the longest wait; 0: any
	mrc int           // how often it is sent; 0: without end
	mrd time.Duration // how long; 0: without end
}

// RFC 8415 section 7.6. MRT of solicit and information are what servers may change.
var (
	solicit     = params{irt: time.Second}
	request     = params{irt: time.Second, mrt: 30 * time.Second, mrc: 10}
	confirm     = params{irt: time.Second, mrt: 4 * time.Second, mrd: confirmTime}
	renew       = params{irt: 10 * time.Second, mrt: 600 * time.Second}
	rebind      = params{irt: 10 * time.Second, mrt: 600 * time.Second}
	reverify    = params{irt: time.Second, mrt: 4 * time.Second, mrd: confirmTime} // a Rebind instead of a Confirm (section 18.2.12)
	information = params{irt: time.Second}
	release     = params{irt: time.Second, mrc: 4}
	decline     = params{irt: time.Second, mrc: 4}
)

const (
	maxDelay    = time.Second // SOL_MAX_DELAY, CNF_MAX_DELAY, INF_MAX_DELAY
	confirmTime = 10 * time.Second

	// SOL_MAX_RT and INF_MAX_RT, and what servers may make of them in seconds
	// (RFC 8415 sections 21.24 and 21.25).
	defaultMaxRT = 3600 * time.Second
	leastMaxRT   = 60
	mostMaxRT    = 86400

	// The information refresh time (RFC 8415 section 21.23).
	defaultRefresh = 86400 * time.Second
	leastRefresh   = 600 * time.Second

	// backoff after a server has refused what it offered, or somebody else has the
	// address, doubles with each until maxBackoff. A lease ends the one, a new link the
	// other. RFC 8415 section 14.1 wants a limit.
	backoff    = time.Second
	maxBackoff = 120 * time.Second

	// minRenew after a lease was got, before it is renewed, however short it is.
	minRenew = 2 * time.Second
)
