package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// TestSocketOptionsReachPackets holds that what is set for a socket is on its packets, also
// where it is set before there is an endpoint, or when the endpoint is another.
func TestSocketOptionsReachPackets(t *testing.T) {
	s := newStar(t, 2)
	_ = s.host.SetDefault(s.own[0].PvD())
	for _, f := range []pvd.Family{pvd.INET, pvd.INET6} {
		there := s.peerSocket(t, 0, f, "0")
		to := netip.AddrPortFrom(map[pvd.Family]netip.Addr{
			pvd.INET: netip.MustParseAddr("192.168.1.1"), pvd.INET6: netip.MustParseAddr("fd00::1"),
		}[f], socketPort(t, there))
		k := mustSocket(t, s.host, f, pvd.Datagram, pvd.Unspecified)
		expect := func(what string, tos, hops uint8) {
			t.Helper()
			mustSendMsg(t, k, stack.Msg{Data: []byte(what), Addr: to})
			if _, m := mustRecv(t, there); *m.Control.ToS != tos || *m.Control.HopLimit != hops {
				t.Errorf("%s: type of service %d, hop limit %d, want %d, %d", what, *m.Control.ToS, *m.Control.HopLimit, tos, hops)
			}
		}
		if err := errors.Join(k.SetOption(pvd.OptToS, 0x20), k.SetOption(pvd.OptHopLimit, 17)); err != nil {
			t.Fatal(err)
		}
		expect("set before", 0x20, 17)
		_ = k.SetOption(pvd.OptHopLimit, -1)
		expect("set after", 0x20, 64)
		_ = k.SetOption(pvd.OptHopLimit, 18)
		if err := k.Connect(t.Context(), to); err != nil {
			t.Fatal(err)
		}
		to = netip.AddrPort{}
		expect("connected", 0x20, 18)
		m := stack.Msg{Data: []byte("x"), Control: pvd.Control{ToS: new(uint8(0x24))}}
		mustSendMsg(t, k, m)
		if _, in := mustRecv(t, there); *in.Control.ToS != 0x24 || *in.Control.HopLimit != 18 {
			t.Errorf("of the message: %d, %d", *in.Control.ToS, *in.Control.HopLimit)
		}
	}
}

func TestSocketBroadcast(t *testing.T) {
	s := newStar(t, 2)
	there := s.peerSocket(t, 1, pvd.INET, "7")
	k := mustSocket(t, s.host, pvd.INET, pvd.Datagram, s.own[1].PvD())
	m := stack.Msg{Data: []byte("all"), Addr: netip.MustParseAddrPort("192.168.1.255:7")}
	for _, c := range []pvd.Control{{}, {HopLimit: new(uint8(1))}} {
		m.Control = c
		_ = k.SetOption(pvd.OptBroadcast, 0)
		_, err := k.SendMsg(t.Context(), &m)
		wantOpError(t, err, syscall.EACCES)
		if err := k.SetOption(pvd.OptBroadcast, 1); err != nil {
			t.Fatal(err)
		}
		mustSendMsg(t, k, m)
		if got, _ := mustRecv(t, there); got != "all" {
			t.Errorf("%q", got)
		}
	}
}

// TestSocketTentative has all that would do be tentative: who waits gets it, who does not is
// told.
func TestSocketTentative(t *testing.T) {
	t.Parallel()
	h, far := newHost(t), newHost(t)
	pipeOf(t, tun.Ethernet, "wire", h, far)
	peer := add(t, far, config("wire", "10.0.0.2/24", "fd00::2/64"))
	l := mustListen(t, peer, "tcp", ":80")
	defer l.Close()
	ref, err := h.Add(t.Context(), config("wire", "10.0.0.1/24", "fd00::1/64"))
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("[fd00::2]:80")
	for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
		k := mustSocket(t, h, pvd.INET6, typ, ref)
		_ = k.SetNonblock(true)
		wantOpError(t, k.Connect(t.Context(), to), syscall.EADDRNOTAVAIL)
		_ = k.SetNonblock(false)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		wantOpError(t, k.Connect(ctx, to), context.DeadlineExceeded)
		cancel()
	}
	closing := mustSocket(t, h, pvd.INET6, pvd.Datagram, ref)
	err = returnsSoon(t, func() error { return second(closing.SendTo(context.Background(), nil, to)) }, func() { _ = closing.Close() })
	wantOpError(t, err, net.ErrClosed)
}

// TestListenInAllOrNone has one PvD in which somebody else listens: Listen in all fails, and
// leaves nothing behind.
func TestListenInAllOrNone(t *testing.T) {
	s := newStar(t, 3)
	shared := func(ref pvd.Ref, at string) *stack.Socket {
		k := mustSocket(t, s.host, pvd.INET, pvd.Stream, ref)
		if err := errors.Join(k.SetOption(pvd.OptReuseAddr, 1), k.Bind(netip.MustParseAddrPort(at))); err != nil {
			t.Fatal(err)
		}
		return k
	}
	rival := shared(s.own[1].PvD(), "192.168.1.2:80")
	k := shared(pvd.Unspecified, "0.0.0.0:80")
	if err := rival.Listen(1); err != nil {
		t.Fatal(err)
	}
	wantOpError(t, k.Listen(1), syscall.EADDRINUSE)
	if v, _ := k.Option(pvd.OptListening); v != 0 {
		t.Error("it listens all the same")
	}
	wantOpError(t, dialErr(t.Context(), s.peers[0], "tcp", "192.168.1.2:80"), syscall.ECONNREFUSED)
	_ = rival.Close()
	if err := k.Listen(1); err != nil {
		t.Fatal(err)
	}
	wantOpError(t, shared(s.own[2].PvD(), "192.168.1.2:80").Listen(1), syscall.EADDRINUSE)
	for _, peer := range s.peers {
		mustDial(t, peer, "tcp", "192.168.1.2:80")
	}
	// A port that is taken in one PvD is taken in all.
	bound(t, s.host, pvd.INET, pvd.Datagram, s.own[2].PvD(), "0.0.0.0:81")
	wantOpError(t, mustSocket(t, s.host, pvd.INET, pvd.Datagram, pvd.Unspecified).Bind(netip.MustParseAddrPort("0.0.0.0:81")), syscall.EADDRINUSE)
	// So it is for one who sends there without being there.
	guest := bound(t, s.host, pvd.INET, pvd.Datagram, s.own[1].PvD(), "0.0.0.0:81")
	_, err := guest.SendMsg(t.Context(), &stack.Msg{Addr: netip.MustParseAddrPort("192.168.1.1:9"), Control: pvd.Control{PvD: s.own[2].PvD()}})
	wantOpError(t, err, syscall.EADDRINUSE)
}

// TestS26_DefaultOfTheMoment has an App whose default is set after a socket was opened: the
// socket has no PvD, and its calls are in that of the moment.
func TestS26_DefaultOfTheMoment(t *testing.T) {
	s := newStar(t, 2)
	app := s.host.App("app")
	k := mustSocket(t, app, pvd.INET, pvd.Datagram, pvd.Unspecified)
	to := netip.MustParseAddrPort("192.168.1.1:7")
	for i, n := range s.own {
		if err := app.SetDefault(n.PvD()); err != nil {
			t.Fatal(err)
		}
		there := s.peerSocket(t, i, pvd.INET, "7")
		mustSendMsg(t, k, stack.Msg{Data: []byte(fmt.Sprint(i)), Addr: to})
		if got, _ := mustRecv(t, there); got != fmt.Sprint(i) {
			t.Errorf("%q", got)
		}
		// The address is two PvDs'.
		b := mustSocket(t, app, pvd.INET, pvd.Datagram, pvd.Unspecified)
		if err := b.Bind(netip.MustParseAddrPort("192.168.1.2:0")); err != nil || b.PvD() != n.PvD() {
			t.Errorf("%v, in %v", err, b.PvD())
		}
	}
}

// TestSocketMulticastLink sends to groups by a link that is not the first.
func TestSocketMulticastLink(t *testing.T) {
	h := newHost(t)
	var far []*stack.Socket
	for i, link := range []string{"wire", "side"} {
		peer := newHost(t)
		pipe(t, link, h, peer)
		n := add(t, peer, config(link, fmt.Sprintf("10.%d.0.2/24", i)))
		k := mustSocket(t, peer, pvd.INET, pvd.Datagram, n.PvD())
		if err := errors.Join(k.JoinGroup("", netip.MustParseAddr("224.0.1.9")), k.Bind(netip.MustParseAddrPort("0.0.0.0:7"))); err != nil {
			t.Fatal(err)
		}
		far = append(far, k)
	}
	n := add(t, h, pvd.Config{Links: []string{"wire", "side"}, Addresses: []pvd.Address{
		{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Link: "wire"}, {Prefix: netip.MustParsePrefix("10.1.0.1/24"), Link: "side"},
	}})
	k := mustSocket(t, h, pvd.INET, pvd.Datagram, n.PvD())
	to := netip.MustParseAddrPort("224.0.1.9:7")
	for _, tt := range []struct {
		link, message string
		at            int
	}{{"", "", 0}, {"side", "", 1}, {"wire", "", 0}, {"wire", "side", 1}} {
		if err := k.SetMulticastLink(tt.link); err != nil {
			t.Fatal(err)
		}
		mustSendMsg(t, k, stack.Msg{Data: []byte("x"), Addr: to, Control: pvd.Control{PktInfo: pvd.PktInfo{Link: tt.message}}})
		if _, m := mustRecv(t, far[tt.at]); m.Addr.Addr() != netip.MustParseAddr(fmt.Sprintf("10.%d.0.1", tt.at)) {
			t.Errorf("%+v: from %v", tt, m.Addr)
		}
	}
}

// TestSocketSelector has a selector asked about what no scope names, with what the socket
// knows.
func TestSocketSelector(t *testing.T) {
	s := newStar(t, 2)
	calls := make(chan pvd.Call, 10)
	s.host.SetSelector(selectorFunc(func(_ context.Context, c pvd.Call) (pvd.Ref, error) {
		calls <- c
		return s.own[1].PvD(), nil
	}))
	app := s.host.App("app")
	k := mustSocket(t, app, pvd.INET, pvd.Datagram, pvd.Unspecified)
	if err := errors.Join(k.SetOption(pvd.OptMark, 5), k.SetOption(pvd.OptToS, 8)); err != nil {
		t.Fatal(err)
	}
	if err := k.Connect(t.Context(), netip.MustParseAddrPort("192.168.1.1:7")); err != nil || k.PvD() != s.own[1].PvD() {
		t.Errorf("%v, in %v", err, k.PvD())
	}
	c := <-calls
	if c.App != "app" || c.Network != "udp4" || c.Remote != netip.MustParseAddrPort("192.168.1.1:7") || c.Mark != 5 || c.ToS != 8 {
		t.Errorf("asked about %+v", c)
	}
}

// TestS5_S23_PvDOption sets IP_PVD and IPV6_PVD: sources and routes are those of the PvD, and
// of no other that would have them.
func TestS5_S23_PvDOption(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	p := netip.MustParsePrefix
	var refs []pvd.Ref
	for i := range 2 {
		far := fmt.Sprintf("203.0.113.%d/32", i) // each has a route that the other has not
		n := add(t, h, pvd.Config{
			Links:     []string{"wire"},
			Addresses: []pvd.Address{{Prefix: p(fmt.Sprintf("10.%d.0.1/24", i))}, {Prefix: p(fmt.Sprintf("fd0%d::1/64", i))}},
			Routes:    []pvd.Route{{To: p(far)}, {To: p("198.51.100.0/24")}, {To: p(fmt.Sprintf("2001:db8:%d::/48", i))}, {To: p("2001:db8:9::/48")}},
		})
		refs = append(refs, n.PvD())
	}
	_ = h.SetDefault(refs[0])
	for i, ref := range refs {
		for _, tt := range []struct {
			f        pvd.Family
			to, from string // no source: there is no way
		}{
			{pvd.INET, "198.51.100.1", fmt.Sprintf("10.%d.0.1", i)},
			{pvd.INET6, "2001:db8:9::1", fmt.Sprintf("fd0%d::1", i)},
			{pvd.INET, fmt.Sprintf("203.0.113.%d", i), fmt.Sprintf("10.%d.0.1", i)},
			{pvd.INET, fmt.Sprintf("203.0.113.%d", 1-i), ""},
			{pvd.INET6, fmt.Sprintf("2001:db8:%d::1", i), fmt.Sprintf("fd0%d::1", i)},
			{pvd.INET6, fmt.Sprintf("2001:db8:%d::1", 1-i), ""},
		} {
			for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
				k := mustSocket(t, h, tt.f, typ, pvd.Unspecified)
				if err := errors.Join(k.SetOption(pvd.OptPvD, int64(ref)), k.SetNonblock(true)); err != nil {
					t.Fatal(err)
				}
				if got, err := k.Option(pvd.OptPvD); err != nil || pvd.Ref(got) != ref {
					t.Errorf("%v, %v", pvd.Ref(got), err)
				}
				err := k.Connect(t.Context(), netip.AddrPortFrom(netip.MustParseAddr(tt.to), 9))
				if tt.from == "" {
					wantOpError(t, err, syscall.ENETUNREACH)
					continue
				}
				if err != nil && !errors.Is(err, syscall.EINPROGRESS) {
					t.Fatal(err)
				}
				if a, err := k.LocalAddr(); err != nil || a.Addr() != netip.MustParseAddr(tt.from) {
					t.Errorf("to %s in PvD %d: from %v, %v", tt.to, i, a, err)
				}
			}
		}
	}
}
