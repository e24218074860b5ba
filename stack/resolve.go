package stack

import (
	"context"
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// LookupNetIP returns the addresses of a name, as the PvD's DNS servers have them, asked
// through the PvD; see [net.Resolver.LookupNetIP] and [dns.Resolver.LookupNetIP]. The
// network is ip, ip4 or ip6. The error is a *net.DNSError; in a PvD without a server it
// says so.
func (n *Network) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	return lookHost(n, ctx, network, host, func(r *dns.Resolver, host string) ([]netip.Addr, error) {
		return r.LookupNetIP(ctx, network, host)
	})
}

// newResolver returns the resolver of a domain that is about to be attached as info says. It
// and all that it learns live as long as the domain: a PvD that is attached anew begins with
// nothing.
func newResolver(d *domain, info *pvd.Info) (*dns.Resolver, error) {
	o, _ := pvd.Resolving.Get(info)
	strategy, err := dns.ParseStrategy(o.Strategy)
	if err != nil {
		return nil, fmt.Errorf("stack: PvD %s: %w", info.Name(), err)
	}
	n := d.host.In(d.ref)
	n.resolves = true
	return dns.New(dns.Config{
		DNS:       func() pvd.DNS { return d.plan.Load().dns },
		Encrypted: d.encryptedServers(),
		Dial:      n.DialContext,
		Link:      d.linkTo,
		Clock:     d.host.clock,
		Logger:    d.log,
		RootCAs:   d.host.roots,
		Strategy:  strategy,
		Timeout:   o.Timeout,
		Ndots:     o.Ndots,
		MixCase:   o.MixCase,
	}), nil
}

// linkTo returns the name of the link by which a server is reached now, its zone where it is
// not.
func (d *domain) linkTo(server netip.Addr) string {
	p, err := d.findPath(netip.Addr{}, server)
	if err != nil {
		return server.Zone()
	}
	return d.zoneOf(p.nic)
}

// encryptedServers returns a function for those of the PvD as it was last applied. It is
// called for each lookup, so what it returns is copied when it changes only.
func (d *domain) encryptedServers() func() []pvd.EncryptedServer {
	type known struct {
		info    *pvd.Info
		servers []pvd.EncryptedServer
	}
	var last atomic.Pointer[known]
	return func() []pvd.EncryptedServer {
		info := d.info.Load()
		k := last.Load()
		if k == nil || k.info != info {
			servers, _ := pvd.EncryptedDNS.Get(info)
			k = &known{info, servers}
			last.Store(k)
		}
		return k.servers
	}
}

// lookup returns the addresses of a name in the domain.
func (d *domain) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, err := d.resolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return nil, d.lookupFailed(ctx, host, err)
	}
	return addrs, nil
}
