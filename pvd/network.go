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
