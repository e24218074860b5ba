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
)

// TestS37_SocketPolicy holds that policy is for sockets too.
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
	wantOpError(t, mustSocket(t, single, pvd.INET, pvd.Stream, pvd.All).Listen(1), syscall.EACCES)
	_ = one.Close()
	wantOpError(t, mustSocket(t, single, pvd.INET, pvd.Datagram, pvd.All).Bind(netip.MustParseAddrPort("0.0.0.0:0")), syscall.EACCES)
	if err := mustSocket(t, single, pvd.INET, pvd.Datagram, pvd.Unspecified).Connect(pvd.NewContext(t.Context(), refs[0]), to); err != nil {
		t.Error("after Close:", err)
	}
}

// TestSocketWaits holds that what waits goes on when it may, and ends when it must.
func TestSocketWaits(t *testing.T) {
	t.Parallel()
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
