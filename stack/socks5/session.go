package socks5

import (
	"container/list"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

var (
	errCommand = errors.New("command not supported")
	errMethod  = errors.New("no authentication method in common")
	errAuth    = errors.New("wrong user name or password")
	errGone    = errors.New("client went away")
)

// A session is one client's connection. Its one goroutine runs serve; whatever has to
// end it early cancels ctx, which resets the connection.
type session struct {
	srv    *Server
	client net.Conn
	origin netip.Prefix // as clientOf
	log    *slog.Logger

	ctx       context.Context
	cancel    context.CancelCauseFunc
	handshake *list.Element // in Server.handshakes, while there
}

func (s *Server) newSession(c net.Conn, origin netip.Prefix) *session {
	ss := &session{srv: s, client: c, origin: origin, log: s.cfg.Logger.With("client", c.RemoteAddr())}
	ss.ctx, ss.cancel = context.WithCancelCause(s.ctx)
	return ss
}

// commands are what a server carries out. Where one fails before its reply it leaves
// that to serve, as a *refusal.
var commands = map[Command]func(*session, *Request) error{
	Connect: (*session).connect,
}

// A refusal is the error of a request that the client has still to be told of.
type refusal struct{ error }

func (r *refusal) Unwrap() error { return r.error }

func (s *session) serve() {
	defer s.srv.ended(s)
	defer s.cancel(nil)
	defer s.client.Close()
	stop := afterFunc(s.ctx, func() { abort(s.client) })
	defer stop()
	err := s.handle()
	if err == nil {
		return
	}
	if cause := context.Cause(s.ctx); cause != nil {
		s.log.Debug("socks5: connection ended", "err", cause)
		return
	}
	s.log.Debug("socks5: connection failed", "err", err)
	if r, ok := errors.AsType[*refusal](err); ok {
		s.refuse(r.error)
	}
	s.linger()
}

// handle does all that a client asks for.
func (s *session) handle() error {
	req, err := s.readRequest()
	if err != nil {
		return err
	}
	s.log = s.log.With("op", req.Command, "host", req.Host, "port", req.Port)
	command, ok := commands[req.Command]
	if !ok {
		return &refusal{errCommand}
	}
	return command(s, req)
}

// within calls f, which has to be done after d; else the session ends.
func (s *session) within(d time.Duration, f func() error) error {
	t := s.srv.cfg.Clock.AfterFunc(d, func() { s.cancel(errTimeout) })
	err := f()
	if !t.Stop() {
		s.cancel(errTimeout) // if the timer's call has yet to
		return errTimeout
	}
	return err
}

// readRequest does the handshake within its timeout.
func (s *session) readRequest() (req *Request, err error) {
	err = s.within(s.srv.cfg.HandshakeTimeout, func() error {
		req, err = s.greet(&reader{r: s.client})
		return err
	})
	if !s.srv.requested(s) {
		err = context.Cause(s.ctx)
	}
	if errors.Is(err, errTimeout) {
		s.srv.warn(&s.srv.stats.slow, "handshake took too long", "op", "handshake",
			"client", s.origin, "limit", s.srv.cfg.HandshakeTimeout)
	}
	if errors.Is(err, errAddressType) || errors.Is(err, errNoHost) {
		err = &refusal{err}
	}
	return req, err
}

// greet agrees on a method, authenticates, and reads the request.
func (s *session) greet(r *reader) (*Request, error) {
	offered, err := r.methods()
	if err != nil {
		return nil, err
	}
	method := chooseMethod(offered, len(s.srv.cfg.Users) > 0)
	if _, err := s.client.Write([]byte{version, method}); err != nil {
		return nil, err
	}
	var user string
	switch method {
	case methodRefused:
		return nil, errMethod
	case methodPassword:
		if user, err = s.authenticate(r); err != nil {
			return nil, err
		}
	}
	req, err := r.request()
	if err != nil {
		return nil, err
	}
	req.Client, req.User = s.client.RemoteAddr(), user
	return req, nil
}

// authenticate asks for a user name and password and returns the name if they are good.
func (s *session) authenticate(r *reader) (user string, err error) {
	user, password, err := r.credentials()
	if err != nil {
		return "", err
	}
	good := false
	if s.srv.offenders.fail(s.origin) {
		if good = s.srv.accounts.check(user, password); good {
			s.srv.offenders.forgive(s.origin)
		} else {
			s.srv.stats.authFailures.Add(1)
		}
	} else {
		s.srv.warn(&s.srv.stats.authLimited, "too many failures to authenticate", "op", "auth", "client", s.origin)
	}
	status := byte(authFailed)
	if good {
		status = authSucceeded
	}
	if _, err := s.client.Write([]byte{authVersion, status}); err != nil {
		return "", err
	}
	if !good {
		return "", errAuth
	}
	return user, nil
}

// connect carries out CONNECT.
func (s *session) connect(req *Request) error {
	remote, early, err := s.dial(req)
	if err != nil {
		return &refusal{err}
	}
	defer remote.Close()
	if ref, ok := pvd.Of(remote); ok {
		if _, known := pvd.Of(s.srv.cfg.Network); !known {
			s.log = s.log.With("pvd", ref)
		}
	}
	var bound netip.AddrPort
	if a, ok := remote.LocalAddr().(interface{ AddrPort() netip.AddrPort }); ok {
		bound = a.AddrPort()
	}
	if err := s.reply(Succeeded, bound); err != nil {
		abort(remote)
		return err
	}
	s.log.Debug("socks5: connected", "to", remote.RemoteAddr())
	r := &relay{client: s.client, remote: remote, early: early, clock: s.srv.cfg.Clock}
	err = r.run(s.ctx, s.srv.cfg.IdleTimeout)
	if errors.Is(err, errIdle) {
		s.srv.stats.idle.Add(1)
	}
	return err
}

// dial makes the connection that req asks for, unless the client goes away meanwhile.
// It also returns what the client has sent already, hoping for the best.
func (s *session) dial(req *Request) (remote net.Conn, early []byte, err error) {
	ctx, cancel := context.WithCancelCause(s.ctx)
	defer cancel(nil)
	watched := make(chan []byte, 1)
	go func() {
		buf := make([]byte, maxEarly)
		n, err := s.client.Read(buf)
		if n > 0 {
			watched <- buf[:n]
			return
		}
		// The deadline is ours. An end without data is a client that has given up.
		if !isDeadline(err) {
			cancel(errGone)
		}
		watched <- nil
	}()
	remote, err = s.srv.connect(ctx, req)
	_ = s.client.SetReadDeadline(past)
	early = <-watched
	_ = s.client.SetReadDeadline(time.Time{})
	if cause := context.Cause(ctx); cause != nil {
		if err == nil {
			abort(remote)
		}
		return nil, nil, cause
	}
	return remote, early, err
}

// refuse tells the client of err.
func (s *session) refuse(err error) {
	s.srv.stats.refused.Add(1)
	if errors.Is(err, errForbidden) {
		s.srv.stats.forbidden.Add(1)
	}
	_ = s.reply(replyOf(err), netip.AddrPort{})
}

// reply sends a reply within the time that a handshake has.
func (s *session) reply(r Reply, bound netip.AddrPort) error {
	return s.within(s.srv.cfg.HandshakeTimeout, func() error {
		_, err := s.client.Write(appendReply(nil, r, bound))
		return err
	})
}

// linger gives the client a moment to read what it was told.
func (s *session) linger() {
	if closeWrite(s.client) != nil {
		return
	}
	_ = s.within(maxLinger, func() error {
		_, err := io.CopyN(io.Discard, s.client, maxLate)
		return err
	})
}
