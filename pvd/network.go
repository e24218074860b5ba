package pvd

import (
	"context"
	"net"
	"net/netip"
)

// A Dialer makes connections, as [net.Dialer] does.
type Dialer interface {
	DialContext(ctx context.Context, network, address string) (net.Conn, error)
}

// A Listener waits for connections and datagrams, as [net.ListenConfig] does.
type Listener interface {
	Listen(ctx context.Context, network, address string) (net.Listener, error)
	ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error)
}

// A Resolver finds the addresses of a name, as [net.Resolver] does. The network is "ip",
// "ip4" or "ip6".
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// A Network is all of these within one PvD, or within the scope of an application.
type Network interface {
	Dialer
	Listener
	Resolver
}

// A Scoped is a network whose PvD may be another one for each call, as an application's is.
type Scoped interface {
	// For returns the network of the one PvD that a call of DialContext would be in. It is
	// for calls that belong together, such as looking a name up and dialling its addresses.
	For(ctx context.Context, network, address string) (Network, error)
}
