package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// A Resolver finds names in one PvD, for as long as the PvD stays attached: what it has
// learned is for that attachment, and dies with it. Its methods may be called concurrently.
type Resolver struct {
	conf Config
}

// New returns a resolver. It starts nothing: a resolver that is not used needs no Close.
func New(c Config) *Resolver {
	if c.Clock == nil {
		c.Clock = pvd.SystemClock()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Resolver{conf: c}
}

// Close ends everything that is under way, with [net.ErrClosed], forgets everything, and
// closes all connections. Later calls fail with net.ErrClosed.
func (r *Resolver) Close() error { return nil }

// Flush forgets every answer, closes connections that nobody waits on, and has every
// server count as a good one. Questions under way get answers that are kept for nobody.
func (r *Resolver) Flush() {}

// LookupNetIP returns the addresses of host, at least one: of either family, IPv6 first,
// for network "ip", and of one for "ip4" and "ip6". Within a family they come in the
// order of the answer. An address is returned as it is, with its zone. A name without
// dots is tried in the domains of the search list, then as it is. A name with dots, or
// with one at its end, is absolute.
//
// Any error but that of a wrong network is a *net.DNSError: IsNotFound where the name, or
// an address for it, does not exist or could not; IsTimeout where no server answered,
// with the last one in Server; IsTemporary where servers failed. It wraps ctx's error
// where that ended the lookup, and the connection's where no server could be reached:
// [pvd.ErrNoPvD] for instance. In a PvD without server it is none of these.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	types, err := typesOf(network)
	if err != nil {
		return nil, err
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return ofFamily(network, host, []netip.Addr{addr.Unmap()})
	}
	if err := checkName(host); err != nil {
		return nil, dnsError(host, netip.AddrPort{}, err)
	}
	if addrs, ok := special(host); ok {
		return ofFamily(network, host, addrs)
	}
	conf := r.conf.DNS()
	if len(conf.Servers) == 0 {
		return nil, &net.DNSError{Err: "no DNS server in PvD", Name: host}
	}
	for _, name := range candidates(host, conf.Search) {
		var addrs []netip.Addr
		var server netip.AddrPort
		addrs, server, err = r.lookup(ctx, servers(conf), name, types)
		if err == nil {
			return addrs, nil
		}
		if ctx.Err() != nil {
			err = ended(ctx)
		}
		err = dnsError(host, server, err)
		// Were it taken for one that does not exist, a name could lead elsewhere whenever its
		// server fails.
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			return nil, err
		}
	}
	return nil, err
}

// ended returns why ctx has ended: its error, with its cause where that says more.
func ended(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(err, cause) {
		return err
	}
	return fmt.Errorf("%w: %w", err, cause)
}

// typesOf returns the types of record that hold network's addresses, in the order of the
// addresses.
func typesOf(network string) ([]uint16, error) {
	switch network {
	case "ip":
		return []uint16{wire.TypeAAAA, wire.TypeA}, nil
	case "ip4":
		return []uint16{wire.TypeA}, nil
	case "ip6":
		return []uint16{wire.TypeAAAA}, nil
	}
	return nil, net.UnknownNetworkError(network)
}

// ofFamily returns those of addrs that belong to network, an error if none does.
func ofFamily(network, host string, addrs []netip.Addr) ([]netip.Addr, error) {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return network == "ip4" && !a.Is4() || network == "ip6" && !a.Is6()
	})
	if len(addrs) > 0 {
		return addrs, nil
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return nil, dnsError(host, netip.AddrPort{}, errNoData)
	}
	return nil, dnsError(host, netip.AddrPort{}, errNoName)
}

// An outcome is what became of one question.
type outcome struct {
	addrs  []netip.Addr
	server netip.AddrPort
	err    error
}

// lookup asks for all types of record of one name at once and returns what addresses
// there are, in the order of types.
func (r *Resolver) lookup(ctx context.Context, servers []netip.AddrPort, name string, types []uint16) ([]netip.Addr, netip.AddrPort, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	outcomes := make([]outcome, len(types))
	done := make(chan int)
	for i, t := range types {
		go func() {
			o := &outcomes[i]
			o.addrs, o.server, o.err = r.ask(ctx, servers, question{name, t})
			done <- i
		}()
	}
	for range types {
		// Nothing but addresses cuts the wait short: there are servers to which a name does
		// not exist when it has no AAAA records (RFC 4074 section 4.2).
		if outcomes[<-done].err == nil {
			defer r.conf.Clock.AfterFunc(stragglerTimeout, func() { cancel(errTimeout) }).Stop()
		}
	}
	return merge(outcomes)
}

// merge returns the addresses of all outcomes or, where there is none, the error that
// tells most: that the name does not exist, then that it could not be found out.
func merge(outcomes []outcome) (addrs []netip.Addr, server netip.AddrPort, err error) {
	for _, o := range outcomes {
		addrs = append(addrs, o.addrs...)
	}
	if len(addrs) > 0 {
		return addrs, server, nil
	}
	worst := slices.MaxFunc(outcomes, func(a, b outcome) int { return cmp.Compare(telling(a.err), telling(b.err)) })
	return nil, worst.server, worst.err
}

func telling(err error) int {
	switch {
	case errors.Is(err, errNoName):
		return 2
	case errors.Is(err, errNoData):
		return 0
	}
	return 1
}

// dnsError wraps err for those who asked for host.
func dnsError(host string, server netip.AddrPort, err error) *net.DNSError {
	e := &net.DNSError{Err: err.Error(), Name: strings.TrimSuffix(host, "."), UnwrapErr: err}
	if server.IsValid() {
		e.Server = server.String()
	}
	switch {
	case errors.Is(err, errNoName), errors.Is(err, errNoData), errors.Is(err, errBadName):
		e.IsNotFound = true
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		e.IsTimeout, e.IsTemporary = true, true
	case errors.Is(err, context.Canceled), errors.Is(err, pvd.ErrNoPvD):
	default:
		e.IsTemporary = true
	}
	return e
}
