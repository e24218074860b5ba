package socks5

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
)

// blackhole is a network in which nothing ever answers.
func blackhole() *testNetwork {
	return &testNetwork{dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, opError(ctx.Err())
	}}
}

func TestHandshakeTimeout(t *testing.T) {
	clock := new(manualClock)
	s, addr := start(t, Config{Network: &testNetwork{}, Clock: clock, Users: map[string]string{"a": "b"}})
	var slow []*net.TCPConn
	for _, part := range []string{"", "\x05", "\x05\x01", "\x05\x01\x02\x01\xff", "\x05\x01\x02\x01\x01a\x01b\x05\x01\x00"} {
		c := client(t, addr)
		send(t, c, part)
		slow = append(slow, c)
	}
	until(t, "all in handshake", func() bool { return clock.waiting() == len(slow) })
	clock.advance(DefaultHandshakeTimeout - 1)
	send(t, slow[0], "\x05") // one octet more gains nobody any time
	if got := s.Stats().Conns; got != len(slow) {
		t.Errorf("%d clients before the timeout", got)
	}
	clock.advance(1)
	for _, c := range slow {
		_, _ = io.Copy(io.Discard, c)
	}
	until(t, "all gone", func() bool { return s.Stats().Conns == 0 })
	if got := s.Stats().Slow; got != uint64(len(slow)) {
		t.Errorf("%d slow clients counted", got)
	}
}

// A dial that gets no answer holds up nobody, and ends in time.
func TestDialTimeout(t *testing.T) {
	clock := new(manualClock)
	dst := listen(t, "127.0.0.1:0", echo)
	n := blackhole()
	wait := n.dial
	n.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == dst.String() {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		return wait(ctx, network, address)
	}
	_, addr := start(t, Config{Network: n, Clock: clock})
	lost := client(t, addr)
	send(t, lost, "\x05\x01\x00"+requestFor(Connect, "10.0.0.1", 80))
	expect(t, lost, "\x05\x00")
	until(t, "dialling", func() bool { return len(n.attempts()) == 1 })
	if r := connectTo(t, client(t, addr), "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("another client's reply:", r)
	}
	clock.advance(DefaultDialTimeout)
	if r, _ := readReply(t, lost); r != HostUnreachable {
		t.Error("reply", r)
	}
}

// Each of several addresses gets its share of the time.
func TestDialTimeoutShared(t *testing.T) {
	clock := new(manualClock)
	n := blackhole()
	n.names = map[string][]netip.Addr{"two": {netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")}}
	_, addr := start(t, Config{Network: n, Clock: clock})
	c := client(t, addr)
	send(t, c, "\x05\x01\x00"+requestFor(Connect, "two", 80))
	expect(t, c, "\x05\x00")
	for i := range 2 {
		// The dial timeout's and the attempt's, whose numbers are the same in each round.
		until(t, "attempt", func() bool { return len(n.attempts()) == i+1 && clock.waiting() == 2 })
		clock.advance(DefaultDialTimeout / 2)
	}
	if r, _ := readReply(t, c); r != HostUnreachable {
		t.Error("reply", r)
	}
}

// A client that goes away ends its dial.
func TestDialEndsWithClient(t *testing.T) {
	n := blackhole()
	s, addr := start(t, Config{Network: n})
	c := client(t, addr)
	send(t, c, "\x05\x01\x00"+requestFor(Connect, "10.0.0.1", 80))
	until(t, "dialling", func() bool { return len(n.attempts()) == 1 })
	c.Close()
	until(t, "the end", func() bool { return s.Stats().Conns == 0 })
}

func TestIdleTimeout(t *testing.T) {
	clock := new(manualClock)
	seen := make(chan error, 1)
	dst := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		_, err := io.Copy(c, c)
		seen <- err
	})
	s, addr := start(t, Config{Network: &testNetwork{}, Clock: clock, IdleTimeout: 4 * time.Minute})
	c := client(t, addr)
	if r := connectTo(t, c, "127.0.0.1", dst.Port()); r != Succeeded {
		t.Fatal("reply", r)
	}
	until(t, "watch", func() bool { return clock.waiting() == 1 })
	for range 20 {
		send(t, c, "x")
		expect(t, c, "x")
		clock.advance(time.Minute)
	}
	if got := s.Stats().Conns; got != 1 {
		t.Fatal("ended although data moved")
	}
	// Both copies have told of the last octet once they let another one through.
	send(t, c, "x")
	expect(t, c, "x")
	minutes := 0
	until(t, "the end", func() bool {
		if s.Stats().Conns == 0 {
			return true
		}
		clock.advance(time.Minute)
		minutes++
		return false
	})
	if minutes < 4 {
		t.Errorf("ended after %d minutes", minutes)
	}
	if err := expectEnd(t, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the client sees", err)
	}
	if err := <-seen; !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the destination sees", err)
	}
	if got := s.Stats().Idle; got != 1 {
		t.Errorf("%d idle clients counted", got)
	}
}

// Data in one direction only keeps both alive.
func TestIdleOneWay(t *testing.T) {
	clock := new(manualClock)
	next := make(chan struct{})
	dst := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		for range next {
			_, _ = io.WriteString(c, "x")
		}
	})
	defer close(next)
	_, addr := start(t, Config{Network: &testNetwork{}, Clock: clock, IdleTimeout: 4 * time.Minute})
	c := client(t, addr)
	connectTo(t, c, "127.0.0.1", dst.Port())
	until(t, "watch", func() bool { return clock.waiting() == 1 })
	for range 20 {
		next <- struct{}{}
		expect(t, c, "x")
		clock.advance(time.Minute)
	}
}

func TestNoIdleTimeout(t *testing.T) {
	clock := new(manualClock)
	dst := listen(t, "127.0.0.1:0", echo)
	_, addr := start(t, Config{Network: &testNetwork{}, Clock: clock, IdleTimeout: -1})
	c := client(t, addr)
	connectTo(t, c, "127.0.0.1", dst.Port())
	send(t, c, "x")
	expect(t, c, "x")
	if got := clock.waiting(); got != 0 {
		t.Errorf("%d timers", got)
	}
}

func TestMaxConns(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	s, addr := start(t, Config{Network: &testNetwork{}, MaxConns: 3, MaxConnsPerClient: 3})
	var cs []*net.TCPConn
	for range 3 {
		c := client(t, addr)
		connectTo(t, c, "127.0.0.1", dst.Port())
		cs = append(cs, c)
	}
	expectEnd(t, client(t, addr))
	if got := s.Stats(); got.OverConns != 1 || got.Conns != 3 {
		t.Errorf("%+v", got)
	}
	cs[0].Close()
	until(t, "room", func() bool { return s.Stats().Conns == 2 })
	if r := connectTo(t, client(t, addr), "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("reply", r)
	}
}

func TestMaxConnsPerClient(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	s, addr := start(t, Config{Network: &testNetwork{}, MaxConns: 4})
	for range 3 { // three quarters of 4
		connectTo(t, client(t, addr), "127.0.0.1", dst.Port())
	}
	expectEnd(t, client(t, addr))
	if got := s.Stats(); got.OverClient != 1 {
		t.Errorf("%+v", got)
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	other, err := d.Dial("tcp", addr)
	if err != nil {
		t.Skip("needs 127.0.0.2:", err)
	}
	defer other.Close()
	if r := connectTo(t, other, "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("another client's reply:", r)
	}
}

// Clients that do nothing keep nobody out.
func TestMaxHandshakes(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	s, addr := start(t, Config{Network: &testNetwork{}, MaxHandshakes: 2})
	idle := []*net.TCPConn{client(t, addr), client(t, addr)}
	until(t, "handshakes", func() bool { return s.Stats().Handshakes == 2 })
	if r := connectTo(t, client(t, addr), "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("reply", r)
	}
	expectEnd(t, idle[0])
	until(t, "the end", func() bool { return s.Stats().Conns == 2 })
	if got := s.Stats(); got.OverHandshakes != 1 || got.Handshakes != 1 {
		t.Errorf("%+v", got)
	}
	if r := connectTo(t, idle[1], "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("the second one's reply:", r)
	}
}

// A client reads at most what a handshake may have before it has to make a choice.
func TestHandshakeOctets(t *testing.T) {
	pad := func(n int) string { return string(make([]byte, n)) }
	all := "\x05\xff" + pad(254) + "\x02" + "\x01\xff" + pad(255) + "\xff" + pad(255) +
		"\x05\x01\x00\x03\xff" + pad(255) + "\x00\x50"
	if len(all) != maxHandshake {
		t.Fatalf("%d octets, not %d", len(all), maxHandshake)
	}
	_, addr := start(t, Config{Network: &testNetwork{}, Users: map[string]string{pad(255): pad(255)}})
	c := client(t, addr)
	send(t, c, all)
	expect(t, c, "\x05\x02\x01\x00")
	if r, _ := readReply(t, c); r != HostUnreachable {
		t.Error("reply", r)
	}
}

// failingListener fails to accept a few times.
type failingListener struct {
	net.Listener
	errs []error
}

func (l *failingListener) Accept() (net.Conn, error) {
	if len(l.errs) > 0 {
		err := l.errs[0]
		l.errs = l.errs[1:]
		return nil, opError(err)
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	s, _ := start(t, Config{Network: &testNetwork{}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- s.Serve(&failingListener{l, []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, errors.New("odd")}})
	}()
	if r := connectTo(t, client(t, l.Addr().String()), "127.0.0.1", dst.Port()); r != Succeeded {
		t.Error("reply", r)
	}
	if got := s.Stats().AcceptErrors; got != 4 {
		t.Errorf("%d errors counted", got)
	}
	l.Close()
	if err := <-served; !errors.Is(err, net.ErrClosed) {
		t.Error("Serve:", err)
	}
	for _, want := range []error{net.ErrClosed, io.EOF, pvd.ErrNoPvD} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Serve(&failingListener{l, []error{want}}); !errors.Is(err, want) {
			t.Errorf("Serve: %v, want %v", err, want)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error("the listener is open:", err)
		}
	}
}

// While the server waits to accept again it can be closed.
func TestCloseDuringBackoff(t *testing.T) {
	clock := new(manualClock)
	s, err := New(Config{Network: &testNetwork{}, Clock: clock})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(&failingListener{l, []error{syscall.EMFILE}}) }()
	until(t, "waiting", func() bool { return clock.waiting() == 1 })
	s.Close()
	if err := <-served; !errors.Is(err, ErrServerClosed) {
		t.Error("Serve:", err)
	}
}

func TestShutdown(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	s, addr := start(t, Config{Network: &testNetwork{}})
	busy, idle := client(t, addr), client(t, addr)
	if r := connectTo(t, busy, "127.0.0.1", dst.Port()); r != Succeeded {
		t.Fatal("reply", r)
	}
	until(t, "both", func() bool { return s.Stats().Conns == 2 })
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(t.Context()) }()
	expectEnd(t, idle)
	if c, err := net.Dial("tcp", addr); err == nil {
		c.Close()
		t.Error("still listening")
	}
	send(t, busy, "still here")
	expect(t, busy, "still here")
	_ = busy.CloseWrite()
	if err := <-down; err != nil {
		t.Error("Shutdown:", err)
	}
	checkNothingLeft(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Error("Serve after Shutdown:", err)
	}
}

func TestShutdownExpires(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	n := blackhole()
	wait := n.dial
	n.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == dst.String() {
			return (&net.Dialer{}).DialContext(ctx, network, address)
		}
		return wait(ctx, network, address)
	}
	s, addr := start(t, Config{Network: n})
	relayed, dialling := client(t, addr), client(t, addr)
	connectTo(t, relayed, "127.0.0.1", dst.Port())
	send(t, dialling, "\x05\x01\x00"+requestFor(Connect, "10.0.0.1", 80))
	until(t, "dialling", func() bool { return len(n.attempts()) == 2 })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("Shutdown:", err)
	}
	checkNothingLeft(t)
	if err := expectEnd(t, relayed); !errors.Is(err, syscall.ECONNRESET) {
		t.Error("the client sees", err)
	}
}

func TestCheckListen(t *testing.T) {
	for _, tt := range []struct {
		addr        string
		auth, force bool
		ok          bool
	}{
		{"127.0.0.1:1080", false, false, true},
		{"127.1.2.3:1080", false, false, true},
		{"[::1]:1080", false, false, true},
		{"[::ffff:127.0.0.1]:1080", false, false, true},
		{"localhost:1080", false, false, true},
		{":1080", false, false, false},
		{"0.0.0.0:1080", false, false, false},
		{"[::]:1080", false, false, false},
		{"192.168.1.1:1080", false, false, false},
		{"10.0.0.1:1080", false, false, false},
		{"[fe80::1%eth0]:1080", false, false, false},
		{"proxy.example.com:1080", false, false, false},
		{"localhost.example.com:1080", false, false, false},
		{":1080", true, false, true},
		{"192.168.1.1:1080", true, false, true},
		{"0.0.0.0:1080", false, true, true},
		{"127.0.0.1", false, false, false},
		{"127.0.0.1", true, true, false},
	} {
		if err := CheckListen(tt.addr, tt.auth, tt.force); (err == nil) != tt.ok {
			t.Errorf("CheckListen(%q, %v, %v) = %v", tt.addr, tt.auth, tt.force, err)
		}
	}
}

// Serve itself refuses what CheckListen does.
func TestServePublic(t *testing.T) {
	public := func() net.Listener {
		l, err := net.Listen("tcp", "0.0.0.0:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	s, _ := start(t, Config{Network: &testNetwork{}})
	l := public()
	if err := s.Serve(l); err == nil || errors.Is(err, ErrServerClosed) {
		t.Error("Serve:", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Error("the listener is open:", err)
	}
	for _, c := range []Config{
		{Network: &testNetwork{}, AllowPublic: true},
		{Network: &testNetwork{}, Users: map[string]string{"a": "b"}},
	} {
		s, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		if err := s.Serve(public()); !errors.Is(err, ErrServerClosed) {
			t.Error("Serve:", err)
		}
	}
}
