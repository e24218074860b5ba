package socks5

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// errForbidden refuses a destination that the configuration does not allow.
var errForbidden = errors.New("destination not allowed")

// withIPv4 are the IPv6 prefixes that hold an IPv4 address in their last 32 bits:
// IPv4-compatible (RFC 4291 section 2.5.5.1) and the well-known one of translators
// (RFC 6052 section 2.1). IPv4-mapped addresses are unmapped before.
var withIPv4 = []netip.Prefix{
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("64:ff9b::/96"),
}

// thisNetwork is "this host on this network" (RFC 1122 section 3.2.1.3), which many
// systems take for loopback.
var thisNetwork = netip.MustParsePrefix("0.0.0.0/8")

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// special reports whether a is an address that means a host itself or its neighbours:
// nothing that a proxy is there to reach, and a favourite of those who abuse one. In a
// PvD's network none of them is this host's, so refusing them is a second line.
func special(a netip.Addr) bool {
	a = a.WithZone("").Unmap()
	for _, p := range withIPv4 {
		if p.Contains(a) {
			b := a.As16()
			a = netip.AddrFrom4([4]byte(b[12:]))
		}
	}
	return a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() ||
		a == broadcast || thisNetwork.Contains(a)
}

// checkDestination refuses a unless it is an ordinary address or allowed.
func (s *Server) checkDestination(a netip.Addr) error {
	if !special(a) {
		return nil
	}
	bare := a.WithZone("").Unmap()
	if slices.ContainsFunc(s.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(bare) }) {
		return nil
	}
	return fmt.Errorf("%w: %v", errForbidden, a)
}
