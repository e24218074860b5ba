package stack

import (
	"context"
	"errors"
	"net"

	dnswire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack/dns"
)

// The methods below are those of [net.Resolver], within a PvD: its servers are asked through
// it, and nobody else is. A network that is several PvDs' chooses one for each call. Every
// error is a *net.DNSError; in a PvD without a server it says so. The zone of a literal may
// stand for a PvD, as in [Network.DialContext].

// LookupHost returns the addresses of a name as text; see [dns.Resolver.LookupHost].
func (n *Network) LookupHost(ctx context.Context, host string) ([]string, error) {
	return lookHost(n, ctx, "ip", host, func(r *dns.Resolver, host string) ([]string, error) { return r.LookupHost(ctx, host) })
}

// LookupIP returns the addresses of a name; see [dns.Resolver.LookupIP].
func (n *Network) LookupIP(ctx context.Context, network, host string) ([]net.IP, error) {
	return lookHost(n, ctx, network, host, func(r *dns.Resolver, host string) ([]net.IP, error) {
		return r.LookupIP(ctx, network, host)
	})
}

// LookupIPAddr returns the addresses of a name; see [dns.Resolver.LookupIPAddr].
func (n *Network) LookupIPAddr(ctx context.Context, host string) ([]net.IPAddr, error) {
	return lookHost(n, ctx, "ip", host, func(r *dns.Resolver, host string) ([]net.IPAddr, error) {
		return r.LookupIPAddr(ctx, host)
	})
}

// LookupAddr returns the names of an address; see [dns.Resolver.LookupAddr].
func (n *Network) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	return lookHost(n, ctx, "ip", addr, func(r *dns.Resolver, addr string) ([]string, error) { return r.LookupAddr(ctx, addr) })
}

// LookupCNAME returns a name's canonical name; see [dns.Resolver.LookupCNAME].
func (n *Network) LookupCNAME(ctx context.Context, host string) (string, error) {
	return lookIn(n, ctx, host, func(r *dns.Resolver) (string, error) { return r.LookupCNAME(ctx, host) })
}

// LookupMX returns a domain's mail exchangers; see [dns.Resolver.LookupMX].
func (n *Network) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	return lookIn(n, ctx, name, func(r *dns.Resolver) ([]*net.MX, error) { return r.LookupMX(ctx, name) })
}

// LookupNS returns a domain's name servers; see [dns.Resolver.LookupNS].
func (n *Network) LookupNS(ctx context.Context, name string) ([]*net.NS, error) {
	return lookIn(n, ctx, name, func(r *dns.Resolver) ([]*net.NS, error) { return r.LookupNS(ctx, name) })
}

// LookupTXT returns a name's texts; see [dns.Resolver.LookupTXT].
func (n *Network) LookupTXT(ctx context.Context, name string) ([]string, error) {
	return lookIn(n, ctx, name, func(r *dns.Resolver) ([]string, error) { return r.LookupTXT(ctx, name) })
}

// LookupSVCB returns a name's service bindings; see [dns.Resolver.LookupSVCB].
func (n *Network) LookupSVCB(ctx context.Context, name string) ([]*dnswire.SVCB, error) {
	return lookIn(n, ctx, name, func(r *dns.Resolver) ([]*dnswire.SVCB, error) { return r.LookupSVCB(ctx, name) })
}

// LookupHTTPS returns a name's HTTPS records; see [dns.Resolver.LookupHTTPS].
func (n *Network) LookupHTTPS(ctx context.Context, name string) ([]*dnswire.SVCB, error) {
	return lookIn(n, ctx, name, func(r *dns.Resolver) ([]*dnswire.SVCB, error) { return r.LookupHTTPS(ctx, name) })
}

// LookupSRV returns a service's servers; see [dns.Resolver.LookupSRV].
func (n *Network) LookupSRV(ctx context.Context, service, proto, name string) (string, []*net.SRV, error) {
	var cname string
	addrs, err := lookIn(n, ctx, name, func(r *dns.Resolver) (addrs []*net.SRV, err error) {
		cname, addrs, err = r.LookupSRV(ctx, service, proto, name)
		return addrs, err
	})
	return cname, addrs, err
}

// LookupPort returns a service's port; see [dns.Resolver.LookupPort]. No server is asked.
func (n *Network) LookupPort(ctx context.Context, network, service string) (int, error) {
	return lookIn(n, ctx, service, func(r *dns.Resolver) (int, error) { return r.LookupPort(ctx, network, service) })
}

// Query returns the answer to a question as a server gave it, as res_query does; see
// [dns.Resolver.Query].
func (n *Network) Query(ctx context.Context, q dns.Question) (*dnswire.Msg, dns.Info, error) {
	var info dns.Info
	m, err := lookIn(n, ctx, q.Name, func(r *dns.Resolver) (m *dnswire.Msg, err error) {
		m, info, err = r.Query(ctx, q)
		return m, err
	})
	return m, info, err
}

// Exchange sends a message to the PvD's servers, an update for instance (RFC 2136), and
// returns what they answer; see [dns.Resolver.Exchange].
func (n *Network) Exchange(ctx context.Context, m *dnswire.Msg) (*dnswire.Msg, dns.Info, error) {
	name := ""
	if m != nil && len(m.Question) > 0 {
		name = m.Question[0].Name
	}
	var info dns.Info
	answer, err := lookIn(n, ctx, name, func(r *dns.Resolver) (a *dnswire.Msg, err error) {
		a, info, err = r.Exchange(ctx, m)
		return a, err
	})
	return answer, info, err
}

// headerLen is where the question of a message begins (RFC 1035 section 4.1).
const headerLen = 12

// Forward is [Network.Exchange] for a message in wire format, which is sent as it is; see
// [dns.Resolver.Forward].
func (n *Network) Forward(ctx context.Context, msg []byte) ([]byte, dns.Info, error) {
	name, _, err := dnswire.UnpackDomainName(msg, min(headerLen, len(msg)))
	if err != nil {
		name = "" // which Forward refuses
	}
	var info dns.Info
	answer, err := lookIn(n, ctx, name, func(r *dns.Resolver) (a []byte, err error) {
		a, info, err = r.Forward(ctx, msg)
		return a, err
	})
	return answer, info, err
}

// Cached returns what [dns.Resolver.Cached] does, in a network that is one PvD's or follows
// the default; in others nothing, as to choose a PvD may take time.
func (n *Network) Cached(b, query []byte) (reply []byte, ok bool) {
	ref := n.ref
	if ref == pvd.SystemDefault {
		ref = n.systemDefault()
	}
	if !ref.Attached() {
		return b, false
	}
	d, err := n.use(ref, "lookup")
	if err != nil {
		return b, false
	}
	return d.resolver.Cached(b, query)
}

// lookIn looks something up with the resolver of the one PvD that the call is in. There may be
// a result with an error: records of which some had to be left out.
func lookIn[T any](n *Network, ctx context.Context, name string, look func(*dns.Resolver) (T, error)) (T, error) {
	return lookFor(n, ctx, &query{call: "lookup", network: "ip", host: name}, look)
}

// lookHost is lookIn for what may be a literal. A zone that stands for the PvD is of no use to
// a resolver: look is given the literal without.
func lookHost[T any](
	n *Network, ctx context.Context, network, host string, look func(r *dns.Resolver, host string) (T, error),
) (T, error) {
	q := query{call: "lookup", network: network, host: host}
	q.remote.literal, _ = parseLiteral(host)
	zone := q.remote.zone
	return lookFor(n, ctx, &q, func(r *dns.Resolver) (T, error) {
		if q.remote.zone != zone {
			host = q.remote.addr.String()
		}
		return look(r, host)
	})
}

func lookFor[T any](n *Network, ctx context.Context, q *query, look func(*dns.Resolver) (T, error)) (T, error) {
	var none T
	d, err := n.place(ctx, q)
	if err != nil {
		return none, lookupError(q.host, err)
	}
	v, err := look(d.resolver)
	if err != nil {
		err = d.lookupFailed(ctx, q.host, err)
	}
	return v, err
}

// lookupError is the error of a lookup that no PvD could be found for.
func lookupError(name string, err error) error {
	late := errors.Is(err, context.DeadlineExceeded)
	return &net.DNSError{Err: err.Error(), Name: name, IsTimeout: late, IsTemporary: late, UnwrapErr: err}
}

// lookupFailed returns why a lookup in the domain has failed: that the PvD is gone, or the
// caller's patience, goes before what the resolver says of it.
func (d *domain) lookupFailed(ctx context.Context, name string, err error) error {
	switch {
	case d.isGone():
		return &net.DNSError{Err: pvd.ErrNoPvD.Error(), Name: name, UnwrapErr: pvd.ErrNoPvD}
	case ctx.Err() != nil:
		return lookupError(name, contextError(ctx))
	}
	return err
}
