package socks5

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// loopback lets tests reach what they run on this machine.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

// testNetwork connects through this machine's loopback. Its names are in a map, and
// what it dialled is kept.
type testNetwork struct {
	names map[string][]netip.Addr
	// dial replaces dialling where it is not nil.
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu      sync.Mutex
	dialled []string
	lookups int
}

func (n *testNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialled = append(n.dialled, address)
	n.mu.Unlock()
	if n.dial != nil {
		return n.dial(ctx, network, address)
	}
	var d net.Dialer
	return d.DialContext(ctx, network, address)
}

func (n *testNetwork) LookupNetIP(_ context.Context, network, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	n.lookups++
	n.mu.Unlock()
	if network != "ip" {
		return nil, fmt.Errorf("lookup of network %q", network)
	}
	if addrs, ok := n.names[host]; ok {
		return addrs, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
}

func (n *testNetwork) attempts() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.dialled)
}

// servers counts those that start has started and that have not ended.
var servers atomic.Int32

// start runs a server on loopback and returns it with its address. When the test ends it
// closes the server and, after the last one, checks that nothing is left.
func start(t testing.TB, c Config) (*Server, string) {
	t.Helper()
	if c.Allow == nil {
		c.Allow = loopback
	}
	s, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	servers.Add(1)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error("Close:", err)
		}
		if err := <-served; !errors.Is(err, ErrServerClosed) {
			t.Error("Serve:", err)
		}
		if servers.Add(-1) == 0 {
			checkNothingLeft(t)
		}
	})
	return s, l.Addr().String()
}

// checkNothingLeft fails the test while a goroutine of the server is there.
func checkNothingLeft(t testing.TB) {
	t.Helper()
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		g, _, _ = strings.Cut(g, "created by") // who it was says nothing of what it does
		for _, f := range []string{"(*session).", "(*relay).", "(*Server).connect", "(*Server).Shutdown", "(*Server).pause"} {
			if strings.Contains(g, "stack/socks5."+f) {
				t.Errorf("left behind:\n%s", g)
				break
			}
		}
	}
}

// listen returns a loopback listener whose connections handle serves, each in its own
// goroutine, until the test ends.
func listen(t testing.TB, address string, handle func(*net.TCPConn)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				handle(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// echo sends back what it gets.
func echo(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.CloseWrite()
}

// client connects to the server and closes when the test ends.
func client(t testing.TB, addr string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn)
}

// connectTo sends a whole handshake without authentication and returns the reply.
func connectTo(t testing.TB, c net.Conn, host string, port uint16) Reply {
	t.Helper()
	send(t, c, "\x05\x01\x00")
	expect(t, c, "\x05\x00")
	send(t, c, requestFor(Connect, host, port))
	r, _ := readReply(t, c)
	return r
}

// requestFor is a request, with host as a literal where it is one.
func requestFor(cmd Command, host string, port uint16) string {
	b := []byte{version, byte(cmd), 0}
	if a, err := netip.ParseAddr(host); err == nil && a.Zone() == "" {
		atyp := byte(atypIPv6)
		if a.Is4() {
			atyp = atypIPv4
		}
		b = append(b, atyp)
		b = append(b, a.AsSlice()...)
	} else {
		b = append(b, atypDomain, byte(len(host)))
		b = append(b, host...)
	}
	return string(binary.BigEndian.AppendUint16(b, port))
}

func send(t testing.TB, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func expect(t testing.TB, c net.Conn, want string) {
	t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != want {
		t.Fatalf("read %q, %v; want %q", b[:n], err, want)
	}
}

func readReply(t testing.TB, c net.Conn) (Reply, netip.AddrPort) {
	t.Helper()
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal("reading reply:", err)
	}
	if b[0] != version || b[2] != 0 {
		t.Fatalf("reply begins with % x", b)
	}
	n := 4
	if b[3] == atypIPv6 {
		n = 16
	}
	a := make([]byte, n+2)
	if _, err := io.ReadFull(c, a); err != nil {
		t.Fatal("reading reply:", err)
	}
	addr, _ := netip.AddrFromSlice(a[:n])
	return Reply(b[1]), netip.AddrPortFrom(addr, binary.BigEndian.Uint16(a[n:]))
}

// expectEnd waits for the connection to end, however it does.
func expectEnd(t testing.TB, c net.Conn) error {
	t.Helper()
	n, err := c.Read(make([]byte, 1))
	if err == nil {
		t.Fatalf("%d octets where the end was expected", n)
	}
	if isDeadline(err) {
		t.Fatal("the connection did not end")
	}
	return err
}

// until waits for ok to become true.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never happened:", what)
}

// manualClock stands still until it is advanced.
type manualClock struct {
	mu     sync.Mutex
	now    time.Duration
	timers []*manualTimer
}

type manualTimer struct {
	c    *manualClock
	at   time.Duration
	f    func()
	live bool
}

func (c *manualClock) Now() time.Time { return time.Unix(0, 0).Add(c.Monotonic()) }

func (c *manualClock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *manualClock) AfterFunc(d time.Duration, f func()) pvd.Timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := &manualTimer{c: c, at: c.now + d, f: f, live: true}
	c.timers = append(c.timers, t)
	return t
}

func (t *manualTimer) Stop() bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	was := t.live
	t.live = false
	return was
}

func (t *manualTimer) Reset(d time.Duration) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.at = t.c.now + d
	if t.live {
		return
	}
	t.live = true
	if !slices.Contains(t.c.timers, t) {
		t.c.timers = append(t.c.timers, t)
	}
}

// advance moves the clock on and calls what is due, one after the other.
func (c *manualClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now += d
	var due []*manualTimer
	c.timers = slices.DeleteFunc(c.timers, func(t *manualTimer) bool {
		if t.live && t.at <= c.now {
			due = append(due, t)
			t.live = false
		}
		return !t.live
	})
	c.mu.Unlock()
	for _, t := range due {
		t.f()
	}
}

// waiting returns how many calls the clock has been asked for.
func (c *manualClock) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, t := range c.timers {
		if t.live {
			n++
		}
	}
	return n
}
