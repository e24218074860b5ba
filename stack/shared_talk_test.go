package stack_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// lease is the address that PvDs of these tests share, and peerAddr that of whom they talk to.
const (
	lease    = "10.0.0.1"
	peerAddr = "10.0.0.2"
)

func leaseholder(name string) pvd.Config {
	c := config("wire", lease+"/24")
	c.Name = name
	c.Addresses[0].Shared = true
	return c
}

// sharers returns the networks of PvDs that share one address, and that of a peer on their
// link.
func sharers(t testing.TB, layer tun.Layer, n int) (h *stack.Host, by []*stack.Network, peer *stack.Network) {
	t.Helper()
	h, far := newHost(t), newHost(t)
	pipeOf(t, layer, "wire", h, far)
	for i := range n {
		by = append(by, add(t, h, leaseholder(fmt.Sprintf("pvd%d", i))))
	}
	return h, by, add(t, far, config("wire", peerAddr+"/24"))
}

func eachLayer(t *testing.T, f func(t *testing.T, layer tun.Layer)) {
	for _, layer := range []tun.Layer{tun.Ethernet, tun.IP} {
		t.Run(fmt.Sprint(layer), func(t *testing.T) { f(t, layer) })
	}
}

// converse has two ends of a connection say something to each other, in both directions.
func converse(t testing.TB, a, b net.Conn, what string) {
	t.Helper()
	for _, c := range []struct{ from, to net.Conn }{{a, b}, {b, a}} {
		deadline := time.Now().Add(10 * time.Second)
		_ = c.from.SetDeadline(deadline)
		_ = c.to.SetDeadline(deadline)
		if _, err := io.WriteString(c.from, what); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(what))
		if _, err := io.ReadFull(c.to, got); err != nil || string(got) != what {
			t.Fatalf("%q, %v; want %q", got, err, what)
		}
	}
}

// Connections of PvDs with one address, to one server and from there, each stay in their own.
func TestSharedTCP(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		_, by, peer := sharers(t, layer, 3)
		server := mustListen(t, peer, "tcp", peerAddr+":80")
		ports := make(map[string]bool)
		for round := range 4 {
			for i, n := range by {
				c := mustDial(t, n, "tcp", server.Addr().String())
				s, err := server.Accept()
				if err != nil {
					t.Fatal(err)
				}
				defer s.Close()
				converse(t, c, s, fmt.Sprintf("to %d, %d", i, round))
				if ports[c.LocalAddr().String()] {
					t.Errorf("%v is in use twice", c.LocalAddr())
				}
				ports[c.LocalAddr().String()] = true
			}
		}
		for i, n := range by {
			client, own := connect(t, peer, n, lease)
			converse(t, client, own, fmt.Sprintf("from %d", i))
			if own.PvD() != n.PvD() {
				t.Errorf("listener %d: the connection is in %v", i, own.PvD())
			}
		}
	})
}

// Of listeners at one port the oldest PvD's gets the connections, and when that is gone the
// next one's. Those at other ports are reached, whoever else is there.
func TestSharedListeners(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, by, peer := sharers(t, layer, 2)
		accepted := make(chan pvd.Ref, 10)
		for i, n := range by {
			for _, at := range []string{":80", lease + ":443", fmt.Sprintf(":%d", 8000+i), fmt.Sprintf(":%d", 60000-30000*i)} {
				l := mustListen(t, n, "tcp", at)
				go func() {
					for {
						c, err := l.Accept()
						if err != nil {
							return
						}
						defer c.Close()
						ref, _ := pvd.Of(c)
						accepted <- ref
					}
				}()
			}
		}
		expect := func(port int, n *stack.Network) {
			t.Helper()
			mustDial(t, peer, "tcp", fmt.Sprintf("%s:%d", lease, port))
			if got := <-accepted; got != n.PvD() {
				t.Errorf("the connection to port %d is in %v, want %v", port, got, n.PvD())
			}
		}
		expect(80, by[0])
		expect(443, by[0])
		expect(8000, by[0])
		expect(8001, by[1])
		expect(60000, by[0]) // among the ports of the other one
		expect(30000, by[1])
		if err := h.Remove(t.Context(), by[0].PvD()); err != nil {
			t.Fatal(err)
		}
		expect(80, by[1])
		expect(443, by[1])
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := peer.DialContext(ctx, "tcp", lease+":8000"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("to a port of the PvD that is gone: %v", err)
		}
	})
}

// A listener in all PvDs is in those that share an address too.
func TestSharedListenerInAll(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, by, peer := sharers(t, layer, 2)
		for _, at := range []string{":80", ":0"} {
			l := mustListen(t, h.In(pvd.All), "tcp", at)
			c := mustDial(t, peer, "tcp", fmt.Sprintf("%s:%d", lease, l.Addr().(*net.TCPAddr).Port))
			s, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			converse(t, c, s, "in all")
		}
		u, err := h.In(pvd.All).ListenPacket(t.Context(), "udp", ":53")
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		// What the second one asks is answered to it, though the first one listens too.
		server := mustListenPacket(t, peer, "udp", peerAddr+":53")
		go echoUDP(server)
		for i, n := range by {
			// So that the neighbour is known, and a refusal not too late to be told of.
			if _, err := n.Ping(t.Context(), netip.MustParseAddr(peerAddr)); err != nil {
				t.Fatal(err)
			}
			if _, err := u.WriteTo([]byte("x"), stack.NewAddr(n.PvD(), netip.MustParseAddrPort(peerAddr+":53"))); err != nil {
				if i == 1 && errors.Is(err, syscall.EADDRINUSE) {
					continue // as it has to be: the ends are the same
				}
				t.Fatal(err)
			}
			_ = u.SetReadDeadline(time.Now().Add(10 * time.Second))
			_, from, err := u.ReadFrom(make([]byte, 10))
			if ref, _ := pvd.Of(from); err != nil || ref != n.PvD() {
				t.Errorf("the answer to %d is in %v, %v", i, ref, err)
			}
			if i == 1 {
				t.Error("both use the same ends")
			}
		}
	})
}

// Datagrams of connected sockets, of unconnected ones, small and in fragments.
func TestSharedUDP(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		_, by, peer := sharers(t, layer, 3)
		server := mustListenPacket(t, peer, "udp", peerAddr+":53")
		go echoUDP(server)
		for _, size := range []int{smallDatagram, largeDatagram} {
			var socks []net.Conn
			for _, n := range by {
				for range 10 {
					socks = append(socks, mustDial(t, n, "udp", peerAddr+":53"))
				}
			}
			for i, c := range socks {
				if _, err := c.Write(bytes.Repeat([]byte{byte(i)}, size)); err != nil {
					t.Fatal(err)
				}
			}
			for i, c := range socks {
				b := make([]byte, size+1)
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if n, err := c.Read(b); err != nil || n != size || b[0] != byte(i) {
					t.Fatalf("socket %d: %d octets, %d, %v", i, n, b[0], err)
				}
			}
			for i, n := range by {
				c := mustListenPacket(t, n, "udp", ":0")
				if _, err := c.WriteTo(bytes.Repeat([]byte{byte(i)}, size), server.LocalAddr()); err != nil {
					t.Fatal(err)
				}
				b := make([]byte, size+1)
				_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
				if n, _, err := c.ReadFrom(b); err != nil || n != size || b[0] != byte(i) {
					t.Fatalf("unconnected socket %d: %d octets, %v", i, n, err)
				}
			}
			// From there, to a socket that listens.
			for i, n := range by {
				talkUDP(t, peer, n, lease, size+i, 1)
			}
		}
		// What the peer refuses is told to who has sent it.
		for _, n := range by {
			c := mustDial(t, n, "udp", peerAddr+":9")
			if _, err := c.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNREFUSED) {
				t.Errorf("%v: %v", n.PvD(), err)
			}
		}
	})
}

// Each PvD's echo requests are answered to it, also all at once; the peer's are answered.
func TestSharedPing(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, by, peer := sharers(t, layer, 3)
		var all sync.WaitGroup
		for _, n := range by {
			for range 20 {
				all.Go(func() {
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
					defer cancel()
					if _, err := n.Ping(ctx, netip.MustParseAddr(peerAddr)); err != nil {
						t.Error(err)
					}
				})
			}
		}
		all.Wait()
		if _, err := peer.Ping(t.Context(), netip.MustParseAddr(lease)); err != nil {
			t.Error(err)
		}
		// The sockets API, with an identifier by choice and with one of the stack's.
		app := h.App("ping")
		for i, n := range by {
			for _, ident := range []uint16{0, uint16(100 + i), 60000 - 20000*uint16(i)} {
				s, err := app.Socket(pvd.INET, pvd.Datagram, pvd.ICMP)
				if err != nil {
					t.Fatal(err)
				}
				err = errors.Join(s.SetPvD(n.PvD()), s.Bind(netip.AddrPortFrom(netip.MustParseAddr(lease), ident)))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.SendTo(t.Context(), []byte{8, 0, 0, 0, 0, 0, 0, byte(i)}, netip.AddrPortFrom(netip.MustParseAddr(peerAddr), 0)); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				b := make([]byte, 100)
				if n, err := s.Recv(ctx, b); err != nil || n != 8 || b[0] != 0 || b[7] != byte(i) {
					t.Errorf("PvD %d, identifier %d: % x, %v", i, ident, b[:n], err)
				}
				cancel()
				_ = s.Close()
			}
		}
	})
}

// Connections live on when PvDs come to share their address, and when the others go, with
// their station or without.
func TestSharersComeAndGo(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, far := newHost(t), newHost(t)
		pipeOf(t, layer, "wire", h, far)
		peer := add(t, far, config("wire", peerAddr+"/24"))
		alone := leaseholder("first")
		alone.Addresses[0].Shared = false
		first := add(t, h, alone)
		server := mustListen(t, peer, "tcp", peerAddr+":80")
		type pair struct{ c, s net.Conn }
		var pairs []pair
		open := func(n *stack.Network) {
			t.Helper()
			for range 20 {
				c := mustDial(t, n, "tcp", peerAddr+":80")
				s, err := server.Accept()
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = s.Close() })
				pairs = append(pairs, pair{c, s})
			}
		}
		all := func() {
			t.Helper()
			for _, p := range pairs {
				converse(t, p.c, p.s, "still there?")
			}
		}
		open(first)
		if _, err := h.Add(t.Context(), leaseholder("second")); err == nil {
			t.Fatal("one that does not share")
		}
		all()
		if err := h.Update(t.Context(), first.PvD(), leaseholder("first")); err != nil {
			t.Fatal(err)
		}
		all()
		second := add(t, h, leaseholder("second"))
		third := add(t, h, leaseholder("third"))
		all()
		open(first)
		open(second)
		open(third)
		all()
		// The first one goes; the others' connections stay, and are reached at another station.
		if err := h.Remove(t.Context(), first.PvD()); err != nil {
			t.Fatal(err)
		}
		pairs = pairs[40:]
		all()
		// The second one loses the address.
		moved := config("wire", "10.0.0.77/24")
		moved.Name = "second"
		if err := h.Update(t.Context(), second.PvD(), moved); err != nil {
			t.Fatal(err)
		}
		if _, err := pairs[0].c.Write([]byte("x")); !errors.Is(err, syscall.EADDRNOTAVAIL) {
			t.Errorf("a connection on the address that is gone: %v", err)
		}
		pairs = pairs[20:]
		all()
		// The last one no longer has to share.
		alone.Name = "third"
		if err := h.Update(t.Context(), third.PvD(), alone); err != nil {
			t.Fatal(err)
		}
		open(third)
		all()
	})
}

// PvDs come and go while another one transfers. What is on its way to a station that goes is
// lost, and for TCP to repeat it takes a moment without the next one.
func TestSharersComeAndGoBusily(t *testing.T) {
	h, by, peer := sharers(t, tun.Ethernet, 1)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
			ref, err := h.Add(context.Background(), leaseholder("guest"))
			if err != nil {
				t.Error(err)
				return
			}
			if c, err := h.In(ref).DialContext(context.Background(), "udp", peerAddr+":9"); err == nil {
				_, _ = c.Write([]byte("x"))
			}
			if err := h.Remove(context.Background(), ref); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	rounds := 5
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		talkTCP(t, by[0], peer, peerAddr, 1<<20)
		talkTCP(t, peer, by[0], lease, 1<<20)
		talkUDP(t, by[0], peer, peerAddr, largeDatagram, 50)
	}
	close(stop)
	<-done
}

// Nothing goes from one PvD to another that has the same address, nor back.
func TestSharersDoNotReachEachOther(t *testing.T) {
	eachLayer(t, func(t *testing.T, layer tun.Layer) {
		h, far := newHost(t), newHost(t)
		pipeOf(t, layer, "wire", h, far)
		a := add(t, h, leaseholder("a"))
		c := leaseholder("b")
		c.Addresses = append(c.Addresses, pvd.Address{Prefix: netip.MustParsePrefix("10.0.0.7/24")})
		b := add(t, h, c)
		mustListen(t, b, "tcp", ":80")
		for addr, want := range map[string]error{lease: syscall.ECONNREFUSED, "10.0.0.7": syscall.EHOSTUNREACH} {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			if _, err := a.DialContext(ctx, "tcp", addr+":80"); !errors.Is(err, want) {
				t.Errorf("to %s: %v", addr, err)
			}
			cancel()
		}
		for _, n := range []*stack.Network{a, b} { // each is itself there
			client, server := connect(t, n, n, lease)
			converse(t, client, server, "myself")
		}
	})
}

// The sockets API has the same ports: bound to nothing, to an address, connected, and in
// all PvDs.
func TestSharedSocketAPI(t *testing.T) {
	h, by, peer := sharers(t, tun.Ethernet, 2)
	server := mustListenPacket(t, peer, "udp", peerAddr+":53")
	go echoUDP(server)
	to := netip.MustParseAddrPort(peerAddr + ":53")
	app := h.App("app")
	ranges := [][2]uint16{{16000, 40767}, {40768, 65535}}
	for i, n := range by {
		for name, prepare := range map[string]func(s *stack.Socket) error{
			"nothing":  func(*stack.Socket) error { return nil },
			"bind":     func(s *stack.Socket) error { return s.Bind(netip.MustParseAddrPort(lease + ":0")) },
			"bind any": func(s *stack.Socket) error { return s.Bind(netip.MustParseAddrPort("0.0.0.0:0")) },
			"connect":  func(s *stack.Socket) error { return s.Connect(t.Context(), to) },
			"both": func(s *stack.Socket) error {
				return errors.Join(s.Bind(netip.MustParseAddrPort(lease+":0")), s.Connect(t.Context(), to))
			},
			"reconnect": func(s *stack.Socket) error {
				return errors.Join(s.Connect(t.Context(), to), s.Connect(t.Context(), to))
			},
		} {
			s, err := app.Socket(pvd.INET, pvd.Datagram, 0)
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(s.SetPvD(n.PvD()), prepare(s)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if _, err := s.SendMsg(t.Context(), &stack.Msg{Data: []byte(name), Addr: to}); err != nil && !strings.Contains(err.Error(), "connected") {
				t.Fatalf("%s: %v", name, err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			b := make([]byte, 100)
			if n, err := s.Recv(ctx, b); err != nil || string(b[:n]) != name {
				t.Errorf("%s: %q, %v", name, b[:n], err)
			}
			cancel()
			if a, err := s.LocalAddr(); err != nil || a.Port() < ranges[i][0] || a.Port() > ranges[i][1] {
				t.Errorf("%s: from %v, %v", name, a, err)
			}
			_ = s.Close()
		}
	}
	// One socket in both, which asks in each.
	s, err := app.Socket(pvd.INET, pvd.Datagram, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.SetRecvPvD(true); err != nil {
		t.Fatal(err)
	}
	for i, n := range by {
		server := mustListenPacket(t, peer, "udp", fmt.Sprintf("%s:%d", peerAddr, 100+i))
		go echoUDP(server)
		m := stack.Msg{Data: []byte("x"), Addr: server.LocalAddr().(*net.UDPAddr).AddrPort(), Control: pvd.Control{PvD: n.PvD()}}
		if _, err := s.SendMsg(t.Context(), &m); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		in := stack.Msg{Data: make([]byte, 10)}
		if _, err := s.RecvMsg(ctx, &in); err != nil || in.Control.PvD != n.PvD() {
			t.Errorf("the answer to %v is in %v, %v", n.PvD(), in.Control.PvD, err)
		}
		cancel()
	}
}

// Of the few ports that a PvD has among many, those in TIME-WAIT are used again.
func TestSharedTimeWait(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: uses up a range of ports")
	}
	_, by, peer := sharers(t, tun.IP, 64)
	server := mustListen(t, peer, "tcp", peerAddr+":80")
	go func() {
		for {
			c, err := server.Accept()
			if err != nil {
				return
			}
			go func() { // until the other end is closed
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}()
		}
	}()
	ports := make(map[string]bool)
	var last net.Conn
	for range 774 {
		c := mustDial(t, by[40], "tcp", peerAddr+":80")
		ports[c.LocalAddr().String()] = true
		if last != nil {
			_ = last.Close()
		}
		last = c
	}
	if len(ports) != 774 {
		t.Errorf("%d ports", len(ports))
	}
	eventually(t, "a port is to be had again", func() bool {
		c, err := by[40].DialContext(t.Context(), "tcp", peerAddr+":80")
		if err != nil {
			return false
		}
		defer c.Close()
		if !ports[c.LocalAddr().String()] {
			t.Errorf("%v is another PvD's", c.LocalAddr())
		}
		return true
	})
}
