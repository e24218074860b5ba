package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// runDNS answers questions at n's port 53 from a table of names, each with a dot at
// its end.
func runDNS(t *testing.T, n *stack.Network, table map[string][]string) {
	t.Helper()
	c := mustListenPacket(t, n, "udp", ":53")
	s := &wire.Server{PacketConn: c, Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		r := new(wire.Msg).SetReply(q)
		r.RecursionAvailable = true
		addrs, ok := table[q.Question[0].Name]
		if !ok {
			r.Rcode = wire.RcodeNameError
		}
		for _, a := range addrs {
			h := wire.RR_Header{Name: q.Question[0].Name, Class: wire.ClassINET, Ttl: 1}
			switch ip := netip.MustParseAddr(a); {
			case ip.Is4() && q.Question[0].Qtype == wire.TypeA:
				h.Rrtype = wire.TypeA
				r.Answer = append(r.Answer, &wire.A{Hdr: h, A: ip.AsSlice()})
			case ip.Is6() && q.Question[0].Qtype == wire.TypeAAAA:
				h.Rrtype = wire.TypeAAAA
				r.Answer = append(r.Answer, &wire.AAAA{Hdr: h, AAAA: ip.AsSlice()})
			default:
				r.Answer = append(r.Answer, recordOf(h, q.Question[0].Qtype, a)...)
			}
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }() // until c is closed
}

// recordOf returns a record of a type that is about an address: the names in it are
// nameOf(a).
func recordOf(h wire.RR_Header, qtype uint16, a string) []wire.RR {
	h.Rrtype = qtype
	switch qtype {
	case wire.TypeTXT:
		return []wire.RR{&wire.TXT{Hdr: h, Txt: []string{nameOf(a)}}}
	case wire.TypeMX:
		return []wire.RR{&wire.MX{Hdr: h, Mx: nameOf(a)}}
	case wire.TypeNS:
		return []wire.RR{&wire.NS{Hdr: h, Ns: nameOf(a)}}
	case wire.TypePTR:
		return []wire.RR{&wire.PTR{Hdr: h, Ptr: nameOf(a)}}
	case wire.TypeSRV:
		return []wire.RR{&wire.SRV{Hdr: h, Target: nameOf(a)}}
	case wire.TypeSVCB:
		return []wire.RR{&wire.SVCB{Hdr: h, Priority: 1, Target: nameOf(a)}}
	case wire.TypeHTTPS:
		return []wire.RR{&wire.HTTPS{SVCB: wire.SVCB{Hdr: h, Priority: 1, Target: nameOf(a)}}}
	}
	return nil
}

func nameOf(a string) string { return strings.ReplaceAll(a, ".", "-") + "." }

// runReverseDNS answers questions for the names of addresses at n's port 53 from a table.
func runReverseDNS(t *testing.T, n *stack.Network, table map[string]string) {
	t.Helper()
	s := &wire.Server{PacketConn: mustListenPacket(t, n, "udp", ":53"), Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		r := new(wire.Msg).SetReply(q)
		name := q.Question[0].Name
		if to, ok := table[name]; ok {
			r.Answer = append(r.Answer, &wire.PTR{Hdr: wire.RR_Header{Name: name, Rrtype: wire.TypePTR, Class: wire.ClassINET, Ttl: 1}, Ptr: to})
		} else {
			r.Rcode = wire.RcodeNameError
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }() // until its connection is closed
}

func TestDialName(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24", "fd00::1/64")
	c.DNS = pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}, Search: []string{"example"}}
	a := add(t, h1, c)
	b := add(t, h2, config("wire", "10.0.0.2/24", "10.0.0.3/24", "fd00::2/64"))
	runDNS(t, b, map[string][]string{
		"both.example.":   {"10.0.0.2", "fd00::2"},
		"second.example.": {"10.0.0.2", "10.0.0.3"},
		"six.example.":    {"fd00::2"},
		"none.example.":   {},
	})
	mustListen(t, b, "tcp", "10.0.0.3:80")
	mustListen(t, b, "tcp", "[fd00::2]:80")
	for _, tt := range []struct{ network, address, want string }{
		{"tcp", "both:80", "[fd00::2]:80"},
		{"tcp", "both.example:80", "[fd00::2]:80"},
		{"tcp6", "both:80", "[fd00::2]:80"},
		{"tcp", "second:80", "10.0.0.3:80"}, // the first address refuses
		{"udp4", "both:80", "10.0.0.2:80"},
	} {
		if c := mustDial(t, a, tt.network, tt.address); c.RemoteAddr().String() != tt.want {
			t.Errorf("%s %s: connected to %v, want %s", tt.network, tt.address, c.RemoteAddr(), tt.want)
		}
	}
	mustListen(t, a, "tcp", "127.0.0.1:80")
	if c := mustDial(t, a, "tcp4", "localhost:80"); c.RemoteAddr().String() != "127.0.0.1:80" {
		t.Errorf("localhost is %v", c.RemoteAddr())
	}

	// The error is that of the first address.
	err := dialErr(t.Context(), a, "tcp4", "second:81")
	wantOpError(t, err, syscall.ECONNREFUSED)
	var op *net.OpError
	if errors.As(err, &op) && op.Addr.String() != "10.0.0.2:81" {
		t.Error(err)
	}
	for _, name := range []string{"missing:80", "none:80"} {
		err := dialErr(t.Context(), a, "tcp", name)
		wantOpError(t, err)
		var de *net.DNSError
		if !errors.As(err, &de) || !de.IsNotFound {
			t.Error(err)
		}
	}
	wantOpError(t, dialErr(t.Context(), a, "tcp4", "six:80"))

	addrs, err := a.LookupNetIP(t.Context(), "ip", "both")
	if want := []netip.Addr{netip.MustParseAddr("fd00::2"), netip.MustParseAddr("10.0.0.2")}; err != nil || !slices.Equal(addrs, want) {
		t.Errorf("%v, %v", addrs, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = a.LookupNetIP(ctx, "ip", "both")
	wantDNSError(t, err, context.Canceled)
}

// TestDialNameOfOneFamily has a PvD of one family pass over addresses of the other.
func TestDialNameOfOneFamily(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24")
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}
	a := add(t, h1, c)
	b := add(t, h2, config("wire", "10.0.0.2/24"))
	runDNS(t, b, map[string][]string{"both.example.": {"fd00::2", "10.0.0.2"}})
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	wantOpError(t, dialErr(ctx, a, "tcp", "both.example:80"), syscall.ECONNREFUSED)
}

// TestLookupLeavesOutBadNames has records come without those that have bad names in them,
// with an error that says so, as in package net.
func TestLookupLeavesOutBadNames(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24")
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}
	a := add(t, h1, c)
	runDNS(t, add(t, h2, config("wire", "10.0.0.2/24")), map[string][]string{"corp.example.": {"10.0.0.2", "fd00::2"}})
	var de *net.DNSError
	mxs, err := a.LookupMX(t.Context(), "corp.example")
	if len(mxs) != 1 || mxs[0].Host != "10-0-0-2." || !errors.As(err, &de) {
		t.Errorf("MX: %v, %v", mxs, err)
	}
	name, srvs, err := a.LookupSRV(t.Context(), "", "", "corp.example")
	if name != "corp.example." || len(srvs) != 1 || srvs[0].Target != "10-0-0-2." || !errors.As(err, &de) {
		t.Errorf("SRV: %s %v, %v", name, srvs, err)
	}
}
