package stack_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
)

// star is a host with a link to each of some peers. On every link the addresses are the
// same: the host's PvD has 192.168.1.2, the peer 192.168.1.1.
type star struct {
	host      *stack.Host
	own       []*stack.Network
	peers     []*stack.Network
	peerHosts []*stack.Host
}

func (s *star) grow(t *testing.T) {
	t.Helper()
	link := fmt.Sprintf("wire%d", len(s.own))
	peer := newHost(t)
	pipe(t, link, s.host, peer)
	s.peerHosts = append(s.peerHosts, peer)
	s.own = append(s.own, add(t, s.host, config(link, "192.168.1.2/24", "fd00::2/64")))
	s.peers = append(s.peers, add(t, peer, config(link, "192.168.1.1/24", "fd00::1/64")))
}

func newStar(t *testing.T, n int) *star {
	t.Helper()
	s := &star{host: newHost(t)}
	for range n {
		s.grow(t)
	}
	return s
}

func TestAllListener(t *testing.T) {
	s := newStar(t, 2)
	l := mustListen(t, s.host.In(pvd.All), "tcp", ":0").(*stack.AllListener)
	port := l.Addr().(*net.TCPAddr).Port
	if port == 0 || l.PvD() != pvd.All {
		t.Fatalf("listening at %v in %v", l.Addr(), l.PvD())
	}
	if _, ok := pvd.Of(l); ok {
		t.Error("a listener in all PvDs is said to be in one")
	}
	s.grow(t) // a PvD that comes later
	for _, address := range []string{"192.168.1.2", "fd00::2"} {
		for i, peer := range s.peers {
			c := mustDial(t, peer, "tcp", net.JoinHostPort(address, fmt.Sprint(port)))
			_ = l.SetDeadline(time.Now().Add(longest))
			got, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			if ref, _ := pvd.Of(got); ref != s.own[i].PvD() {
				t.Errorf("from peer %d: in %v, want %v", i, ref, s.own[i].PvD())
			}
			_, _ = got.Write([]byte{byte(i)})
			b := make([]byte, 1)
			if _, err := c.Read(b); err != nil || b[0] != byte(i) {
				t.Errorf("%v, %v", b, err)
			}
			_ = got.Close()
		}
	}
	// One PvD that goes is nothing to the others.
	if err := s.host.Remove(t.Context(), s.own[0].PvD()); err != nil {
		t.Fatal(err)
	}
	mustDial(t, s.peers[1], "tcp", fmt.Sprintf("192.168.1.2:%d", port))
	if c, err := l.Accept(); err != nil || c.(*stack.TCPConn).PvD() != s.own[1].PvD() {
		t.Error(err)
	}
	_ = l.Close()
	wantOpError(t, dialErr(t.Context(), s.peers[1], "tcp", fmt.Sprintf("192.168.1.2:%d", port)), syscall.ECONNREFUSED)
	if err := listenErr(t.Context(), s.own[1], "tcp", fmt.Sprintf(":%d", port)); err != nil {
		t.Error("after Close:", err)
	}
}

func TestAllPortIsTaken(t *testing.T) {
	s := newStar(t, 3)
	all := s.host.In(pvd.All)
	mustListen(t, s.own[1], "tcp", "192.168.1.2:80")
	wantOpError(t, listenErr(t.Context(), all, "tcp", ":80"), syscall.EADDRINUSE)
	mustListenPacket(t, s.own[2], "udp", ":80")
	wantOpError(t, listenErr(t.Context(), all, "udp", ":80"), syscall.EADDRINUSE)
	// Nothing remains in the others.
	for _, network := range []string{"tcp", "udp"} {
		if err := listenErr(t.Context(), s.own[0], network, ":80"); err != nil {
			t.Error(err)
		}
		wantOpError(t, listenErr(t.Context(), all, network, "192.168.1.2:81"), syscall.EADDRNOTAVAIL)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantOpError(t, listenErr(ctx, all, "tcp", ":0"), context.Canceled)
}

func TestAllPacketConn(t *testing.T) {
	s := newStar(t, 2)
	c, err := s.host.In(pvd.All).ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s.grow(t)
	port := c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
	var clients []*stack.UDPConn
	for i, peer := range s.peers {
		client := mustListenPacket(t, peer, "udp", "192.168.1.1:1000")
		sendDatagram(t, client, fmt.Sprint(i), fmt.Sprintf("192.168.1.2:%d", port))
		clients = append(clients, client)
	}
	// The three senders have one address. Each gets what is for it.
	var last *stack.Addr
	for range clients {
		data, from := datagram(t, c)
		a, ok := from.(*stack.Addr)
		if !ok || a.String() != "192.168.1.1:1000" || a.Network() != "udp" {
			t.Fatalf("%q from %T %v", data, from, from)
		}
		ref, _ := pvd.Of(from)
		if i := slices.IndexFunc(s.own, func(n *stack.Network) bool { return n.PvD() == ref }); fmt.Sprint(i) != data {
			t.Errorf("%q from PvD %d", data, i)
		}
		if _, err := c.WriteTo([]byte("to "+data), from); err != nil {
			t.Error(err)
		}
		last = a
	}
	for i, client := range clients {
		if got, _ := datagram(t, client); got != fmt.Sprint("to ", i) {
			t.Errorf("peer %d got %q", i, got)
		}
		noDatagram(t, client)
	}
	for _, tt := range []struct {
		to   net.Addr
		want error
	}{
		{&net.UDPAddr{IP: net.IPv4(192, 168, 1, 1), Port: 1000}, syscall.EDESTADDRREQ},
		{nil, syscall.EDESTADDRREQ},
		{(*stack.Addr)(nil), syscall.EDESTADDRREQ},
		{stack.NewAddr(12345, last.AddrPort()), pvd.ErrNoPvD},
		{stack.NewAddr(pvd.All, last.AddrPort()), pvd.ErrNoPvD},
		{stack.NewAddr(s.own[0].PvD(), netip.MustParseAddrPort("[2001:db8::1%nolink]:1")), syscall.ENETUNREACH},
	} {
		_, err := c.WriteTo([]byte("x"), tt.to)
		wantOpError(t, err, tt.want)
	}
	if err := s.host.Remove(t.Context(), last.PvD()); err != nil {
		t.Fatal(err)
	}
	_, err = c.WriteTo([]byte("x"), last)
	wantOpError(t, err, pvd.ErrNoPvD)
	noDatagram(t, c)
	_ = c.Close()
	_, err = c.WriteTo([]byte("x"), last)
	wantOpError(t, err)
}

// TestAllBuffers holds that the sizes of buffers are those of each PvD, also of one that
// comes later.
func TestAllBuffers(t *testing.T) {
	s := newStar(t, 1)
	pc, err := s.host.In(pvd.All).ListenPacket(t.Context(), "udp", ":1000")
	if err != nil {
		t.Fatal(err)
	}
	c := pc.(*stack.AllPacketConn)
	defer c.Close()
	// received sends datagrams from each peer and returns how many can be read in the end.
	const each = 200
	received := func() (n int) {
		t.Helper()
		for _, peer := range s.peers {
			client := mustListenPacket(t, peer, "udp", ":0")
			for range each {
				sendDatagram(t, client, string(noise(1000)), "192.168.1.2:1000")
			}
			// What comes after them has passed all of them.
			if _, err := peer.Ping(t.Context(), netip.MustParseAddr("192.168.1.2")); err != nil {
				t.Fatal(err)
			}
		}
		for n < each*len(s.peers) {
			_ = c.SetReadDeadline(time.Now().Add(time.Second))
			if _, _, err := c.ReadFrom(make([]byte, 2000)); err != nil {
				break
			}
			n++
		}
		return n
	}
	if err := errors.Join(c.SetReadBuffer(0), c.SetWriteBuffer(0)); err != nil {
		t.Fatal(err)
	}
	s.grow(t)
	if n := received(); n == 0 || n > each/2*len(s.peers) {
		t.Errorf("%d datagrams found room in the least buffers", n)
	}
	if err := errors.Join(c.SetReadBuffer(1<<20), c.SetWriteBuffer(1<<20)); err != nil {
		t.Fatal(err)
	}
	s.grow(t)
	if n := received(); n != each*len(s.peers) {
		t.Errorf("%d datagrams found room in large buffers", n)
	}
	wantOpError(t, c.SetReadBuffer(-1), syscall.EINVAL)
	wantOpError(t, c.SetWriteBuffer(-1), syscall.EINVAL)
	_ = c.Close()
	wantOpError(t, c.SetReadBuffer(1), net.ErrClosed)
}

// TestAllUnderChange accepts while PvDs come and go and others listen and stop.
func TestAllUnderChange(t *testing.T) {
	s := newStar(t, 1)
	l := mustListen(t, s.host.In(pvd.All), "tcp", ":80")
	var wg, dialling sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Error(err)
				}
				return
			}
			_ = c.Close()
		}
	})
	dialling.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
			}
			if err := dialErr(t.Context(), s.peers[0], "tcp", "192.168.1.2:80"); err != nil {
				t.Error(err)
				return
			}
		}
	})
	wg.Go(func() {
		for range 20 {
			if err := listenErr(t.Context(), s.host.In(pvd.All), "tcp", ":0"); err != nil {
				t.Error(err)
			}
		}
	})
	pipe(t, "side", s.host, nil)
	for range 20 {
		n := add(t, s.host, config("side", "10.0.0.1/24"))
		if err := dialErr(t.Context(), n, "tcp", "10.0.0.1:80"); err != nil {
			t.Error(err)
		}
		if err := s.host.Remove(t.Context(), n.PvD()); err != nil {
			t.Error(err)
		}
	}
	close(done)
	dialling.Wait() // or it would be refused
	_ = l.Close()
	wg.Wait()
}

func TestHostCloseEndsAll(t *testing.T) {
	h, err := stack.New(stack.Config{})
	if err != nil {
		t.Fatal(err)
	}
	l, err := h.In(pvd.All).Listen(t.Context(), "tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	err = returnsSoon(t, func() error { _, err := l.Accept(); return err }, func() { _ = h.Close() })
	wantOpError(t, err, net.ErrClosed)
	wantOpError(t, listenErr(t.Context(), h.In(pvd.All), "tcp", ":0"))
}
