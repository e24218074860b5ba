package socks5

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Network is where requests are carried out. Its methods have to return when their
// context ends. It is always given addresses to dial, never names. One that is a
// [pvd.Scoped], such as that of an application, is asked for each request's own.
type Network interface {
	pvd.Dialer
	pvd.Resolver
}

// A Request is what a client asks for.
type Request struct {
	Command Command

	// Client is the client's own address, as its connection has it.
	Client net.Addr

	// User is the authenticated user's name, empty where there is no authentication.
	User string

	// Host is a name or an address, just as the client gave it, so anything at all. It is
	// not empty.
	Host string
	Port uint16
}

// A Config says what a [Server] does. Network or Select is required; the zero value of
// every other field has a meaning of its own.
type Config struct {
	// Network is where every request is carried out.
	Network Network

	// Select chooses the network for each request instead, by user name for instance. Its
	// error refuses the request, with the reply that the error calls for. It is called by
	// many goroutines at once and its time counts towards DialTimeout.
	Select func(ctx context.Context, r *Request) (Network, error)

	// Users maps user names to passwords, each of 1 to 255 octets. Empty: clients are not
	// asked to authenticate. Otherwise all of them are (RFC 1929).
	Users map[string]string

	// AllowPublic lets Serve take a listener that others than this host can reach although
	// there are no Users.
	AllowPublic bool

	// Allow lists destinations that are refused otherwise: unspecified, loopback,
	// link-local, multicast and broadcast addresses.
	Allow []netip.Prefix

	// HandshakeTimeout is the time from accepting a connection to its whole request.
	// 0: DefaultHandshakeTimeout.
	HandshakeTimeout time.Duration

	// DialTimeout is the time from the request to a connection, with all its names and
	// addresses. 0: DefaultDialTimeout.
	DialTimeout time.Duration

	// IdleTimeout is how long a connection may stay without one octet moving in either
	// direction; the end comes at up to half as much again. Less than 64 KB in that time
	// may count as none. 0: DefaultIdleTimeout. Negative: none.
	IdleTimeout time.Duration

	// MaxConns is how many clients may be connected, in whatever state; others are closed
	// at once. 0: DefaultMaxConns.
	MaxConns int

	// MaxConnsPerClient is how many of these may come from one IPv4 address or IPv6 /64.
	// 0: three quarters of MaxConns.
	MaxConnsPerClient int

	// MaxHandshakes is how many clients may be connected without having made their
	// request. When there is one more, the oldest is closed. 0: DefaultMaxHandshakes, or
	// MaxConns if that is less.
	MaxHandshakes int

	// Logger may be nil: discard. What clients and destinations do is logged at debug
	// level, limits reached at warning level. The PvD is logged unless Network is that of
	// a single one, which the owner knows.
	Logger *slog.Logger

	// Clock may be nil: pvd.SystemClock().
	Clock pvd.Clock
}

// validate says what is wrong with c as its owner wrote it.
func (c *Config) validate() error {
	switch {
	case c.Network == nil && c.Select == nil:
		return errors.New("socks5: no network")
	case c.Network != nil && c.Select != nil:
		return errors.New("socks5: both Network and Select are set")
	case c.HandshakeTimeout < 0:
		return fmt.Errorf("socks5: negative handshake timeout %v", c.HandshakeTimeout)
	case c.DialTimeout < 0:
		return fmt.Errorf("socks5: negative dial timeout %v", c.DialTimeout)
	case c.MaxConns < 0:
		return fmt.Errorf("socks5: negative connection limit %d", c.MaxConns)
	case c.MaxConnsPerClient < 0:
		return fmt.Errorf("socks5: negative connection limit per client %d", c.MaxConnsPerClient)
	case c.MaxHandshakes < 0:
		return fmt.Errorf("socks5: negative handshake limit %d", c.MaxHandshakes)
	}
	for user, password := range c.Users {
		if len(user) == 0 || len(user) > 255 {
			return fmt.Errorf("socks5: user name %q: %d octets, must be 1 to 255", user, len(user))
		}
		if len(password) == 0 || len(password) > 255 {
			return fmt.Errorf("socks5: password of user %q: %d octets, must be 1 to 255", user, len(password))
		}
	}
	for _, p := range c.Allow {
		if !p.IsValid() || p.Addr().Is4In6() {
			return fmt.Errorf("socks5: allowed destination %v: not an IPv4 or IPv6 prefix", p)
		}
	}
	return nil
}

// withDefaults returns a copy of c that shares no memory with it and has every field set.
func (c Config) withDefaults() Config {
	c.Users = maps.Clone(c.Users)
	c.Allow = slices.Clone(c.Allow)
	if c.Select == nil {
		n := c.Network
		c.Select = func(context.Context, *Request) (Network, error) { return n, nil }
	}
	if c.HandshakeTimeout == 0 {
		c.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if c.DialTimeout == 0 {
		c.DialTimeout = DefaultDialTimeout
	}
	if c.IdleTimeout == 0 {
		c.IdleTimeout = DefaultIdleTimeout
	}
	if c.MaxConns == 0 {
		c.MaxConns = DefaultMaxConns
	}
	if c.MaxConnsPerClient == 0 {
		c.MaxConnsPerClient = max(1, c.MaxConns*3/4)
	}
	if c.MaxHandshakes == 0 {
		c.MaxHandshakes = min(DefaultMaxHandshakes, c.MaxConns)
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = pvd.SystemClock()
	}
	return c
}
