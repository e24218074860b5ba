package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
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
func (r *Resolver) Query(ctx context.Context, q Question) (*wire.Msg, Info, error) {
	k, err := q.internal()
	if err != nil {
		return nil, Info{}, dnsError(q.Name, Server{}, err)
	}
	v, err := r.usable(ctx)
	if err != nil {
		return nil, Info{}, dnsError(q.Name, Server{}, err)
	}
	tasks := []task{v.begin(k)}
	v.wait(ctx, tasks, nil)
	t := &tasks[0]
	if t.a == nil {
		return nil, t.info, dnsError(q.Name, t.info.Server, t.err)
	}
	m, err := t.message()
	if err != nil {
		return nil, t.info, dnsError(q.Name, t.info.Server, err)
	}
	respell(m, k.name+".", wire.Fqdn(q.Name))
	return m, t.info, nil
}

// usable returns the view to ask by, unless there is nobody to ask or nobody to answer.
func (r *Resolver) usable(ctx context.Context) (*view, error) {
	if ctx.Err() != nil {
		return nil, ended(ctx)
	}
	v, err := r.view(r.conf.DNS())
	if err == nil && len(v.servers) == 0 {
		err = errNoServer
	}
	return v, err
}

// internal returns q in the form in which equal questions are equal.
func (q Question) internal() (question, error) {
	name, err := canonical(q.Name)
	switch q.Type {
	case wire.TypeNone, wire.TypeOPT, wire.TypeTKEY, wire.TypeTSIG, wire.TypeIXFR, wire.TypeAXFR, wire.TypeMAILA, wire.TypeMAILB:
		return question{}, errNotRecords
	}
	return question{name, q.Type, cmp.Or(q.Class, wire.ClassINET), q.DNSSEC, q.Unchecked}, err
}

// errNotRecords reports a type that a resolver has no answers for.
var errNotRecords = fmt.Errorf("%w: not a type of record", errors.ErrUnsupported)

// respell gives the name that was asked for the spelling that it was asked in.
func respell(m *wire.Msg, name, spelling string) {
	if name == spelling {
		return
	}
	for i := range m.Question {
		if strings.EqualFold(m.Question[i].Name, name) {
			m.Question[i].Name = spelling
		}
	}
	for _, section := range [][]wire.RR{m.Answer, m.Ns} {
		for _, rr := range section {
			if h := rr.Header(); strings.EqualFold(h.Name, name) {
				h.Name = spelling
			}
		}
	}
}

// Exchange sends a message of any kind, an update for instance (RFC 2136), to the PvD's
// servers by the strategy, and returns what the first one answers that does, whatever
// the response code. It needs one question, or what stands in its place. Nothing is cached.
// The ID of m does not matter; that of the answer is m's.
func (r *Resolver) Exchange(ctx context.Context, m *wire.Msg) (*wire.Msg, Info, error) {
	if m == nil || len(m.Question) != 1 {
		return nil, Info{}, dnsError("", Server{}, fmt.Errorf("%w: not one question", errors.ErrUnsupported))
	}
	q := m.Question[0]
	raw, bare, err := packAny(m)
	if err != nil {
		return nil, Info{}, dnsError(q.Name, Server{}, fmt.Errorf("%w: %w", errors.ErrUnsupported, err))
	}
	a, info, err := r.send(ctx, q, raw, bare)
	if err != nil {
		return nil, info, err
	}
	reply := new(wire.Msg)
	if err := reply.Unpack(a.msg); err != nil {
		return nil, info, dnsError(q.Name, info.Server, fmt.Errorf("%w: %w", errParse, err))
	}
	reply.Id = m.Id
	return reply, info, nil
}

// Forward is [Resolver.Exchange] for a message in wire format, which goes out and comes back
// octet by octet but for its ID, so that what is signed stays valid (RFC 8945 section 5.3).
// The result is the caller's.
func (r *Resolver) Forward(ctx context.Context, msg []byte) ([]byte, Info, error) {
	m := new(wire.Msg)
	if err := m.Unpack(msg); err != nil || len(m.Question) != 1 || !hasQuestion(msg) {
		return nil, Info{}, dnsError("", Server{}, fmt.Errorf("%w: no message with one question", errors.ErrUnsupported))
	}
	a, info, err := r.send(ctx, m.Question[0], slices.Clone(msg), nil)
	if err != nil {
		return nil, info, err
	}
	reply := slices.Clone(a.msg)
	copy(reply[:2], msg)
	return reply, info, nil
}

// hasQuestion reports whether a message that can be unpacked has the whole of its question:
// package miekg/dns takes one that ends in its middle, too.
func hasQuestion(msg []byte) bool {
	_, end, err := wire.UnpackDomainName(msg, headerLen)
	return err == nil && end+4 <= len(msg)
}

// packAny packs a message of somebody else's: as it is and, where that is not the same,
// without EDNS.
func packAny(m *wire.Msg) (raw, bare []byte, err error) {
	if raw, err = m.Pack(); err != nil || m.IsEdns0() == nil {
		return raw, nil, err
	}
	c := *m
	c.Extra = slices.DeleteFunc(slices.Clone(m.Extra), func(rr wire.RR) bool { return rr.Header().Rrtype == wire.TypeOPT })
	bare, err = c.Pack()
	return raw, bare, err
}

// send puts a message of somebody else's to the servers. It may still be read when send has
// returned.
func (r *Resolver) send(ctx context.Context, q wire.Question, raw, bare []byte) (*answer, Info, error) {
	v, err := r.usable(ctx)
	if err != nil {
		return nil, Info{}, dnsError(q.Name, Server{}, err)
	}
	name, _ := canonical(q.Name)
	req := &request{q: question{name: name, qtype: q.Qtype, class: q.Qclass}, raw: raw, bare: bare, read: readAny}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(r.ctx, func() { cancel(net.ErrClosed) })()
	var mu sync.Mutex
	var events []Event
	a, server, err := v.ask(ctx, req, func(e Event) {
		mu.Lock()
		defer mu.Unlock()
		events = append(events, e)
	})
	if f, _ := ctx.Value(traceKey{}).(func(Event)); f != nil {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range events {
			f(e)
		}
	}
	if err != nil {
		return nil, Info{Server: server}, dnsError(q.Name, server, err)
	}
	return a, Info{Server: server, RTT: a.rtt}, nil
}

// readAny makes an answer of any message that can be read.
func readAny(msg []byte) (*answer, error) {
	var m wire.Msg
	if err := m.Unpack(msg); err != nil {
		return nil, fmt.Errorf("%w: %w", errParse, err)
	}
	return &answer{msg: msg, rcode: m.Rcode}, nil
}
