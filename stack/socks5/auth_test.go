package socks5

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
)

func TestAuthentication(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	clock := new(manualClock)
	s, addr := start(t, Config{Network: &testNetwork{}, Clock: clock, Users: map[string]string{"ann": "secret", "bob": "hidden"}})
	// try returns what the server says to a user name and password.
	try := func(user, password string) byte {
		t.Helper()
		c := client(t, addr)
		send(t, c, "\x05\x02\x00\x02")
		expect(t, c, "\x05\x02")
		send(t, c, "\x01"+string(rune(len(user)))+user+string(rune(len(password)))+password)
		b := make([]byte, 2)
		if _, err := io.ReadFull(c, b); err != nil || b[0] != authVersion {
			t.Fatalf("% x, %v", b, err)
		}
		if b[1] != authSucceeded {
			if err := expectEnd(t, c); !errors.Is(err, io.EOF) {
				t.Error("end:", err)
			}
			return b[1]
		}
		send(t, c, requestFor(Connect, "127.0.0.1", dst.Port()))
		if r, _ := readReply(t, c); r != Succeeded {
			t.Error("reply", r)
		}
		return b[1]
	}
	for range 2 * authFailures {
		if try("ann", "secret") != authSucceeded || try("bob", "hidden") != authSucceeded {
			t.Fatal("good password refused")
		}
	}
	wrong := [][2]string{
		{"ann", "hidden"},
		{"bob", "secret"},
		{"ann", ""},
		{"", "secret"},
		{"", ""},
		{"annsecret", ""},
		{"an", "nsecret"},
		{"ann", "secre"},
		{"ann", "secrett"},
		{"Ann", "secret"},
	}
	if len(wrong) != authFailures {
		t.Fatal("there have to be as many as are allowed")
	}
	for _, w := range wrong {
		if try(w[0], w[1]) == authSucceeded {
			t.Errorf("%q accepted", w)
		}
	}
	// That was all of them: now nothing is looked at until time passes.
	if try("ann", "secret") == authSucceeded {
		t.Error("not limited")
	}
	if got := s.Stats(); got.AuthFailures != authFailures || got.AuthLimited != 1 {
		t.Errorf("%+v", got)
	}
	clock.advance(authInterval)
	if try("ann", "secret") != authSucceeded {
		t.Error("limited for ever")
	}
	if try("ann", "x") == authSucceeded || try("ann", "secret") == authSucceeded {
		t.Error("more than one for each interval")
	}
}

func TestMethods(t *testing.T) {
	_, open := start(t, Config{Network: &testNetwork{}})
	_, locked := start(t, Config{Network: &testNetwork{}, Users: map[string]string{"a": "b"}})
	for _, tt := range []struct{ addr, offer, answer string }{
		{open, "\x05\x01\x00", "\x05\x00"},
		{open, "\x05\x02\x02\x00", "\x05\x00"},
		{open, "\x05\x01\x02", "\x05\xff"},
		{open, "\x05\x00", "\x05\xff"},
		{open, "\x05\x02\x01\x80and more", "\x05\xff"},
		{locked, "\x05\x01\x00", "\x05\xff"},
		{locked, "\x05\x02\x00\x02", "\x05\x02"},
		{open, "\x04\x01\x00\x50\x7f\x00\x00\x01\x00", ""},
		{open, "GET / HTTP/1.1\r\n\r\n", ""},
		{open, "\x05\x01\x00\x04\x01\x00\x01\x7f\x00\x00\x01\x00\x50", "\x05\x00"},
		{locked, "\x05\x01\x02\x05\x01a\x01b", "\x05\x02"},
	} {
		c := client(t, tt.addr)
		send(t, c, tt.offer)
		_ = c.CloseWrite()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != tt.answer {
			t.Errorf("%q: answer %q, %v; want %q", tt.offer, got, err, tt.answer)
		}
	}
}

func TestClientOf(t *testing.T) {
	for addr, want := range map[string]string{
		"192.0.2.1:1":          "192.0.2.1/32",
		"[::ffff:192.0.2.1]:1": "192.0.2.1/32",
		"[2001:db8::1]:1":      "2001:db8::/64",
		"[fe80::1%eth0]:1":     "fe80::/64",
	} {
		a := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		if got := clientOf(a).String(); got != want {
			t.Errorf("client of %s: %s, want %s", addr, got, want)
		}
	}
	if got := clientOf(&net.UnixAddr{Name: "@"}); got.IsValid() {
		t.Error("client of a Unix socket:", got)
	}
}

func TestMaxOffenders(t *testing.T) {
	clock := new(manualClock)
	o := newOffenders(clock)
	client := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	for i := range maxOffenders + 100 {
		if !o.fail(client(i)) {
			t.Fatal("limited at once")
		}
	}
	if got := len(o.clear); got != maxOffenders {
		t.Errorf("%d clients remembered", got)
	}
	clock.advance(authInterval)
	o.fail(client(1 << 20))
	if got := len(o.clear); got != 1 {
		t.Errorf("%d clients remembered after all was forgiven", got)
	}
	o.forgive(client(1 << 20))
	o.forgive(client(1))
	if got := len(o.clear); got != 0 {
		t.Errorf("%d clients remembered after the last was taken back", got)
	}
}
