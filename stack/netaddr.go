package stack

import (
	"net"
	"net/netip"
	"strconv"

	"gvisor.dev/gvisor/pkg/tcpip"
	"gvisor.dev/gvisor/pkg/tcpip/transport/tcp"
	"gvisor.dev/gvisor/pkg/tcpip/transport/udp"

	"github.com/pvdstack/pvdstack/pvd"
)

// A family says which addresses a network name allows.
type family byte

const (
	anyFamily family = 0
	family4   family = '4'
	family6   family = '6'
)

// allows reports whether a, which is not an IPv4 address in IPv6 form, is of the family.
func (f family) allows(a netip.Addr) bool {
	return f == anyFamily || (f == family4) == a.Is4()
}

// ip returns the name by which a resolver knows the family.
func (f family) ip() string {
	if f == anyFamily {
		return "ip"
	}
	return "ip" + string(f)
}

// parseNetwork splits a network's name, as package net has them, into its transport
// protocol and its family.
func parseNetwork(network string) (tcpip.TransportProtocolNumber, family, error) {
	f := anyFamily
	base := network
	if n := len(network); n == 4 && (network[3] == '4' || network[3] == '6') {
		base, f = network[:3], family(network[3])
	}
	switch base {
	case "tcp":
		return tcp.ProtocolNumber, f, nil
	case "udp":
		return udp.ProtocolNumber, f, nil
	}
	return 0, f, net.UnknownNetworkError(network)
}

// splitAddress splits "host:port". The host may be empty, a literal or a name, the port
// a number, empty or one of the few names below. Other names stand in a file of the
// system's that this package does not read.
func splitAddress(network, address string) (host string, port uint16, err error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	port, err = parsePort(network, service)
	return host, port, err
}

func parsePort(network, service string) (uint16, error) {
	if service == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(service, 10, 16)
	if err == nil {
		return uint16(n), nil
	}
	if p, ok := services[service]; ok {
		return p, nil
	}
	for _, c := range service {
		if c < '0' || c > '9' {
			return 0, &net.DNSError{Err: "unknown port", Name: network + "/" + service, IsNotFound: true}
		}
	}
	return 0, &net.AddrError{Err: "invalid port", Addr: service}
}

// services are the ports with names that people type.
var services = map[string]uint16{
	"domain": 53,
	"ftp":    21,
	"http":   80,
	"https":  443,
	"imap":   143,
	"imaps":  993,
	"ntp":    123,
	"smtp":   25,
	"ssh":    22,
	"telnet": 23,
}

// addrOf returns ap as package net has it: nil if ap is invalid.
func addrOf(proto tcpip.TransportProtocolNumber, ap netip.AddrPort) net.Addr {
	switch {
	case !ap.IsValid():
		return nil
	case proto == tcp.ProtocolNumber:
		return net.TCPAddrFromAddrPort(ap)
	}
	return net.UDPAddrFromAddrPort(ap)
}

// fullAddress returns a gVisor address. The zero and the unspecified Addr give the empty
// address, which gVisor takes for any of the endpoint's families.
func fullAddress(nic tcpip.NICID, a netip.Addr, port uint16) tcpip.FullAddress {
	if a.IsUnspecified() {
		a = netip.Addr{}
	}
	return tcpip.FullAddress{NIC: nic, Addr: toAddr(a), Port: port}
}

// A tcpEnd is a *net.TCPAddr with the memory of its IP, so that both ends of a connection
// take one allocation rather than four.
type tcpEnd struct {
	addr net.TCPAddr
	ip   [16]byte
}

// at makes e the address ap.
func (e *tcpEnd) at(ap netip.AddrPort) *net.TCPAddr {
	e.addr = net.TCPAddr{IP: e.ip[:], Port: int(ap.Port()), Zone: ap.Addr().Zone()}
	if e.ip = ap.Addr().As16(); ap.Addr().Is4() {
		e.addr.IP = e.ip[12:]
	}
	return &e.addr
}

// addrPort returns a gVisor address of the domain's in package netip's form, with the
// zone that it needs.
func (d *domain) addrPort(a tcpip.FullAddress) netip.AddrPort {
	return netip.AddrPortFrom(d.withZone(fromAddr(a.Addr).Unmap(), a.NIC), a.Port)
}

// An Addr is the address of a datagram's sender, and the PvD that the datagram arrived in.
// Connections of all PvDs return such addresses; an answer sent to one stays in that PvD.
type Addr struct {
	net.UDPAddr
	ref pvd.Ref
}

// NewAddr returns the address of ap in a PvD.
func NewAddr(ref pvd.Ref, ap netip.AddrPort) *Addr {
	return &Addr{UDPAddr: *net.UDPAddrFromAddrPort(ap), ref: ref}
}

// PvD returns the PvD that the address is of.
func (a *Addr) PvD() pvd.Ref { return a.ref }
