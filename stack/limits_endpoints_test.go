package stack

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/tun"
)

// limited returns a PvD with two addresses of a family, the second of which is the source
// for 11.0.0.0/8 and which gVisor would not choose.
func limited(t *testing.T) (*Host, *domain) {
	t.Helper()
	h, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	l, r := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	t.Cleanup(func() { _ = r.Close() })
	if err := h.AddLink("wire", l); err != nil {
		t.Fatal(err)
	}
	ref, err := h.Add(t.Context(), pvd.Config{
		Links:     []string{"wire"},
		Addresses: []pvd.Address{{Prefix: netip.MustParsePrefix("10.0.0.1/24")}, {Prefix: netip.MustParsePrefix("172.16.0.1/24")}},
		Routes:    []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), From: netip.MustParsePrefix("172.16.0.0/24")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.WaitReady(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	d, err := h.domain(ref)
	if err != nil {
		t.Fatal(err)
	}
	return h, d
}

func TestMaxSockets(t *testing.T) {
	h, d := limited(t)
	n := h.In(d.ref)
	l, err := n.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	first, err := n.DialContext(t.Context(), "tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	var others []*socket // of somebody else's
	for d.endpoints.len() < maxSockets {
		o := &socket{}
		others = append(others, o)
		if err := d.endpoints.add(o); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(what string, err error) {
		t.Helper()
		if _, ok := err.(*net.OpError); !ok || !errors.Is(err, syscall.EMFILE) { //nolint:errorlint // outermost is what is promised
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		_, err := n.DialContext(t.Context(), network, "10.0.0.1:80")
		expect("dial "+network, err)
	}
	_, err = n.Listen(t.Context(), "tcp", ":81")
	expect("listen", err)
	_, err = n.ListenPacket(t.Context(), "udp", ":81")
	expect("listen", err)
	_, err = n.Ping(t.Context(), netip.MustParseAddr("10.0.0.1"))
	expect("ping", err)
	for _, typ := range []pvd.SocketType{pvd.Stream, pvd.Datagram} {
		k, err := h.Socket(pvd.INET, typ, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer k.Close()
		if err := k.SetPvD(d.ref); err != nil {
			t.Fatal(err)
		}
		expect("bind", k.Bind(netip.MustParseAddrPort("0.0.0.0:82")))
		expect("connect", k.Connect(t.Context(), netip.MustParseAddrPort("10.0.0.1:80")))
		if k.PvD() != d.ref || k.SetPvD(pvd.Unspecified) != nil {
			t.Error("a socket that could not be bound is not as new")
		}
	}
	_, err = l.Accept()
	expect("accept", err)
	if ne := err.(net.Error); !ne.Temporary() { //nolint:errorlint,staticcheck // servers go on after such an error
		t.Error("EMFILE from Accept ends servers")
	}
	if got := d.endpoints.len(); got != maxSockets {
		t.Errorf("%d sockets, want %d", got, maxSockets)
	}
	for _, o := range others {
		d.endpoints.remove(o)
	}
	// What waited is still there.
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	_ = first.Close()
}

// TestPortTries has a dial that has to bind find a free port, and give up where there is
// none.
func TestPortTries(t *testing.T) {
	_, d := limited(t)
	if err := d.stk.SetPortRange(20000, 20003); err != nil {
		t.Fatal(err)
	}
	dial := func(to string) (*TCPConn, error) {
		dl := &dialing{d: d, network: "tcp", proto: 6}
		at := netip.MustParseAddrPort(to)
		p, err := d.path(t.Context(), netip.Addr{}, at.Addr())
		if err != nil {
			t.Fatal(err)
		}
		if p.natural || p.src != netip.MustParseAddr("172.16.0.1") {
			t.Fatalf("the path to %s is %+v: gVisor's own choice", to, p)
		}
		return dl.startTCP(p, at)
	}
	seen := make(map[string]bool)
	for range 4 {
		c, err := dial("11.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		seen[c.LocalAddr().String()] = true
	}
	if len(seen) != 4 {
		t.Errorf("from %v: not four ports", seen)
	}
	if _, err := dial("11.0.0.1:80"); !errors.Is(err, syscall.EADDRNOTAVAIL) {
		t.Errorf("a fifth connection from four ports: %v", err)
	}
	// The ports are taken for that destination only.
	for _, to := range []string{"11.0.0.1:81", "11.0.0.2:80"} {
		c, err := dial(to)
		if err != nil {
			t.Fatalf("%s: %v", to, err)
		}
		_ = c.Close()
	}
}

// TestListenBacklog fills a listener's queue.
func TestListenBacklog(t *testing.T) {
	t.Parallel()
	h, d := limited(t)
	n := h.In(d.ref)
	l, err := n.Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	made := 0
	for range listenBacklog + 10 { // it is full when a dial gets no answer
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		c, err := n.DialContext(ctx, "tcp", "127.0.0.1:80")
		cancel()
		if err != nil {
			break
		}
		made++
		defer c.Close()
	}
	// gVisor lets handshakes that are under way finish when the queue fills.
	if made < listenBacklog || made > listenBacklog+8 {
		t.Errorf("%d connections wait to be accepted, the backlog is %d", made, listenBacklog)
	}
}

// TestModerate has a receive buffer grow with what is read.
func TestModerate(t *testing.T) {
	out, c := joined(t)
	if _, err := out.Write(make([]byte, moderateAfter)); err != nil {
		t.Fatal(err)
	}
	buf, total := make([]byte, 1000), 0
	for total < moderateAfter {
		k, err := c.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		if total += k; total < moderateAfter && c.unmetered != total {
			t.Fatalf("%d octets since the last moderation, want %d", c.unmetered, total)
		}
	}
	if c.unmetered != 0 {
		t.Errorf("no moderation after %d octets", total)
	}
}

// TestCopiesHoldNoBuffers has copies that wait, in both directions.
func TestCopiesHoldNoBuffers(t *testing.T) {
	out, in := joined(t)
	kl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer kl.Close()
	kc, err := net.Dial("tcp", kl.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer kc.Close()

	ks, err := kl.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer ks.Close()

	idle := func(what string) {
		t.Helper()
		time.Sleep(20 * time.Millisecond)
		if n := copyLent.Load(); n != 0 {
			t.Errorf("%s: %d buffers are lent", what, n)
		}
	}
	idle("before")
	pr, pw := io.Pipe()
	go func() { _, _ = io.Copy(pw, in) }()
	go func() { _, _ = io.Copy(out, kc) }() // through kc's own WriteTo, which wraps kc
	idle("waiting")
	for range 3 {
		if _, err := ks.Write([]byte("through")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 7)
		if _, err := io.ReadFull(pr, b); err != nil || string(b) != "through" {
			t.Fatalf("%q, %v", b, err)
		}
		idle("waiting again")
	}
}

// joined returns the two ends of a connection within a PvD.
func joined(t *testing.T) (out, in *TCPConn) {
	t.Helper()
	h, d := limited(t)
	l, err := h.In(d.ref).Listen(t.Context(), "tcp", ":80")
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.In(d.ref).DialContext(t.Context(), "tcp", "127.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = l.Close()
		_ = c.Close()
		_ = s.Close()
	})
	return c.(*TCPConn), s.(*TCPConn)
}
