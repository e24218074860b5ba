package socks5

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = errors.New("socks5: server closed")

// Reasons for which a server ends a connection.
var (
	errTimeout = errors.New("client took too long")
	errEvicted = errors.New("made way for a newer client")
)

// A Server is a SOCKS5 proxy. Make one with [New]. Its methods may be called
// concurrently.
type Server struct {
	cfg       Config // with all defaults
	accounts  *accounts
	offenders *offenders
	stats     counters

	// ctx ends when all connections have to.
	ctx context.Context
	end context.CancelFunc
	// closing is closed when no more connections are accepted.
	closing chan struct{}
	running sync.WaitGroup // sessions

	mu         sync.Mutex
	closed     bool // closing is closed
	listeners  map[net.Listener]struct{}
	conns      int
	perClient  map[netip.Prefix]int
	handshakes *list.List // of *session, the oldest first
}

// New returns a server that does what c says. It does nothing until [Server.Serve].
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	s := &Server{
		cfg:        c,
		accounts:   newAccounts(c.Users),
		offenders:  newOffenders(c.Clock),
		closing:    make(chan struct{}),
		listeners:  make(map[net.Listener]struct{}),
		perClient:  make(map[netip.Prefix]int),
		handshakes: list.New(),
	}
	s.ctx, s.end = context.WithCancel(context.Background())
	return s, nil
}

// Serve accepts clients from l until l or the server is closed, and closes l before it
// returns. The error is never nil: it is ErrServerClosed after Shutdown or Close, and
// otherwise why l cannot be served. It refuses a listener that [CheckListen] does. A
// failure to accept one client is ridden out. Serve may be called several times, for as
// many listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close()
	if err := s.checkListener(l.Addr()); err != nil {
		return err
	}
	if !s.addListener(l) {
		return ErrServerClosed
	}
	defer s.removeListener(l)
	var delay time.Duration
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.accept(c)
			continue
		case s.isClosing():
			return ErrServerClosed
		case errors.Is(err, net.ErrClosed), errors.Is(err, io.EOF), errors.Is(err, pvd.ErrNoPvD):
			return fmt.Errorf("socks5: accept on %v: %w", l.Addr(), err)
		}
		s.warn(&s.stats.acceptErrors, "cannot accept clients", "op", "accept", "err", err)
		delay = min(max(2*delay, minAcceptDelay), maxAcceptDelay)
		if !s.pause(delay) {
			return ErrServerClosed
		}
	}
}

// Shutdown ends the server: it closes the listeners and the clients that have not made
// their request yet, and waits for all others to finish. When ctx ends before that,
// these are reset and Shutdown returns ctx's error. Either way nothing of the server
// runs on when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	finished := make(chan struct{})
	go func() {
		s.running.Wait()
		close(finished)
	}()
	select {
	case <-finished:
		s.end()
		return nil
	case <-ctx.Done():
	}
	s.end()
	<-finished
	return ctx.Err()
}

// Close ends the server and resets all its connections. Nothing of the server runs on
// when it returns. The error is always nil.
func (s *Server) Close() error {
	s.stop()
	s.end()
	s.running.Wait()
	return nil
}

// stop ends what has not come to a request.
func (s *Server) stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.closed = true
		close(s.closing)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	for e := s.handshakes.Front(); e != nil; e = e.Next() {
		e.Value.(*session).cancel(ErrServerClosed)
	}
}

func (s *Server) isClosing() bool {
	select {
	case <-s.closing:
		return true
	default:
		return false
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) removeListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// pause waits for d and reports true, or false at once when the server closes.
func (s *Server) pause(d time.Duration) bool {
	wake := make(chan struct{})
	t := s.cfg.Clock.AfterFunc(d, func() { close(wake) })
	defer t.Stop()
	select {
	case <-wake:
		return true
	case <-s.closing:
		return false
	}
}

// accept starts a session for c, or closes c where a limit is reached.
func (s *Server) accept(c net.Conn) {
	client := clientOf(c.RemoteAddr())
	limit, msg, allowed := s.admit(c, client)
	if limit != nil {
		s.warn(limit, msg, "op", "accept", "client", client, "limit", allowed)
	}
}

// admit does accept's work. Where a limit was reached it returns its counter and what
// there is to say about it.
func (s *Server) admit(c net.Conn, client netip.Prefix) (limit *limitCounter, msg string, allowed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		_ = c.Close()
		return nil, "", 0
	case s.conns >= s.cfg.MaxConns:
		_ = c.Close()
		return &s.stats.overConns, "too many connections", s.cfg.MaxConns
	case s.perClient[client] >= s.cfg.MaxConnsPerClient:
		_ = c.Close()
		return &s.stats.overClient, "too many connections of one client", s.cfg.MaxConnsPerClient
	}
	if s.handshakes.Len() >= s.cfg.MaxHandshakes {
		oldest := s.handshakes.Front()
		s.handshakes.Remove(oldest)
		oldest.Value.(*session).cancel(errEvicted)
		limit, msg, allowed = &s.stats.overHandshakes, "too many handshakes", s.cfg.MaxHandshakes
	}
	s.conns++
	s.perClient[client]++
	s.stats.accepted.Add(1)
	ss := s.newSession(c, client)
	ss.handshake = s.handshakes.PushBack(ss)
	s.running.Go(ss.serve)
	return limit, msg, allowed
}

// requested takes ss off the list of handshakes. It is false when ss has been told to
// end meanwhile.
func (s *Server) requested(ss *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handshakes.Remove(ss.handshake) // does nothing to an element of no list
	return ss.ctx.Err() == nil
}

// ended forgets ss.
func (s *Server) ended(ss *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handshakes.Remove(ss.handshake)
	s.conns--
	if s.perClient[ss.origin]--; s.perClient[ss.origin] == 0 {
		delete(s.perClient, ss.origin)
	}
}

// warn counts the reaching of a limit and logs it, at most once in logInterval.
func (s *Server) warn(c *limitCounter, msg string, args ...any) {
	n := c.n.Add(1)
	now := int64(s.cfg.Clock.Monotonic())
	last := c.logged.Load()
	if n > 1 && now-last < int64(logInterval) || !c.logged.CompareAndSwap(last, now) {
		return
	}
	s.cfg.Logger.Warn("socks5: "+msg, append(args, "times", n)...)
}

// counters are what Stats is made of.
type counters struct {
	accepted, authFailures, forbidden, refused, idle atomic.Uint64

	acceptErrors, overConns, overClient, overHandshakes, slow, authLimited limitCounter
}

type limitCounter struct {
	n      atomic.Uint64
	logged atomic.Int64 // monotonic time of the last message
}
