package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// Only the PvD's routes are consulted: what asks for a route by connecting a UDP socket is
// told that there is none, although another PvD on the same link has one
// (draft-kline-mif-mpvd-api-reqs-00 section 2.2.2).
func TestR7_RoutesOfThePvDOnly(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	a := config("wire", "10.1.0.2/24", "2001:db8:a::2/64")
	a.Routes = []pvd.Route{{To: netip.MustParsePrefix("198.51.100.0/24")}}
	inA, inB := add(t, h, a), add(t, h, config("wire", "10.2.0.2/24", "2001:db8:b::2/64"))
	for _, dst := range []string{"203.0.113.1:9", "[2001:db8:ffff::1]:9"} {
		for _, network := range []string{"udp", "tcp"} {
			if c, err := inA.DialContext(t.Context(), network, dst); !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("%s to %s in a: %v, %v", network, dst, c, err)
			}
		}
		c, err := inB.DialContext(t.Context(), "udp", dst)
		if err != nil {
			t.Errorf("to %s in b: %v", dst, err)
			continue
		}
		if local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().String(); local != "10.2.0.2" && local != "2001:db8:b::2" {
			t.Errorf("to %s in b from %s", dst, local)
		}
		_ = c.Close()
	}
	u := mustListenPacket(t, inA, "udp", ":0")
	if _, err := u.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("203.0.113.1:9")); !errors.Is(err, syscall.ENETUNREACH) {
		t.Errorf("a datagram in a: %v", err)
	}
	if c, err := inA.DialContext(t.Context(), "udp", "198.51.100.1:9"); err != nil {
		t.Errorf("by a's own route: %v", err)
	} else {
		_ = c.Close()
	}
}

// What arrives is known by its PvD, also where the addresses at both ends are the same in
// several (draft-kline-mif-mpvd-api-reqs-00 section 2.2.3).
func TestR8_PvDOfWhatArrives(t *testing.T) {
	h := newHost(t)
	var own, peers []*stack.Network
	for _, link := range []string{"one", "two"} {
		peer := newHost(t)
		pipe(t, link, h, peer)
		own = append(own, add(t, h, config(link, "192.168.1.2/24")))
		peers = append(peers, add(t, peer, config(link, "192.168.1.1/24")))
	}
	all := h.In(pvd.All)
	l, err := all.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	u, err := all.ListenPacket(t.Context(), "udp", ":53")
	if err != nil {
		t.Fatal(err)
	}
	defer u.Close()
	_ = u.SetDeadline(time.Now().Add(10 * time.Second))
	for _, i := range []int{1, 0, 1} {
		mustDial(t, peers[i], "tcp", "192.168.1.2:80")
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if ref, ok := pvd.Of(c); !ok || ref != own[i].PvD() {
			t.Errorf("a connection from peer %d is in %v, want %v", i, ref, own[i].PvD())
		}
		_ = c.Close()
		if _, err := mustDial(t, peers[i], "udp", "192.168.1.2:53").Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, from, err := u.ReadFrom(make([]byte, 1))
		if err != nil {
			t.Fatal(err)
		}
		if ref, ok := pvd.Of(from); !ok || ref != own[i].PvD() {
			t.Errorf("a datagram from peer %d is in %v, want %v", i, ref, own[i].PvD())
		}
	}
}

// What arrives for an address of no PvD on the link is discarded without an answer, also
// when a PvD on another link has it.
func TestHa_SilenceForOthersAddresses(t *testing.T) {
	t.Parallel()
	h, peer := newHost(t), newHost(t)
	pipe(t, "one", h, peer)
	pipe(t, "two", h, nil)
	add(t, h, config("one", "10.1.0.2/24", "fd01::2/64"))
	add(t, h, config("two", "10.2.0.2/24", "fd02::2/64"))
	p := add(t, peer, config("one", "10.1.0.9/24", "fd01::9/64"))
	for _, dst := range []string{"10.2.0.2", "fd02::2", "10.1.0.77", "fd01::77"} {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err := p.DialContext(ctx, "tcp", net.JoinHostPort(dst, "80"))
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("TCP to %s: %v", dst, err)
		}
		if _, err := p.Ping(ctx, netip.MustParseAddr(dst)); err == nil {
			t.Errorf("%s answers", dst)
		}
		cancel()
	}
	if _, err := p.DialContext(t.Context(), "tcp", "10.1.0.2:80"); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("a PvD's own address: %v", err)
	}
}

// The source address selects the interface in one stack, and where several stacks have the
// same one, the PvD does (RFC 6419 section 3.1.3).
func TestP19_SourceSelectsTheInterface(t *testing.T) {
	h := newHost(t)
	peers := make(map[string]<-chan string)
	both := pvd.Config{Links: []string{"one", "two"}}
	for link, addr := range map[string]string{"one": "10.1.0.2/24", "two": "10.2.0.2/24"} {
		far := newHost(t)
		pipe(t, link, h, far)
		peers[link] = echo(t, add(t, far, config(link, "192.0.2.1/24")))
		both.Addresses = append(both.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(addr), Link: link})
		both.Routes = append(both.Routes, pvd.Route{To: netip.MustParsePrefix("0.0.0.0/0"), Link: link})
	}
	check := func(n *stack.Network, local, source, link string) {
		t.Helper()
		if err := reaches(t, n, local, "192.0.2.1:80", 10*time.Second); err != nil {
			t.Errorf("from %s: %v", local, err)
			return
		}
		select {
		case got := <-peers[link]:
			if got != source {
				t.Errorf("link %s sees %s, want %s", link, got, source)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("from %s: not by link %s", local, link)
		}
	}
	one := add(t, h, both)
	check(one, "10.1.0.2:0", "10.1.0.2", "one")
	check(one, "10.2.0.2:0", "10.2.0.2", "two")
	for _, link := range []string{"one", "two"} {
		check(add(t, h, config(link, "172.16.0.2/24")), "172.16.0.2:0", "172.16.0.2", link)
	}
}

// What one PvD is configured with, or again with, or loses, is nothing to another: the last
// one does not win (RFC 6419 sections 3.1.4 and 3.2.3).
func TestP24_ConfiguringOneLeavesTheOther(t *testing.T) {
	h := newHost(t)
	pipeOf(t, tun.IP, "one", h, nil)
	pipeOf(t, tun.IP, "two", h, nil)
	with := func(link, addr, via, dns string) pvd.Config {
		return pvd.Config{
			Links: []string{link}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix(addr)}},
			Routes: []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr(via)}},
			DNS:    pvd.DNS{Servers: []netip.AddrPort{netip.MustParseAddrPort(dns)}, Search: []string{"a.example"}},
		}
	}
	a := add(t, h, with("one", "10.0.0.2/24", "10.0.0.1", "10.0.0.53:53"))
	before, err := h.Info(a.PvD())
	if err != nil {
		t.Fatal(err)
	}
	b := add(t, h, with("two", "10.0.0.3/24", "10.0.0.254", "10.0.0.54:53"))
	for _, c := range []pvd.Config{
		with("two", "10.0.0.2/24", "10.0.0.9", "10.0.0.55:53"),
		with("one", "10.0.9.3/24", "10.0.9.1", "10.0.9.53:53"),
	} {
		if err := h.Update(t.Context(), b.PvD(), c); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Remove(t.Context(), b.PvD()); err != nil {
		t.Fatal(err)
	}
	after, err := h.Info(a.PvD())
	if err != nil {
		t.Fatal(err)
	}
	if before.Version() != after.Version() {
		t.Errorf("a has changed from version %d to %d", before.Version(), after.Version())
	}
	routes, _ := pvd.Routes.Get(after)
	servers, _ := pvd.DNSServers.Get(after)
	if len(routes) != 1 || routes[0].Via != netip.MustParseAddr("10.0.0.1") || !slices.Equal(servers, []netip.AddrPort{netip.MustParseAddrPort("10.0.0.53:53")}) {
		t.Errorf("a has %v and %v", routes, servers)
	}
	c, err := a.DialContext(t.Context(), "udp", "203.0.113.1:9")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if local := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); local != netip.MustParseAddr("10.0.0.2") {
		t.Errorf("a sends from %v", local)
	}
}
