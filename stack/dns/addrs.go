package dns

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strings"

	wire "github.com/miekg/dns"
)

// LookupNetIP returns the addresses of host, at least one: of either family, IPv6 first,
// for network "ip", and of one for "ip4" and "ip6". Within a family they come in the
// order of the answer. An address is returned as it is, with its zone. A name with fewer
// dots than Ndots, most often none, is tried in the domains of the search list, then as it
// is. Other names, and those with a dot at the end, are absolute. As in package net, a name
// in other letters than those of RFC 1123 has to come in its ASCII form (RFC 5890 section
// 2.3.2.1): it is not converted, and does not exist.
//
// Any error but that of a wrong network is a *net.DNSError: IsNotFound where the name, or
// an address for it, does not exist or could not; IsTimeout where no server answered,
// with the last one in Server; IsTemporary where servers failed. It wraps ctx's error
// where that ended the lookup, and the connection's where no server could be reached:
// [pvd.ErrNoPvD] for instance. In a PvD without server it is none of these.
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	addrs, _, err := r.LookupCanonical(ctx, network, host)
	return addrs, err
}

// LookupCanonical is LookupNetIP that also returns the name which the addresses are those of,
// at the end of host's chain of aliases, without a dot at its end. It is host's own, with
// what the search list adds to it, where there is none that a host can have.
func (r *Resolver) LookupCanonical(ctx context.Context, network, host string) (addrs []netip.Addr, canonical string, err error) {
	addrs, types, err := known(ctx, network, host)
	if err != nil || len(addrs) > 0 {
		return addrs, plainForm(host), err
	}
	tasks, err := r.search(ctx, host, nil, types...)
	if err != nil {
		return nil, "", err
	}
	n := 0
	for i := range tasks {
		if tasks[i].err == nil {
			n += len(tasks[i].a.addrs)
		}
	}
	addrs = make([]netip.Addr, 0, n)
	for i := range tasks {
		t := &tasks[i]
		if t.err != nil {
			continue
		}
		addrs = append(addrs, t.a.addrs...)
		if canonical = t.a.name; checkName(canonical) != nil {
			canonical = t.q.name
		}
	}
	return addrs, canonical, nil
}

// LookupFamilies is LookupNetIP for those who can make use of the addresses of one family
// before those of the other are known (RFC 8305 section 3): it calls give with each
// family's as they come, and never mixes the addresses of two names of the search list.
// What give is called with is its own; it is called by one goroutine at a time, before
// LookupFamilies returns. The error is nil if it was called.
//
// When ctx ends although there are addresses, what is still to come is waited for a little
// longer, so that it can be kept for the next one who asks (RFC 8305 section 5).
func (r *Resolver) LookupFamilies(ctx context.Context, network, host string, give func([]netip.Addr)) error {
	addrs, types, err := known(ctx, network, host)
	if err != nil {
		return err
	}
	if len(addrs) > 0 {
		give(addrs)
		return nil
	}
	given := func(t *task) { give(slices.Clone(t.a.addrs)) }
	tasks, err := r.search(ctx, host, given, types...)
	for i := range tasks {
		if t := &tasks[i]; t.err == nil && !t.told {
			given(t) // it came at the very end
		}
	}
	return err
}

// known returns the addresses of a host that no server need be asked for; of others it
// returns the types of record to ask for.
func known(ctx context.Context, network, host string) (addrs []netip.Addr, types []uint16, err error) {
	if types, err = typesOf(network); err != nil {
		return nil, nil, err
	}
	if addr, ok := literal(host); ok {
		addrs, err = ofFamily(ctx, network, host, []netip.Addr{addr.Unmap()})
		return addrs, nil, err
	}
	if err := checkName(host); err != nil {
		return nil, nil, dnsError(host, Server{}, err)
	}
	if all, ok := special(host); ok {
		addrs, err = ofFamily(ctx, network, host, all)
		return addrs, nil, err
	}
	return nil, types, nil
}

// The types of record that hold addresses, in the order of the addresses.
var (
	types46 = []uint16{wire.TypeAAAA, wire.TypeA}
	types4  = []uint16{wire.TypeA}
	types6  = []uint16{wire.TypeAAAA}
)

// typesOf returns the types of record that hold network's addresses.
func typesOf(network string) ([]uint16, error) {
	switch network {
	case "ip":
		return types46, nil
	case "ip4":
		return types4, nil
	case "ip6":
		return types6, nil
	}
	return nil, net.UnknownNetworkError(network)
}

// literal returns the address that host is. Most names show at first sight that they are
// none, which saves making an error of it.
func literal(host string) (netip.Addr, bool) {
	if host == "" || !strings.Contains(host, ":") && (host[0] < '0' || host[0] > '9') {
		return netip.Addr{}, false
	}
	a, err := netip.ParseAddr(host)
	return a, err == nil
}

// ofFamily returns those of addrs that belong to network, an error if none does.
func ofFamily(ctx context.Context, network, host string, addrs []netip.Addr) ([]netip.Addr, error) {
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool {
		return network == "ip4" && !a.Is4() || network == "ip6" && !a.Is6()
	})
	var err error
	if len(addrs) == 0 {
		err = errNoName
		if _, ok := literal(host); ok {
			err = errNoData
		}
	}
	local(ctx, host, err)
	if err != nil {
		return nil, dnsError(host, Server{}, err)
	}
	return addrs, nil
}

// local tells who traces that nobody was asked.
func local(ctx context.Context, host string, err error) {
	if f, _ := ctx.Value(traceKey{}).(func(Event)); f != nil {
		f(Event{Question: Question{Name: host}, Cache: Local, Rcode: -1, Err: err})
	}
}
