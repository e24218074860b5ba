package stack

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// GetAddrInfo returns the ways to reach a service on a node, as getaddrinfo does (RFC 3493
// section 6.1), in one PvD: that of the hints, or else that of the network. The addresses are
// in the order in which they should be tried, by the PvD's routes, sources and policy
// (RFC 6724 section 6). Node or service may be empty, but not both; hints may be nil.
//
// The error is a *net.DNSError. What is wrong with the arguments wraps EINVAL.
func (n *Network) GetAddrInfo(ctx context.Context, node, service string, hints *pvd.Hints) ([]pvd.AddrInfo, error) {
	g := &addrInfo{node: node}
	if hints != nil {
		g.hints = *hints
	}
	kinds, err := g.check(service)
	if err != nil {
		return nil, err
	}
	if g.hints.PvD != pvd.Unspecified {
		if n.ref != pvd.Unspecified && n.ref != g.hints.PvD {
			return nil, badHints(node, "the hints' PvD is not the network's")
		}
		c := *n
		c.ref, n = g.hints.PvD, &c
	}
	q := query{call: "lookup", network: "ip", host: node}
	q.remote.literal, g.numeric = parseLiteral(node)
	d, err := n.place(ctx, &q)
	if err != nil {
		return nil, lookupError(node, err)
	}
	addrs, name, err := g.addresses(ctx, d, q.remote.at())
	if err != nil {
		return nil, err
	}
	infos := g.infos(d, addrs, kinds)
	if g.has(pvd.AICanonName) {
		infos[0].Name = name
	}
	return infos, nil
}

// addrInfo is one call of GetAddrInfo.
type addrInfo struct {
	node    string
	numeric bool // the node is an address
	hints   pvd.Hints
}

func (g *addrInfo) has(f pvd.AddrInfoFlags) bool { return g.hints.Flags&f != 0 }

// check looks at the arguments and returns the types of socket, with the service's port.
func (g *addrInfo) check(service string) ([]socketKind, error) {
	h := &g.hints
	kinds := socketTypes(h)
	switch {
	case g.node == "" && service == "":
		return nil, badHints(g.node, "neither node nor service")
	case !h.Flags.Valid():
		return nil, badHints(g.node, "bad flags")
	case g.node == "" && g.has(pvd.AICanonName):
		return nil, badHints(g.node, "the canonical name of no node")
	case h.Family != 0 && h.Family != pvd.INET && h.Family != pvd.INET6:
		return nil, badHints(g.node, "bad family")
	case len(kinds) == 0:
		return nil, badHints(g.node, "no such type of socket with this protocol")
	case service == "":
		return kinds, nil
	}
	number, err := strconv.ParseUint(service, 10, 16)
	named := err != nil && !g.has(pvd.AINumericServ) && !errors.Is(err, strconv.ErrRange)
	known := kinds[:0]
	for _, k := range kinds {
		k.port = uint16(number)
		if named {
			var p int
			p, err = new(dns.Resolver).LookupPort(context.Background(), k.network, service)
			k.port = uint16(p)
		}
		if err == nil {
			known = append(known, k)
		}
	}
	if len(known) == 0 {
		return nil, &net.DNSError{Err: "unknown port", Name: service, IsNotFound: true}
	}
	return known, nil
}

func badHints(node, why string) error {
	return &net.DNSError{Err: why, Name: node, UnwrapErr: syscall.EINVAL}
}

// A socketKind is a type of socket with its protocol, and the port of a service by that.
type socketKind struct {
	pvd.SocketType
	pvd.Protocol
	network string
	port    uint16
}

// socketTypes returns those that the hints leave.
func socketTypes(h *pvd.Hints) []socketKind {
	all := []socketKind{{pvd.Stream, pvd.TCP, "tcp", 0}, {pvd.Datagram, pvd.UDP, "udp", 0}}
	return slices.DeleteFunc(all, func(k socketKind) bool {
		return h.Type != 0 && h.Type != k.SocketType || h.Protocol != 0 && h.Protocol != k.Protocol
	})
}

// addresses returns the node's addresses, at least one, and its canonical name.
func (g *addrInfo) addresses(ctx context.Context, d *domain, literal netip.Addr) (addrs []netip.Addr, name string, err error) {
	name = g.node
	switch {
	case g.node == "":
		addrs = g.own()
	case g.numeric:
		addrs = []netip.Addr{literal}
	case g.has(pvd.AINumericHost):
		return nil, "", &net.DNSError{Err: "not an address", Name: g.node, IsNotFound: true}
	default:
		if addrs, name, err = g.lookup(ctx, d); err != nil {
			return nil, "", err
		}
	}
	addrs = g.wanted(addrs, g.configured(d))
	if len(addrs) == 0 {
		return nil, "", &net.DNSError{Err: "no address of the family", Name: g.node, IsNotFound: true}
	}
	if g.node != "" {
		d.sortDestinations(netip.Addr{}, addrs)
	}
	return addrs, name, nil
}

// own returns what an empty node stands for.
func (g *addrInfo) own() []netip.Addr {
	if g.has(pvd.AIPassive) {
		return []netip.Addr{netip.IPv6Unspecified(), netip.IPv4Unspecified()}
	}
	return []netip.Addr{netip.IPv6Loopback(), loopbackOf(netip.IPv4Unspecified())}
}

// lookup asks for the addresses of those families that can be wanted, and no others.
func (g *addrInfo) lookup(ctx context.Context, d *domain) (addrs []netip.Addr, name string, err error) {
	config := g.configured(d)
	four := config(netip.IPv4Unspecified()) && (g.hints.Family != pvd.INET6 || g.has(pvd.AIV4Mapped))
	six := config(netip.IPv6Unspecified()) && g.hints.Family != pvd.INET
	network := "ip"
	switch {
	case !four && !six:
		return nil, "", &net.DNSError{Err: "no address of the family in the PvD", Name: g.node, IsNotFound: true}
	case !six:
		network = "ip4"
	case !four:
		network = "ip6"
	}
	addrs, name, err = d.resolver.LookupCanonical(ctx, network, g.node)
	if err != nil {
		return nil, "", d.lookupFailed(ctx, g.node, err)
	}
	return addrs, name, nil
}

// configured returns what tells whether addresses of a family are of use in the PvD. Without
// AIAddrConfig all are, and so is what nobody has to be asked for.
func (g *addrInfo) configured(d *domain) func(netip.Addr) bool {
	if !g.has(pvd.AIAddrConfig) || g.numeric || g.node == "" {
		return func(netip.Addr) bool { return true }
	}
	p := d.plan.Load()
	return func(a netip.Addr) bool { return p.configured(a.Is4()) }
}

// wanted returns those of the addresses that the hints are for.
func (g *addrInfo) wanted(addrs []netip.Addr, config func(netip.Addr) bool) []netip.Addr {
	var four, six []netip.Addr
	for _, a := range addrs {
		switch {
		case !config(a):
		case a.Is4():
			four = append(four, a)
		default:
			six = append(six, a)
		}
	}
	switch g.hints.Family {
	case pvd.INET:
		return four
	case pvd.INET6:
		if g.has(pvd.AIV4Mapped) && (len(six) == 0 || g.has(pvd.AIAll)) {
			return append(six, four...)
		}
		return six
	}
	return append(six, four...)
}

func (g *addrInfo) infos(d *domain, addrs []netip.Addr, kinds []socketKind) (infos []pvd.AddrInfo) {
	for _, a := range addrs {
		family := pvd.INET6
		switch {
		case a.Is4() && g.hints.Family == pvd.INET6:
			a = netip.AddrFrom16(a.As16())
		case a.Is4():
			family = pvd.INET
		}
		for _, k := range kinds {
			infos = append(infos, pvd.AddrInfo{
				Family: family, Type: k.SocketType, Protocol: k.Protocol, Addr: netip.AddrPortFrom(a, k.port), PvD: d.ref,
			})
		}
	}
	return infos
}

// GetNameInfo returns the name of a node and that of a service, as getnameinfo does (RFC 3493
// section 6.2), in one PvD. What has no name is returned as a number, unless the flags say
// that it needs one. The error is a *net.DNSError.
func (n *Network) GetNameInfo(ctx context.Context, addr netip.AddrPort, flags pvd.NameInfoFlags) (host, service string, err error) {
	if !addr.Addr().IsValid() {
		return "", "", &net.DNSError{Err: "no address", Name: addr.String(), UnwrapErr: syscall.EINVAL}
	}
	service = dns.ServiceName(addr.Port(), flags&pvd.NIDatagram != 0)
	if service == "" || flags&pvd.NINumericServ != 0 {
		service = strconv.Itoa(int(addr.Port()))
	}
	host = addr.Addr().Unmap().String()
	if flags&pvd.NINumericHost != 0 {
		if flags&pvd.NINameReqd != 0 {
			return "", "", badHints(host, "a name is required, and only a number wanted")
		}
		return host, service, nil
	}
	q := query{call: "lookup", network: "ip", remote: target{literalOf(addr.Addr()), addr.Port()}}
	d, err := n.place(ctx, &q)
	if err != nil {
		return "", "", lookupError(host, err)
	}
	names, err := d.resolver.LookupAddr(ctx, q.remote.addr.String())
	// What is no name, of several, is passed over.
	names = slices.DeleteFunc(names, func(name string) bool { return name == "." })
	if len(names) == 0 && err == nil {
		err = &net.DNSError{Err: "no name", Name: host, IsNotFound: true}
	}
	if len(names) == 0 {
		err = d.lookupFailed(ctx, host, err)
		if de := (*net.DNSError)(nil); flags&pvd.NINameReqd != 0 || !errors.As(err, &de) || !de.IsNotFound {
			return "", "", err
		}
		return host, service, nil
	}
	host = strings.TrimSuffix(names[0], ".")
	if flags&pvd.NINoFQDN != 0 {
		host = d.nickname(host)
	}
	return host, service, nil
}

// nickname returns a name without that domain of the PvD's search list that it is in.
func (d *domain) nickname(name string) string {
	for _, s := range d.plan.Load().dns.Search {
		suffix := "." + strings.ToLower(strings.TrimSuffix(s, "."))
		if n := len(name) - len(suffix); n > 0 && strings.ToLower(name[n:]) == suffix {
			return name[:n]
		}
	}
	return name
}
