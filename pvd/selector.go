package pvd

import (
	"context"
	"net/netip"
)

// A Selector chooses the PvD of a call for which no scope down to the application's
// has named one.
type Selector interface {
	// SelectPvD returns the PvD for a call: one that is attached, [Null], or
	// [SystemDefault]. With [Unspecified] it has no opinion, and the system default is
	// taken. It may take time, such as that of a question to a person or of opening a
	// link, as long as ctx allows. It is called concurrently.
	SelectPvD(ctx context.Context, c Call) (Ref, error)
}

// A Call is what is known of an operation whose PvD is still open. Every field may have
// its zero value: not known, or not asked for.
type Call struct {
	App     string         // the application's name
	Network string         // such as "tcp" or "udp4"
	Host    string         // the destination as the application gave it: a name or a literal
	Remote  netip.AddrPort // the destination, where Host is a literal; or its port alone
	Local   netip.AddrPort // the source that was asked for
	Scope   string         // the zone of the destination, where it names no PvD
	Link    string         // the link that has to be used
	Mark    uint32         // the mark of the socket
	ToS     uint8          // the IPv4 type of service or IPv6 traffic class (RFC 2474)
}
