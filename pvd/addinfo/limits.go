package addinfo

import "time"

// What a fetch may take of a machine and of its owner's patience. The server may be
// anyone's: a router advertisement names it.
const (
	// MaxBody is the size of an answer in octets. RFC 8801 gives no limit; the objects that
	// it describes have a few hundred.
	MaxBody = 64 << 10

	// MaxHeader is the size in octets of an answer's header.
	MaxHeader = 16 << 10

	// MaxRedirects that are followed for one request. RFC 8801 section 4.1 obliges to
	// follow them; without a limit one request could be made into any number.
	MaxRedirects = 5

	// FetchTimeout is how long a request may take with all its redirections.
	FetchTimeout = 30 * time.Second

	// MaxURL is the length in octets of a URL that is followed or kept.
	MaxURL = 2048
)

// What an object may contain. What is beyond these is left out and noted, but for
// prefixes, which have to be known in full to be of use.
const (
	// maxDepth is how far arrays and objects may be nested. The defined keys need three.
	maxDepth = 16

	// MaxPrefixes of an object. A PvD has a handful; they are compared with each prefix of
	// a router advertisement.
	MaxPrefixes = 1024

	// MaxZones is the number of DNS zones that are kept, as long as a search list is.
	MaxZones = 64

	// MaxProxies that are kept of an object.
	MaxProxies = 64

	// MaxRules for choosing a proxy that are kept. They are gone through for each connection.
	MaxRules = 256

	// MaxRuleEntries in one list of a rule, for the same reason.
	MaxRuleEntries = 256

	// MaxNotes about what has been left out of an object.
	MaxNotes = 32

	// maxQuoted is how much text from the network an error repeats, in octets.
	maxQuoted = 64
)

// The limits of RFC 8801 section 4.1 on requests, for one attachment to a link.
const (
	// MinInterval is the least time between two requests for the same PvD.
	MinInterval = 10 * time.Second

	// MaxRequests is how many requests are made within RequestWindow.
	MaxRequests = 5

	// RequestWindow is described with MaxRequests.
	RequestWindow = 10 * time.Second

	// MaxFailures is how many failures end all requests.
	MaxFailures = 10
)

const (
	// MaxPvDs that a Schedule keeps at once: as many as a link may have. Beyond these it
	// remembers those that have failed, at most MaxFailures, and those that have been
	// asked for within MinInterval or are being asked for, which the limit on requests
	// bounds.
	MaxPvDs = 64

	// MaxRetries is how often a request is made again that did not reach a server; then
	// that is a failure like others. A request that did is never repeated after a failure
	// (RFC 8801 section 4.1), so the limit is for silence only.
	MaxRetries = 3

	// retryBase is the first pause before such a request is made again; each one after is
	// twice as long. It is the pause that is the least between requests anyway.
	retryBase = MinInterval

	// delayBase is the power of two, in milliseconds, that a Delay of 0 stands for.
	delayBase = 10

	// maxDelay is the largest value of the four bits that Delay has.
	maxDelay = 15

	// maxLifetime bounds dates far away, so that times do not overflow.
	maxLifetime = 100 * 365 * 24 * time.Hour
)

// How a captive portal's API is asked. RFC 8908 section 5 leaves that to the client.
const (
	// PortalCaptiveInterval is how long after an answer that says captive the API is asked
	// again, for those who have no way to say that someone has logged in.
	PortalCaptiveInterval = 30 * time.Second

	// PortalMinInterval is the least time between two requests to an API.
	PortalMinInterval = 10 * time.Second

	// portalRetryBase and portalRetryMax bound the pauses after failures, which double.
	portalRetryBase = 30 * time.Second
	portalRetryMax  = 30 * time.Minute
)
