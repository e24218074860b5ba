package dns

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"sync"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// An Asker answers questions: a [Resolver], or the network of a PvD.
type Asker interface {
	Query(ctx context.Context, q Question) (*wire.Msg, Info, error)
	Forward(ctx context.Context, msg []byte) ([]byte, Info, error)
}

// A StubConfig says how a [Stub] works. Only Asker is required.
type StubConfig struct {
	// Asker answers. What it does not find, clients are told as a failure of the server.
	Asker Asker

	// Logger may be nil: discard.
	Logger *slog.Logger

	// Clock is for what connections and questions may take. Nil: [pvd.SystemClock].
	Clock pvd.Clock
}

// A Stub is a DNS server for programs that know nothing of PvDs: it passes their questions
// on to one (RFC 5625). Types and classes that it does not know pass like others, and the
// case of names stays. Its methods may be called concurrently.
type Stub struct {
	config StubConfig
	log    *slog.Logger
	ctx    context.Context //nolint:containedctx // ends with Close
	cancel context.CancelFunc
	asking chan struct{} // a token for each question under way

	mu     sync.Mutex
	open   map[interface{ Close() error }]struct{} // nil: closed
	conns  int
	active sync.WaitGroup
}

// NewStub returns a server. Close ends it.
func NewStub(c StubConfig) *Stub {
	s := &Stub{config: c, log: c.Logger, asking: make(chan struct{}, maxAsking), open: make(map[interface{ Close() error }]struct{})}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.config.Clock == nil {
		s.config.Clock = pvd.SystemClock()
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Close ends all that the server does, closes what it serves, and returns when its
// goroutines have ended.
func (s *Stub) Close() error {
	s.cancel()
	s.mu.Lock()
	open := s.open
	s.open = nil
	s.mu.Unlock()
	var errs []error
	for c := range open {
		if err := c.Close(); !errors.Is(err, net.ErrClosed) { // what ends by itself closes, too
			errs = append(errs, err)
		}
	}
	s.active.Wait()
	return errors.Join(errs...)
}

// enter makes c one of what Close closes, unless the server is closed.
func (s *Stub) enter(c interface{ Close() error }) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		return false
	}
	s.open[c] = struct{}{}
	s.active.Add(1)
	return true
}

func (s *Stub) leave(c interface{ Close() error }) {
	s.mu.Lock()
	delete(s.open, c)
	s.mu.Unlock()
	s.active.Done()
}

// enduring returns the error with which serving ends after err: nil if that may pass, when
// some time has gone by.
func (s *Stub) enduring(err error) error {
	switch {
	case s.ctx.Err() != nil:
		return net.ErrClosed
	case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, pvd.ErrNoPvD):
		return err
	}
	s.log.Warn("cannot take questions", "op", "dns stub", "err", err)
	over := make(chan struct{})
	defer s.config.Clock.AfterFunc(acceptPause, func() { close(over) }).Stop()
	select {
	case <-over:
		return nil
	case <-s.ctx.Done():
		return net.ErrClosed
	}
}

// ServePacket answers what arrives at c, which it closes, until Close or c is closed. It
// returns net.ErrClosed after Close.
func (s *Stub) ServePacket(c net.PacketConn) error {
	if !s.enter(c) {
		return errors.Join(net.ErrClosed, c.Close())
	}
	defer s.leave(c)
	defer c.Close()
	if udp, ok := c.(*net.UDPConn); ok {
		return s.serveUDP(udp)
	}
	buf := make([]byte, maxMessage)
	for {
		n, from, err := c.ReadFrom(buf)
		if err != nil {
			if err = s.enduring(err); err != nil {
				return err
			}
			continue
		}
		s.take(c, from, buf[:n])
	}
}

// take takes in a message that has come by UDP.
func (s *Stub) take(c net.PacketConn, from net.Addr, b []byte) {
	m, reply := s.read(b)
	switch {
	case reply != nil:
		s.sendTo(c, from, m, reply)
	case m == nil: // not even a header, or an answer: to answer it could go on for ever
	case asIs(m):
		s.answerTo(c, from, m, slices.Clone(b))
	default:
		s.answerTo(c, from, m, nil)
	}
}

// asIs reports whether a message has to be passed on octet by octet: it is opaque, or its
// sender wants to know what the server has at hand. What we have is none of that one's business:
// it would tell what others have asked.
func asIs(m *wire.Msg) bool { return opaque(m) || !m.RecursionDesired }

// opaque reports whether nothing in a message may be touched: it is an update, or it is signed
// or about keys to sign with (RFC 5625 section 4.5).
func opaque(m *wire.Msg) bool {
	return m.Opcode == wire.OpcodeUpdate || m.IsTsig() != nil || isSig0(m) || m.Question[0].Qtype == wire.TypeTKEY
}

func isSig0(m *wire.Msg) bool {
	n := len(m.Extra)
	return n > 0 && m.Extra[n-1].Header().Rrtype == wire.TypeSIG
}

// answerTo answers a question by UDP, in a goroutine that ends with the answer. Raw is what
// has to be passed on as it is, nil if m can be asked for.
func (s *Stub) answerTo(c net.PacketConn, from net.Addr, m *wire.Msg, raw []byte) {
	select {
	case s.asking <- struct{}{}:
	default:
		s.log.Debug("too many questions", "op", "dns stub")
		return // the client asks again
	}
	s.active.Go(func() {
		defer func() { <-s.asking }()
		if raw == nil {
			s.sendTo(c, from, m, s.answer(m))
			return
		}
		b, reply := s.forward(m, raw)
		switch {
		case reply != nil:
			s.sendTo(c, from, m, reply)
		case len(b) > sizeOf(m):
			reply = failure(m, wire.RcodeSuccess)
			reply.Truncated = true // to be had by TCP
			s.sendTo(c, from, m, reply)
		default:
			s.put(c, from, b)
		}
	})
}

// sizeOf returns how long an answer by UDP may be.
func sizeOf(m *wire.Msg) int {
	if o := m.IsEdns0(); o != nil {
		return min(max(wire.MinMsgSize, int(o.UDPSize())), maxStubDatagram)
	}
	return wire.MinMsgSize
}

// sendTo sends a reply by UDP, cut to what the client takes (RFC 6891 section 6.2.5).
func (s *Stub) sendTo(c net.PacketConn, to net.Addr, m, reply *wire.Msg) {
	reply.Truncate(sizeOf(m))
	b, err := reply.Pack()
	if err != nil {
		s.log.Debug("an answer can not be passed on", "op", "dns stub", "err", err)
		if b, err = failure(m, wire.RcodeServerFailure).Pack(); err != nil {
			return
		}
	}
	s.put(c, to, b)
}

func (s *Stub) put(c net.PacketConn, to net.Addr, b []byte) {
	if _, err := c.WriteTo(b, to); err != nil && s.ctx.Err() == nil {
		s.log.Debug("an answer is lost", "op", "dns stub", "err", err)
	}
}

// read decodes a client's message. The reply is what to say without asking anybody; without
// message and reply, nothing is to be said.
func (s *Stub) read(b []byte) (m, reply *wire.Msg) {
	m = new(wire.Msg)
	err := m.Unpack(b)
	switch {
	case len(b) < headerLen || b[2]&0x80 != 0:
		return nil, nil
	case err != nil:
		// The ID and the opcode are all that can be trusted.
		m = &wire.Msg{MsgHdr: wire.MsgHdr{Id: uint16(b[0])<<8 | uint16(b[1]), Opcode: int(b[2]>>3) & 15, RecursionDesired: b[2]&1 != 0}}
		return m, failure(m, wire.RcodeFormatError)
	case m.Opcode != wire.OpcodeQuery && m.Opcode != wire.OpcodeUpdate:
		return m, failure(m, wire.RcodeNotImplemented)
	case len(m.Question) != 1 || !hasQuestion(b):
		return m, failure(m, wire.RcodeFormatError)
	case opaque(m):
		return m, nil
	}
	switch o := m.IsEdns0(); {
	case o == nil:
	case slices.ContainsFunc(m.Extra, func(rr wire.RR) bool { return rr.Header().Rrtype == wire.TypeOPT && rr != o }):
		return m, failure(m, wire.RcodeFormatError) // RFC 6891 section 6.1.1
	case o.Version() != 0:
		return m, failure(m, wire.RcodeBadVers)
	}
	switch m.Question[0].Qtype {
	case wire.TypeAXFR, wire.TypeIXFR, wire.TypeMAILA, wire.TypeMAILB:
		return m, failure(m, wire.RcodeNotImplemented)
	}
	return m, reserved(m)
}

// answer asks, and returns the reply.
func (s *Stub) answer(m *wire.Msg) *wire.Msg {
	ctx, cancel := s.patience()
	defer cancel()
	q := m.Question[0]
	o := m.IsEdns0()
	a, _, err := s.config.Asker.Query(ctx, Question{
		Name: q.Name, Type: q.Qtype, Class: q.Qclass,
		DNSSEC: o != nil && o.Do(), Unchecked: m.CheckingDisabled,
	})
	if err != nil {
		return s.failed(m, err)
	}
	a.Id, a.Opcode, a.Question = m.Id, m.Opcode, m.Question
	a.RecursionDesired, a.CheckingDisabled = m.RecursionDesired, m.CheckingDisabled
	a.RecursionAvailable, a.Authoritative = true, false
	a.AuthenticatedData = a.AuthenticatedData && (m.AuthenticatedData || o != nil && o.Do())
	setEDNS(a, o)
	return a
}

// reserved returns the reply about a name that nobody is asked for (see special), nil if it is
// none of those.
func reserved(m *wire.Msg) *wire.Msg {
	q := m.Question[0]
	addrs, ok := special(q.Name)
	if !ok || q.Qclass != wire.ClassINET {
		return nil
	}
	r := failure(m, wire.RcodeSuccess)
	if len(addrs) == 0 {
		r.Rcode = wire.RcodeNameError
	}
	for _, a := range addrs {
		h := wire.RR_Header{Name: q.Name, Class: wire.ClassINET, Rrtype: wire.TypeAAAA}
		switch {
		case a.Is6() && q.Qtype == wire.TypeAAAA:
			r.Answer = append(r.Answer, &wire.AAAA{Hdr: h, AAAA: a.AsSlice()})
		case a.Is4() && q.Qtype == wire.TypeA:
			h.Rrtype = wire.TypeA
			r.Answer = append(r.Answer, &wire.A{Hdr: h, A: a.AsSlice()})
		}
	}
	return r
}

// forward passes a message on as it is. The reply is what to say if there is no answer.
func (s *Stub) forward(m *wire.Msg, raw []byte) (answer []byte, reply *wire.Msg) {
	ctx, cancel := s.patience()
	defer cancel()
	answer, _, err := s.config.Asker.Forward(ctx, raw)
	if err != nil {
		return nil, s.failed(m, err)
	}
	return answer, nil
}

// patience returns a context for one question.
func (s *Stub) patience() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	t := s.config.Clock.AfterFunc(askTimeout, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// failed is the reply to a question that has no answer.
func (s *Stub) failed(m *wire.Msg, err error) *wire.Msg {
	name := ""
	if len(m.Question) > 0 {
		name = m.Question[0].Name
	}
	s.log.Debug("no answer", "op", "dns stub", "name", name, "err", err)
	code := wire.RcodeServerFailure
	if errors.Is(err, errors.ErrUnsupported) {
		code = wire.RcodeNotImplemented
	}
	return failure(m, code)
}

// failure is a reply without an answer.
func failure(m *wire.Msg, code int) *wire.Msg {
	r := new(wire.Msg)
	r.MsgHdr = wire.MsgHdr{
		Id: m.Id, Response: true, Opcode: m.Opcode, RecursionDesired: m.RecursionDesired,
		RecursionAvailable: true, CheckingDisabled: m.CheckingDisabled, Rcode: code,
	}
	if code != wire.RcodeFormatError {
		r.Question = m.Question
	}
	setEDNS(r, m.IsEdns0())
	return r
}

// setEDNS puts our own OPT record into a reply, if the client knows of them; that of the
// server was between it and us (RFC 6891 section 6.1.1), and so was a signature that the
// client has not asked for: with one in it, a reply would not be cut to size.
func setEDNS(r *wire.Msg, client *wire.OPT) {
	rest := r.Extra[:0]
	for _, rr := range r.Extra {
		if t := rr.Header().Rrtype; t != wire.TypeOPT && t != wire.TypeTSIG {
			rest = append(rest, rr)
		}
	}
	if r.Extra = rest; client == nil {
		if r.Rcode > 15 {
			r.Rcode = wire.RcodeServerFailure // there is no room for such a code
		}
		return
	}
	o := &wire.OPT{Hdr: wire.RR_Header{Name: ".", Rrtype: wire.TypeOPT}}
	o.SetUDPSize(udpSize)
	if client.Do() {
		o.SetDo()
	}
	r.Extra = append(r.Extra, o)
}
