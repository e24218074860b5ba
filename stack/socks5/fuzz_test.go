package socks5

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"
)

// scriptConn is a connection whose peer sends what there is in r and then ends.
type scriptConn struct {
	r      io.Reader
	read   int
	w      bytes.Buffer
	closed bool
}

func (c *scriptConn) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.read += n
	return n, err
}
func (c *scriptConn) Write(b []byte) (int, error)      { return c.w.Write(b) }
func (c *scriptConn) Close() error                     { c.closed = true; return nil }
func (c *scriptConn) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *scriptConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)} }
func (c *scriptConn) SetDeadline(time.Time) error      { return nil }
func (c *scriptConn) SetReadDeadline(time.Time) error  { return nil }
func (c *scriptConn) SetWriteDeadline(time.Time) error { return nil }

// FuzzHandshake plays a client's octets to a server whose network refuses all: whatever
// they are, the answers are those of a SOCKS server, in order, and nothing panics or
// goes on. Cut into single octets they mean the same.
func FuzzHandshake(f *testing.F) {
	none, password := "\x05\x01\x00", "\x05\x02\x00\x02"
	for _, s := range []string{
		"", "\x04\x01\x00\x50\x7f\x00\x00\x01\x00", "GET / HTTP/1.1\r\n\r\n", "\x05\x00", "\x05\xff",
		none + requestFor(Connect, "10.0.0.1", 80),
		none + requestFor(Connect, "127.0.0.1", 80),
		none + requestFor(Connect, "fd00::1", 80) + "early data",
		none + requestFor(Connect, "wiki", 80),
		none + requestFor(Connect, "fe80::1%lab", 80),
		none + requestFor(Connect, strings.Repeat("x", 255), 65535),
		none + requestFor(Connect, "", 0),
		none + requestFor(Bind, "0.0.0.0", 0),
		none + requestFor(UDPAssociate, "::", 0),
		none + "\x05\x01\x00\x02",
		none + "\x04\x01\x00\x01\x0a\x00\x00\x01\x00\x50",
		password + "\x01\x03ann\x06secret" + requestFor(Connect, "10.0.0.1", 80),
		password + "\x01\x03ann\x05wrong" + requestFor(Connect, "10.0.0.1", 80),
		password + "\x01\x00\x00", password + "\x05\x03ann\x06secret",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	network := &testNetwork{
		names: map[string][]netip.Addr{"wiki": {netip.MustParseAddr("10.0.0.1")}},
		dial: func(_ context.Context, _, address string) (net.Conn, error) {
			if to, err := netip.ParseAddrPort(address); err != nil || special(to.Addr()) {
				f.Errorf("dialled %q", address)
			}
			return nil, opError(syscall.ECONNREFUSED)
		},
	}
	f.Fuzz(func(t *testing.T, in []byte, auth bool) {
		c := Config{Network: network, Clock: new(manualClock)}
		if auth {
			c.Users = map[string]string{"ann": "secret"}
		}
		play := func(in io.Reader) *scriptConn {
			s, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			conn := &scriptConn{r: in}
			s.accept(conn)
			s.running.Wait()
			return conn
		}
		whole, cut := play(bytes.NewReader(in)), play(iotest.OneByteReader(bytes.NewReader(in)))
		if !whole.closed {
			t.Error("not closed")
		}
		if whole.read > maxHandshake+maxEarly {
			t.Errorf("%d octets read", whole.read)
		}
		// A client that has ended when its request is carried out may get either answer.
		a, b := whole.w.Bytes(), cut.w.Bytes()
		if len(a) != len(b) {
			t.Errorf("answer %q, cut %q", a, b)
		}
		checkAnswers(t, a, auth)
	})
}

// checkAnswers fails unless out is the beginning of what a server says that lets nobody
// through.
func checkAnswers(t *testing.T, out []byte, auth bool) {
	t.Helper()
	if len(out) == 0 {
		return
	}
	want := byte(methodNone)
	if auth {
		want = methodPassword
	}
	if len(out) < 2 || out[0] != version || out[1] != want && out[1] != methodRefused {
		t.Fatalf("answer %q", out)
	}
	refused := out[1] == methodRefused
	if out = out[2:]; len(out) == 0 {
		return
	}
	if refused {
		t.Fatalf("answer %q after refusing all methods", out)
	}
	if auth {
		if len(out) < 2 || out[0] != authVersion || out[1] > authFailed {
			t.Fatalf("answer %q", out)
		}
		refused = out[1] == authFailed
		if out = out[2:]; len(out) == 0 {
			return
		}
	}
	if r := Reply(out[1]); refused || len(out) != 10 || out[0] != version || r == Succeeded || r > AddressTypeNotSupported {
		t.Fatalf("answer %q", out)
	}
}
