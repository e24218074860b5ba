package ra

import (
	"net/netip"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Key tells the PvDs of one link apart (RFC 8801 section 3.4): an explicit one by its
// ID, an implicit one by the link-local address of its router.
type Key struct {
	ID     pvd.ID
	Router netip.Addr // the zero Addr in an explicit PvD
}

// String returns the ID or the router's address.
func (k Key) String() string {
	if k.ID != "" {
		return string(k.ID)
	}
	return k.Router.String()
}

// Explicit reports whether the PvD has an ID.
func (k Key) Explicit() bool { return k.ID != "" }
