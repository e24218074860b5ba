package dns

import "time"

// What clients of a [Stub] may take.
const (
	// maxAsking is how many questions by UDP are answered at a time. Programs that wait for
	// names have a handful each; more is a flood, or a server that is silent.
	maxAsking = 1024

	// maxStubConns is how many TCP connections there are at a time.
	maxStubConns = 128

	// maxStubPipelined is how many questions of one connection are answered at a time. More
	// wait to be read: with maxStubConns, it bounds what clients by TCP can have under way.
	maxStubPipelined = 32

	// maxStubDatagram is how long an answer by UDP may be, in octets, whatever the client
	// takes: what proxies should be able to pass on (RFC 5625 section 4.4.3). Longer ones are
	// to be had by TCP.
	maxStubDatagram = 4096

	// acceptPause is how long a stub waits after an error that may pass, such as that the
	// process has too many files open.
	acceptPause = 100 * time.Millisecond

	// stubIdleTimeout is how long a connection is kept on which nothing is asked, and what a
	// client may take to read an answer (RFC 7766 section 6.2.3: a few seconds).
	stubIdleTimeout = 10 * time.Second

	// askTimeout is what an answer may take: as long as resolvers try by any strategy.
	// Clients give up before.
	askTimeout = 30 * time.Second
)
