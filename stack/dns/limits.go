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

	// A server that is silent comes after the others for firstPenalty, twice as long with
	// each time in a row, and maxPenalty at most: a server that is back should be used within
	// the minute that people wait before they look for a fault.
	firstPenalty = 5 * time.Second
	maxPenalty   = time.Minute
	maxSilences  = 8 // more doublings change nothing

	// ednsRetry is after how long a server that did not know EDNS is asked by it again:
	// RFC 6891 section 6.2.2 has what is known of a server expire.
	ednsRetry = 15 * time.Minute

	// maxChain is how many CNAME records lead from a name to its addresses. Real chains
	// have fewer than ten; an endless one must end.
	maxChain = 16

	// maxTTL is how long an answer may be kept: a day. More than a week is taken for a mistake
	// (RFC 8767 section 4), and a PvD is rarely attached for as long as a day.
	maxTTL = 24 * time.Hour

	// maxNegativeTTL is how long the answer that there is nothing may be kept. RFC 2308
	// section 5 has one to three hours work well.
	maxNegativeTTL = time.Hour

	// workerIdle is how long a goroutine that has asked waits for more to ask at most, and half
	// of it at least.
	workerIdle = time.Second

	// afterlife is how long an answer is waited for that nobody needs at once any more (RFC
	// 8305 section 5).
	afterlife = time.Second

	// maxEvents is how many events of a question are reported: all of a schedule, most often.
	maxEvents = 64

	// maxAddresses is how many addresses of one answer are returned. A TCP answer has room
	// for 4,000 of them, more than anybody can try.
	maxAddresses = 64

	// udpSize is the length of UDP answers that queries ask for (RFC 6891 section 6.2.3),
	// in octets: with IPv6 and UDP headers it fits into any link's MTU, 1,280.
	udpSize = 1232

	// maxMessage is the length of the longest message (RFC 1035 section 4.2.2).
	maxMessage = 1<<16 - 1

	// readSize is the longest UDP answer that is read, for servers that do not keep to
	// udpSize. What is cut off makes an answer unreadable.
	readSize = 4096
)

// What holds for encrypted servers.
const (
	// padBlock is what the lengths of queries are multiples of (RFC 8467 section 4.1).
	padBlock = 128

	// connectTimeout is what a connection has to be made, TLS included. A query that waits
	// for it has less.
	connectTimeout = 10 * time.Second

	// idleTimeout is how long a connection is kept that nobody uses (RFC 7766 section 6.2.3:
	// a few seconds; RFC 7858 section 3.4 asks for more where the handshake costs).
	idleTimeout = 10 * time.Second

	// maxPipelined is how many queries may be under way on one connection. Servers have
	// limits of about that; beyond it another connection is opened.
	maxPipelined = 256

	// maxStreams is how many connections one query may try, as the first one may end at the
	// very moment.
	maxStreams = 3

	// maxWebConns is how many connections there are to a server that does not know HTTP/2,
	// where each holds one query.
	maxWebConns = 8

	// pingAfter is after which silence a connection is tested that queries wait on, and
	// pingTimeout what the answer may take.
	pingAfter   = 2 * time.Second
	pingTimeout = 3 * time.Second

	// maxHeaderBytes is how long the header of an HTTP answer may be.
	maxHeaderBytes = 16 << 10

	// maxPath is how long a URI template may be: what one DHCPv4 option has room for.
	maxPath = 255

	// maxTickets is how many TLS tickets of a server are kept.
	maxTickets = 4
)

// What a [Config] of zeros means.
const (
	// DefaultEntries is how many answers a cache holds. A host asks for some thousand
	// different names a day.
	DefaultEntries = 4096

	// DefaultBytes is how many octets its answers may have in all, with what it costs to
	// keep them: a kilobyte each, which few have.
	DefaultBytes = DefaultEntries << 10

	// entryCost is what an answer costs besides what it holds: itself, and its place in the
	// map.
	entryCost = 384
)
