package stack

import (
	"net/netip"
	"strings"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

// A literal is an address as applications write it. Its zone is a link's name or stands for
// a PvD: by name, ID or Ref. IPv4 addresses, which have no zones in package netip, may have
// one of the latter kind.
type literal struct {
	addr netip.Addr // without zone, and not an IPv4 address in IPv6 form
	zone string
}

// parseLiteral parses an address, false if s is none.
func parseLiteral(s string) (literal, bool) {
	bare, zone, zoned := strings.Cut(s, "%")
	if zoned && zone == "" {
		return literal{}, false
	}
	a, err := netip.ParseAddr(bare)
	if err != nil {
		return literal{}, false
	}
	return literal{a.Unmap(), zone}, true
}

// literalOf returns the literal for an address of package netip's.
func literalOf(a netip.Addr) literal { return literal{a.WithZone("").Unmap(), a.Zone()} }

// at returns the address with its zone, which has to be a link's name.
func (l literal) at() netip.Addr { return l.addr.WithZone(l.zone) }

// A target is a literal with a port.
type target struct {
	literal
	port uint16
}

func (t target) addrPort() netip.AddrPort { return netip.AddrPortFrom(t.at(), t.port) }

// toAddr returns a without its zone, in gVisor's form; the zero Addr gives the empty
// address.
func toAddr(a netip.Addr) tcpip.Address {
	switch {
	case a.Is4():
		return tcpip.AddrFrom4(a.As4())
	case a.Is6():
		return tcpip.AddrFrom16(a.As16())
	}
	return tcpip.Address{}
}

// fromAddr returns a in package netip's form; the empty address gives the zero Addr.
func fromAddr(a tcpip.Address) netip.Addr {
	switch a.BitLen() {
	case 32:
		return netip.AddrFrom4(a.As4())
	case 128:
		return netip.AddrFrom16(a.As16())
	}
	return netip.Addr{}
}

// protocolOf returns the number of the network protocol that a is an address of.
func protocolOf(a netip.Addr) tcpip.NetworkProtocolNumber {
	if a.Is4() {
		return ipv4.ProtocolNumber
	}
	return ipv6.ProtocolNumber
}

func toSubnet(p netip.Prefix) tcpip.Subnet {
	p = p.Masked()
	return tcpip.AddressWithPrefix{Address: toAddr(p.Addr()), PrefixLen: p.Bits()}.Subnet()
}
