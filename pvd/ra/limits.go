package ra

import "time"

// What a link's routers may claim. Each of these counts over all PvDs of a link; who came
// first stays, so that a flood takes nothing from what works.
const (
	// MaxPvDs learned on one link. A stack each.
	MaxPvDs = 64

	// MaxRouters of one link, counted once for each PvD that they speak for.
	MaxRouters = 64

	// MaxPrefixes of one link, counted once for each router that advertises them.
	MaxPrefixes = 64

	// MaxRoutes of one link beyond the default routes: what one router may send and a host
	// of type C has to go through (RFC 4191 section 3).
	MaxRoutes = 64

	// MaxServers for DNS of one link.
	MaxServers = 64

	// MaxSearch is how many search domains a link may have.
	MaxSearch = 64

	// MaxNAT64 is how many prefixes for NAT64 a link may have.
	MaxNAT64 = 64

	// MaxResolvers is how many encrypted DNS resolvers a link may have.
	MaxResolvers = 64

	// MaxResolverAddrs are the addresses that are kept of one of them. Hosts try a few at most.
	MaxResolverAddrs = 16

	// MaxRejections that are remembered with their reasons. Later ones of another kind
	// take the place of the oldest.
	MaxRejections = 64

	// MaxTemporary addresses that one prefix has at a time. With the lifetimes of RFC 8981
	// there are at most four: a new one each 0.6 days at the soonest, for two days.
	MaxTemporary = 8
)

// Sizes of messages.
const (
	// MaxOption is the length of an option in octets that its length octet can say.
	MaxOption = 255 * 8

	// maxMessage bounds an advertisement: the payload that an IPv6 header can give the
	// length of.
	maxMessage = 65535
)

// What is believed of numbers that the network names. The values outside would stop a
// host from working, or make it a nuisance.
const (
	// MinMTU is IPv6's (RFC 8200 section 5).
	MinMTU = 1280

	// MinHopLimit keeps a router from cutting a host off from all but its neighbours.
	MinHopLimit = 32

	// MinReachable and MaxReachable bound BaseReachableTime; the upper one is AdvReachableTime's
	// (RFC 4861 section 6.2.1).
	MinReachable = time.Second
	MaxReachable = time.Hour

	// MinRetransmit and MaxRetransmit bound RetransTimer: more than ten solicitations a
	// second are a flood, and less than one a minute resolves nothing in time.
	MinRetransmit = 100 * time.Millisecond
	MaxRetransmit = time.Minute
)

// Timers and counts of the RFCs.
const (
	// twoHours is what an advertisement may shorten an address's valid lifetime to
	// (RFC 4862 section 5.5.3).
	twoHours = 2 * time.Hour

	// moveSilence is for how long a router may keep from repeating a prefix: twice the upper
	// bound of MaxRtrAdvInterval (RFC 4861 section 6.2.1), for one advertisement that is lost.
	// A PvD that has not heard of its prefix for so long has lost it to one that does.
	moveSilence = 2 * 1800 * time.Second

	// bareLifetime is how long a PvD lasts that has nothing but the claim to the link's
	// DHCPv4: that flag has no lifetime of its own. It is the default of a router's
	// (RFC 4861 section 6.2.1).
	bareLifetime = 1800 * time.Second

	// retries is IDGEN_RETRIES (RFC 7217 section 5) and TEMP_IDGEN_RETRIES (RFC 8981 section
	// 3.8).
	retries = 3

	// solicitDelay is MAX_RTR_SOLICITATION_DELAY (RFC 4861 section 10).
	solicitDelay = time.Second

	// solicitFirst and solicitMost are IRT and MRT (RFC 7559 section 2).
	solicitFirst = 4 * time.Second
	solicitMost  = 3600 * time.Second

	// tempValid, tempPreferred and tempAdvance are TEMP_VALID_LIFETIME,
	// TEMP_PREFERRED_LIFETIME and REGEN_ADVANCE, and tempDesync is what part of the second
	// MAX_DESYNC_FACTOR is (RFC 8981 section 3.8).
	tempValid     = 48 * time.Hour
	tempPreferred = 24 * time.Hour
	tempAdvance   = 5 * time.Second
	tempDesync    = 0.4
)
