package pvd

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

	// MaxPolicyRules of a [Policy]. They are gone through for each socket that is opened.
	MaxPolicyRules = 1024

	// MaxPolicyNames in one list of a [Policy], for the same reason.
	MaxPolicyNames = 1024
)
