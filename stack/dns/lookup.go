package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"

	wire "github.com/miekg/dns"
)

// The methods below are those of [net.Resolver], within the PvD: what they take and return
// is the same, as is the search list's use. Names in results end in a dot. None of them
// reads a file of the host.

// LookupHost returns the addresses of host as text; see [Resolver.LookupNetIP].
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, error) {
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	hosts := make([]string, len(addrs))
	for i, a := range addrs {
		hosts[i] = a.String()
	}
	return hosts, nil
}

// LookupIP returns the addresses of host; see [Resolver.LookupNetIP].
func (r *Resolver) LookupIP(ctx context.Context, network, host string) ([]net.IP, error) {
	addrs, err := r.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, err
	}
	ips := make([]net.IP, len(addrs))
	for i, a := range addrs {
		ips[i] = a.AsSlice()
	}
	return ips, nil
}

// LookupIPAddr returns the addresses of host with their zones; see [Resolver.LookupNetIP].
func (r *Resolver) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	addrs, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	ips := make([]net.IPAddr, len(addrs))
	for i, a := range addrs {
		ips[i] = net.IPAddr{IP: a.AsSlice(), Zone: a.Zone()}
	}
	return ips, nil
}

// LookupAddr returns the names that an address has.
func (r *Resolver) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, unsupported(addr)
}

// LookupCNAME returns the name at the end of host's chain of aliases, host's own where
// there is none. Something has to be there: an address of either family.
func (r *Resolver) LookupCNAME(_ context.Context, host string) (string, error) {
	return "", unsupported(host)
}

// LookupMX returns the mail exchangers of a domain, the preferred ones first.
func (r *Resolver) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, unsupported(name)
}

// LookupNS returns the name servers of a domain.
func (r *Resolver) LookupNS(_ context.Context, name string) ([]*net.NS, error) {
	return nil, unsupported(name)
}

// LookupSRV returns the servers of a service, in the order in which they are to be tried
// (RFC 2782), and the name that they were found by. That is _service._proto.name, or name
// alone where service and proto are empty.
func (r *Resolver) LookupSRV(_ context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error) {
	_, _ = service, proto
	return "", nil, unsupported(name)
}

// LookupTXT returns the texts of a name.
func (r *Resolver) LookupTXT(_ context.Context, name string) ([]string, error) {
	return nil, unsupported(name)
}

// LookupSVCB returns the service bindings of a name, the preferred ones first (RFC 9460).
// Those of alias mode come as they are.
func (r *Resolver) LookupSVCB(_ context.Context, name string) ([]*wire.SVCB, error) {
	return nil, unsupported(name)
}

// LookupHTTPS is LookupSVCB for HTTPS records.
func (r *Resolver) LookupHTTPS(_ context.Context, name string) ([]*wire.SVCB, error) {
	return nil, unsupported(name)
}

// LookupPort returns the port of a service, which is a number or one of a few well-known
// names. The network is ip, tcp, tcp4, tcp6, udp, udp4 or udp6. No server is asked.
func (r *Resolver) LookupPort(ctx context.Context, network, service string) (int, error) {
	_, _ = ctx, network
	return 0, unsupported(service)
}

func unsupported(name string) error {
	return dnsError(name, netip.AddrPort{}, errors.ErrUnsupported)
}
