package stack_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
	"github.com/pvdstack/pvdstack/tun/tuntest"
)

// busy is a PvD with everything in it blocked or at work: what ends it has to reach.
type busy struct {
	t       *testing.T
	network *stack.Network
	calls   map[string]chan error // what each blocked call returned
}

// newBusy starts a blocked call of every kind in n. peer is on the other end of the wire
// and answers for addr; silent is an address there that nobody has.
func newBusy(t *testing.T, n, peer *stack.Network, own, addr, silent string) *busy {
	t.Helper()
	b := &busy{t: t, network: n, calls: make(map[string]chan error)}
	client, server := connect(t, n, peer, addr)
	accepted, _ := connect(t, peer, n, own)
	_ = accepted
	full, _ := connect(t, n, peer, addr)
	l := mustListen(t, n, "tcp", net.JoinHostPort(own, "0"))
	u := mustListenPacket(t, n, "udp", net.JoinHostPort(own, "0"))
	b.call("read", func() error { _, err := client.Read(make([]byte, 1)); return err })
	b.call("write", func() error {
		for {
			if _, err := full.Write(make([]byte, 1<<16)); err != nil {
				return err
			}
		}
	})
	b.call("copy", func() error { _, err := io.Copy(io.Discard, onlyReader{client}); return err })
	b.call("accept", func() error { _, err := l.Accept(); return err })
	b.call("receive", func() error { _, _, err := u.ReadFrom(make([]byte, 1)); return err })
	b.call("dial", func() error {
		_, err := n.DialFrom(context.Background(), "tcp", net.JoinHostPort(own, "0"), net.JoinHostPort(silent, "1"))
		return err
	})
	_ = server
	return b
}

type onlyReader struct{ io.Reader }

func (b *busy) call(name string, f func() error) {
	c := make(chan error, 1)
	b.calls[name] = c
	go func() { c <- f() }()
}

// expect says that every call has to return want at once.
func (b *busy) expect(want error, since time.Time) {
	b.t.Helper()
	late := time.After(atOnce - time.Since(since))
	for name, c := range b.calls {
		select {
		case err := <-c:
			var op *net.OpError
			if !errors.Is(err, want) || !errors.As(err, &op) {
				b.t.Errorf("%s: %v, want %v", name, err, want)
			}
		case <-late:
			b.t.Errorf("%s is still blocked after %v", name, atOnce)
		}
	}
}

// neighbors are two PvDs of one host, on one wire, and their peers at its other end.
type neighbors struct {
	host         *stack.Host
	a, b         *stack.Network // the PvD that something happens to, and the other one
	peerA, peerB *stack.Network
	configA      pvd.Config
}

func newNeighbors(t *testing.T) *neighbors {
	t.Helper()
	h, far := newHost(t), newHost(t)
	pipe(t, "wire", h, far)
	n := &neighbors{host: h, configA: config("wire", "10.0.0.1/24", "10.0.0.9/24")}
	n.a, n.b = add(t, h, n.configA), add(t, h, config("wire", "10.0.1.1/24"))
	n.peerA, n.peerB = add(t, far, config("wire", "10.0.0.2/24")), add(t, far, config("wire", "10.0.1.2/24"))
	return n
}

// keepBusy transfers in the other PvD, and floods the first one with SYNs, until the
// function that it returns is called. That one fails the test if the transfer stalled.
func (n *neighbors) keepBusy(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var received atomic.Int64
	client, server := connect(t, n.b, n.peerB, "10.0.1.2")
	wg.Go(func() {
		chunk := make([]byte, 1<<16)
		for ctx.Err() == nil {
			if _, err := client.Write(chunk); err != nil {
				t.Errorf("the other PvD's transfer: %v", err)
				return
			}
		}
		client.Close()
	})
	wg.Go(func() {
		buf := make([]byte, 1<<16)
		for {
			k, err := server.Read(buf)
			received.Add(int64(k))
			if err != nil {
				return
			}
		}
	})
	l := mustListen(t, n.a, "tcp", "10.0.0.1:0")
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Close()
		}
	})
	for range 4 {
		wg.Go(func() {
			for ctx.Err() == nil {
				dctx, dcancel := context.WithTimeout(ctx, 20*time.Millisecond)
				if c, err := n.peerA.DialContext(dctx, "tcp", l.Addr().String()); err == nil {
					_ = c.(*stack.TCPConn).SetLinger(0)
					c.Close()
				}
				dcancel()
			}
		})
	}
	time.Sleep(50 * time.Millisecond) // let it all begin
	return func() {
		t.Helper()
		before := received.Load()
		for end := time.Now().Add(5 * time.Second); received.Load() == before; time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Error("the other PvD's transfer has stalled")
				break
			}
		}
		cancel()
		wg.Wait()
	}
}

func TestRemovePvDUnderLoad(t *testing.T) {
	n := newNeighbors(t)
	stop := n.keepBusy(t)
	b := newBusy(t, n.a, n.peerA, "10.0.0.1", "10.0.0.2", "10.0.0.77")
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	if err := n.host.Remove(t.Context(), n.a.PvD()); err != nil {
		t.Error(err)
	}
	b.expect(pvd.ErrNoPvD, start)
	if took := time.Since(start); took > 10*atOnce {
		t.Errorf("removal took %v", took)
	}
	stop()
	if _, err := n.a.DialContext(t.Context(), "tcp", "10.0.0.2:1"); !errors.Is(err, pvd.ErrNoPvD) {
		t.Errorf("dial afterwards: %v", err)
	}
	// Its address is free for the next one.
	add(t, n.host, config("wire", "10.0.0.1/24"))
}

func TestRemoveAddressUnderLoad(t *testing.T) {
	n := newNeighbors(t)
	stop := n.keepBusy(t)
	b := newBusy(t, n.a, n.peerA, "10.0.0.1", "10.0.0.2", "10.0.0.77")
	other, _ := connect(t, n.peerA, n.a, "10.0.0.9")
	time.Sleep(20 * time.Millisecond)
	// connect's client is unbound: from which of the addresses is the stack's choice, so
	// take the one that was chosen away as well as the one that is listened on.
	without := n.configA
	without.Addresses = without.Addresses[1:]
	start := time.Now()
	if err := n.host.Update(t.Context(), n.a.PvD(), without); err != nil {
		t.Fatal(err)
	}
	b.expect(syscall.EADDRNOTAVAIL, start)
	if _, err := other.Write([]byte("x")); err != nil {
		t.Errorf("a connection on an address that stays: %v", err)
	}
	stop()
	if _, err := n.a.Listen(t.Context(), "tcp", "10.0.0.1:0"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("listen afterwards: %v", err)
	}
	if err := n.host.Update(t.Context(), n.a.PvD(), n.configA); err != nil {
		t.Fatal(err)
	}
	connect(t, n.peerA, n.a, "10.0.0.1")
}

func TestRemoveLinkUnderLoad(t *testing.T) {
	h, far := newHost(t), newHost(t)
	pipe(t, "wire", h, far)
	pipe(t, "other", h, far)
	n := &neighbors{host: h}
	n.a, n.peerA = add(t, h, config("wire", "10.0.0.1/24")), add(t, far, config("wire", "10.0.0.2/24"))
	n.b, n.peerB = add(t, h, config("other", "10.0.1.1/24")), add(t, far, config("other", "10.0.1.2/24"))
	stop := n.keepBusy(t)
	b := newBusy(t, n.a, n.peerA, "10.0.0.1", "10.0.0.2", "10.0.0.77")
	time.Sleep(20 * time.Millisecond)
	start := time.Now()
	if err := h.RemoveLink("wire"); err != nil {
		t.Fatal(err)
	}
	b.expect(syscall.ENETDOWN, start)
	stop()
	if _, err := n.a.DialContext(t.Context(), "tcp", "10.0.0.2:1"); !errors.Is(err, syscall.ENETDOWN) {
		t.Errorf("dial afterwards: %v", err)
	}
	// The PvD lives on, and has the link again when it returns.
	info, err := h.Info(n.a.PvD())
	if err != nil {
		t.Fatal(err)
	}
	if as, _ := pvd.Addresses.Get(info); len(as) != 1 || as[0].State != pvd.Down {
		t.Errorf("addresses without a link: %v", as)
	}
	if err := far.RemoveLink("wire"); err != nil {
		t.Fatal(err)
	}
	pipe(t, "wire", h, far)
	connect(t, n.a, n.peerA, "10.0.0.2")
}

// After many PvDs have come and gone with everything in them at work, nothing is left.
func TestPvDsComeAndGo(t *testing.T) {
	cycles := 1000
	if testing.Short() {
		cycles = 50
	}
	tuntest.CheckLeaks(t)
	h, far := newHost(t), newHost(t)
	pipe(t, "wire", h, far)
	peer := add(t, far, config("wire", "10.0.0.2/24"))
	l := mustListen(t, peer, "tcp", "10.0.0.2:80")
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _, _ = io.Copy(c, onlyReader{c}); _ = c.Close() }()
		}
	}()
	c := config("wire", "10.0.0.1/24")
	c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("10.0.0.77:53")}
	cycle := func() {
		n := add(t, h, c)
		var wg sync.WaitGroup
		for range 10 {
			mustDialOnce(t, n, &wg)
		}
		for range 10 {
			u, err := n.ListenPacket(t.Context(), "udp", "10.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() { _, _, _ = u.ReadFrom(make([]byte, 1)) })
		}
		ln, err := n.Listen(t.Context(), "tcp", "10.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() { _, _ = ln.Accept() })
		wg.Go(func() { _, _ = n.LookupNetIP(context.Background(), "ip", "wiki.example.com") })
		if err := h.Remove(t.Context(), n.PvD()); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
	}
	for range 20 {
		cycle() // pools and maps reach their size
	}
	heap, goroutines := settledHeap(), runtime.NumGoroutine()
	for range cycles {
		cycle()
	}
	if grown := int64(settledHeap()) - int64(heap); grown > 5<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	for end := time.Now().Add(3 * time.Second); runtime.NumGoroutine() > goroutines+2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), goroutines)
		}
	}
}

// mustDialOnce connects, and leaves a read blocked on the connection.
func mustDialOnce(t *testing.T, n *stack.Network, wg *sync.WaitGroup) {
	t.Helper()
	c, err := n.DialContext(t.Context(), "tcp", "10.0.0.2:80")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	wg.Go(func() { _, _ = io.Copy(io.Discard, onlyReader{c}) })
}

func settledHeap() uint64 {
	var m runtime.MemStats
	for range 3 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestAddressesComeAndGo(t *testing.T) {
	rounds := 10_000
	if testing.Short() {
		rounds = 200
	}
	tuntest.CheckLeaks(t)
	h := newHost(t)
	near, farEnd := tun.Pipe(tun.PipeConfig{})
	defer farEnd.Close()
	if err := h.AddLink("wire", near); err != nil {
		t.Fatal(err)
	}
	less := config("wire", "10.0.0.1/24")
	n := add(t, h, less)
	round := func(i int) {
		more := config("wire", "10.0.0.1/24", fmt.Sprintf("10.0.0.%d/24", 2+i%200), fmt.Sprintf("2001:db8::%x/64", 1+i%5000))
		for _, c := range []pvd.Config{more, less} {
			if err := h.Update(t.Context(), n.PvD(), c); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 100 {
		round(i)
	}
	heap := settledHeap()
	for i := range rounds {
		round(i)
	}
	if grown := int64(settledHeap()) - int64(heap); grown > 5<<20 {
		t.Errorf("the heap has grown by %d KiB", grown>>10)
	}
	info, err := h.Info(n.PvD())
	if err != nil {
		t.Fatal(err)
	}
	if as, _ := pvd.Addresses.Get(info); len(as) != 1 {
		t.Errorf("left: %v", as)
	}
}
