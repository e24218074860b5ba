package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// An opener opens sockets: an App or a Host.
type opener interface {
	Socket(pvd.Family, pvd.SocketType, pvd.Protocol) (*stack.Socket, error)
}

// mustSocket opens a socket for a PvD, which is closed at the end of the test.
func mustSocket(t testing.TB, o opener, f pvd.Family, typ pvd.SocketType, ref pvd.Ref) *stack.Socket {
	t.Helper()
	s, err := o.Socket(f, typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.SetPvD(ref); err != nil {
		t.Fatal(err)
	}
	return s
}

// bound is mustSocket and Bind.
func bound(t testing.TB, o opener, f pvd.Family, typ pvd.SocketType, ref pvd.Ref, at string) *stack.Socket {
	t.Helper()
	s := mustSocket(t, o, f, typ, ref)
	if err := s.Bind(netip.MustParseAddrPort(at)); err != nil {
		t.Fatal(err)
	}
	return s
}

// before is a context for what does not take long.
func before(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	t.Cleanup(cancel)
	return ctx
}

func socketPort(t testing.TB, s *stack.Socket) uint16 {
	t.Helper()
	a, err := s.LocalAddr()
	if err != nil {
		t.Fatal(err)
	}
	return a.Port()
}

// mustRecv receives a message with what it says of itself.
func mustRecv(t testing.TB, s *stack.Socket) (string, stack.Msg) {
	t.Helper()
	m := stack.Msg{Data: make([]byte, 2000)}
	n, err := s.RecvMsg(before(t), &m)
	if err != nil {
		t.Fatal(err)
	}
	return string(m.Data[:n]), m
}

func mustSendMsg(t testing.TB, s *stack.Socket, m stack.Msg) {
	t.Helper()
	if n, err := s.SendMsg(before(t), &m); err != nil || n != len(m.Data) {
		t.Fatalf("sent %d octets, %v", n, err)
	}
}

func (s *star) refs() (refs []pvd.Ref) {
	for _, n := range s.own {
		refs = append(refs, n.PvD())
	}
	return refs
}

func TestS26_SocketInheritsTheDefault(t *testing.T) {
	s := newStar(t, 2)
	a, b := s.own[0].PvD(), s.own[1].PvD()
	if err := s.host.SetDefault(b); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []pvd.Ref{pvd.Unspecified, a, pvd.SystemDefault, pvd.Null} {
		app := s.host.App("app")
		if err := app.SetDefault(ref); err != nil {
			t.Fatal(err)
		}
		k, err := app.Socket(pvd.INET6, pvd.Stream, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		if err := app.SetDefault(b); err != nil {
			t.Fatal(err)
		}
		if got, err := k.Option(pvd.OptPvD); err != nil || k.PvD() != ref || pvd.Ref(got) != ref {
			t.Errorf("default %v: the socket has %v, %v, %v", ref, k.PvD(), pvd.Ref(got), err)
		}
	}
	k, err := s.host.Socket(pvd.INET, pvd.Datagram, pvd.UDP)
	if err != nil || k.PvD() != pvd.Unspecified {
		t.Errorf("the host's: %v, %v", k.PvD(), err)
	}
	// A default that is gone does not defer.
	app := s.host.App("app")
	_ = app.SetDefault(a)
	if err := s.host.Remove(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	_, err = app.Socket(pvd.INET, pvd.Stream, 0)
	wantOpError(t, err, pvd.ErrNoPvD)
}

// TestS17_UnspecifiedClears also holds that each reserved value does what it says.
func TestS17_UnspecifiedClears(t *testing.T) {
	s := newStar(t, 2)
	refs := s.refs()
	if err := s.host.SetDefault(refs[1]); err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("192.168.1.1:9")
	for _, tt := range []struct {
		set  []pvd.Ref
		ctx  pvd.Ref
		want pvd.Ref
		err  error
	}{
		{nil, pvd.Unspecified, refs[1], nil},
		{nil, refs[0], refs[0], nil},
		{[]pvd.Ref{refs[0]}, pvd.Unspecified, refs[0], nil},
		{[]pvd.Ref{refs[0]}, refs[1], refs[0], nil},
		{[]pvd.Ref{refs[0], pvd.Unspecified}, pvd.Unspecified, refs[1], nil},
		{[]pvd.Ref{refs[0], pvd.SystemDefault}, refs[0], refs[1], nil},
		{[]pvd.Ref{pvd.Null}, refs[0], pvd.Null, syscall.ENETUNREACH},
		{[]pvd.Ref{pvd.All}, refs[0], pvd.All, syscall.EINVAL},
	} {
		for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
			k := mustSocket(t, s.host, pvd.INET, typ, pvd.Unspecified)
			for _, ref := range tt.set {
				if err := k.SetPvD(ref); err != nil {
					t.Fatal(err)
				}
			}
			_ = k.SetNonblock(true)
			err := k.Connect(pvd.NewContext(t.Context(), tt.ctx), to)
			if tt.err != nil {
				wantOpError(t, err, tt.err)
			} else if err != nil && !errors.Is(err, syscall.EINPROGRESS) {
				t.Error(err)
			}
			if k.PvD() != tt.want {
				t.Errorf("set to %v, by a context of %v: in %v, want %v", tt.set, tt.ctx, k.PvD(), tt.want)
			}
		}
	}
}

func TestS19_NoPvD(t *testing.T) {
	s := newStar(t, 2)
	gone := s.own[0].PvD()
	ka := mustSocket(t, s.host, pvd.INET, pvd.Datagram, gone)
	kb := bound(t, s.host, pvd.INET, pvd.Datagram, gone, "0.0.0.0:0")
	kc := bound(t, s.host, pvd.INET, pvd.Stream, gone, "0.0.0.0:0")
	_ = kc.Listen(1)
	blocked := make(chan error, 2)
	go func() { _, err := kb.Recv(t.Context(), make([]byte, 1)); blocked <- err }()
	go func() { _, _, err := kc.Accept(t.Context()); blocked <- err }()
	time.Sleep(20 * time.Millisecond)
	if err := s.host.Remove(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantOpError(t, <-blocked, pvd.ErrNoPvD)
	}
	to := netip.MustParseAddrPort("192.168.1.1:9")
	other := mustSocket(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified)
	for _, ref := range []pvd.Ref{gone, 12345, 7} {
		wantOpError(t, other.SetPvD(ref), pvd.ErrNoPvD)
		_, err := other.SendMsg(t.Context(), &stack.Msg{Addr: to, Control: pvd.Control{PvD: ref}})
		wantOpError(t, err, pvd.ErrNoPvD)
	}
	for _, err := range []error{
		ka.Connect(t.Context(), to), ka.Bind(netip.MustParseAddrPort("192.168.1.2:0")), ka.Bind(netip.MustParseAddrPort("0.0.0.0:0")),
		second(kb.SendTo(t.Context(), nil, to)), second(kc.Send(t.Context(), []byte("x"))) /* EPIPE */, kc.Listen(1),
	} {
		if err == nil {
			t.Error("no error in a PvD that is gone")
		}
	}
	if errno, err := kb.Option(pvd.OptError); err != nil || errno == 0 {
		t.Errorf("SO_ERROR %d, %v", errno, err)
	}
	if ev := kb.Ready(pvd.EventRead); ev&pvd.EventError == 0 {
		t.Errorf("events %b", ev)
	}
}

func second[T any](_ T, err error) error { return err }

func TestS27_BindThreeCases(t *testing.T) {
	s := newStar(t, 2)
	refs := s.refs()
	only := add(t, s.host, pvd.Config{Links: []string{"wire0"}, Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("10.9.9.9/24")}}})
	for _, tt := range []struct {
		name, at string
		pvd, def pvd.Ref // of the socket, of the system
		in       pvd.Ref
		err      error
	}{
		{"a PvD, no address", "0.0.0.0:80", refs[1], refs[0], refs[1], nil},
		{"a PvD, its address", "192.168.1.2:80", refs[1], refs[0], refs[1], nil},
		{"a PvD, another's address", "10.9.9.9:80", refs[1], refs[0], 0, syscall.EADDRNOTAVAIL},
		{"a PvD, nobody's address", "192.0.2.1:80", refs[1], refs[0], 0, syscall.EADDRNOTAVAIL},
		{"a PvD, loopback", "127.0.0.1:80", refs[1], refs[0], refs[1], nil},
		{"no PvD, no address", "0.0.0.0:80", 0, refs[0], pvd.Unspecified, nil},
		{"no PvD, one's address", "10.9.9.9:80", 0, refs[0], only.PvD(), nil},
		{"no PvD, the address of two, one the default", "192.168.1.2:80", 0, refs[1], refs[1], nil},
		{"no PvD, the address of two, neither the default", "192.168.1.2:80", 0, only.PvD(), 0, syscall.EINVAL},
		{"no PvD, the address of two, no default", "192.168.1.2:80", 0, pvd.Null, 0, syscall.EINVAL},
		{"no PvD, nobody's address", "192.0.2.1:80", 0, refs[0], 0, syscall.EADDRNOTAVAIL},
		{"no PvD, loopback", "127.0.0.1:80", 0, refs[1], refs[1], nil},
		{"all PvDs, an address", "10.9.9.9:80", pvd.All, refs[0], 0, syscall.EADDRNOTAVAIL},
		{"all PvDs, no address", "0.0.0.0:80", pvd.All, refs[0], pvd.All, nil},
		{"the null PvD", "0.0.0.0:80", pvd.Null, refs[0], 0, syscall.ENETUNREACH},
		{"the default", "192.168.1.2:80", pvd.SystemDefault, refs[1], refs[1], nil},
	} {
		for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
			t.Run(tt.name, func(t *testing.T) {
				if err := s.host.SetDefault(tt.def); err != nil {
					t.Fatal(err)
				}
				k := mustSocket(t, s.host, pvd.INET, typ, tt.pvd)
				err := k.Bind(netip.MustParseAddrPort(tt.at))
				if tt.err != nil {
					wantOpError(t, err, tt.err)
					return
				}
				if err != nil || k.PvD() != tt.in {
					t.Fatalf("%v, in %v, want %v", err, k.PvD(), tt.in)
				}
				if a, err := k.LocalAddr(); err != nil || a != netip.MustParseAddrPort(tt.at) {
					t.Error(a, err)
				}
				if err := k.SetPvD(tt.in); err != nil {
					t.Error("what it is already:", err)
				}
				wantOpError(t, k.SetPvD(pvd.Null), syscall.EINVAL)
				if tt.in != refs[0] {
					wantOpError(t, k.SetPvD(refs[0]), syscall.EINVAL)
				}
			})
		}
	}
	// A zone says what the address does not.
	_ = s.host.SetDefault(pvd.Null)
	k := mustSocket(t, s.host, pvd.INET6, pvd.Datagram, pvd.Unspecified)
	at := netip.AddrPortFrom(netip.MustParseAddr("fd00::2").WithZone(refs[1].String()), 0)
	if err := k.Bind(at); err != nil || k.PvD() != refs[1] {
		t.Errorf("Bind(%v): %v, in %v", at, err, k.PvD())
	}
}

// TestS9_S27_BindRestrictsSources has a socket that is bound to a PvD, but no address, send: each
// time with that PvD's source.
func TestS9_S27_BindRestrictsSources(t *testing.T) {
	s := newStar(t, 2)
	if err := s.host.SetDefault(s.own[0].PvD()); err != nil {
		t.Fatal(err)
	}
	peer := mustListenPacket(t, s.peers[1], "udp", ":7")
	k := bound(t, s.host, pvd.INET, pvd.Datagram, s.own[1].PvD(), "0.0.0.0:0")
	mustSendMsg(t, k, stack.Msg{Data: []byte("x"), Addr: netip.MustParseAddrPort("192.168.1.1:7")})
	want := fmt.Sprintf("192.168.1.2:%d", socketPort(t, k))
	if got, from := datagram(t, peer); got != "x" || from.String() != want {
		t.Errorf("%q from %v, want %s", got, from, want)
	}
}

// TestS28_ListenerOfOnePvD has traffic of another PvD to the same address and port refused, by
// a reset and by an ICMP error that the sender is told of.
func TestS28_ListenerOfOnePvD(t *testing.T) {
	for _, f := range []pvd.Family{pvd.INET, pvd.INET6} {
		for _, at := range map[pvd.Family][]string{
			pvd.INET: {"0.0.0.0:80", "192.168.1.2:80"}, pvd.INET6: {"[::]:80", "[fd00::2]:80"},
		}[f] {
			t.Run(at, func(t *testing.T) {
				s := newStar(t, 2)
				l := bound(t, s.host, f, pvd.Stream, s.own[0].PvD(), at)
				if err := l.Listen(5); err != nil {
					t.Fatal(err)
				}
				d := bound(t, s.host, f, pvd.Datagram, s.own[0].PvD(), at)
				to := map[pvd.Family]string{pvd.INET: "192.168.1.2:80", pvd.INET6: "[fd00::2]:80"}[f]

				wantOpError(t, dialErr(t.Context(), s.peers[1], "tcp", to), syscall.ECONNREFUSED)
				c := mustDial(t, s.peers[1], "udp", to)
				_, _ = c.Write([]byte("for nobody"))
				_ = c.SetReadDeadline(time.Now().Add(longest))
				_, err := c.Read(make([]byte, 1))
				wantOpError(t, err, syscall.ECONNREFUSED)
				if ev := l.Ready(pvd.EventRead) | d.Ready(pvd.EventRead); ev != 0 {
					t.Errorf("events %b for another PvD's traffic", ev)
				}

				mustDial(t, s.peers[0], "tcp", to)
				_, _ = mustDial(t, s.peers[0], "udp", to).Write([]byte("for us"))
				if _, _, err := l.Accept(before(t)); err != nil {
					t.Error(err)
				}
				if got, _ := mustRecv(t, d); got != "for us" {
					t.Errorf("%q", got)
				}
			})
		}
	}
}

// TestS29_AcceptInherits accepts in all PvDs, those to come included, and in one.
func TestS29_AcceptInherits(t *testing.T) {
	s := newStar(t, 2)
	l := bound(t, s.host, pvd.INET6, pvd.Stream, pvd.Unspecified, "[::]:80")
	if err := errors.Join(l.SetOption(pvd.OptNoDelay, 1), l.SetRecvPvD(true), l.Listen(5)); err != nil {
		t.Fatal(err)
	}
	s.grow(t)
	for i, peer := range s.peers {
		for _, to := range []string{"192.168.1.2", "fd00::2"} {
			c := mustDial(t, peer, "tcp", net.JoinHostPort(to, "80"))
			got, from, err := l.Accept(before(t))
			if err != nil {
				t.Fatal(err)
			}
			defer got.Close()
			if ref, ok := pvd.Of(got); !ok || ref != s.own[i].PvD() {
				t.Errorf("accepted in %v, want %v", ref, s.own[i].PvD())
			}
			if a, err := got.LocalAddr(); err != nil || a.Addr().Unmap() != netip.MustParseAddr(to) || !a.Addr().Is6() {
				t.Errorf("at %v, %v", a, err)
			}
			if want := c.LocalAddr().(*net.TCPAddr).AddrPort(); from.Addr().Unmap() != want.Addr() || from.Port() != want.Port() {
				t.Errorf("from %v, want %v", from, want)
			}
			if v, _ := got.Option(pvd.OptNoDelay); v != 1 {
				t.Error("the listener's options were not inherited")
			}
			wantOpError(t, got.SetPvD(pvd.Unspecified), syscall.EINVAL)
			_, _ = c.Write([]byte("hi"))
			if data, m := mustRecv(t, got); data != "hi" || m.Control.PvD != s.own[i].PvD() {
				t.Errorf("%q in %v", data, m.Control.PvD)
			}
		}
	}
	l1 := bound(t, s.host, pvd.INET, pvd.Stream, s.own[1].PvD(), "0.0.0.0:81")
	_ = l1.Listen(1)
	mustDial(t, s.peers[1], "tcp", "192.168.1.2:81")
	got, _, err := l1.Accept(before(t))
	if err != nil || got.PvD() != s.own[1].PvD() {
		t.Fatal(got.PvD(), err)
	}
	_ = got.Close()
	// Closed is closed, in all.
	_ = l.Close()
	for _, peer := range s.peers {
		wantOpError(t, dialErr(t.Context(), peer, "tcp", "192.168.1.2:80"), syscall.ECONNREFUSED)
	}
}

func TestS30_Unreachable(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	pipeOf(t, tun.Ethernet, "wire", h, newHost(t))
	n := add(t, h, pvd.Config{Links: []string{"wire"}, Addresses: []pvd.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.1/24")}, {Prefix: netip.MustParsePrefix("fd00::1/64")},
	}})
	for _, tt := range []struct {
		f    pvd.Family
		to   string
		want error
	}{
		{pvd.INET, "10.0.1.1:80", syscall.ENETUNREACH},
		{pvd.INET6, "[2001:db8::1]:80", syscall.ENETUNREACH},
		{pvd.INET6, "[::ffff:10.0.1.1]:80", syscall.ENETUNREACH},
		{pvd.INET, "10.0.0.9:80", syscall.EHOSTUNREACH},
		{pvd.INET6, "[fd00::9]:80", syscall.EHOSTUNREACH},
		{pvd.INET, "224.0.0.1:80", syscall.ENETUNREACH},
	} {
		t.Run(tt.to, func(t *testing.T) {
			t.Parallel() // it takes three seconds until a neighbour is given up
			k := mustSocket(t, h, tt.f, pvd.Stream, n.PvD())
			wantOpError(t, k.Connect(before(t), netip.MustParseAddrPort(tt.to)), tt.want)
			if errors.Is(tt.want, syscall.ENETUNREACH) && !strings.HasPrefix(tt.to, "224") {
				wantOpError(t, mustSocket(t, h, tt.f, pvd.Datagram, n.PvD()).Connect(before(t), netip.MustParseAddrPort(tt.to)), tt.want)
			}
		})
	}
}

// TestS10_OneFamilyEach has an IPv4-only and an IPv6-only PvD beside each other.
func TestS10_OneFamilyEach(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	c4, c6 := config("wire", "10.0.0.1/24"), config("wire", "2001:db8::1/64")
	n4, n6 := add(t, h, c4), add(t, h, c6)
	for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
		for _, tt := range []struct {
			f  pvd.Family
			n  *stack.Network
			to string
			ok bool
		}{
			{pvd.INET, n4, "192.0.2.1:9", true},
			{pvd.INET6, n4, "[::ffff:192.0.2.1]:9", true},
			{pvd.INET6, n4, "[2001:db8::9]:9", false},
			{pvd.INET6, n6, "[2001:db8::9]:9", true},
			{pvd.INET6, n6, "[::ffff:192.0.2.1]:9", false},
			{pvd.INET, n6, "192.0.2.1:9", false},
		} {
			k := mustSocket(t, h, tt.f, typ, tt.n.PvD())
			_ = k.SetNonblock(true)
			err := k.Connect(t.Context(), netip.MustParseAddrPort(tt.to))
			switch {
			case !tt.ok:
				wantOpError(t, err, syscall.EPROTONOSUPPORT)
			case typ == pvd.Stream:
				wantOpError(t, err, syscall.EINPROGRESS)
			case err != nil:
				t.Error(err)
			}
			if !tt.ok && typ == pvd.Datagram {
				_, err = k.SendTo(t.Context(), []byte("x"), netip.MustParseAddrPort(tt.to))
				wantOpError(t, err, syscall.EPROTONOSUPPORT)
			}
		}
	}
}

// TestS11_ConnectTricks finds sources by connecting a datagram socket: each is the one that
// the PvD's routes lead from.
func TestS11_ConnectTricks(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	pipe(t, "side", h, nil)
	p := netip.MustParsePrefix
	a := add(t, h, pvd.Config{
		Links: []string{"wire"},
		Addresses: []pvd.Address{
			{Prefix: p("10.0.0.1/24")}, {Prefix: p("172.16.0.1/24")}, {Prefix: p("2001:db8:a::1/64")}, {Prefix: p("fd00:a::1/64")},
		},
		Routes: []pvd.Route{{To: p("0.0.0.0/0"), From: p("172.16.0.0/24")}, {To: p("::/0")}},
	})
	b := add(t, h, config("side", "10.0.0.2/24", "2001:db8:b::1/64"))
	for _, tt := range []struct {
		n        *stack.Network
		to, want string
	}{
		{a, "::ffff:8.8.8.8", "::ffff:172.16.0.1"},
		{a, "::ffff:10.0.0.9", "::ffff:10.0.0.1"},
		{a, "2001:db8::9", "2001:db8:a::1"},
		{a, "fd00:9::9", "fd00:a::1"},
		{a, "::1", "::1"},
		{b, "::ffff:8.8.8.8", "::ffff:10.0.0.2"},
		{b, "2001:db8::9", "2001:db8:b::1"},
	} {
		k := mustSocket(t, h, pvd.INET6, pvd.Datagram, pvd.Unspecified)
		to := netip.AddrPortFrom(netip.MustParseAddr(tt.to), 9)
		for range 2 { // also when it had another peer
			if err := k.Connect(pvd.NewContext(t.Context(), tt.n.PvD()), to); err != nil {
				t.Fatal(err)
			}
			if got, err := k.LocalAddr(); err != nil || got.Addr() != netip.MustParseAddr(tt.want) {
				t.Errorf("to %s: from %v, %v, want %s", tt.to, got, err, tt.want)
			}
			if got, err := k.PeerAddr(); err != nil || got != to || k.PvD() != tt.n.PvD() {
				t.Errorf("to %v, %v, in %v", got, err, k.PvD())
			}
			if err := k.Connect(t.Context(), netip.AddrPort{}); err != nil || k.PvD() != pvd.Unspecified {
				t.Errorf("dissolved: %v, in %v", err, k.PvD())
			}
			_ = k.Connect(t.Context(), netip.MustParseAddrPort("[::1]:1"))
		}
	}
}
