package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// TestS6_S22_RecvPvD tells datagrams apart that have the same addresses and ports and arrive in
// different PvDs, and everything else that is known of them.
func TestS6_S22_RecvPvD(t *testing.T) {
	for _, tt := range []struct {
		f              pvd.Family
		at, peer, mine string
	}{
		{pvd.INET, "0.0.0.0:7", "192.168.1.1:1000", "192.168.1.2"},
		{pvd.INET6, "[::]:7", "[fd00::1]:1000", "fd00::2"},
		{pvd.INET6, "[::]:7", "192.168.1.1:1000", "::ffff:192.168.1.2"},
	} {
		t.Run(tt.peer, func(t *testing.T) {
			s := newStar(t, 2)
			k := bound(t, s.host, tt.f, pvd.Datagram, pvd.Unspecified, tt.at)
			s.grow(t) // one that comes later
			mine := netip.MustParseAddr(tt.mine)
			send := func(i int) {
				t.Helper()
				n := s.peers[i].WithToS(0x28)
				c := mustListenPacket(t, n, "udp", tt.peer)
				sendDatagram(t, c, fmt.Sprint(i), netip.AddrPortFrom(mine.Unmap(), 7).String())
				_ = c.Close()
			}
			send(0)
			if _, m := mustRecv(t, k); m.Control != (pvd.Control{}) {
				t.Errorf("control messages that nobody asked for: %+v", m.Control)
			}
			err := errors.Join(k.SetRecvPvD(true), k.SetRecvPktInfo(true), k.SetOption(pvd.OptRecvToS, 1), k.SetOption(pvd.OptRecvHopLimit, 1))
			if err != nil || !k.RecvPvD() {
				t.Fatal(err)
			}
			for i := range s.peers {
				send(i)
				data, m := mustRecv(t, k)
				c := m.Control
				if data != fmt.Sprint(i) || c.PvD != s.own[i].PvD() || c.PktInfo != (pvd.PktInfo{Link: fmt.Sprint("wire", i), Addr: mine}) {
					t.Errorf("%q with %+v, want PvD %v", data, c, s.own[i].PvD())
				}
				if c.ToS == nil || *c.ToS != 0x28 || c.HopLimit == nil || *c.HopLimit != 64 {
					t.Errorf("type of service %v, hop limit %v", c.ToS, c.HopLimit)
				}
				if want := netip.MustParseAddrPort(tt.peer); m.Addr.Addr().Unmap() != want.Addr() || m.Addr.Port() != want.Port() {
					t.Errorf("from %v", m.Addr)
				}
			}
		})
	}
}

// TestS31_PvDOfAMessage sends with control messages, from a socket in all PvDs.
func TestS31_PvDOfAMessage(t *testing.T) {
	for _, tt := range []struct {
		f        pvd.Family
		to, mine string
	}{
		{pvd.INET, "192.168.1.1:7", "192.168.1.2"},
		{pvd.INET6, "[fd00::1]:7", "fd00::2"},
		{pvd.INET6, "[::ffff:192.168.1.1]:7", "::ffff:192.168.1.2"},
	} {
		t.Run(tt.to, func(t *testing.T) {
			s := newStar(t, 3)
			if err := s.host.SetDefault(s.own[2].PvD()); err != nil {
				t.Fatal(err)
			}
			to := netip.MustParseAddrPort(tt.to)
			k := mustSocket(t, s.host, tt.f, pvd.Datagram, pvd.Unspecified)
			_ = k.SetRecvPvD(true)
			var peers []*stack.Socket
			for i := range s.peers {
				peers = append(peers, s.peerSocket(t, i, tt.f, "7"))
			}
			control := func(i int) pvd.Control { return pvd.Control{PvD: s.own[i].PvD()} }
			with := pvd.Control{PvD: s.own[1].PvD(), ToS: new(uint8(0x50)), HopLimit: new(uint8(9)), PktInfo: pvd.PktInfo{
				Link: "wire1", Addr: netip.MustParseAddr(tt.mine),
			}}
			for _, m := range []struct {
				name    string
				ctx     context.Context
				control pvd.Control
				peer    int
			}{
				{"the system's default", t.Context(), pvd.Control{}, 2},
				{"by the context", pvd.NewContext(t.Context(), s.own[0].PvD()), pvd.Control{}, 0},
				{"by the message", t.Context(), control(1), 1},
				{"the message goes before the context", pvd.NewContext(t.Context(), s.own[0].PvD()), control(1), 1},
				{"the system's default, by the message", pvd.NewContext(t.Context(), s.own[0].PvD()), pvd.Control{PvD: pvd.SystemDefault}, 2},
				{"with everything", t.Context(), with, 1},
			} {
				msg := stack.Msg{Data: []byte(m.name), Addr: to, Control: m.control}
				if _, err := k.SendMsg(m.ctx, &msg); err != nil {
					t.Fatalf("%s: %v", m.name, err)
				}
				got, in := mustRecv(t, peers[m.peer])
				if got != m.name || in.Addr != netip.AddrPortFrom(netip.MustParseAddr(tt.mine), socketPort(t, k)) {
					t.Errorf("%q from %v", got, in.Addr)
				}
				if m.control.ToS != nil && (*in.Control.ToS != 0x50 || *in.Control.HopLimit != 9) {
					t.Errorf("type of service %v, hop limit %v", *in.Control.ToS, *in.Control.HopLimit)
				}
				// The answer says where it was.
				mustSendMsg(t, peers[m.peer], stack.Msg{Data: []byte("back"), Addr: in.Addr})
				if got, in := mustRecv(t, k); got != "back" || in.Control.PvD != s.own[m.peer].PvD() {
					t.Errorf("%s: %q in %v", m.name, got, in.Control.PvD)
				}
			}
			for name, m := range map[string]struct {
				c    pvd.Control
				want error
			}{
				"all":                 {pvd.Control{PvD: pvd.All}, syscall.EINVAL},
				"null":                {pvd.Control{PvD: pvd.Null}, syscall.ENETUNREACH},
				"nobody's source":     {pvd.Control{PktInfo: pvd.PktInfo{Addr: netip.MustParseAddr("::ffff:192.0.2.9")}}, nil},
				"no link of its":      {pvd.Control{PvD: s.own[0].PvD(), PktInfo: pvd.PktInfo{Link: "wire1"}}, syscall.ENODEV},
				"hop limit 0":         {pvd.Control{HopLimit: new(uint8(0))}, syscall.EINVAL},
				"source of no family": {pvd.Control{PktInfo: pvd.PktInfo{Addr: netip.MustParseAddr("10.0.0.1").WithZone("")}}, nil},
			} {
				_, err := k.SendMsg(t.Context(), &stack.Msg{Addr: to, Control: m.c})
				if m.want == nil {
					m.want = err // some error
				}
				if err == nil {
					t.Errorf("%s: no error", name)
					continue
				}
				wantOpError(t, err, m.want)
			}
		})
	}
}

// peerSocket returns a datagram socket of a peer's, bound to a port.
func (s *star) peerSocket(t testing.TB, i int, f pvd.Family, port string) *stack.Socket {
	t.Helper()
	k := bound(t, s.peerHosts[i], f, pvd.Datagram, s.peers[i].PvD(), net.JoinHostPort(map[pvd.Family]string{pvd.INET: "0.0.0.0", pvd.INET6: "::"}[f], port))
	if err := errors.Join(k.SetOption(pvd.OptRecvToS, 1), k.SetOption(pvd.OptRecvHopLimit, 1)); err != nil {
		t.Fatal(err)
	}
	return k
}

// TestS21_PacketOfAnotherPvD has a socket that is bound to a PvD, but to no address, send in
// another. It gets no answers there: it is not in that PvD.
func TestS21_PacketOfAnotherPvD(t *testing.T) {
	for _, f := range []pvd.Family{pvd.INET, pvd.INET6} {
		s := newStar(t, 2)
		a, b := s.own[0].PvD(), s.own[1].PvD()
		to := map[pvd.Family]netip.AddrPort{
			pvd.INET: netip.MustParseAddrPort("192.168.1.1:7"), pvd.INET6: netip.MustParseAddrPort("[fd00::1]:7"),
		}[f]
		app := s.host.App("app")
		if err := app.SetDefault(a); err != nil {
			t.Fatal(err)
		}
		k, err := app.Socket(f, pvd.Datagram, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		there := s.peerSocket(t, 1, f, "7")
		for range 2 {
			mustSendMsg(t, k, stack.Msg{Data: []byte("x"), Addr: to, Control: pvd.Control{PvD: b}})
			if _, m := mustRecv(t, there); m.Addr.Port() != socketPort(t, k) {
				t.Errorf("from %v, the socket is at port %d", m.Addr, socketPort(t, k))
			}
		}
		if k.PvD() != a || app.InUse()[b] != 1 {
			t.Errorf("in %v, %v", k.PvD(), app.InUse())
		}
		_, m := func() (string, stack.Msg) {
			mustSendMsg(t, k, stack.Msg{Data: []byte("x"), Addr: to, Control: pvd.Control{PvD: b}})
			return mustRecv(t, there)
		}()
		if err := there.Connect(t.Context(), m.Addr); err != nil {
			t.Fatal(err)
		}
		_, _ = there.Send(t.Context(), []byte("answer"))
		_, err = there.Recv(before(t), make([]byte, 1))
		wantOpError(t, err, syscall.ECONNREFUSED)
		// The port is its own, there too.
		other := mustSocket(t, s.host, f, pvd.Datagram, b)
		at := netip.AddrPortFrom(unspecified(to.Addr()), socketPort(t, k))
		wantOpError(t, other.Bind(at), syscall.EADDRINUSE)
		_ = k.Close()
		if err := other.Bind(at); err != nil {
			t.Error("after Close:", err)
		}
		if n := app.InUse(); len(n) != 0 {
			t.Errorf("in use after Close: %v", n)
		}
	}
}

// TestS20_S24_SourceOfAnotherPvD sends with a source of one PvD through another: forbidden, but
// where policy allows it and both are on the link.
func TestS20_S24_SourceOfAnotherPvD(t *testing.T) {
	t.Parallel()
	for _, layer := range []tun.Layer{tun.IP, tun.Ethernet} {
		h, far := newHost(t), newHost(t)
		pipeOf(t, layer, "wire", h, far)
		pipe(t, "side", h, nil)
		p := netip.MustParsePrefix
		a := add(t, h, pvd.Config{Links: []string{"wire"}, Addresses: []pvd.Address{{Prefix: p("10.1.0.1/24")}, {Prefix: p("fd01::1/64")}}})
		b := add(t, h, config("wire", "10.2.0.1/24", "fd02::1/64"))
		c := add(t, h, config("side", "10.3.0.1/24"))
		router := add(t, far, config("wire", "10.2.0.9/24", "fd02::9/64"))
		if err := h.SetPolicy(&pvd.Policy{SendAcross: []string{"privileged"}}); err != nil {
			t.Fatal(err)
		}
		for i, tt := range []struct {
			f       pvd.Family
			src, to string
		}{
			{pvd.INET, "10.1.0.1", "10.2.0.9"},
			{pvd.INET6, "fd01::1", "fd02::9"},
			{pvd.INET6, "::ffff:10.1.0.1", "::ffff:10.2.0.9"},
		} {
			port := uint16(70 + i)
			src, to := netip.MustParseAddr(tt.src), netip.AddrPortFrom(netip.MustParseAddr(tt.to), port)
			there := bound(t, far, tt.f, pvd.Datagram, router.PvD(), netip.AddrPortFrom(unspecified(map[pvd.Family]netip.Addr{
				pvd.INET: netip.IPv4Unspecified(), pvd.INET6: netip.IPv6Unspecified(),
			}[tt.f]), port).String())
			for _, name := range []string{"privileged", "common"} {
				app := h.App(name)
				send := func(what string, k *stack.Socket, m stack.Msg, ok bool) {
					t.Helper()
					m.Data = []byte(what)
					_, err := k.SendMsg(before(t), &m)
					if !ok {
						wantOpError(t, err, syscall.EACCES)
						return
					}
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					if got, in := mustRecv(t, there); got != what || in.Addr.Addr() != src || in.Addr.Port() != socketPort(t, k) {
						t.Errorf("%q from %v", got, in.Addr)
					}
				}
				ok := name == "privileged"
				k := bound(t, app, tt.f, pvd.Datagram, a.PvD(), netip.AddrPortFrom(src, 0).String())
				send("bound to the source", k, stack.Msg{Addr: to, Control: pvd.Control{PvD: b.PvD()}}, ok)
				all := mustSocket(t, app, tt.f, pvd.Datagram, pvd.Unspecified)
				send("source of the message", all, stack.Msg{Addr: to, Control: pvd.Control{PvD: b.PvD(), PktInfo: pvd.PktInfo{Addr: src}}}, ok)
				in := mustSocket(t, app, tt.f, pvd.Datagram, b.PvD())
				// Not even a privileged App has a source where its socket is not.
				send("bound elsewhere", in, stack.Msg{Addr: to, Control: pvd.Control{PktInfo: pvd.PktInfo{Addr: src}}}, false)
				if tt.f == pvd.INET {
					send("no common link", k, stack.Msg{Addr: netip.MustParseAddrPort("10.3.0.9:7"), Control: pvd.Control{PvD: c.PvD()}}, false)
				}
				if ok {
					_, err := k.SendMsg(before(t), &stack.Msg{Data: make([]byte, 9000), Addr: to, Control: pvd.Control{PvD: b.PvD()}})
					wantOpError(t, err, syscall.EMSGSIZE)
				}
			}
		}
	}
}

// TestS31_SourceOfAMessage chooses among the PvD's own sources, and the PvD by the source.
func TestS31_SourceOfAMessage(t *testing.T) {
	h, far := newHost(t), newHost(t)
	pipe(t, "wire", h, far)
	p := netip.MustParsePrefix
	n := add(t, h, pvd.Config{
		Links:     []string{"wire"},
		Addresses: []pvd.Address{{Prefix: p("10.0.0.1/24")}, {Prefix: p("10.0.0.2/24")}, {Prefix: p("fd00::1/64")}, {Prefix: p("fd00::2/64")}},
	})
	add(t, far, config("wire", "10.0.0.9/24", "fd00::9/64"))
	pipe(t, "side", h, nil)
	other := add(t, h, config("side", "10.0.1.1/24"))
	_ = h.SetDefault(other.PvD())
	there := bound(t, far, pvd.INET6, pvd.Datagram, pvd.Unspecified, "[::]:7")
	k := mustSocket(t, h, pvd.INET6, pvd.Datagram, pvd.Unspecified)
	for _, src := range []string{"::ffff:10.0.0.1", "::ffff:10.0.0.2", "fd00::1", "fd00::2"} {
		to := netip.MustParseAddrPort("[::ffff:10.0.0.9]:7")
		src := netip.MustParseAddr(src)
		if !src.Is4In6() {
			to = netip.MustParseAddrPort("[fd00::9]:7")
		}
		// Without a PvD it is the one that has the source.
		mustSendMsg(t, k, stack.Msg{Data: []byte("x"), Addr: to, Control: pvd.Control{PktInfo: pvd.PktInfo{Addr: src}}})
		if _, m := mustRecv(t, there); m.Addr.Addr() != src {
			t.Errorf("from %v, want %v", m.Addr, src)
		}
	}
	for _, tt := range []struct {
		src  string
		ref  pvd.Ref
		want error
	}{
		{"::ffff:192.0.2.1", pvd.Unspecified, syscall.EADDRNOTAVAIL},
		{"::ffff:192.0.2.1", n.PvD(), syscall.EADDRNOTAVAIL},
		{"::ffff:10.0.1.1", n.PvD(), syscall.EACCES},
		{"fd00::1", n.PvD(), syscall.ENETUNREACH}, // of another family than the destination
		{"10.0.0.1", n.PvD(), syscall.EINVAL},     // of another family than the socket
	} {
		app := h.App("app")
		k := mustSocket(t, app, pvd.INET6, pvd.Datagram, pvd.Unspecified)
		_, err := k.SendMsg(t.Context(), &stack.Msg{Addr: netip.MustParseAddrPort("[::ffff:10.0.0.9]:7"), Control: pvd.Control{
			PvD: tt.ref, PktInfo: pvd.PktInfo{Addr: netip.MustParseAddr(tt.src)},
		}})
		wantOpError(t, err, tt.want)
	}
}

// TestS25_EchoSockets pings in two PvDs that are alike.
func TestS25_EchoSockets(t *testing.T) {
	s := newStar(t, 2)
	for _, tt := range []struct {
		f      pvd.Family
		proto  pvd.Protocol
		to     string
		kind   byte
		answer byte
	}{
		{pvd.INET, pvd.ICMP, "192.168.1.1", 8, 0},
		{pvd.INET6, pvd.ICMPv6, "fd00::1", 128, 129},
	} {
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.to), 0)
		request := append([]byte{tt.kind, 0, 0, 0, 0, 0, 0, 1}, "data"...)
		for _, ref := range append(s.refs(), pvd.Unspecified) {
			k, err := s.host.Socket(tt.f, pvd.Datagram, tt.proto)
			if err != nil {
				t.Fatal(err)
			}
			defer k.Close()
			if err := errors.Join(k.SetPvD(ref), k.SetRecvPvD(true)); err != nil {
				t.Fatal(err)
			}
			in := ref
			if ref == pvd.Unspecified {
				in = s.own[1].PvD()
			}
			for _, c := range []pvd.Control{{}, {HopLimit: new(uint8(3))}} {
				c.PvD = in
				mustSendMsg(t, k, stack.Msg{Data: request, Addr: to, Control: c})
				got, m := mustRecv(t, k)
				if m.Addr != to || m.Control.PvD != in || got[0] != tt.answer || got[8:] != "data" || got[4:6] != string(slices.Concat([]byte{byte(socketPort(t, k) >> 8), byte(socketPort(t, k))})) {
					t.Errorf("%x from %v in %v; identifier %x", got, m.Addr, m.Control.PvD, socketPort(t, k))
				}
			}
			if err := k.Connect(pvd.NewContext(t.Context(), in), to); err != nil {
				t.Fatal(err)
			}
			if _, err := k.Send(t.Context(), request); err != nil {
				t.Fatal(err)
			}
			mustRecv(t, k)
			for _, bad := range [][]byte{nil, request[:7], append([]byte{tt.answer}, request[1:]...), append([]byte{tt.kind, 1}, request[2:]...)} {
				_, err := k.Send(t.Context(), bad)
				wantOpError(t, err, syscall.EINVAL)
			}
		}
		k, err := s.host.Socket(tt.f, pvd.Datagram, tt.proto)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		_ = k.SetPvD(s.own[0].PvD())
		a := netip.AddrPortFrom(unspecified(to.Addr()), 77)
		if err := k.Bind(a); err != nil || socketPort(t, k) != 77 {
			t.Errorf("%v, identifier %d", err, socketPort(t, k))
		}
		wantOpError(t, k.Listen(1), syscall.EOPNOTSUPP)
	}
}
