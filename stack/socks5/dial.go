package socks5

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// errNoNetwork reports a Select function that returned nothing.
var errNoNetwork = errors.New("no network selected")

// connect makes the connection that req asks for, within the dial timeout.
func (s *Server) connect(ctx context.Context, req *Request) (net.Conn, error) {
	until := s.cfg.Clock.Monotonic() + s.cfg.DialTimeout
	ctx, cancel := withTimeout(ctx, s.cfg.Clock, s.cfg.DialTimeout)
	defer cancel()
	network, err := s.cfg.Select(ctx, req)
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	if network == nil {
		return nil, errNoNetwork
	}
	if scoped, ok := network.(pvd.Scoped); ok {
		// Looking up and dialling are in one PvD.
		network, err = scoped.For(ctx, "tcp", net.JoinHostPort(req.Host, strconv.Itoa(int(req.Port))))
		if err != nil {
			return nil, timedOut(ctx, err)
		}
	}
	addrs, err := s.resolve(ctx, network, req.Host)
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	var worst error
	for i, addr := range addrs {
		left := until - s.cfg.Clock.Monotonic()
		c, err := s.attempt(ctx, network, netip.AddrPortFrom(addr, req.Port), max(left/time.Duration(len(addrs)-i), minAttempt))
		if err == nil {
			return c, nil
		}
		if worst == nil || telling(replyOf(err)) > telling(replyOf(worst)) {
			worst = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, worst
}

// resolve returns the addresses of host that may be dialled, at least one. What comes
// from the network is looked at here and dialled as it is: asked again, the name may
// stand for something else.
func (s *Server) resolve(ctx context.Context, r pvd.Resolver, host string) ([]netip.Addr, error) {
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr.Unmap()}, s.checkDestination(addr)
	}
	found, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, addr := range found {
		if bad := s.checkDestination(addr); bad != nil {
			err = bad
			continue
		}
		addrs = append(addrs, addr.Unmap())
		if len(addrs) == maxAddresses {
			break
		}
	}
	switch {
	case len(addrs) > 0:
		return addrs, nil
	case err != nil:
		return nil, err
	}
	return nil, &net.DNSError{Err: "no address", Name: host, IsNotFound: true}
}

// attempt dials one address for at most d.
func (s *Server) attempt(ctx context.Context, network pvd.Dialer, to netip.AddrPort, d time.Duration) (net.Conn, error) {
	ctx, cancel := withTimeout(ctx, s.cfg.Clock, d)
	defer cancel()
	c, err := network.DialContext(ctx, "tcp", to.String())
	if err != nil {
		return nil, timedOut(ctx, err)
	}
	return c, nil
}

// withTimeout is context.WithTimeout by the given clock.
func withTimeout(ctx context.Context, clock pvd.Clock, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	t := clock.AfterFunc(d, func() { cancel(context.DeadlineExceeded) })
	return ctx, func() {
		t.Stop()
		cancel(nil)
	}
}

// timedOut returns err, which came when ctx had perhaps ended, so that a timeout is
// seen as one: a context that a clock of ours ends has no deadline, so to the network
// it was cancelled.
func timedOut(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", context.DeadlineExceeded, err)
	}
	return err
}
