package socks5

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/nettest"
	"golang.org/x/net/proxy"

	"github.com/pvdstack/pvdstack/pvd"
)

func TestConnect(t *testing.T) {
	v4 := listen(t, "127.0.0.1:0", echo)
	v6 := listen(t, "[::1]:0", echo)
	n := &testNetwork{names: map[string][]netip.Addr{
		"wiki":  {netip.MustParseAddr("127.0.0.1")},
		"wiki6": {netip.MustParseAddr("::1")},
		// As package net's own resolver returns them.
		"mapped": {netip.MustParseAddr("::ffff:127.0.0.1")},
	}}
	_, addr := start(t, Config{Network: n})
	for _, tt := range []struct {
		host  string
		port  uint16
		bound netip.Addr
	}{
		{"127.0.0.1", v4.Port(), v4.Addr()},
		{"::1", v6.Port(), v6.Addr()},
		{"::ffff:127.0.0.1", v4.Port(), v4.Addr()},
		{"wiki", v4.Port(), v4.Addr()},
		{"wiki6", v6.Port(), v6.Addr()},
		{"mapped", v4.Port(), v4.Addr()},
	} {
		t.Run(tt.host, func(t *testing.T) {
			c := client(t, addr)
			send(t, c, "\x05\x01\x00")
			expect(t, c, "\x05\x00")
			send(t, c, requestFor(Connect, tt.host, tt.port))
			r, bound := readReply(t, c)
			if r != Succeeded || bound.Addr() != tt.bound || bound.Port() == 0 {
				t.Fatalf("reply %d, bound to %v; want %v", r, bound, tt.bound)
			}
			send(t, c, "hello")
			expect(t, c, "hello")
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if err := expectEnd(t, c); !errors.Is(err, io.EOF) {
				t.Error("end:", err)
			}
		})
	}
}

// The handshake arrives octet by octet, with the first data behind it.
func TestConnectOctetByOctet(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	_, addr := start(t, Config{Network: &testNetwork{}, Users: map[string]string{"ann": "secret"}})
	c := client(t, addr)
	if err := c.SetNoDelay(true); err != nil {
		t.Fatal(err)
	}
	all := "\x05\x02\x00\x02" + "\x01\x03ann\x06secret" + requestFor(Connect, "127.0.0.1", dst.Port()) + "early"
	for i := range len(all) {
		send(t, c, all[i:i+1])
		time.Sleep(time.Millisecond)
	}
	expect(t, c, "\x05\x02\x01\x00")
	if r, _ := readReply(t, c); r != Succeeded {
		t.Fatal("reply", r)
	}
	expect(t, c, "early")
}

// All at once, and the client's half ended before the reply: nothing is lost.
func TestConnectAllAtOnce(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	_, addr := start(t, Config{Network: &testNetwork{}})
	c := client(t, addr)
	data := strings.Repeat("0123456789", maxEarly)
	send(t, c, "\x05\x01\x00"+requestFor(Connect, "127.0.0.1", dst.Port())+data)
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "\x05\x00")
	if r, _ := readReply(t, c); r != Succeeded {
		t.Fatal("reply", r)
	}
	got, err := io.ReadAll(c)
	if err != nil || string(got) != data {
		t.Errorf("%d octets, %v; want %d", len(got), err, len(data))
	}
}

// 8 MiB up, the end, and then 1 MiB down.
func TestHalfClose(t *testing.T) {
	up, down := make([]byte, 8<<20), make([]byte, 1<<20)
	r := rand.NewChaCha8([32]byte{1})
	_, _ = r.Read(up)
	_, _ = r.Read(down)
	sums := make(chan [sha256.Size]byte, 1)
	dst := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
		b, err := io.ReadAll(c)
		if err != nil {
			t.Error(err)
		}
		sums <- sha256.Sum256(b)
		if _, err := c.Write(down); err != nil {
			t.Error(err)
		}
	})
	_, addr := start(t, Config{Network: &testNetwork{}})
	c := client(t, addr)
	if r := connectTo(t, c, "127.0.0.1", dst.Port()); r != Succeeded {
		t.Fatal("reply", r)
	}
	if _, err := c.Write(up); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, down) {
		t.Errorf("down: %d octets, %v", len(got), err)
	}
	if <-sums != sha256.Sum256(up) {
		t.Error("up: not what was sent")
	}
}

func TestResetPassesThrough(t *testing.T) {
	isReset := func(err error) bool { return errors.Is(err, syscall.ECONNRESET) }
	t.Run("down", func(t *testing.T) {
		dst := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
			_, _ = c.Read(make([]byte, 1))
			_ = c.SetLinger(0)
		})
		_, addr := start(t, Config{Network: &testNetwork{}})
		c := client(t, addr)
		connectTo(t, c, "127.0.0.1", dst.Port())
		send(t, c, "x")
		if err := expectEnd(t, c); !isReset(err) {
			t.Errorf("the client sees %v", err)
		}
	})
	t.Run("up", func(t *testing.T) {
		seen := make(chan error, 1)
		dst := listen(t, "127.0.0.1:0", func(c *net.TCPConn) {
			_, err := io.Copy(io.Discard, c)
			seen <- err
		})
		_, addr := start(t, Config{Network: &testNetwork{}})
		c := client(t, addr)
		connectTo(t, c, "127.0.0.1", dst.Port())
		_ = c.SetLinger(0)
		c.Close()
		if err := <-seen; !isReset(err) {
			t.Errorf("the destination sees %v", err)
		}
	})
}

// opError is an error as a PvD's network returns it.
func opError(err error) error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: err}
}

func TestReplies(t *testing.T) {
	errs := map[string]error{
		"10.0.0.1": opError(syscall.ENETUNREACH),
		"10.0.0.2": opError(syscall.EHOSTUNREACH),
		"10.0.0.3": opError(syscall.ECONNREFUSED),
		"10.0.0.4": opError(ErrTTLExpired),
		"10.0.0.5": opError(syscall.EACCES),
		"10.0.0.6": opError(pvd.ErrNoPvD),
		"10.0.0.7": opError(syscall.EADDRNOTAVAIL),
		"10.0.0.8": opError(syscall.ETIMEDOUT),
		"10.0.0.9": opError(errors.New("odd")),
		"fd00::1":  opError(syscall.ENETUNREACH),
	}
	addrs := func(s ...string) (as []netip.Addr) {
		for _, s := range s {
			as = append(as, netip.MustParseAddr(s))
		}
		return as
	}
	n := &testNetwork{
		names: map[string][]netip.Addr{
			"refused-by-one":  addrs("fd00::1", "10.0.0.3", "10.0.0.1"),
			"nothing":         nil,
			"loopback":        addrs("127.0.0.1", "::1"),
			"mostly-loopback": addrs("127.0.0.1", "10.0.0.3"),
		},
		dial: func(_ context.Context, _, address string) (net.Conn, error) {
			return nil, errs[netip.MustParseAddrPort(address).Addr().String()]
		},
	}
	s, addr := start(t, Config{Network: n, Allow: []netip.Prefix{}})
	for _, tt := range []struct {
		cmd  Command
		host string
		want Reply
	}{
		{Connect, "10.0.0.1", NetworkUnreachable},
		{Connect, "10.0.0.2", HostUnreachable},
		{Connect, "10.0.0.3", ConnectionRefused},
		{Connect, "10.0.0.4", TTLExpired},
		{Connect, "10.0.0.5", NotAllowed},
		{Connect, "10.0.0.6", NetworkUnreachable},
		{Connect, "10.0.0.7", NetworkUnreachable},
		{Connect, "10.0.0.8", HostUnreachable},
		{Connect, "10.0.0.9", GeneralFailure},
		{Connect, "no.such.name", HostUnreachable},
		{Connect, "nothing", HostUnreachable},
		{Connect, "refused-by-one", ConnectionRefused},
		{Connect, "loopback", NotAllowed},
		{Connect, "mostly-loopback", ConnectionRefused},
		{Connect, "", GeneralFailure},
		{Bind, "10.0.0.1", CommandNotSupported},
		{UDPAssociate, "10.0.0.1", CommandNotSupported},
		{9, "10.0.0.1", CommandNotSupported},
	} {
		t.Run(fmt.Sprintf("%v %s", tt.cmd, tt.host), func(t *testing.T) {
			c := client(t, addr)
			send(t, c, "\x05\x01\x00")
			expect(t, c, "\x05\x00")
			send(t, c, requestFor(tt.cmd, tt.host, 80))
			r, bound := readReply(t, c)
			if r != tt.want || bound.String() != "0.0.0.0:0" {
				t.Errorf("reply %d, bound to %v; want %d", r, bound, tt.want)
			}
			if err := expectEnd(t, c); !errors.Is(err, io.EOF) {
				t.Error("end:", err)
			}
		})
	}
	t.Run("address type", func(t *testing.T) {
		c := client(t, addr)
		send(t, c, "\x05\x01\x00"+"\x05\x01\x00\x02"+"more than is read")
		expect(t, c, "\x05\x00")
		if r, _ := readReply(t, c); r != AddressTypeNotSupported {
			t.Error("reply", r)
		}
	})
	if got := s.Stats().Forbidden; got != 1 {
		t.Errorf("%d forbidden destinations counted", got)
	}
}

// No server configured, a silent one, a server out of reach: all the same to the client.
func TestRepliesToDNSErrors(t *testing.T) {
	for _, err := range []error{
		&net.DNSError{Err: "no DNS server in PvD", Name: "x"},
		&net.DNSError{Err: "timeout", Name: "x", IsTimeout: true},
		fmt.Errorf("%w: %w", &net.DNSError{Err: "refused", Name: "x"}, syscall.ECONNREFUSED),
	} {
		if got := replyOf(err); got != HostUnreachable {
			t.Errorf("reply to %v: %d", err, got)
		}
	}
	gone := &net.DNSError{Err: "gone", Name: "x", UnwrapErr: pvd.ErrNoPvD}
	if got := replyOf(gone); got != NetworkUnreachable {
		t.Errorf("reply to %v: %d", gone, got)
	}
}

func TestDestinations(t *testing.T) {
	n := &testNetwork{
		names: map[string][]netip.Addr{"rebind": {netip.MustParseAddr("127.0.0.1")}},
		dial: func(context.Context, string, string) (net.Conn, error) {
			return nil, opError(syscall.ECONNREFUSED)
		},
	}
	_, addr := start(t, Config{Network: n, Allow: []netip.Prefix{
		netip.MustParsePrefix("127.0.0.2/32"), netip.MustParsePrefix("fe80::2/128"),
	}})
	for _, tt := range []struct {
		host string
		want Reply
	}{
		{"127.0.0.1", NotAllowed},
		{"127.255.0.1", NotAllowed},
		{"::1", NotAllowed},
		{"::ffff:127.0.0.1", NotAllowed},
		{"::127.0.0.1", NotAllowed},
		{"64:ff9b::7f00:1", NotAllowed},
		{"0.0.0.0", NotAllowed},
		{"0.1.2.3", NotAllowed},
		{"::", NotAllowed},
		{"169.254.169.254", NotAllowed},
		{"64:ff9b::a9fe:a9fe", NotAllowed},
		{"fe80::1", NotAllowed},
		{"fe80::1%lab", NotAllowed},
		{"::ffff:127.0.0.1%lab", NotAllowed},
		{"224.0.0.1", NotAllowed},
		{"ff02::1", NotAllowed},
		{"255.255.255.255", NotAllowed},
		{"rebind", NotAllowed},
		{"127.0.0.2", ConnectionRefused},
		{"::ffff:127.0.0.2", ConnectionRefused},
		{"fe80::2%lab", ConnectionRefused},
		{"192.168.1.1", ConnectionRefused},
		{"10.0.0.1", ConnectionRefused},
		{"fd00::1", ConnectionRefused},
		{"64:ff9b::a00:1", ConnectionRefused},
		// What some systems take for addresses is a name here, of which there is none.
		{"127.1", HostUnreachable},
		{"2130706433", HostUnreachable},
		{"0x7f.0.0.1", HostUnreachable},
		{"localhost", HostUnreachable},
		{"[::1]", HostUnreachable},
	} {
		c := client(t, addr)
		if r := connectTo(t, c, tt.host, 80); r != tt.want {
			t.Errorf("%s: reply %d, want %d", tt.host, r, tt.want)
		}
	}
	for _, a := range n.attempts() {
		ip := netip.MustParseAddrPort(a).Addr()
		if special(ip) && ip.WithZone("") != netip.MustParseAddr("127.0.0.2") && ip.WithZone("") != netip.MustParseAddr("fe80::2") {
			t.Error("dialled", a)
		}
	}
}

// The addresses of a name are tried in turn, once resolved and no more than there may be.
func TestAddressesInTurn(t *testing.T) {
	dst := listen(t, "127.0.0.1:0", echo)
	good := dst.Addr()
	var many []netip.Addr
	for i := range maxAddresses {
		many = append(many, netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}))
	}
	n := &testNetwork{names: map[string][]netip.Addr{
		"last":     append(many[:3:3], good),
		"too-late": append(many, good),
	}}
	n.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "10.") {
			return nil, opError(syscall.EHOSTUNREACH)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	_, addr := start(t, Config{Network: n})
	if r := connectTo(t, client(t, addr), "last", dst.Port()); r != Succeeded {
		t.Error("reply", r)
	}
	if got := len(n.attempts()); got != 4 || n.lookups != 1 {
		t.Errorf("%d attempts after %d lookups", got, n.lookups)
	}
	if r := connectTo(t, client(t, addr), "too-late", dst.Port()); r != HostUnreachable {
		t.Error("reply", r)
	}
	if got := len(n.attempts()); got != 4+maxAddresses {
		t.Errorf("%d attempts", got)
	}
}

func TestSelect(t *testing.T) {
	ann := listen(t, "127.0.0.1:0", func(c *net.TCPConn) { _, _ = io.WriteString(c, "ann's") })
	n := &testNetwork{dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, ann.String())
	}}
	var asked []Request
	_, addr := start(t, Config{
		Users: map[string]string{"ann": "a", "bob": "b", "eve": "e"},
		Select: func(_ context.Context, r *Request) (Network, error) {
			asked = append(asked, *r)
			switch r.User {
			case "ann":
				return n, nil
			case "bob":
				return nil, pvd.ErrNoPvD
			}
			return nil, nil
		},
	})
	for user, want := range map[string]Reply{"ann": Succeeded, "bob": NetworkUnreachable, "eve": GeneralFailure} {
		c := client(t, addr)
		send(t, c, "\x05\x01\x02")
		expect(t, c, "\x05\x02")
		send(t, c, "\x01\x03"+user+"\x01"+user[:1])
		expect(t, c, "\x01\x00")
		send(t, c, requestFor(Connect, "10.0.0.1", 80))
		if r, _ := readReply(t, c); r != want {
			t.Errorf("%s: reply %d, want %d", user, r, want)
		}
		if user == "ann" {
			expect(t, c, "ann's")
		}
	}
	if len(asked) != 3 || !slices.ContainsFunc(asked, func(r Request) bool {
		return r.User == "ann" && r.Command == Connect && r.Host == "10.0.0.1" && r.Port == 80 && r.Client != nil
	}) {
		t.Errorf("asked: %+v", asked)
	}
}

func TestNettest(t *testing.T) {
	if testing.Short() {
		t.Skip("short: takes seconds")
	}
	_, addr := start(t, Config{Network: &testNetwork{}})
	d, err := proxy.SOCKS5("tcp", addr, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, nil, err
		}
		defer l.Close()
		c1, err = d.Dial("tcp", l.Addr().String())
		if err != nil {
			return nil, nil, nil, err
		}
		c2, err = l.Accept()
		if err != nil {
			return nil, nil, nil, err
		}
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

func TestCurl(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("needs curl:", err)
	}
	page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "page of %s", r.Host) })
	web4 := httptest.NewServer(page)
	defer web4.Close()
	web6 := httptest.NewUnstartedServer(page)
	web6.Listener.Close()
	if web6.Listener, err = net.Listen("tcp", "[::1]:0"); err != nil {
		t.Fatal(err)
	}
	web6.Start()
	defer web6.Close()
	_, port4, _ := net.SplitHostPort(web4.Listener.Addr().String())
	_, port6, _ := net.SplitHostPort(web6.Listener.Addr().String())
	n := &testNetwork{names: map[string][]netip.Addr{
		"wiki.corp": {netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")},
	}}
	_, open := start(t, Config{Network: n})
	_, locked := start(t, Config{Network: n, Users: map[string]string{"ann": "p@ss"}})
	for _, tt := range []struct {
		name, proxy, host string
		args              []string
		code              int
	}{
		{"literal", "socks5://" + open, "127.0.0.1:" + port4, nil, 0},
		{"IPv6 literal", "socks5://" + open, "[::1]:" + port6, nil, 0},
		{"name with one address that refuses", "socks5h://" + open, "wiki.corp:" + port4, nil, 0},
		{"name", "socks5h://" + open, "wiki.corp:" + port6, nil, 0},
		{"user", "socks5h://" + locked, "wiki.corp:" + port6, []string{"--proxy-user", "ann:p@ss"}, 0},
		{"wrong password", "socks5h://" + locked, "wiki.corp:" + port6, []string{"--proxy-user", "ann:p"}, 97},
		{"no password", "socks5h://" + locked, "wiki.corp:" + port6, nil, 97},
		{"no such name", "socks5h://" + open, "home.corp:" + port6, nil, 97},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := append([]string{"-sS", "-m", "20", "--proxy", tt.proxy, "http://" + tt.host + "/"}, tt.args...)
			out, err := exec.CommandContext(t.Context(), curl, args...).CombinedOutput()
			if tt.code == 0 {
				if err != nil || string(out) != "page of "+tt.host {
					t.Errorf("%s, %v", out, err)
				}
				return
			}
			if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != tt.code {
				t.Errorf("%s, %v; want exit status %d", out, err, tt.code)
			}
		})
	}
}
