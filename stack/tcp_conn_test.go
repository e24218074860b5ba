package stack_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// noise returns octets that no shift or repetition of themselves equals.
func noise(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{7}).Read(b) // never fails
	return b
}

// onlyWriter hides all methods but one.
type onlyWriter struct{ io.Writer }

func TestTCPHalfClose(t *testing.T) {
	a, b := couple(t)
	client, server := connect(t, a, b, "10.0.0.2")
	up, down := noise(8<<20), noise(1<<20)
	var got []byte
	done := make(chan error, 1)
	go func() {
		var err error
		if got, err = io.ReadAll(server); err == nil {
			_, err = server.Write(down)
			_ = server.Close()
		}
		done <- err
	}()
	if _, err := client.Write(up); err != nil {
		t.Fatal(err)
	}
	if err := client.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	back, err := io.ReadAll(client)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, up) || !bytes.Equal(back, down) {
		t.Errorf("%d octets up, %d down: not those that were sent", len(got), len(back))
	}
}

func TestTCPCloseRead(t *testing.T) {
	a, b := couple(t)
	client, server := connect(t, a, b, "10.0.0.2")
	errc := make(chan error, 1)
	go func() {
		_, err := client.Read(make([]byte, 1))
		errc <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if err := client.CloseRead(); err != nil {
		t.Error("CloseRead:", err)
	}
	if err := <-errc; err != io.EOF { //nolint:errorlint // bare, as package net has it
		t.Error("Read:", err)
	}
	if _, err := client.Write([]byte("x")); err != nil {
		t.Error("Write:", err)
	}
	if _, err := io.ReadFull(server, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestTCPCopies has ReadFrom and WriteTo carry exactly what they are given, for every
// kind of reader and writer.
func TestTCPCopies(t *testing.T) {
	a, b := couple(t)
	const size = 3<<20 + 17
	data := noise(size)
	sources := map[string]func(t *testing.T) io.Reader{
		"bytes":      func(*testing.T) io.Reader { return onlyReader{bytes.NewReader(data)} },
		"kernel":     func(t *testing.T) io.Reader { return kernelSource(t, data) },
		"small":      func(*testing.T) io.Reader { return onlyReader{&oneByOne{data: data[:999]}} },
		"last error": func(*testing.T) io.Reader { return onlyReader{&eofWithData{data[:10]}} },
	}
	for name, source := range sources {
		t.Run("ReadFrom "+name, func(t *testing.T) {
			client, server := connect(t, a, b, "fd00::2")
			sum := sha256.New()
			done := make(chan error, 1)
			go func() {
				_, err := io.Copy(sum, onlyReader{server})
				done <- err
			}()
			n, err := client.ReadFrom(source(t))
			if err != nil {
				t.Fatal(err)
			}
			_ = client.CloseWrite()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if want := sha256.Sum256(data[:n]); !bytes.Equal(sum.Sum(nil), want[:]) {
				t.Errorf("%d octets arrived as others", n)
			}
			if n != size && name != "small" && name != "last error" {
				t.Errorf("%d octets, want %d", n, size)
			}
		})
	}
	t.Run("WriteTo", func(t *testing.T) {
		client, server := connect(t, a, b, "10.0.0.2")
		go func() {
			_, _ = server.Write(data)
			_ = server.CloseWrite()
		}()
		var got bytes.Buffer
		n, err := client.WriteTo(onlyWriter{&got})
		if err != nil || n != size || !bytes.Equal(got.Bytes(), data) {
			t.Errorf("%d octets, %d got, %v", n, got.Len(), err)
		}
	})
	t.Run("between two", func(t *testing.T) {
		c1, s1 := connect(t, a, b, "10.0.0.2")
		c2, s2 := connect(t, a, b, "10.0.0.2")
		go func() {
			_, _ = io.Copy(s2, s1)
			_ = s2.CloseWrite()
		}()
		go func() {
			_, _ = c1.Write(data)
			_ = c1.CloseWrite()
		}()
		got, err := io.ReadAll(c2)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d octets, %v", len(got), err)
		}
	})
	t.Run("errors", func(t *testing.T) {
		client, server := connect(t, a, b, "10.0.0.2")
		why := errors.New("why")
		_, err := client.ReadFrom(onlyReader{failing{why}})
		wantOpError(t, err, why)
		_, _ = server.Write([]byte("x"))
		_, err = client.WriteTo(onlyWriter{failing{why}})
		wantOpError(t, err, why)
		_, _ = server.Write([]byte("xyz"))
		_, err = client.WriteTo(onlyWriter{short{}})
		wantOpError(t, err, io.ErrShortWrite)
	})
}

// kernelSource returns a TCP connection of the operating system's that data comes from,
// with pauses.
func kernelSource(t *testing.T, data []byte) io.Reader {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		for part := range slices.Chunk(data, 1<<20) {
			_, _ = c.Write(part)
			time.Sleep(10 * time.Millisecond)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

type oneByOne struct{ data []byte }

func (o *oneByOne) Read(b []byte) (int, error) {
	if len(o.data) == 0 {
		return 0, io.EOF
	}
	b[0] = o.data[0]
	o.data = o.data[1:]
	return 1, nil
}

type eofWithData struct{ data []byte }

func (e *eofWithData) Read(b []byte) (int, error) { return copy(b, e.data), io.EOF }

type failing struct{ err error }

func (f failing) Read([]byte) (int, error)  { return 0, f.err }
func (f failing) Write([]byte) (int, error) { return 0, f.err }

type short struct{}

func (short) Write(b []byte) (int, error) { return len(b) - 1, nil }

func TestTCPCloseSendsWhatWasWritten(t *testing.T) {
	a, b := couple(t)
	for _, linger := range []int{-1, 5} {
		client, server := connect(t, a, b, "10.0.0.2")
		data := noise(300 << 10)
		if err := client.SetLinger(linger); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Write(data); err != nil {
			t.Fatal(err)
		}
		_ = client.Close()
		got, err := io.ReadAll(server)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("linger %d: %d octets, %v", linger, len(got), err)
		}
	}
}

func TestTCPAddresses(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	a, b := add(t, h1, config("wire", "10.0.0.1/24", "fd00::1/64", "fe80::1/64")), add(t, h2, config("wire", "10.0.0.2/24", "fd00::2/64", "fe80::2/64"))
	l := mustListen(t, b, "tcp", ":80")
	if got := l.Addr().String(); got != "[::]:80" {
		t.Errorf("listener at %s", got)
	}
	if got := mustListen(t, b, "tcp4", ":81").Addr().String(); got != "0.0.0.0:81" {
		t.Errorf("listener at %s", got)
	}
	for _, tt := range []struct{ dial, local, remote string }{
		{"10.0.0.2:http", "10.0.0.1", "10.0.0.2:80"},
		{"[::ffff:10.0.0.2]:80", "10.0.0.1", "10.0.0.2:80"},
		{"[fd00::2]:80", "fd00::1", "[fd00::2]:80"},
		{"[fe80::2%wire]:80", "fe80::1%wire", "[fe80::2%wire]:80"},
	} {
		c := mustDial(t, a, "tcp", tt.dial)
		s, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		local := c.LocalAddr().(*net.TCPAddr)
		if got := local.AddrPort().Addr().String(); got != tt.local || local.Port == 0 {
			t.Errorf("dialled %s: local address %v, want %s", tt.dial, local, tt.local)
		}
		if got := c.RemoteAddr().String(); got != tt.remote {
			t.Errorf("dialled %s: remote address %s, want %s", tt.dial, got, tt.remote)
		}
		if s.RemoteAddr().String() != c.LocalAddr().String() || s.LocalAddr().String() != tt.remote {
			t.Errorf("dialled %s: accepted %v -> %v", tt.dial, s.LocalAddr(), s.RemoteAddr())
		}
		for _, v := range []any{c, s, l} {
			want := b.PvD()
			if v == c {
				want = a.PvD()
			}
			if got, ok := pvd.Of(v); !ok || got != want {
				t.Errorf("PvD of %T: %v", v, got)
			}
		}
	}
	wantOpError(t, dialErr(t.Context(), a, "tcp", "[fe80::2%other]:80"))
}

func TestTCPListenerFamilies(t *testing.T) {
	n := alone(t)
	reaches := func(address, port string) bool {
		return dialErr(t.Context(), n, "tcp", net.JoinHostPort(address, port)) == nil
	}
	for _, tt := range []struct {
		network, address string
		four, six        bool
	}{
		{"tcp", ":0", true, true},
		{"tcp", "0.0.0.0:0", true, true},
		{"tcp", "", true, true},
		{"tcp4", ":0", true, false},
		{"tcp6", ":0", false, true},
		{"tcp6", "[::]:0", false, true},
		{"tcp", "10.0.0.1:0", true, false},
		{"tcp", "[fd00::1]:0", false, true},
	} {
		l := mustListen(t, n, tt.network, tt.address)
		_, port, _ := net.SplitHostPort(l.Addr().String())
		if four, six := reaches("10.0.0.1", port), reaches("fd00::1", port); four != tt.four || six != tt.six {
			t.Errorf("listening at %s %q: IPv4 %v, IPv6 %v", tt.network, tt.address, four, six)
		}
		_ = l.Close()
		if reaches("10.0.0.1", port) || reaches("fd00::1", port) {
			t.Error("reached after Close")
		}
	}
	// The two families side by side.
	mustListen(t, n, "tcp4", ":90")
	mustListen(t, n, "tcp6", ":90")
}

// TestTCPListenerInOneFamily has PvDs that have one family only.
func TestTCPListenerInOneFamily(t *testing.T) {
	for near, far := range map[string]string{"10.0.0.1/24": "10.0.0.2/24", "fd00::1/64": "fd00::2/64"} {
		h1, h2 := newHost(t), newHost(t)
		pipe(t, "wire", h1, h2)
		a, b := add(t, h1, config("wire", near)), add(t, h2, config("wire", far))
		mustListen(t, b, "tcp", ":80")
		mustDial(t, a, "tcp", net.JoinHostPort(netip.MustParsePrefix(far).Addr().String(), "80"))
	}
}

// TestTCPListenAgain closes a listener that has connections and listens anew.
func TestTCPListenAgain(t *testing.T) {
	a, b := couple(t)
	l := mustListen(t, b, "tcp", ":80")
	c := mustDial(t, a, "tcp", "10.0.0.2:80")
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	waiting := mustDial(t, a, "tcp", "10.0.0.2:80") // never accepted
	_ = l.Close()
	if _, err := waiting.Read(make([]byte, 1)); err == nil {
		t.Error("a connection that nobody accepted lives on")
	}
	l = mustListen(t, b, "tcp", ":80")
	_ = s.Close() // TIME-WAIT on this side
	_, _ = io.Copy(io.Discard, c)
	_ = c.Close()
	_ = l.Close()
	mustListen(t, b, "tcp", ":80")
}

func TestTCPOptions(t *testing.T) {
	a, b := couple(t)
	c, _ := connect(t, a, b, "10.0.0.2")
	for name, err := range map[string]error{
		"SetNoDelay":         c.SetNoDelay(false),
		"SetKeepAlive":       c.SetKeepAlive(false),
		"SetKeepAlivePeriod": c.SetKeepAlivePeriod(time.Minute),
		"SetKeepAliveConfig": c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second}),
		"SetLinger":          c.SetLinger(-1),
		"SetReadBuffer":      c.SetReadBuffer(1 << 16),
		"SetWriteBuffer":     c.SetWriteBuffer(1 << 16),
		"SetDeadline":        c.SetDeadline(time.Time{}),
	} {
		if err != nil {
			t.Error(name, err)
		}
	}
	wantOpError(t, c.SetReadBuffer(-1))
	_ = c.Close()
	wantOpError(t, c.SetNoDelay(true), net.ErrClosed)
	wantOpError(t, c.SetReadBuffer(1<<16), net.ErrClosed)
	wantOpError(t, c.CloseWrite(), net.ErrClosed)
}

// TestTCPKeepAlive has a peer that vanishes without a word.
func TestTCPKeepAlive(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	l, r := tun.Pipe(tun.PipeConfig{Layer: tun.IP})
	cut := &severable{Link: r}
	if err := errors.Join(h1.AddLink("wire", l), h2.AddLink("wire", cut)); err != nil {
		t.Fatal(err)
	}
	a, b := add(t, h1, config("wire", "10.0.0.1/24")), add(t, h2, config("wire", "10.0.0.2/24"))
	c, _ := connect(t, a, b, "10.0.0.2")
	k := net.KeepAliveConfig{Enable: true, Idle: 50 * time.Millisecond, Interval: 50 * time.Millisecond, Count: 2}
	if err := c.SetKeepAliveConfig(k); err != nil {
		t.Fatal(err)
	}
	cut.severed.Store(true)
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	_, err := c.Read(make([]byte, 1))
	wantOpError(t, err)
	if ne := err.(net.Error); !ne.Timeout() || !strings.Contains(err.Error(), "timed out") { //nolint:errorlint // an *net.OpError, as checked
		t.Error(err)
	}
}

// A severable link can be made to lose everything that is sent.
type severable struct {
	tun.Link
	severed atomic.Bool
}

func (s *severable) Send(bufs [][]byte, m tun.Meta) error {
	if s.severed.Load() {
		return nil
	}
	return s.Link.Send(bufs, m)
}

// TestTCPConcurrency has many goroutines use one connection; writes are not mixed.
func TestTCPConcurrency(t *testing.T) {
	a, b := couple(t)
	client, server := connect(t, a, b, "10.0.0.2")
	const writers, each = 8, 200 << 10
	var wg sync.WaitGroup
	for i := range writers {
		wg.Go(func() {
			if _, err := client.Write(bytes.Repeat([]byte{byte(i)}, each)); err != nil {
				t.Error(err)
			}
		})
	}
	go func() {
		wg.Wait()
		_ = client.CloseWrite()
	}()
	got, err := io.ReadAll(server)
	if err != nil || len(got) != writers*each {
		t.Fatalf("%d octets, %v", len(got), err)
	}
	for part := range slices.Chunk(got, each) {
		if !bytes.Equal(part, bytes.Repeat(part[:1], each)) {
			t.Error("two writes are mixed")
		}
	}
	// All that wait return at Close.
	for range 4 {
		wg.Go(func() {
			if _, err := client.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	_ = client.Close()
	wg.Wait()
}

func TestDialFrom(t *testing.T) {
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	c := config("wire", "10.0.0.1/24", "10.0.0.7/24", "fd00::1/64", "fd00::7/64")
	a, b := add(t, h1, c), add(t, h2, config("wire", "10.0.0.2/24", "fd00::2/64"))
	mustListen(t, b, "tcp", ":80")
	for _, tt := range []struct{ local, to, want string }{
		{"10.0.0.7:0", "10.0.0.2:80", "10.0.0.7"},
		{"10.0.0.1:0", "10.0.0.2:80", "10.0.0.1"},
		{"[fd00::7]:0", "[fd00::2]:80", "fd00::7"},
		{"[fd00::1]:0", "[fd00::2]:80", "fd00::1"},
		{":0", "[fd00::2]:80", ""},
		{"", "[fd00::2]:80", ""},
	} {
		for _, network := range []string{"tcp", "udp"} {
			for range 3 {
				conn, err := a.DialFrom(t.Context(), network, tt.local, tt.to)
				if err != nil {
					t.Fatal(tt, err)
				}
				defer conn.Close()
				if host, _, _ := net.SplitHostPort(conn.LocalAddr().String()); tt.want != "" && host != tt.want {
					t.Errorf("%s from %s: from %v", network, tt.local, conn.LocalAddr())
				}
			}
		}
	}
	for _, to := range []string{"127.0.0.1:80", "[::1]:80", "10.0.0.2:80"} {
		for _, network := range []string{"tcp", "udp"} {
			c, err := b.DialFrom(t.Context(), network, ":4001", to)
			if err != nil {
				t.Errorf("%s to %s: %v", network, to, err)
				continue
			}
			if _, port, _ := net.SplitHostPort(c.LocalAddr().String()); port != "4001" {
				t.Errorf("%s to %s: from %v", network, to, c.LocalAddr())
			}
			c.Close()
		}
	}
	for _, network := range []string{"tcp", "udp"} {
		c1, err := a.DialFrom(t.Context(), network, ":4000", "10.0.0.2:80")
		if err != nil {
			t.Fatal(err)
		}
		defer c1.Close()
		if _, port, _ := net.SplitHostPort(c1.LocalAddr().String()); port != "4000" {
			t.Errorf("from %v", c1.LocalAddr())
		}
		if network == "tcp" {
			_, err = a.DialFrom(t.Context(), network, c1.LocalAddr().String(), "10.0.0.2:80")
			wantOpError(t, err)
		}
	}
}

var _ pvd.Network = (*stack.Network)(nil)
