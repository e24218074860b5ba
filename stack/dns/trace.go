package dns

import (
	"context"
	"net/netip"
	"time"
)

// CacheState says what the cache had to do with an answer.
type CacheState uint8

const (
	// Miss: a server was asked.
	Miss CacheState = iota
	// Hit: the answer was in the cache.
	Hit
	// Joined: somebody was just asking the same.
	Joined
	// Local: the resolver knew by itself; no server is ever asked.
	Local
)

// String returns the state in lower case.
func (s CacheState) String() string {
	switch s {
	case Hit:
		return "hit"
	case Joined:
		return "joined"
	case Local:
		return "local"
	default:
		return "miss"
	}
}

// An Event is one step of a lookup: a query to one server, or that none was needed.
type Event struct {
	Question Question
	Cache    CacheState

	Server Server         // who was asked; the zero Server for an answer from the cache
	Net    string         // "udp", "tcp", "tls" or "https"; empty where nobody was asked
	Source netip.AddrPort // the local address, if a connection was made and told

	Begin time.Time     // when the connection was asked for
	RTT   time.Duration // from then on until the answer or the error

	Rcode int           // the answer's response code, -1 if there was none
	TTL   time.Duration // for how long the answer counts from now on; 0: not known, or not at all
	Err   error         // why the answer is none, or is that there is nothing
}

type traceKey struct{}

// WithTrace returns a context by which lookups report what they do. The function is called
// in the order of events, never by two goroutines at once for one call of a method, before
// the method returns. Where several callers share a query, each is told.
func WithTrace(ctx context.Context, f func(Event)) context.Context {
	return context.WithValue(ctx, traceKey{}, f)
}
