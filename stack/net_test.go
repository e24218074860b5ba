package stack_test

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// newHost returns a host that is closed at the end of the test.
func newHost(t testing.TB) *stack.Host {
	t.Helper()
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error("Close:", err)
		}
	})
	return h
}

// pipe joins hosts by an IP link under a name. A host that is nil has no end of it.
func pipe(t testing.TB, name string, a, b *stack.Host) {
	t.Helper()
	pipeOf(t, tun.IP, name, a, b)
}

func pipeOf(t testing.TB, layer tun.Layer, name string, a, b *stack.Host) {
	t.Helper()
	l, r := tun.Pipe(tun.PipeConfig{Layer: layer})
	for _, end := range []struct {
		h *stack.Host
		l tun.Link
	}{{a, l}, {b, r}} {
		if end.h == nil {
			continue
		}
		if err := end.h.AddLink(name, end.l); err != nil {
			t.Fatal(err)
		}
	}
}

// config is that of a PvD with addresses on its first link, and default routes through
// it.
func config(link string, addrs ...string) pvd.Config {
	c := pvd.Config{Links: []string{link}}
	for _, a := range addrs {
		p := netip.MustParsePrefix(a)
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: p})
		c.Routes = append(c.Routes, pvd.Route{To: netip.PrefixFrom(unspecified(p.Addr()), 0)})
	}
	return c
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// add attaches a PvD and waits until it can be used.
func add(t testing.TB, h *stack.Host, c pvd.Config) *stack.Network {
	t.Helper()
	ref, err := h.Add(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := h.WaitReady(ctx, ref); err != nil {
		t.Fatal(err)
	}
	return h.In(ref)
}

// couple returns the networks of two PvDs, each in a host of its own, that face each
// other over an IP link named "wire". Theirs are 10.0.0.1 and fd00::1, 10.0.0.2 and
// fd00::2.
func couple(t testing.TB) (a, b *stack.Network) {
	t.Helper()
	return coupleOver(t, tun.IP)
}

func coupleOver(t testing.TB, layer tun.Layer) (a, b *stack.Network) {
	t.Helper()
	h1, h2 := newHost(t), newHost(t)
	pipeOf(t, layer, "wire", h1, h2)
	return add(t, h1, config("wire", "10.0.0.1/24", "fd00::1/64")), add(t, h2, config("wire", "10.0.0.2/24", "fd00::2/64"))
}

// alone returns the network of a PvD on a link that nobody is on the other end of.
func alone(t testing.TB) *stack.Network {
	t.Helper()
	h := newHost(t)
	pipe(t, "wire", h, nil)
	return add(t, h, config("wire", "10.0.0.1/24", "fd00::1/64"))
}

func mustListen(t testing.TB, n *stack.Network, network, address string) net.Listener {
	t.Helper()
	l, err := n.Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func mustDial(t testing.TB, n *stack.Network, network, address string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := n.DialContext(ctx, network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func mustListenPacket(t testing.TB, n *stack.Network, network, address string) *stack.UDPConn {
	t.Helper()
	c, err := n.ListenPacket(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c.(*stack.UDPConn)
}

// connect returns the two ends of a TCP connection from a to an address of b's.
func connect(t testing.TB, a, b *stack.Network, address string) (client, server *stack.TCPConn) {
	t.Helper()
	l := mustListen(t, b, "tcp", net.JoinHostPort(address, "0"))
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error("Accept:", err)
		}
		accepted <- c
	}()
	client = mustDial(t, a, "tcp", l.Addr().String()).(*stack.TCPConn)
	c := <-accepted
	if c == nil {
		t.FailNow()
	}
	t.Cleanup(func() { _ = c.Close() })
	return client, c.(*stack.TCPConn)
}
