package stack_test

import (
	"errors"
	"net/netip"
	"syscall"
	"testing"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

func TestRoute(t *testing.T) {
	h, far := newHost(t), newHost(t)
	pipe(t, "one", h, far)
	pipe(t, "two", h, newHost(t))
	c := config("one", "10.0.0.1/24", "fd00::1/64")
	c.Links = append(c.Links, "two")
	c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix("10.1.0.1/24"), Link: "two"})
	c.Routes = []pvd.Route{
		{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254")},
		{To: netip.MustParsePrefix("172.16.0.0/12"), Via: netip.MustParseAddr("10.1.0.254"), Link: "two"},
		{To: netip.MustParsePrefix("2001:db8::/32"), Via: netip.MustParseAddr("fe80::9")},
	}
	n := add(t, h, c)
	for _, tt := range []struct{ to, link, source, hop string }{
		{"10.0.0.2", "one", "10.0.0.1", "10.0.0.2"},
		{"10.1.0.2", "two", "10.1.0.1", "10.1.0.2"},
		{"192.0.2.1", "one", "10.0.0.1", "10.0.0.254"},
		{"172.16.9.9", "two", "10.1.0.1", "10.1.0.254"},
		{"fd00::2", "one", "fd00::1", "fd00::2"},
		{"2001:db8::1", "one", "fd00::1", "fe80::9%one"},
	} {
		r, err := n.Route(t.Context(), netip.MustParseAddr(tt.to))
		want := stack.Route{PvD: n.PvD(), Link: tt.link, Source: netip.MustParseAddr(tt.source), NextHop: netip.MustParseAddr(tt.hop)}
		if err != nil || r != want {
			t.Errorf("to %s: %+v, %v, want %+v", tt.to, r, err, want)
		}
	}
	if r, err := n.Route(t.Context(), netip.MustParseAddr("2001:db9::1")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("without route: %+v, %v", r, err)
	}
	if r, err := n.Route(t.Context(), netip.MustParseAddr("10.0.0.1")); err != nil || r.NextHop != netip.MustParseAddr("10.0.0.1") {
		t.Errorf("to itself: %+v, %v", r, err)
	}
	if r, err := h.In(pvd.Null).Route(t.Context(), netip.MustParseAddr("10.0.0.2")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("in no PvD: %+v, %v", r, err)
	}
}

// TestCachedReserved holds that only a network in one PvD has answers at hand, the default's
// included.
func TestCachedReserved(t *testing.T) {
	h, far := newHost(t), newHost(t)
	pipe(t, "wire", h, far)
	c := config("wire", "10.0.0.1/24")
	c.DNS = pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.2:53")}}
	n := add(t, h, c)
	runLastingDNS(t, add(t, far, config("wire", "10.0.0.2/24")), "10.0.0.9")
	if err := h.SetDefault(n.PvD()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
		t.Fatal(err)
	}
	query := []byte("\x00\x07\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04wiki\x04corp\x00\x00\x01\x00\x01")
	for ref, want := range map[pvd.Ref]bool{n.PvD(): true, pvd.SystemDefault: true, pvd.Unspecified: false, pvd.Null: false, pvd.All: false} {
		reply, ok := h.In(ref).Cached(nil, query)
		if ok != want || ok && string(reply[len(reply)-4:]) != "\x0a\x00\x00\x09" {
			t.Errorf("%v: %x, %v", ref, reply, ok)
		}
	}
	if err := h.Remove(t.Context(), n.PvD()); err != nil {
		t.Fatal(err)
	}
	if reply, ok := n.Cached(nil, query); ok {
		t.Errorf("of a PvD that has gone: %x", reply)
	}
}

// runLastingDNS answers all questions at n's port 53 with an address that may be kept.
func runLastingDNS(t *testing.T, n *stack.Network, a string) {
	t.Helper()
	s := &wire.Server{PacketConn: mustListenPacket(t, n, "udp", ":53"), Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
		r := new(wire.Msg).SetReply(q)
		r.RecursionAvailable = true
		r.Answer = []wire.RR{&wire.A{Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 60}, A: netip.MustParseAddr(a).AsSlice()}}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }() // until its connection is closed
}
