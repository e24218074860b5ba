package dns

import "time"

const (
	// maxServers is how many of a PvD's servers are asked. With maxRounds it bounds how
	// long a lookup takes when none of them answers.
	maxServers = 8

	// maxSearch is how many domains of a search list are tried, so that the list of some
	// network cannot turn each name into any number of queries.
	maxSearch = 16

	// In each of maxRounds rounds, the servers that have not answered so far are asked
	// one after the other. Each has firstTimeout to answer in the first round and twice as
	// long in every later one (RFC 1035 section 4.2.1 and RFC 5452 section 9.2: back off).
	maxRounds    = 3
	firstTimeout = time.Second

	// stragglerTimeout is how long the addresses of one family wait for the other's
	// answer: enough for one retransmission, as servers that ignore AAAA queries exist
	// (RFC 8305 section 3 asks for much less, but can use late answers).
	stragglerTimeout = firstTimeout + firstTimeout/2

	// maxChain is how many CNAME records lead from a name to its addresses. Real chains
	// have fewer than ten; an endless one must end.
	maxChain = 16

	// maxAddresses is how many addresses of one answer are returned. A TCP answer has room
	// for 4,000 of them, more than anybody can try.
	maxAddresses = 64

	// udpSize is the length of UDP answers that queries ask for (RFC 6891 section 6.2.3),
	// in octets: with IPv6 and UDP headers it fits into any link's MTU, 1,280.
	udpSize = 1232

	// readSize is the longest UDP answer that is read, for servers that do not keep to
	// udpSize. What is cut off makes an answer unreadable.
	readSize = 4096
)

// What a [Config] of zeros means.
const (
	// DefaultEntries is how many answers a cache holds. A host asks for some thousand
	// different names a day.
	DefaultEntries = 4096

	// DefaultBytes is how many octets its answers may have in all, with what it costs to
	// keep them: a kilobyte each, which few have.
	DefaultBytes = DefaultEntries << 10
)
