package pvdhttp

import "time"

// What a transport of this package starts with; all but the first are what
// http.DefaultTransport has. An owner may change them.
const (
	// maxIdleConns is less than http.DefaultTransport's 100: it is for each PvD, and idle
	// connections keep a PvD's state in routers and servers alive.
	maxIdleConns = 32

	idleConnTimeout       = 90 * time.Second
	tlsHandshakeTimeout   = 10 * time.Second
	expectContinueTimeout = time.Second
)
