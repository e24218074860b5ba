package dhcp

// What a message may make a host remember. More than this is left out.
const (
	// MaxNames in one search list: as many as a PvD may have.
	MaxNames = 64

	// maxPointers that one compressed name may follow. Each label but one may be behind a
	// pointer in what servers make; a loop is longer.
	maxPointers = 16

	// maxResolvers in one message (RFC 9463). Hosts try a few at most.
	maxResolvers = 16

	// maxResolverAddrs of one resolver.
	maxResolverAddrs = 16

	// maxURI is the length in octets of a captive portal's URI. An option of DHCPv4 has
	// 255 (RFC 8910 section 2.1); more is taken from long options only so far.
	maxURI = 2048
)
