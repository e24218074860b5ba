package addrsel

// The limits of a policy. Each bounds memory or time that a configuration, or a network
// that sends one (RFC 7078), could otherwise claim without end.
const (
	// MaxRows of a policy table. Each choice looks at all of them in the worst case; the
	// default table has 9.
	MaxRows = 256

	// MaxScopes is how many prefixes of IPv4 addresses may have a scope of their own.
	MaxScopes = 256

	// MaxLine is the length of a line of gai.conf in octets, comments included.
	MaxLine = 1024

	// MaxLines of gai.conf, comments included: as many as a fully commented table has.
	MaxLines = 4096

	// MaxValue of a precedence or a label, which is glibc's.
	MaxValue = 1<<31 - 1
)
