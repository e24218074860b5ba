package stack_test

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// hookedStation is an Ethernet link that calls back when a PvD leaves it, which is in the
// middle of an Update.
type hookedStation struct {
	tun.Link
	left func()
}

func (h *hookedStation) AddMAC(net.HardwareAddr) error { return nil }

func (h *hookedStation) RemoveMAC(net.HardwareAddr) error {
	h.left()
	return nil
}

// While what an Update takes away is still being ended, what it adds can be used.
func TestUpdateHasNoGap(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	near, far := tun.Pipe(tun.PipeConfig{})
	t.Cleanup(func() { _ = far.Close() })
	hook := &hookedStation{Link: near}
	if err := h.AddLink("other", hook); err != nil {
		t.Fatal(err)
	}
	c := pvd.Config{
		Links: []string{"wire", "other"},
		Addresses: []pvd.Address{
			{Prefix: netip.MustParsePrefix("10.0.0.1/24")}, {Prefix: netip.MustParsePrefix("10.0.1.1/24"), Link: "other"},
		},
	}
	n := add(t, h, c)
	called := false
	hook.left = func() {
		called = true
		conn, err := n.DialContext(t.Context(), "udp", "192.0.2.1:9")
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("x")); err != nil {
			t.Error(err)
		}
	}
	c.Links, c.Addresses = c.Links[:1], c.Addresses[:1]
	c.Routes = []pvd.Route{{To: netip.MustParsePrefix("192.0.2.0/24")}}
	if err := h.Update(t.Context(), n.PvD(), c); err != nil {
		t.Fatal(err)
	}
	if !called {
		t.Error("the PvD has not left the link")
	}
}

// An address that a PvD has on two links can go from one of them: connections over the
// other live on.
func TestAddressOnTwoLinks(t *testing.T) {
	const both = "10.0.0.1/24"
	for _, tt := range []struct {
		name string
		take func(h *stack.Host, ref pvd.Ref, c pvd.Config) error
	}{
		{"address", func(h *stack.Host, ref pvd.Ref, c pvd.Config) error {
			c.Addresses = c.Addresses[1:]
			return h.Update(t.Context(), ref, c)
		}},
		{"PvD's link", func(h *stack.Host, ref pvd.Ref, c pvd.Config) error {
			c.Links, c.Addresses = c.Links[1:], c.Addresses[1:]
			return h.Update(t.Context(), ref, c)
		}},
		{"link", func(h *stack.Host, _ pvd.Ref, _ pvd.Config) error { return h.RemoveLink("first") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			h, far := newHost(t), newHost(t)
			pipe(t, "first", h, far)
			pipe(t, "second", h, far)
			c := config("first", both)
			c.Links = append(c.Links, "second")
			c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix(both), Link: "second"})
			c.Routes = nil
			n := add(t, h, c)
			l := mustListen(t, n, "tcp", ":80")
			ends := make(map[string][2]net.Conn)
			for _, link := range c.Links {
				peer := add(t, far, config(link, "10.0.0.2/24"))
				client := mustDial(t, peer, "tcp", "10.0.0.1:80")
				server, err := l.Accept()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = server.Close() })
				ends[link] = [2]net.Conn{client, server}
			}
			if err := tt.take(h, n.PvD(), c); err != nil {
				t.Fatal(err)
			}
			if _, err := ends["first"][1].Write([]byte("x")); err == nil {
				t.Error("what stood on the address that has gone goes on")
			}
			client, server := ends["second"][0], ends["second"][1]
			if _, err := server.Write([]byte("x")); err != nil {
				t.Fatalf("what stands on the other: %v", err)
			}
			if _, err := client.Read(make([]byte, 1)); err != nil {
				t.Errorf("what stands on the other: %v", err)
			}
		})
	}
}

// An address whose prefix gets another length stays, with what stands on it, and reaches
// as far as the new length says.
func TestPrefixLengthChanges(t *testing.T) {
	t.Parallel()
	h, far := newHost(t), newHost(t)
	pipeOf(t, tun.Ethernet, "wire", h, far)
	peer := add(t, far, pvd.Config{Links: []string{"wire"}, Addresses: addressesOf("10.0.0.2/16", "10.0.1.2/16", "2001:db8::2/48", "2001:db8:0:1::2/48")})
	narrow := pvd.Config{Links: []string{"wire"}, Addresses: addressesOf("10.0.0.1/24", "2001:db8::1/64")}
	wide := pvd.Config{Links: []string{"wire"}, Addresses: addressesOf("10.0.0.1/16", "2001:db8::1/48")}
	n := add(t, h, narrow)
	for _, tt := range []struct{ near, beyond string }{{"10.0.0.2", "10.0.1.2"}, {"2001:db8::2", "2001:db8:0:1::2"}} {
		client, server := connect(t, n, peer, tt.near)
		for _, c := range []pvd.Config{wide, narrow, wide} {
			if err := h.Update(t.Context(), n.PvD(), c); err != nil {
				t.Fatal(err)
			}
			if info, err := h.Info(n.PvD()); err != nil || !pvd.HasAddr6.Holds(info) || !pvd.Settled.Holds(info) {
				t.Errorf("the addresses can not be used at once: %v", err)
			}
			if _, err := client.Write([]byte("x")); err != nil {
				t.Fatalf("%s: %v", tt.near, err)
			}
			if _, err := server.Read(make([]byte, 1)); err != nil {
				t.Fatalf("%s: %v", tt.near, err)
			}
		}
		connect(t, n, peer, tt.beyond)
		if err := h.Update(t.Context(), n.PvD(), narrow); err != nil {
			t.Fatal(err)
		}
		wantOpError(t, dialErr(t.Context(), n, "tcp", net.JoinHostPort(tt.beyond, "1")), syscall.ENETUNREACH)
	}
}

func addressesOf(prefixes ...string) []pvd.Address {
	as := make([]pvd.Address, len(prefixes))
	for i, p := range prefixes {
		as[i].Prefix = netip.MustParsePrefix(p)
	}
	return as
}

// Prefixes that leave no room for a broadcast address, or for anybody else, work on
// Ethernet as they do on an IP link.
func TestNarrowPrefixes(t *testing.T) {
	t.Parallel()
	route := func(to string, via ...string) pvd.Route {
		r := pvd.Route{To: netip.MustParsePrefix(to)}
		if len(via) > 0 {
			r.Via = netip.MustParseAddr(via[0])
		}
		return r
	}
	for _, tt := range []struct {
		name   string
		own    string
		routes []pvd.Route
		peers  []string // addresses of the far end
		dial   string
	}{
		{"31", "10.0.0.0/31", nil, []string{"10.0.0.1/31"}, "10.0.0.1"},
		{"127", "2001:db8::/127", nil, []string{"2001:db8::1/127"}, "2001:db8::1"},
		{"32, host route", "10.0.0.1/32", []pvd.Route{route("10.9.9.9/32")}, []string{"10.9.9.9/8"}, "10.9.9.9"},
		{"128, host route", "2001:db8::1/128", []pvd.Route{route("2001:db8:9::9/128")}, []string{"2001:db8:9::9/32"}, "2001:db8:9::9"},
		{
			"router behind a host route", "10.0.0.1/32",
			[]pvd.Route{route("0.0.0.0/0", "10.9.9.9"), route("10.9.9.9/32")},
			[]string{"10.9.9.9/8", "192.0.2.1/32"},
			"192.0.2.1",
		},
		{"default without router", "10.0.0.1/32", []pvd.Route{route("0.0.0.0/0")}, []string{"10.9.9.9/8"}, "10.9.9.9"},
		{"default without router, IPv6", "2001:db8::1/128", []pvd.Route{route("::/0")}, []string{"2001:db8:9::9/32"}, "2001:db8:9::9"},
		{"everything on the link", "10.0.0.1/1", nil, []string{"10.9.9.9/8"}, "10.9.9.9"},
	} {
		for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
			t.Run(fmt.Sprint(tt.name, " layer ", layer), func(t *testing.T) {
				t.Parallel()
				h, far := newHost(t), newHost(t)
				pipeOf(t, layer, "wire", h, far)
				n := add(t, h, pvd.Config{Links: []string{"wire"}, Addresses: addressesOf(tt.own), Routes: tt.routes})
				peer := add(t, far, pvd.Config{Links: []string{"wire"}, Addresses: addressesOf(tt.peers...)})
				connect(t, n, peer, tt.dial)
				own := netip.MustParsePrefix(tt.own).Addr().String()
				if !netip.MustParsePrefix(tt.peers[0]).Contains(netip.MustParseAddr(own)) {
					return
				}
				connect(t, peer, n, own)
			})
		}
	}
}
