package dns

import (
	"context"
	"errors"
	"net"
	"time"

	wire "github.com/miekg/dns"
)

// A Question is what a server is asked.
type Question struct {
	// Name is absolute, in the presentation format of RFC 1035 section 5.1, with or without
	// its last dot. Any octets may be in it, so far as they are escaped.
	Name string

	// Type is the type of record (RFC 1035 section 3.2.2 and later).
	Type uint16

	// Class of the records. 0: IN.
	Class uint16

	// DNSSEC asks for the records of RFC 4035 (the DO bit of RFC 3225), and Unchecked for an
	// answer that the server has not checked by them (the CD bit). Nothing is checked here.
	DNSSEC, Unchecked bool
}

// An Info says where an answer came from.
type Info struct {
	Cache  CacheState
	Server Server        // who has answered, also if the answer was in the cache
	RTT    time.Duration // what the last exchange with it took; 0 for what was in the cache
	TTL    time.Duration // for how long the answer counts from now on
}

// Query returns the answer to q as the server gave it, from the cache if it is there. The
// message is the caller's. Its ID is 0, its TTLs have been counted down, and its response
// code is success or that the name does not exist (RFC 2308 section 2): neither is an
// error. The search list is not used, nor are there special names. Every type may be asked
// for but those that are not of records, such as AXFR.
//
// The error is a *net.DNSError as from [Resolver.LookupNetIP].
func (r *Resolver) Query(_ context.Context, q Question) (*wire.Msg, Info, error) {
	return nil, Info{}, &net.DNSError{Err: errors.ErrUnsupported.Error(), Name: q.Name, UnwrapErr: errors.ErrUnsupported}
}

// Exchange sends a message of any kind, an update for instance (RFC 2136), to the PvD's
// servers by the strategy, and returns what the first one answers that does, whatever
// the response code. Nothing is cached. The ID of m does not matter; that of the answer is
// m's.
func (r *Resolver) Exchange(_ context.Context, m *wire.Msg) (*wire.Msg, Info, error) {
	_ = m
	return nil, Info{}, &net.DNSError{Err: errors.ErrUnsupported.Error(), UnwrapErr: errors.ErrUnsupported}
}
