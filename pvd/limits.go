package pvd

import "time"

// The limits of the model. Each bounds memory that a configuration, or a network, could
// otherwise claim without end.
const (
	// MaxPvDs attached at once: a stack each, so about 10 GB when all are busy.
	MaxPvDs = 65536

	// MaxLinks of one PvD. A NIC each; hosts have a handful.
	MaxLinks = 64

	// MaxAddresses of one PvD, on all its links.
	MaxAddresses = 4096

	// MaxRoutes of one PvD: more than a full IPv4 routing table would need a router's
	// data structures.
	MaxRoutes = 1 << 20

	// MaxNeighbors that a configuration fixes in one PvD.
	MaxNeighbors = 4096

	// MaxDNSServers of one PvD. More would not be reached within any caller's patience.
	MaxDNSServers = 64

	// MaxSearch is the length of a search list; each entry can cost a query.
	MaxSearch = 64

	// MaxName is the length of a PvD's display name, in octets.
	MaxName = 255

	// MaxElements that a configuration adds to those of its own fields.
	MaxElements = 256

	// MaxPending is how many PvDs may have changed since a watcher last looked, before it
	// is told that it has lagged: a snapshot serves it better then. It also bounds what is
	// remembered of PvDs that are gone, at about 100 octets each.
	MaxPending = 4096

	// MaxPolicyRules of a [Policy]. They are gone through for each socket that is opened.
	MaxPolicyRules = 1024

	// MaxPolicyNames in one list of a [Policy], for the same reason.
	MaxPolicyNames = 1024
)

// What watchers may take of a machine. While little happens they are woken at once; when
// what they cause comes to more than these times allow, they are woken later and find more
// changes that have become one. The times are about twenty times what is measured, which
// keeps all watchers of a host below 5 % of one core, however many they are and
// whatever happens.
const (
	// wakeCost is what waking a watcher counts as.
	wakeCost = 40 * time.Microsecond

	// eventCost is what each PvD that it may have to look at counts as.
	eventCost = 4 * time.Microsecond

	// wakeBurst is how much may be spent at once after a quiet time.
	wakeBurst = 200 * time.Millisecond

	// wakeSlice is how much is spent before there is a rest. It is about the shortest rest
	// that timers are good for.
	wakeSlice = time.Millisecond
)
