package stack

import (
	"net/netip"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv4"
	"gvisor.dev/gvisor/pkg/tcpip/network/ipv6"
)

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
