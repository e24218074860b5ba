package stack_test

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/stack"
	"github.com/pvdstack/pvdstack/tun"
)

// soon is how long a call may take to return once there is a reason to. It is ten times
// what is promised, for busy machines.
const soon = time.Second

// wantOpError checks that err is a *net.OpError, not merely wraps one, with an operation
// and a network, around all of want.
func wantOpError(t *testing.T, err error, want ...error) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error, want %v", want)
	}
	op, ok := err.(*net.OpError) //nolint:errorlint // outermost is what is promised
	if !ok {
		t.Fatalf("%T %v, want a *net.OpError", err, err)
	}
	if op.Op == "" || op.Net == "" {
		t.Errorf("%v: Op %q, Net %q", err, op.Op, op.Net)
	}
	if op.Source == net.Addr((*net.TCPAddr)(nil)) || op.Addr == net.Addr((*net.UDPAddr)(nil)) {
		t.Errorf("%v has an address that is a nil pointer", err)
	}
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("%v (%#v), want %v", err, op.Err, w)
		}
	}
}

// returnsSoon calls f and fails the test if it does not return soon after begin has.
func returnsSoon(t *testing.T, f func() error, begin func()) error {
	t.Helper()
	errc := make(chan error, 1)
	go func() { errc <- f() }()
	time.Sleep(50 * time.Millisecond) // let it block
	begin()
	select {
	case err := <-errc:
		return err
	case <-time.After(soon):
		t.Fatal("still blocked")
		return nil
	}
}

func dialErr(ctx context.Context, n pvd.Dialer, network, address string) error {
	c, err := n.DialContext(ctx, network, address)
	if err == nil {
		_ = c.Close()
	}
	return err
}

func listenErr(ctx context.Context, n pvd.Listener, network, address string) error {
	if network[0] == 'u' {
		c, err := n.ListenPacket(ctx, network, address)
		if err == nil {
			_ = c.Close()
		}
		return err
	}
	l, err := n.Listen(ctx, network, address)
	if err == nil {
		_ = l.Close()
	}
	return err
}

// nowhere is an address on which nobody answers, behind couple's default routes.
const nowhere = "192.0.2.1:80"

func TestErrorsOfScopes(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	n := add(t, h, config("wire", "10.0.0.1/24"))
	gone := add(t, h, config("wire", "10.0.0.2/24"))
	deep := h.App("default is gone")
	if err := deep.SetDefault(gone.PvD()); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), gone.PvD()); err != nil {
		t.Fatal(err)
	}
	null := h.App("null")
	if err := null.SetDefault(pvd.Null); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		n    pvd.Network
		ctx  context.Context
		want error
	}{
		{"unknown", h.In(12345), t.Context(), pvd.ErrNoPvD},
		{"gone", gone, t.Context(), pvd.ErrNoPvD},
		{"gone, by context", h.In(pvd.Unspecified), pvd.NewContext(t.Context(), gone.PvD()), pvd.ErrNoPvD},
		{"App's default is gone", deep, t.Context(), pvd.ErrNoPvD},
		{"Null", h.In(pvd.Null), t.Context(), syscall.ENETUNREACH},
		{"Null goes before the context", h.In(pvd.Null), pvd.NewContext(t.Context(), n.PvD()), syscall.ENETUNREACH},
		{"App's default is Null", null, t.Context(), syscall.ENETUNREACH},
		{"no default", h.In(pvd.Unspecified), t.Context(), syscall.ENETUNREACH},
		{"no default, for an App", h.App(""), t.Context(), syscall.ENETUNREACH},
		{"no system default", h.In(pvd.SystemDefault), t.Context(), syscall.ENETUNREACH},
		{"no system default, by context", h.App(""), pvd.NewContext(t.Context(), pvd.SystemDefault), syscall.ENETUNREACH},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, network := range []string{"tcp", "udp"} {
				wantOpError(t, dialErr(tt.ctx, tt.n, network, "10.0.0.9:80"), tt.want)
				wantOpError(t, dialErr(tt.ctx, tt.n, network, "name.example:80"), tt.want)
				wantOpError(t, listenErr(tt.ctx, tt.n, network, ":0"), tt.want)
			}
			_, err := tt.n.LookupNetIP(tt.ctx, "ip", "name.example")
			wantDNSError(t, err, tt.want)
		})
	}
	wantOpError(t, dialErr(t.Context(), h.In(pvd.All), "tcp", "10.0.0.1:80"), syscall.EINVAL)

	// The system default that goes is an error from then on.
	last := add(t, h, config("wire", "10.0.0.3/24"))
	if err := h.SetDefault(last.PvD()); err != nil {
		t.Fatal(err)
	}
	if err := listenErr(t.Context(), h.App(""), "tcp", ":0"); err != nil {
		t.Fatal(err)
	}
	if err := h.Remove(t.Context(), last.PvD()); err != nil {
		t.Fatal(err)
	}
	wantOpError(t, listenErr(t.Context(), h.App(""), "tcp", ":0"), pvd.ErrNoPvD)
}

func wantDNSError(t *testing.T, err, want error) {
	t.Helper()
	if _, ok := err.(*net.DNSError); !ok || !errors.Is(err, want) { //nolint:errorlint // outermost is what is promised
		t.Errorf("lookup: %T %v, want a *net.DNSError around %v", err, err, want)
	}
}

// TestErrorsOfRoutes has the errors that a call gets before a packet is sent.
func TestErrorsOfRoutes(t *testing.T) {
	h := newHost(t)
	pipe(t, "wire", h, nil)
	four := config("wire", "10.0.0.1/24")
	four.Routes = nil
	n := add(t, h, four)
	for _, tt := range []struct {
		name    string
		network string
		address string
		want    error
	}{
		{"no route", "tcp", "192.0.2.1:80", syscall.ENETUNREACH},
		{"no route", "udp", "192.0.2.1:80", syscall.ENETUNREACH},
		{"family", "tcp", "[2001:db8::1]:80", syscall.EADDRNOTAVAIL},
		{"family", "udp", "[2001:db8::1]:80", syscall.EADDRNOTAVAIL},
		{"port 0", "tcp", "10.0.0.2:0", syscall.EADDRNOTAVAIL},
		{"refused by itself", "tcp", "127.0.0.1:1", syscall.ECONNREFUSED},
		{"refused by itself", "tcp", "[::1]:1", syscall.ECONNREFUSED},
		{"refused by itself", "tcp", ":1", syscall.ECONNREFUSED},
		{"zone", "tcp", "[fe80::1%other]:80", syscall.ENETUNREACH},
	} {
		t.Run(tt.name+" "+tt.network+" "+tt.address, func(t *testing.T) {
			wantOpError(t, dialErr(t.Context(), n, tt.network, tt.address), tt.want)
		})
	}
	t.Run("datagram", func(t *testing.T) {
		c := mustListenPacket(t, n, "udp", ":0")
		for to, want := range map[string]error{
			"192.0.2.1:80":         syscall.ENETUNREACH,
			"[2001:db8::1]:80":     syscall.EADDRNOTAVAIL,
			"10.0.0.255:80":        syscall.EACCES,
			"255.255.255.255:80":   syscall.EACCES,
			"10.0.0.2:0":           syscall.EINVAL,
			"[fe80::1%missing]:80": syscall.ENETUNREACH,
		} {
			_, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort(to))
			wantOpError(t, err, want)
		}
	})
	t.Run("ping", func(t *testing.T) {
		_, err := n.Ping(t.Context(), netip.MustParseAddr("192.0.2.1"))
		wantOpError(t, err, syscall.ENETUNREACH)
		_, err = h.In(pvd.Null).Ping(t.Context(), netip.MustParseAddr("192.0.2.1"))
		wantOpError(t, err, syscall.ENETUNREACH)
		_, err = n.Ping(t.Context(), netip.MustParseAddr("2001:db8::1"))
		wantOpError(t, err, syscall.EADDRNOTAVAIL)
		_, err = n.Ping(t.Context(), netip.MustParseAddr("224.0.0.1"))
		wantOpError(t, err, syscall.EINVAL)
		_, err = n.Ping(t.Context(), netip.Addr{})
		wantOpError(t, err, syscall.EINVAL)
	})
}

func TestErrorsOfArguments(t *testing.T) {
	n := alone(t)
	for _, tt := range []struct {
		network, address string
		want             any
	}{
		{"sctp", "10.0.0.2:80", new(net.UnknownNetworkError)},
		{"", "10.0.0.2:80", new(net.UnknownNetworkError)},
		{"tcp5", "10.0.0.2:80", new(net.UnknownNetworkError)},
		{"tcp", "10.0.0.2", new(*net.AddrError)},
		{"tcp", "10.0.0.2:65536", new(*net.AddrError)},
		{"tcp", "10.0.0.2:no-such-service", new(*net.DNSError)},
		{"tcp6", "10.0.0.2:80", new(*net.AddrError)},
		{"tcp6", "[::ffff:10.0.0.2]:80", new(*net.AddrError)},
		{"udp4", "[fd00::2]:80", new(*net.AddrError)},
	} {
		err := dialErr(t.Context(), n, tt.network, tt.address)
		if op, ok := err.(*net.OpError); !ok || !errors.As(op.Err, tt.want) { //nolint:errorlint // outermost is what is promised
			t.Errorf("dial %s %s: %T %v, want %T", tt.network, tt.address, err, err, tt.want)
		}
	}
	for _, tt := range []struct {
		network, address string
		want             any
	}{
		{"tcp", "name.example:80", new(*net.AddrError)},
		{"tcp4", "[::1]:80", new(*net.AddrError)},
		{"tcp", "10.0.0.1", new(*net.AddrError)},
	} {
		err := listenErr(t.Context(), n, tt.network, tt.address)
		if op, ok := err.(*net.OpError); !ok || !errors.As(op.Err, tt.want) { //nolint:errorlint // outermost is what is promised
			t.Errorf("listen %s %s: %T %v, want %T", tt.network, tt.address, err, err, tt.want)
		}
	}
	if _, err := n.ListenPacket(t.Context(), "tcp", ":0"); err == nil {
		t.Error("ListenPacket took tcp")
	}
	if _, err := n.Listen(t.Context(), "udp", ":0"); err == nil {
		t.Error("Listen took udp")
	}
	c := mustListenPacket(t, n, "udp", ":0")
	_, err := c.WriteTo(nil, &net.TCPAddr{IP: net.IPv4(10, 0, 0, 2), Port: 1})
	wantOpError(t, err, syscall.EINVAL)
	_, err = c.WriteTo(nil, nil)
	wantOpError(t, err, syscall.EINVAL)
	_, err = c.WriteTo(nil, (*net.UDPAddr)(nil))
	wantOpError(t, err, syscall.EINVAL)
	_, err = c.Write(nil)
	wantOpError(t, err, syscall.EDESTADDRREQ)
	d := mustDial(t, n, "udp", "10.0.0.2:9").(*stack.UDPConn)
	_, err = d.WriteToUDPAddrPort(nil, netip.MustParseAddrPort("10.0.0.2:9"))
	wantOpError(t, err, net.ErrWriteToConnected)
}

// TestErrorsOfBinding has those about addresses and ports of one's own.
func TestErrorsOfBinding(t *testing.T) {
	n := alone(t)
	for _, network := range []string{"tcp", "udp"} {
		for _, address := range []string{"10.0.0.2:0", "[fd00::2]:0", "192.0.2.1:0", "[fe80::1%wire]:0", "[fd00::1%other]:0"} {
			wantOpError(t, listenErr(t.Context(), n, network, address), syscall.EADDRNOTAVAIL)
		}
		_, err := n.DialFrom(t.Context(), network, "10.0.0.3:0", "10.0.0.2:80")
		wantOpError(t, err, syscall.EADDRNOTAVAIL)
		_, err = n.DialFrom(t.Context(), network, "[fd00::1]:0", "10.0.0.2:80")
		wantOpError(t, err)
	}
	for _, address := range []string{"10.0.0.1:0", "[fd00::1]:0", "127.0.0.1:0", "[::1]:0", ":0"} {
		l := mustListen(t, n, "tcp", address)
		wantOpError(t, listenErr(t.Context(), n, "tcp", l.Addr().String()), syscall.EADDRINUSE)
		c := mustListenPacket(t, n, "udp", address)
		wantOpError(t, listenErr(t.Context(), n, "udp", c.LocalAddr().String()), syscall.EADDRINUSE)
	}
	// All of the PvD's addresses are taken if one is.
	l := mustListen(t, n, "tcp", "10.0.0.1:0")
	_, port, _ := net.SplitHostPort(l.Addr().String())
	wantOpError(t, listenErr(t.Context(), n, "tcp", ":"+port), syscall.EADDRINUSE)
}

// TestErrorsOfPeers has those that come over the wire.
func TestErrorsOfPeers(t *testing.T) {
	a, b := couple(t)
	for _, host := range []string{"10.0.0.2", "fd00::2"} {
		wantOpError(t, dialErr(t.Context(), a, "tcp", net.JoinHostPort(host, "1")), syscall.ECONNREFUSED)

		u := mustDial(t, a, "udp", net.JoinHostPort(host, "1"))
		if _, err := u.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		_, err := u.Read(make([]byte, 1))
		wantOpError(t, err, syscall.ECONNREFUSED)

		client, server := connect(t, a, b, host)
		if err := server.SetLinger(0); err != nil {
			t.Fatal(err)
		}
		_ = server.Close()
		for range 2 { // whoever asks
			_, err = client.Read(make([]byte, 1))
			wantOpError(t, err, syscall.ECONNRESET)
			_, err = client.Write(make([]byte, 1))
			wantOpError(t, err, syscall.ECONNRESET)
		}

		// What arrived and nobody read is not passed over in silence.
		client, server = connect(t, a, b, host)
		if _, err := client.Write([]byte("unread")); err != nil {
			t.Fatal(err)
		}
		if n, err := server.Read(make([]byte, 1)); n != 1 {
			t.Fatal(err)
		}
		_ = server.Close()
		_, err = client.Read(make([]byte, 1))
		wantOpError(t, err, syscall.ECONNRESET)

		client, server = connect(t, a, b, host)
		_ = client.CloseWrite()
		_, err = client.Write(make([]byte, 1))
		wantOpError(t, err, syscall.EPIPE)
		_ = server
	}
}

// TestErrorsOfSilence has what becomes of neighbours that do not answer.
func TestErrorsOfSilence(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: takes the seconds that address resolution does")
	}
	t.Parallel()
	h := newHost(t)
	l, r := tun.Pipe(tun.PipeConfig{Layer: tun.Ethernet})
	t.Cleanup(func() { _ = r.Close() })
	if err := h.AddLink("wire", l); err != nil {
		t.Fatal(err)
	}
	c := config("wire", "10.0.0.1/24")
	c.Routes = []pvd.Route{{To: netip.MustParsePrefix("0.0.0.0/0"), Via: netip.MustParseAddr("10.0.0.254")}}
	n := add(t, h, c)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	wantOpError(t, dialErr(ctx, n, "tcp", "10.0.0.2:80"), syscall.EHOSTUNREACH)
	wantOpError(t, dialErr(ctx, n, "tcp", nowhere), syscall.EHOSTUNREACH)
	for _, to := range []string{"10.0.0.3", "192.0.2.2"} {
		_, err := n.Ping(ctx, netip.MustParseAddr(to))
		wantOpError(t, err, syscall.EHOSTUNREACH)
	}
}

// TestErrorsOfRemoval blocks every kind of call and takes away what it stands on.
func TestErrorsOfRemoval(t *testing.T) {
	t.Parallel()
	removals := []struct {
		name   string
		want   error
		listen string
		take   func(t *testing.T, h *stack.Host, n *stack.Network)
	}{
		{"PvD", pvd.ErrNoPvD, ":0", func(t *testing.T, h *stack.Host, n *stack.Network) {
			if err := h.Remove(t.Context(), n.PvD()); err != nil {
				t.Error(err)
			}
		}},
		{"address", syscall.EADDRNOTAVAIL, "10.0.0.1:0", func(t *testing.T, h *stack.Host, n *stack.Network) {
			if err := h.Update(t.Context(), n.PvD(), config("wire", "10.0.0.3/24")); err != nil {
				t.Error(err)
			}
		}},
		{"link", syscall.ENETDOWN, "10.0.0.1:0", func(t *testing.T, h *stack.Host, _ *stack.Network) {
			if err := h.RemoveLink("wire"); err != nil {
				t.Error(err)
			}
		}},
	}
	calls := []struct {
		name string
		call func(t *testing.T, a, b *stack.Network, listen string) func() error
	}{
		{"Read", func(t *testing.T, a, b *stack.Network, _ string) func() error {
			c, _ := connect(t, a, b, "10.0.0.2")
			return func() error {
				_, err := c.Read(make([]byte, 1))
				return err
			}
		}},
		{"WriteTo", func(t *testing.T, a, b *stack.Network, _ string) func() error {
			c, _ := connect(t, a, b, "10.0.0.2")
			return func() error {
				_, err := c.WriteTo(discard{})
				return err
			}
		}},
		{"accepted Read", func(t *testing.T, a, b *stack.Network, _ string) func() error {
			_, c := connect(t, b, a, "10.0.0.1")
			return func() error {
				_, err := c.Read(make([]byte, 1))
				return err
			}
		}},
		{"Write", func(t *testing.T, a, b *stack.Network, _ string) func() error {
			c, _ := connect(t, a, b, "10.0.0.2")
			return func() error {
				for b := make([]byte, 1<<20); ; {
					if _, err := c.Write(b); err != nil {
						return err
					}
				}
			}
		}},
		{"Dial", func(t *testing.T, a, _ *stack.Network, _ string) func() error {
			return func() error { return dialErr(t.Context(), a, "tcp", nowhere) }
		}},
		{"Accept", func(t *testing.T, a, _ *stack.Network, listen string) func() error {
			l := mustListen(t, a, "tcp", listen)
			return func() error {
				_, err := l.Accept()
				return err
			}
		}},
		{"ReadFrom", func(t *testing.T, a, _ *stack.Network, listen string) func() error {
			c := mustListenPacket(t, a, "udp", listen)
			return func() error {
				_, _, err := c.ReadFrom(make([]byte, 1))
				return err
			}
		}},
		{"connected UDP Read", func(t *testing.T, a, _ *stack.Network, _ string) func() error {
			c := mustDial(t, a, "udp", nowhere)
			return func() error {
				_, err := c.Read(make([]byte, 1))
				return err
			}
		}},
		{"Ping", func(t *testing.T, a, _ *stack.Network, _ string) func() error {
			return func() error {
				_, err := a.Ping(t.Context(), netip.MustParseAddr("192.0.2.1"))
				return err
			}
		}},
	}
	for _, r := range removals {
		for _, c := range calls {
			t.Run(r.name+"/"+c.name, func(t *testing.T) {
				h1, h2 := newHost(t), newHost(t)
				pipe(t, "wire", h1, h2)
				a, b := add(t, h1, config("wire", "10.0.0.1/24")), add(t, h2, config("wire", "10.0.0.2/24"))
				call := c.call(t, a, b, r.listen)
				err := returnsSoon(t, call, func() { r.take(t, h1, a) })
				wantOpError(t, err, r.want)
				// The reason stays.
				if c.name != "Dial" && c.name != "Ping" {
					wantOpError(t, returnsSoon(t, call, func() {}), r.want)
				}
			})
		}
	}
	t.Run("PvD/Lookup", func(t *testing.T) {
		h := newHost(t)
		pipe(t, "wire", h, nil)
		c := config("wire", "10.0.0.1/24")
		c.DNS.Servers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.1:53")}
		n := add(t, h, c)
		err := returnsSoon(t, func() error {
			_, err := n.LookupNetIP(t.Context(), "ip", "name.example")
			return err
		}, func() { removals[0].take(t, h, n) })
		wantDNSError(t, err, pvd.ErrNoPvD)
	})
	t.Run("link/later", func(t *testing.T) {
		h := newHost(t)
		pipe(t, "wire", h, nil)
		n := add(t, h, config("wire", "10.0.0.1/24"))
		c := mustListenPacket(t, n, "udp", ":0")
		removals[2].take(t, h, n)
		wantOpError(t, dialErr(t.Context(), n, "tcp", "10.0.0.2:80"), syscall.ENETDOWN)
		_, err := c.WriteToUDPAddrPort([]byte("x"), netip.MustParseAddrPort("10.0.0.2:80"))
		wantOpError(t, err, syscall.ENETDOWN)
	})
}

// discard is io.Discard without its ReadFrom.
type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }

// TestErrorsOfContexts has those that a dial's own context causes.
func TestErrorsOfContexts(t *testing.T) {
	a, _ := couple(t)
	t.Run("cancelled", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		err := returnsSoon(t, func() error { return dialErr(ctx, a, "tcp", nowhere) }, cancel)
		wantOpError(t, err, context.Canceled)
		if ne := err.(net.Error); ne.Timeout() { //nolint:errorlint // an *net.OpError, as checked
			t.Error("cancelled, and Timeout")
		}
		wantOpError(t, dialErr(ctx, a, "tcp", nowhere), context.Canceled)
		wantOpError(t, dialErr(ctx, a, "tcp", "name.example:80"))
	})
	t.Run("cause", func(t *testing.T) {
		why := errors.New("why")
		ctx, cancel := context.WithCancelCause(t.Context())
		err := returnsSoon(t, func() error { return dialErr(ctx, a, "tcp", nowhere) }, func() { cancel(why) })
		wantOpError(t, err, context.Canceled, why)
	})
	t.Run("deadline", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		err := returnsSoon(t, func() error { return dialErr(ctx, a, "tcp", nowhere) }, func() {})
		wantOpError(t, err, context.DeadlineExceeded, os.ErrDeadlineExceeded)
		if ne := err.(net.Error); !ne.Timeout() { //nolint:errorlint // an *net.OpError, as checked
			t.Error("not a Timeout")
		}
	})
	t.Run("ping", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := a.Ping(ctx, netip.MustParseAddr("192.0.2.1"))
		wantOpError(t, err, context.DeadlineExceeded, os.ErrDeadlineExceeded)
	})
}

// TestErrorsOfNames has those of lookups, alone and in a dial.
func TestErrorsOfNames(t *testing.T) {
	n := alone(t)
	_, err := n.LookupNetIP(t.Context(), "ip", "name.example")
	de, ok := err.(*net.DNSError) //nolint:errorlint // outermost is what is promised
	if !ok || de.Err != "no DNS server in PvD" || de.IsNotFound || de.IsTimeout || de.IsTemporary {
		t.Errorf("%#v", err)
	}
	err = dialErr(t.Context(), n, "tcp", "name.example:80")
	wantOpError(t, err)
	if !errors.As(err, &de) || de.Err != "no DNS server in PvD" {
		t.Errorf("dial: %v", err)
	}
}

// TestErrorsOfDeadlines and of Close, for every call that can block.
func TestErrorsOfDeadlines(t *testing.T) {
	t.Parallel()
	h1, h2 := newHost(t), newHost(t)
	pipe(t, "wire", h1, h2)
	a, b := add(t, h1, config("wire", "10.0.0.1/24")), add(t, h2, config("wire", "10.0.0.2/24"))
	tcp, _ := connect(t, a, b, "10.0.0.2")
	udp := mustListenPacket(t, a, "udp", ":0")
	dialled := mustDial(t, a, "udp", nowhere)
	l := mustListen(t, a, "tcp", ":0").(*stack.TCPListener)
	allL := mustListen(t, h1.In(pvd.All), "tcp", ":0").(*stack.AllListener)
	allC, err := h1.In(pvd.All).ListenPacket(t.Context(), "udp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	full := func() error {
		for b := make([]byte, 1<<20); ; {
			if _, err := tcp.Write(b); err != nil {
				return err
			}
		}
	}
	for _, tt := range []struct {
		name  string
		set   func(time.Time) error
		call  func() error
		close func() error
	}{
		{"Write", tcp.SetWriteDeadline, full, nil},
		{"Read", tcp.SetReadDeadline, func() error { _, err := tcp.Read(make([]byte, 1)); return err }, tcp.Close},
		{"ReadFrom", udp.SetReadDeadline, func() error { _, _, err := udp.ReadFrom(make([]byte, 1)); return err }, udp.Close},
		{"datagram Read", dialled.SetDeadline, func() error { _, err := dialled.Read(make([]byte, 1)); return err }, dialled.Close},
		{"Accept", l.SetDeadline, func() error { _, err := l.Accept(); return err }, l.Close},
		{"Accept in all", allL.SetDeadline, func() error { _, err := allL.Accept(); return err }, allL.Close},
		{"ReadFrom in all", allC.SetReadDeadline, func() error { _, _, err := allC.ReadFrom(make([]byte, 1)); return err }, allC.Close},
	} {
		t.Run(tt.name, func(t *testing.T) {
			check := func(err error) {
				t.Helper()
				wantOpError(t, err, os.ErrDeadlineExceeded)
				if ne := err.(net.Error); !ne.Timeout() { //nolint:errorlint // an *net.OpError, as checked
					t.Error("not a Timeout")
				}
			}
			for _, d := range []time.Duration{-time.Hour, 0, 20 * time.Millisecond} {
				if err := tt.set(time.Now().Add(d)); err != nil {
					t.Fatal(err)
				}
				check(returnsSoon(t, tt.call, func() {}))
			}
			// One that is moved while the call is blocked.
			_ = tt.set(time.Now().Add(time.Hour))
			check(returnsSoon(t, tt.call, func() { _ = tt.set(time.Unix(1, 0)) }))
			_ = tt.set(time.Time{})
			check(returnsSoon(t, tt.call, func() { _ = tt.set(time.Now().Add(20 * time.Millisecond)) }))
			if tt.close == nil {
				return
			}
			_ = tt.set(time.Time{})
			wantOpError(t, returnsSoon(t, tt.call, func() { _ = tt.close() }), net.ErrClosed)
			wantOpError(t, returnsSoon(t, tt.call, func() {}), net.ErrClosed)
			wantOpError(t, tt.set(time.Time{}), net.ErrClosed)
			wantOpError(t, tt.close(), net.ErrClosed)
		})
	}
}
