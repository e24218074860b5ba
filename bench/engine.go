package main

import (
	"context"
	"io"
	"net/netip"
)

// An engine is an implementation of TCP whose connections are measured.
type engine interface {
	// dial connects; it may be called concurrently.
	dial(ctx context.Context, to netip.AddrPort) (conn, error)
	close() error
}

// A conn is a connection as the measurements need it.
type conn interface {
	io.ReadWriteCloser
	// SetLinger(0) makes Close reset the connection, so that nothing of it is left when
	// the next measurement begins.
	SetLinger(sec int) error
}

// reset ends a connection at once.
func reset(c conn) {
	c.SetLinger(0) //nolint:errcheck // what is lost is time, in the next measurement
	c.Close()      //nolint:errcheck // nothing more to do with it
}

// A lane is an engine with a way to the peer: a row of a table.
type lane struct {
	name string
	engine
	peer netip.Addr // the peer's address on that way
}

// The names of lanes.
const (
	laneHost      = "pvdstack"
	laneBare      = "bare gVisor"
	laneControl   = "bare gVisor again"
	laneWireguard = "gVisor on wireguard/tun"
	laneKernel    = "kernel"
)

func engineNames() []string {
	return []string{laneHost, laneBare, laneControl, laneWireguard, laneKernel}
}

// An attachment is where an engine is attached to a link: its own address and the peer's.
type attachment struct {
	own, peer netip.Addr
}

// attachmentOf returns the addresses of the nth link: a /24 each.
func attachmentOf(n int) attachment {
	return attachment{
		own:  netip.AddrFrom4([4]byte{10, 77, byte(n), 2}),
		peer: netip.AddrFrom4([4]byte{10, 77, byte(n), 1}),
	}
}

func (a attachment) prefix() netip.Prefix { return netip.PrefixFrom(a.own, 24) }

func (a attachment) peerPrefix() netip.Prefix { return netip.PrefixFrom(a.peer, 24) }
