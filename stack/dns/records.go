package dns

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	wire "github.com/miekg/dns"
)

// errBadRecords reports records that were left out because of the names in them.
var errBadRecords = errors.New("DNS response contained records which contain invalid names")

// records returns the records of one type that host has, the caller's own, and the name
// that has them.
func records[RR wire.RR](ctx context.Context, r *Resolver, host string, qtype uint16) (name string, found []RR, err error) {
	if err := checkName(host); err != nil {
		return "", nil, dnsError(host, Server{}, err)
	}
	if _, ok := special(host); ok {
		local(ctx, host, errNoName)
		return "", nil, dnsError(host, Server{}, errNoName)
	}
	tasks, err := r.search(ctx, host, nil, qtype)
	if err != nil {
		return "", nil, err
	}
	t := tasks[0]
	var m wire.Msg
	if err := m.Unpack(t.a.msg); err != nil {
		return "", nil, dnsError(host, t.info.Server, err)
	}
	_, match, _ := t.q.follow(m.Answer)
	for _, rr := range match {
		if rr, ok := rr.(RR); ok {
			found = append(found, rr)
		}
	}
	return t.a.name + ".", found, nil
}

// sound returns those of the records whose names are ones of hosts, and an error if that
// is not so of all, as package net does: what comes from the network ends up in commands and
// logs.
func sound[T any](host string, all []T, name func(T) string) ([]T, error) {
	good := slices.DeleteFunc(slices.Clone(all), func(v T) bool { return name(v) != "." && checkName(name(v)) != nil })
	if len(good) < len(all) {
		return good, dnsError(host, Server{}, errBadRecords)
	}
	return good, nil
}

// LookupAddr returns the names that an address has. A link-local one is asked for without
// its zone.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &net.DNSError{Err: "unrecognized address", Name: addr}
	}
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		local(ctx, addr, nil)
		return []string{"localhost."}, nil
	}
	name, err := wire.ReverseAddr(a.String())
	if err != nil {
		return nil, &net.DNSError{Err: "unrecognized address", Name: addr}
	}
	_, ptrs, err := records[*wire.PTR](ctx, r, name, wire.TypePTR)
	if err != nil {
		if e, ok := errors.AsType[*net.DNSError](err); ok {
			e.Name = addr
		}
		return nil, err
	}
	names := make([]string, len(ptrs))
	for i, p := range ptrs {
		names[i] = p.Ptr
	}
	return sound(addr, names, func(s string) string { return s })
}

// LookupCNAME returns the name at the end of host's chain of aliases, host's own where
// there is none. Something has to be there: an address of either family.
func (r *Resolver) LookupCNAME(ctx context.Context, host string) (string, error) {
	if err := checkName(host); err != nil {
		return "", dnsError(host, Server{}, err)
	}
	if addrs, ok := special(host); ok {
		if _, err := ofFamily(ctx, "ip", host, addrs); err != nil {
			return "", err
		}
		return plainForm(host) + ".", nil
	}
	tasks, err := r.search(ctx, host, nil, types46...)
	if err != nil {
		return "", err
	}
	for _, t := range tasks {
		if t.err != nil {
			continue
		}
		if checkName(t.a.name) != nil {
			return "", dnsError(host, Server{}, errBadRecords)
		}
		return t.a.name + ".", nil
	}
	return "", dnsError(host, Server{}, errNoData) // not so: search found some
}

// LookupMX returns the mail exchangers of a domain, the preferred ones first and in random
// order where all are equal.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	_, rrs, err := records[*wire.MX](ctx, r, name, wire.TypeMX)
	if err != nil {
		return nil, err
	}
	if err := r.shuffle(len(rrs), func(i, j int) { rrs[i], rrs[j] = rrs[j], rrs[i] }); err != nil {
		return nil, dnsError(name, Server{}, err)
	}
	slices.SortStableFunc(rrs, func(a, b *wire.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	mxs := make([]*net.MX, len(rrs))
	for i, rr := range rrs {
		mxs[i] = &net.MX{Host: rr.Mx, Pref: rr.Preference}
	}
	return sound(name, mxs, func(m *net.MX) string { return m.Host })
}

// LookupNS returns the name servers of a domain.
func (r *Resolver) LookupNS(ctx context.Context, name string) ([]*net.NS, error) {
	_, rrs, err := records[*wire.NS](ctx, r, name, wire.TypeNS)
	if err != nil {
		return nil, err
	}
	nss := make([]*net.NS, len(rrs))
	for i, rr := range rrs {
		nss[i] = &net.NS{Host: rr.Ns}
	}
	return sound(name, nss, func(n *net.NS) string { return n.Host })
}

// LookupSRV returns the servers of a service, in the order in which they are to be tried
// (RFC 2782), and the name that they were found by. That is _service._proto.name, or name
// alone where service and proto are empty.
func (r *Resolver) LookupSRV(ctx context.Context, service, proto, name string) (cname string, addrs []*net.SRV, err error) {
	target := name
	if service != "" || proto != "" {
		target = "_" + service + "._" + proto + "." + name
	}
	cname, rrs, err := records[*wire.SRV](ctx, r, target, wire.TypeSRV)
	if err != nil {
		return "", nil, err
	}
	if checkName(cname) != nil {
		return "", nil, dnsError(target, Server{}, errBadRecords)
	}
	if err := r.sortSRV(rrs); err != nil {
		return "", nil, dnsError(target, Server{}, err)
	}
	srvs := make([]*net.SRV, len(rrs))
	for i, rr := range rrs {
		srvs[i] = &net.SRV{Target: rr.Target, Port: rr.Port, Priority: rr.Priority, Weight: rr.Weight}
	}
	srvs, err = sound(target, srvs, func(s *net.SRV) string { return s.Target })
	return cname, srvs, err
}

// sortSRV orders by priority, and among equal ones draws by weight (RFC 2782, "Weight").
func (r *Resolver) sortSRV(rrs []*wire.SRV) error {
	slices.SortStableFunc(rrs, func(a, b *wire.SRV) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Weight, b.Weight))
	})
	for len(rrs) > 0 {
		n, sum := 0, 0
		for n < len(rrs) && rrs[n].Priority == rrs[0].Priority {
			sum += int(rrs[n].Weight)
			n++
		}
		for equal := rrs[:n]; len(equal) > 1; equal = equal[1:] {
			draw, err := r.draw(sum + 1)
			if err != nil {
				return err
			}
			at, run := 0, int(equal[0].Weight)
			for run < draw {
				at++
				run += int(equal[at].Weight)
			}
			chosen := equal[at]
			copy(equal[1:], equal[:at])
			equal[0] = chosen
			sum -= int(chosen.Weight)
		}
		rrs = rrs[n:]
	}
	return nil
}

// draw returns a number below n, of at most 2^32. That some are likelier by a 2^32nd part
// does not matter here.
func (r *Resolver) draw(n int) (int, error) {
	var b [8]byte
	if err := r.random(b[:]); err != nil {
		return 0, err
	}
	return int(binary.BigEndian.Uint64(b[:]) % uint64(n)), nil
}

func (r *Resolver) shuffle(n int, swap func(i, j int)) error {
	for i := n - 1; i > 0; i-- {
		j, err := r.draw(i + 1)
		if err != nil {
			return err
		}
		swap(i, j)
	}
	return nil
}

// LookupTXT returns the texts of a name. What a record has in several pieces is put
// together.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	_, rrs, err := records[*wire.TXT](ctx, r, name, wire.TypeTXT)
	if err != nil {
		return nil, err
	}
	texts := make([]string, len(rrs))
	for i, rr := range rrs {
		texts[i] = unescape(strings.Join(rr.Txt, ""))
	}
	return texts, nil
}

// unescape returns the octets that a text of RFC 1035 section 5.1 stands for.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && digit(s[i+1]) && digit(s[i+2]) && digit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

func digit(c byte) bool { return '0' <= c && c <= '9' }

// LookupSVCB returns the service bindings of a name, the preferred ones first (RFC 9460).
// Those of alias mode come as they are.
func (r *Resolver) LookupSVCB(ctx context.Context, name string) ([]*wire.SVCB, error) {
	_, rrs, err := records[*wire.SVCB](ctx, r, name, wire.TypeSVCB)
	if err != nil {
		return nil, err
	}
	return bindings(name, rrs)
}

// LookupHTTPS is LookupSVCB for HTTPS records.
func (r *Resolver) LookupHTTPS(ctx context.Context, name string) ([]*wire.SVCB, error) {
	_, rrs, err := records[*wire.HTTPS](ctx, r, name, wire.TypeHTTPS)
	if err != nil {
		return nil, err
	}
	all := make([]*wire.SVCB, len(rrs))
	for i, rr := range rrs {
		all[i] = &rr.SVCB
	}
	return bindings(name, all)
}

func bindings(name string, all []*wire.SVCB) ([]*wire.SVCB, error) {
	slices.SortStableFunc(all, func(a, b *wire.SVCB) int { return cmp.Compare(a.Priority, b.Priority) })
	return sound(name, all, func(s *wire.SVCB) string { return s.Target })
}
