package stack_test

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// TestSocketUnderChange has several goroutines call everything on the same sockets, waiting
// or not, while PvDs come and go. Nothing hangs, and nothing is left.
func TestSocketUnderChange(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	pipe(t, "side", h, nil)
	a := add(t, h, config("wire", "10.0.0.1/24", "fd00::1/64"))
	_ = h.SetDefault(a.PvD())
	app := h.App("app")
	var socks []*stack.Socket
	for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Stream, pvd.Stream, pvd.Datagram, pvd.Datagram} {
		s, err := app.Socket(pvd.INET6, typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		socks = append(socks, s)
	}
	rounds := 400
	if testing.Short() {
		rounds = 50
	}
	var callers, changes sync.WaitGroup
	stop := make(chan struct{})
	changes.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			ref, err := h.Add(context.Background(), config("side", "10.1.0.1/24", "fd01::1/64"))
			if err != nil {
				t.Error(err)
				return
			}
			time.Sleep(time.Millisecond)
			if err := h.Remove(context.Background(), ref); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 4 {
		callers.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for range rounds {
				callAny(r, socks[r.IntN(len(socks))])
			}
		})
	}
	callers.Wait()
	close(stop)
	changes.Wait()
	for _, s := range socks {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := app.InUse(); len(n) != 0 {
		t.Errorf("in use after all was closed: %v", n)
	}
}

// callAny makes a call, for which it waits no longer than a moment.
func callAny(r *rand.Rand, s *stack.Socket) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	at := netip.AddrPortFrom(netip.MustParseAddr([]string{"::", "::1", "fd00::1", "fd01::1", "::ffff:10.0.0.1"}[r.IntN(5)]), uint16(4000+r.IntN(3)))
	switch r.IntN(16) {
	case 0:
		_ = s.Bind(at)
	case 1, 2:
		_ = s.Connect(ctx, at)
	case 3:
		_ = s.Listen(3)
	case 4, 5:
		if c, _, err := s.Accept(ctx); err == nil {
			_, _ = c.Send(ctx, []byte("hello"))
			_ = c.Close()
		}
	case 6:
		_, _ = s.Send(ctx, make([]byte, 100))
	case 7:
		_, _ = s.SendTo(ctx, make([]byte, 100), at)
	case 8, 9:
		m := stack.Msg{Data: make([]byte, 50)}
		_, _ = s.RecvMsg(ctx, &m)
	case 10:
		_ = s.Connect(ctx, netip.AddrPort{})
	case 11:
		_ = s.Shutdown(pvd.Shutdown(1 + r.IntN(3)))
	case 12:
		_, _ = s.Wait(ctx, pvd.EventRead|pvd.EventWrite)
	case 13:
		_ = s.SetOption(pvd.SocketOption(2+r.IntN(20)), int64(r.IntN(3)))
	case 14:
		_ = s.SetNonblock(r.IntN(2) == 0)
	case 15:
		_, _ = s.LocalAddr()
		_, _ = s.PeerAddr()
		_, _ = s.Option(pvd.OptError)
		_ = s.PvD()
	}
}

// TestSocketAfterHostClosed has calls on a socket whose host has gone return.
func TestSocketAfterHostClosed(t *testing.T) {
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	s, err := h.Socket(pvd.INET, pvd.Datagram, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(netip.MustParseAddrPort("0.0.0.0:7")); err != nil {
		t.Fatal(err)
	}
	err = returnsSoon(t, func() error { return second(s.Recv(context.Background(), nil)) }, func() { _ = h.Close() })
	wantOpError(t, err)
	_, err = h.Socket(pvd.INET, pvd.Datagram, 0)
	wantOpError(t, err, stack.ErrClosed)
	for _, err := range []error{
		s.SetOption(pvd.OptBroadcast, 1), s.JoinGroup("", netip.MustParseAddr("224.0.0.1")), s.Connect(t.Context(), netip.MustParseAddrPort("127.0.0.1:1")),
	} {
		_ = err // whatever it is, it returns
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
