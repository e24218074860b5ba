package dns_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// A world is a host under test and a peer with name servers, joined by links in memory.
type world struct {
	t          *testing.T
	host, peer *stack.Host
}

func newWorld(t *testing.T, c stack.Config, links ...string) *world {
	t.Helper()
	w := &world{t: t}
	for _, h := range []struct {
		at **stack.Host
		c  stack.Config
	}{{&w.host, c}, {&w.peer, stack.Config{}}} {
		host, err := stack.New(h.c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = host.Close() })
		*h.at = host
	}
	for _, name := range links {
		a, b := tun.Pipe(tun.PipeConfig{Layer: tun.IP, Queue: tun.MaxPipeQueue})
		if err := w.host.AddLink(name, a); err != nil {
			t.Fatal(err)
		}
		if err := w.peer.AddLink(name, b); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// add attaches a PvD and waits until its addresses can be used.
func (w *world) add(h *stack.Host, c pvd.Config) *stack.Network {
	w.t.Helper()
	ref, err := h.Add(w.t.Context(), c)
	if err != nil {
		w.t.Fatal(err)
	}
	what := pvd.HasAddr4
	if c.Addresses[0].Prefix.Addr().Is6() {
		what = pvd.HasAddr6
	}
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	defer cancel()
	if err := h.WaitReady(ctx, ref, what); err != nil {
		w.t.Fatal(err)
	}
	return h.In(ref)
}

// nameServer answers at port 53 of a network with one address, and counts who asks.
type nameServer struct {
	mu    sync.Mutex
	asked []string
	junk  int // how many datagrams that are none precede each answer
}

func (w *world) serve(n *stack.Network, addr string) *nameServer {
	w.t.Helper()
	c, err := n.ListenPacket(w.t.Context(), "udp", ":53")
	if err != nil {
		w.t.Fatal(err)
	}
	s := &nameServer{}
	done := make(chan struct{})
	go func() { // until c is closed
		defer close(done)
		buf := make([]byte, 1500)
		for {
			k, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			b := s.reply(buf[:k], addr)
			for range s.junk {
				_, _ = c.WriteTo([]byte("junk junk junk"), from)
			}
			_, _ = c.WriteTo(b, from)
		}
	}()
	w.t.Cleanup(func() {
		c.Close()
		<-done
	})
	return s
}

// reply answers a query with one address; silent servers have none.
func (s *nameServer) reply(b []byte, addr string) []byte {
	var q wire.Msg
	if q.Unpack(b) != nil {
		return nil
	}
	s.mu.Lock()
	s.asked = append(s.asked, q.Question[0].Name)
	s.mu.Unlock()
	m := new(wire.Msg).SetReply(&q)
	m.RecursionAvailable = true
	if q.Question[0].Qtype == wire.TypeA {
		m.Answer = []wire.RR{&wire.A{
			Hdr: wire.RR_Header{Name: q.Question[0].Name, Rrtype: wire.TypeA, Class: wire.ClassINET, Ttl: 600},
			A:   netip.MustParseAddr(addr).AsSlice(),
		}}
	}
	b, _ = m.Pack()
	return b
}

func (s *nameServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// plain is a PvD on links with one address and servers.
func plain(address string, servers []string, links ...string) pvd.Config {
	c := pvd.Config{Links: links, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(address)}}}
	for _, s := range servers {
		c.DNS.Servers = append(c.DNS.Servers, netip.MustParseAddrPort(s))
	}
	return c
}

// lookup looks wiki.corp up.
func lookup(t *testing.T, n *stack.Network, want string) {
	t.Helper()
	got, err := n.LookupNetIP(t.Context(), "ip4", "wiki.corp")
	if err != nil || len(got) != 1 || got[0].String() != want {
		t.Errorf("%v, %v; want %s", got, err, want)
	}
}

// What a PvD's resolver has learned ends with the attachment, and is for no other PvD.
func TestS7_NothingSurvivesReattachment(t *testing.T) {
	w := newWorld(t, stack.Config{}, "lab", "other")
	s := w.serve(w.add(w.peer, plain("10.0.0.1/24", nil, "lab")), "10.1.0.1")
	o := w.serve(w.add(w.peer, plain("10.0.0.1/24", nil, "other")), "10.2.0.1")
	c := plain("10.0.0.2/24", []string{"10.0.0.1:53"}, "lab")
	n := w.add(w.host, c)
	other := w.add(w.host, plain("10.0.0.2/24", []string{"10.0.0.1:53"}, "other"))
	for range 3 {
		lookup(t, n, "10.1.0.1")
		lookup(t, other, "10.2.0.1")
	}
	if s.count() != 1 || o.count() != 1 {
		t.Errorf("%d and %d queries", s.count(), o.count())
	}
	if err := w.host.Remove(t.Context(), n.PvD()); err != nil {
		t.Fatal(err)
	}
	if _, err := n.LookupNetIP(t.Context(), "ip4", "wiki.corp"); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("after removal:", err)
	}
	n = w.add(w.host, c)
	for range 3 {
		lookup(t, n, "10.1.0.1")
		lookup(t, other, "10.2.0.1")
	}
	if s.count() != 2 || o.count() != 1 {
		t.Errorf("%d and %d queries after re-attachment", s.count(), o.count())
	}
	// Other servers, other answers.
	c.DNS.Servers = nil
	if err := w.host.Update(t.Context(), n.PvD(), c); err != nil {
		t.Fatal(err)
	}
	_, err := n.LookupNetIP(t.Context(), "ip4", "wiki.corp")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || e.Err != "no DNS server in PvD" {
		t.Errorf("without a server: %v", err)
	}
}

// Ten thousand datagrams of junk come before the answer.
func TestJunkBeforeTheAnswer(t *testing.T) {
	w := newWorld(t, stack.Config{}, "lab")
	s := w.serve(w.add(w.peer, plain("10.0.0.1/24", nil, "lab")), "10.1.0.1")
	n := w.add(w.host, plain("10.0.0.2/24", []string{"10.0.0.1:53"}, "lab"))
	s.junk = 10_000
	lookup(t, n, "10.1.0.1")
}

// A server that is reached by its zone.
func TestLinkLocalServer(t *testing.T) {
	w := newWorld(t, stack.Config{}, "lab", "other")
	// Readiness is that of other addresses.
	both := func(own string, servers []string, links ...string) pvd.Config {
		c := plain("fd00::"+own+"/64", servers, links...)
		for _, l := range links {
			c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix("fe80::" + own + "/64"), Link: l})
		}
		return c
	}
	s := w.serve(w.add(w.peer, both("1", nil, "lab")), "10.1.0.1")
	o := w.serve(w.add(w.peer, both("1", nil, "other")), "10.2.0.1")
	c := both("2", []string{"[fe80::1%other]:53"}, "lab", "other")
	lookup(t, w.add(w.host, c), "10.2.0.1")
	if s.count() != 0 || o.count() != 1 {
		t.Errorf("%d and %d queries", s.count(), o.count())
	}
}

// P40: how servers are asked is the PvD's own choice; links are where servers are.
func TestP40_EscalationOverLinks(t *testing.T) {
	w := newWorld(t, stack.Config{}, "a", "b")
	var servers []*nameServer
	for i, link := range []string{"a", "b"} {
		// Nobody has the first address of each: only the last server answers.
		n := w.add(w.peer, plain(fmt.Sprintf("10.%d.0.3/24", i), nil, link))
		servers = append(servers, w.serve(n, fmt.Sprintf("10.9.0.%d", i)))
	}
	c := plain("10.0.0.2/24", []string{"10.0.0.1:53", "10.0.0.3:53", "10.1.0.3:53"}, "a", "b")
	c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix("10.1.0.2/24"), Link: "b"})
	c.Elements = []pvd.Element{pvd.Resolving.With(pvd.ResolverOptions{Strategy: "escalation", Timeout: 50 * time.Millisecond})}
	lookup(t, w.add(w.host, c), "10.9.0.1")
	if servers[0].count() != 0 {
		t.Error("the second server of a link was asked before the first ones of all links")
	}
	c.Elements = []pvd.Element{pvd.Resolving.With(pvd.ResolverOptions{Strategy: "nonsense"})}
	if _, err := w.host.Add(t.Context(), c); err == nil || !strings.Contains(err.Error(), `no strategy "nonsense"`) {
		t.Error(err)
	}
}

// A PvD's encrypted server, with trust anchors of the host's own.
func TestEncryptedServerOfPvD(t *testing.T) {
	dir := t.TempDir()
	roots := writeCertificate(t, dir)
	cert, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, stack.Config{Roots: roots}, "lab")
	peer := w.add(w.peer, plain("10.0.0.1/24", nil, "lab"))
	l, err := peer.Listen(t.Context(), "tcp", ":853")
	if err != nil {
		t.Fatal(err)
	}
	s := &wire.Server{
		Listener: tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"dot"}}),
		Handler: wire.HandlerFunc(func(w wire.ResponseWriter, q *wire.Msg) {
			b, _ := q.Pack()
			_, _ = w.Write(new(nameServer).reply(b, "10.1.0.1"))
		}),
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.ActivateAndServe()
	}()
	defer func() {
		_ = s.Shutdown()
		<-served
	}()
	silent := w.serve(peer, "10.6.6.6")
	c := plain("10.0.0.2/24", []string{"10.0.0.1:53"}, "lab")
	c.Elements = []pvd.Element{pvd.EncryptedDNS.With([]pvd.EncryptedServer{{
		Name: resolverID, Addrs: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, ALPN: []string{"dot"},
	}})}
	n := w.add(w.host, c)
	lookup(t, n, "10.1.0.1")
	lookup(t, n, "10.1.0.1")
	if silent.count() != 0 {
		t.Error("asked without encryption")
	}
}
