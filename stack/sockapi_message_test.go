package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
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

// TestS22_RecvPvD tells datagrams apart that have the same addresses and ports and arrive in
// different PvDs, and everything else that is known of them.
func TestS22_RecvPvD(t *testing.T) {
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

// TestS24_SourceOfAnotherPvD sends with a source of one PvD through another: forbidden, but
// where policy allows it and both are on the link.
func TestS24_SourceOfAnotherPvD(t *testing.T) {
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

// TestSocketPolicy holds that policy is for sockets too.
func TestS37_SocketPolicy(t *testing.T) {
	s := newStar(t, 3)
	refs := s.refs()
	name := func(i int) string {
		info, _ := s.host.Info(refs[i])
		return info.Name()
	}
	if err := s.host.SetPolicy(&pvd.Policy{
		Rules: []pvd.PolicyRule{
			{Apps: []string{"app"}, PvDs: []string{name(0)}, What: pvd.Denied},
			{Apps: []string{"app"}, PvDs: []string{name(1)}, What: pvd.Hidden},
		},
		NoBridge: []string{"single"},
	}); err != nil {
		t.Fatal(err)
	}
	app := s.host.App("app")
	k := mustSocket(t, app, pvd.INET, pvd.Datagram, pvd.Unspecified)
	wantOpError(t, k.SetPvD(refs[0]), syscall.EACCES)
	wantOpError(t, k.SetPvD(refs[1]), pvd.ErrNoPvD)
	l := bound(t, app, pvd.INET, pvd.Stream, pvd.Unspecified, "0.0.0.0:80")
	_ = l.Listen(5)
	for i := range 2 {
		wantOpError(t, dialErr(t.Context(), s.peers[i], "tcp", "192.168.1.2:80"), syscall.ECONNREFUSED)
	}
	mustDial(t, s.peers[2], "tcp", "192.168.1.2:80")
	// The address is two others' too, of which the App does not know.
	if at := bound(t, app, pvd.INET, pvd.Stream, pvd.Unspecified, "192.168.1.2:81"); at.PvD() != refs[2] {
		t.Errorf("bound in %v", at.PvD())
	}
	to := netip.MustParseAddrPort("192.168.1.1:9")
	for i, want := range []error{syscall.EACCES, pvd.ErrNoPvD} {
		_, err := k.SendMsg(t.Context(), &stack.Msg{Addr: to, Control: pvd.Control{PvD: refs[i]}})
		wantOpError(t, err, want)
		wantOpError(t, k.Connect(pvd.NewContext(t.Context(), refs[i]), to), want)
	}
	// Who may be in one PvD at a time is, without a PvD, in that of the default.
	_ = s.host.SetDefault(refs[1])
	single := s.host.App("single")
	one := bound(t, single, pvd.INET, pvd.Stream, pvd.Unspecified, "0.0.0.0:82")
	if one.PvD() != refs[1] {
		t.Errorf("bound in %v", one.PvD())
	}
	wantOpError(t, mustSocket(t, single, pvd.INET, pvd.Datagram, pvd.Unspecified).Connect(pvd.NewContext(t.Context(), refs[0]), to), syscall.EACCES)
	_ = one.Close()
	if err := mustSocket(t, single, pvd.INET, pvd.Datagram, pvd.Unspecified).Connect(pvd.NewContext(t.Context(), refs[0]), to); err != nil {
		t.Error("after Close:", err)
	}
}

// TestSocketWaits holds that what waits goes on when it may, and ends when it must.
func TestSocketWaits(t *testing.T) {
	s := newStar(t, 2)
	_ = s.host.SetDefault(s.own[0].PvD())
	for name, k := range map[string]*stack.Socket{
		"in all":     bound(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified, "0.0.0.0:7"),
		"in one":     bound(t, s.host, pvd.INET, pvd.Datagram, s.own[1].PvD(), "0.0.0.0:8"),
		"in none":    mustSocket(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified),
		"connecting": mustSocket(t, s.host, pvd.INET, pvd.Stream, s.own[0].PvD()),
	} {
		t.Run(name, func(t *testing.T) {
			if name == "connecting" {
				_ = k.SetNonblock(true)
				if err := k.Connect(t.Context(), netip.MustParseAddrPort("10.1.1.1:9")); !errors.Is(err, syscall.EINPROGRESS) {
					t.Fatal(err)
				}
				_ = k.SetNonblock(false)
			}
			calls := map[string]func(context.Context) error{
				"Recv": func(ctx context.Context) error { return second(k.Recv(ctx, make([]byte, 1))) },
				"Wait": func(ctx context.Context) error { return second(k.Wait(ctx, pvd.EventRead)) },
			}
			for call, f := range calls {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
				wantOpError(t, f(ctx), context.DeadlineExceeded)
				cancel()
				err := returnsSoon(t, func() error {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(20*time.Millisecond, cancel)
					return f(ctx)
				}, func() {})
				wantOpError(t, err, context.Canceled)
				_ = call
			}
			done := make(chan error, len(calls))
			for _, f := range calls {
				go func() { done <- f(context.Background()) }()
			}
			time.Sleep(20 * time.Millisecond)
			_ = k.Close()
			for range calls {
				wantOpError(t, <-done, net.ErrClosed)
			}
		})
	}
	// A socket that is bound while somebody waits to receive.
	k := mustSocket(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified)
	got := make(chan string, 1)
	go func() {
		b := make([]byte, 10)
		n, _ := k.Recv(context.Background(), b)
		got <- string(b[:n])
	}()
	time.Sleep(20 * time.Millisecond)
	if err := k.Bind(netip.MustParseAddrPort("0.0.0.0:9")); err != nil {
		t.Fatal(err)
	}
	_, _ = mustDial(t, s.peers[1], "udp", "192.168.1.2:9").Write([]byte("late"))
	if data := <-got; data != "late" {
		t.Errorf("%q", data)
	}
	// Shutdown has those return who wait.
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = k.Shutdown(pvd.ShutRead)
	}()
	if _, err := k.Recv(before(t), make([]byte, 1)); err != io.EOF { //nolint:errorlint // bare
		t.Error(err)
	}
}

// TestSocketStream sends more than any buffer holds, with and without waiting.
func TestSocketStream(t *testing.T) {
	s := newStar(t, 1)
	l := bound(t, s.host, pvd.INET, pvd.Stream, pvd.Unspecified, "0.0.0.0:80")
	if err := l.Listen(1); err != nil {
		t.Fatal(err)
	}
	out := mustSocket(t, s.peerHosts[0], pvd.INET, pvd.Stream, s.peers[0].PvD())
	if err := errors.Join(out.SetOption(pvd.OptSendBuffer, 16<<10), out.Connect(before(t), netip.MustParseAddrPort("192.168.1.2:80"))); err != nil {
		t.Fatal(err)
	}
	if v, err := out.Option(pvd.OptSendBuffer); err != nil || v != 16<<10 {
		t.Errorf("send buffer %d, %v", v, err)
	}
	wantOpError(t, out.Connect(t.Context(), netip.MustParseAddrPort("192.168.1.2:80")), syscall.EISCONN)
	in, _, err := l.Accept(before(t))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	data := noise(3 << 20)
	go func() {
		if n, err := out.Send(context.Background(), data[:2<<20]); n != 2<<20 || err != nil {
			t.Error(n, err)
		}
		_ = out.SetNonblock(true)
		for rest := data[2<<20:]; len(rest) > 0; {
			n, err := out.Send(context.Background(), rest)
			if errors.Is(err, syscall.EAGAIN) {
				_, err = out.Wait(context.Background(), pvd.EventWrite)
			}
			if err != nil {
				t.Error(err)
				return
			}
			rest = rest[n:]
		}
		_ = out.Shutdown(pvd.ShutWrite)
	}()
	var got []byte
	b := make([]byte, 64<<10)
	for {
		n, err := in.Recv(before(t), b)
		got = append(got, b[:n]...)
		if err != nil {
			if err != io.EOF { //nolint:errorlint // bare
				t.Error(err)
			}
			break
		}
	}
	if !slices.Equal(got, data) {
		t.Errorf("%d octets of %d, or others", len(got), len(data))
	}
	_, err = in.SendMsg(t.Context(), &stack.Msg{Data: []byte("x"), Control: pvd.Control{PvD: 12345}})
	wantOpError(t, err, syscall.EACCES)
	// A connection is reset with linger 0.
	_ = in.SetOption(pvd.OptLinger, 0)
	_ = in.Close()
	_, _ = out.Wait(before(t), pvd.EventHangUp)
	if errno, _ := out.Option(pvd.OptError); syscall.Errno(errno) != syscall.ECONNRESET {
		t.Errorf("SO_ERROR %v", syscall.Errno(errno))
	}
}

// TestSocketMulticast joins a group on one of two links.
func TestSocketMulticast(t *testing.T) {
	s := newStar(t, 2)
	for _, tt := range []struct {
		f         pvd.Family
		group, at string
	}{{pvd.INET, "224.0.1.99", "0.0.0.0:7"}, {pvd.INET6, "ff05::99", "[::]:8"}} {
		group := netip.MustParseAddr(tt.group)
		k := mustSocket(t, s.host, tt.f, pvd.Datagram, pvd.Unspecified)
		wantOpError(t, k.JoinGroup("nolink", group), syscall.ENODEV)
		wantOpError(t, k.JoinGroup("wire1", netip.MustParseAddr("10.0.0.1")), syscall.EINVAL)
		wantOpError(t, k.LeaveGroup("wire1", group), syscall.EADDRNOTAVAIL)
		wantOpError(t, k.SetMulticastLink("nolink"), syscall.ENODEV)
		wantOpError(t, mustSocket(t, s.host, tt.f, pvd.Stream, pvd.Unspecified).JoinGroup("wire1", group), syscall.EPROTO)
		if err := errors.Join(k.JoinGroup("wire1", group), k.SetRecvPvD(true), k.Bind(netip.MustParseAddrPort(tt.at))); err != nil {
			t.Fatal(err)
		}
		wantOpError(t, k.JoinGroup("wire1", group), syscall.EADDRINUSE)
		to := netip.AddrPortFrom(group, socketPort(t, k))
		for i := range s.peers {
			from := s.peerSocket(t, i, tt.f, "0")
			mustSendMsg(t, from, stack.Msg{Data: []byte(fmt.Sprint(i)), Addr: to})
		}
		if data, m := mustRecv(t, k); data != "1" || m.Control.PvD != s.own[1].PvD() {
			t.Errorf("%q in %v", data, m.Control.PvD)
		}
		if err := errors.Join(k.LeaveGroup("wire1", group), k.JoinGroup("wire0", group)); err != nil {
			t.Fatal(err)
		}
		for i := range s.peers {
			from := s.peerSocket(t, i, tt.f, "0")
			mustSendMsg(t, from, stack.Msg{Data: []byte(fmt.Sprint(i)), Addr: to})
		}
		if data, m := mustRecv(t, k); data != "0" || m.Control.PvD != s.own[0].PvD() {
			t.Errorf("%q in %v", data, m.Control.PvD)
		}
		// To a group, by a link.
		there := s.peerSocket(t, 1, tt.f, fmt.Sprint(to.Port()+2))
		if err := there.JoinGroup("wire1", group); err != nil {
			t.Fatal(err)
		}
		mustSendMsg(t, k, stack.Msg{Data: []byte("out"), Addr: netip.AddrPortFrom(group, to.Port()+2), Control: pvd.Control{PvD: s.own[1].PvD()}})
		if data, m := mustRecv(t, there); data != "out" || *m.Control.HopLimit != 1 {
			t.Errorf("%q with %+v", data, m.Control)
		}
		_ = k.Close()
	}
	k := mustSocket(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified)
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		err = k.JoinGroup("wire0", netip.AddrFrom4([4]byte{224, 0, 1, byte(n)}))
	}
	wantOpError(t, err, syscall.ENOBUFS)
	if n != 21 {
		t.Errorf("the %dth group is one too many", n)
	}
}
