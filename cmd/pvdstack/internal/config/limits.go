package config

import "time"

const (
	// MaxSize is the length in octets of the longest file that is read: that of some
	// 5,000 PvDs, and little enough to hold in memory several times over.
	MaxSize = 1 << 20

	// maxDepth bounds how deep collections nest. The schema needs 6; the parser calls
	// itself once a level.
	maxDepth = 32

	// maxIndent is the column up to which a list's dash may stand. "- - - -" nests a
	// level every two columns.
	maxIndent = 2 * maxDepth

	// maxKeys bounds the keys of one mapping: the parser's time grows with their square,
	// and is half a second for these.
	maxKeys = 10_000

	// maxQuoted is how many characters of a wrong value a message repeats.
	maxQuoted = 64

	// maxListed is how many of a PvD's networks a message lists.
	maxListed = 4

	// maxFaults bounds how many faults are told: nobody reads more.
	maxFaults = 100
)

const (
	// minMTU4 is what every IPv4 host takes (RFC 791 section 3.1).
	minMTU4 = 576
	// minMTU6 is what every IPv6 link carries (RFC 8200 section 5).
	minMTU6 = 1280
	// maxMTU is the longest packet that the length field of IPv4 can say.
	maxMTU = 65535
	// maxDeviceName is IFNAMSIZ of Linux less the final zero.
	maxDeviceName = 15
	// maxName bounds the name of a link or a PvD, which logs and captures repeat.
	maxName = 63
	// maxCredential is the longest user name or password of RFC 1929 section 2.
	maxCredential = 255
	// maxTimeout is the longest time that makes sense for a proxy's timeouts and for a
	// PvD's latency: a day.
	maxTimeout = 24 * time.Hour
	// maxConns is the largest cap on a proxy's connections, and maxFD one more than the
	// largest descriptor: as many as Linux gives a process at most by default (fs.nr_open).
	maxConns = 1 << 20
	maxFD    = 1<<20 - 1
	// maxSpeed in bits a second is beyond what any link does, and is held exactly by the
	// floating point numbers that speeds are read with.
	maxSpeed = 1e15
	// maxPort is the highest port, and maxNdots as many dots as a name has (RFC 1035 section
	// 2.3.4), though resolv.conf(5) stops at 15.
	maxPort  = 65535
	maxNdots = 127
	// maxPath is how long the path of a DNS server may be, as package dns has it.
	maxPath = 255
	// maxTechnology is the length of the name of a medium.
	maxTechnology = 63
	// minFD is the first descriptor after standard input, output and error.
	minFD = 3
)
