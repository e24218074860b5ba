package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

func addrs(s string) (as []netip.Addr) {
	for f := range strings.FieldsSeq(s) {
		as = append(as, netip.MustParseAddr(f))
	}
	return as
}

// zone answers with the records, in presentation format, that have the query's name and
// type or an alias; NXDOMAIN for names that have none.
func zone(t testing.TB, records ...string) func(*query) {
	return func(q *query) {
		var match []string
		known := false
		for _, s := range records {
			f := strings.Fields(s)
			if !strings.EqualFold(f[0], q.name()) {
				continue
			}
			known = true
			if f[1] == wire.TypeToString[q.qtype()] {
				match = append(match, f[0]+" 60 IN "+f[1]+" "+f[2])
			}
		}
		m := q.reply(t, match...)
		if !known {
			m.Rcode = wire.RcodeNameError
		}
		q.answer(t, m)
	}
}

func TestLookup(t *testing.T) {
	s := serve(t, zone(t,
		"wiki.corp.example. A 10.0.0.1", "wiki.corp.example. A 10.0.0.2", "wiki.corp.example. AAAA fd00::1",
		"four.corp.example. A 10.0.0.4", "six.corp.example. AAAA fd00::6",
		"db.lab.example. A 10.1.0.1", "bare. A 10.2.0.1", "a_b.corp.example. A 10.0.0.5",
	))
	r := resolver([]string{"corp.example", "lab.example.", "bad..example"}, s)
	for _, tt := range []struct{ network, host, want, asked string }{
		{"ip", "wiki.corp.example", "fd00::1 10.0.0.1 10.0.0.2", "2"},
		{"ip", "WIKI.Corp.Example", "fd00::1 10.0.0.1 10.0.0.2", "2"},
		{"ip", "wiki.corp.example.", "fd00::1 10.0.0.1 10.0.0.2", "2"},
		{"ip4", "wiki.corp.example", "10.0.0.1 10.0.0.2", "1"},
		{"ip6", "wiki.corp.example", "fd00::1", "1"},
		{"ip", "four.corp.example", "10.0.0.4", "2"},
		{"ip", "six.corp.example", "fd00::6", "2"},
		{"ip4", "a_b.corp.example", "10.0.0.5", "1"},
		// The search list, in order, then the name itself.
		{"ip4", "wiki", "10.0.0.1 10.0.0.2", "1"},
		{"ip4", "db", "10.1.0.1", "2"},
		{"ip4", "bare", "10.2.0.1", "3"},
		{"ip4", "bare.", "10.2.0.1", "1"},
		// Not found: absolute names are not searched.
		{"ip4", "wiki.", "", "1"},
		{"ip4", "wiki.corp", "", "1"},
		{"ip4", "none", "", "3"},
		{"ip4", "six.corp.example", "", "1"},
		{"ip6", "four.corp.example", "", "1"},
		// Addresses, which nobody is asked for.
		{"ip", "10.9.9.9", "10.9.9.9", "0"},
		{"ip4", "10.9.9.9", "10.9.9.9", "0"},
		{"ip6", "10.9.9.9", "", "0"},
		{"ip", "fe80::1%lab", "fe80::1%lab", "0"},
		{"ip6", "fd00::9", "fd00::9", "0"},
		{"ip4", "fd00::9", "", "0"},
		{"ip", "::ffff:10.9.9.9", "10.9.9.9", "0"},
		// Names that are special.
		{"ip", "localhost", "::1 127.0.0.1", "0"},
		{"ip", "LocalHost.", "::1 127.0.0.1", "0"},
		{"ip4", "www.localhost", "127.0.0.1", "0"},
		{"ip6", "localhost", "::1", "0"},
		{"ip", "x.invalid", "", "0"},
		{"ip", "x.onion.", "", "0"},
		// Names that are none.
		{"ip", "", "", "0"},
		{"ip", ".", "", "0"},
		{"ip", "a..b", "", "0"},
		{"ip", ".a", "", "0"},
		{"ip", "a b", "", "0"},
		{"ip", "a\x00b", "", "0"},
		{"ip", "a\nb", "", "0"},
		{"ip", `a\.b`, "", "0"},
		{"ip", "bücher.example", "", "0"},
		{"ip", "10.0.0.1:53", "", "0"},
		{"ip", "[::1]", "", "0"},
		{"ip", strings.Repeat("x", 64), "", "0"},
		{"ip", strings.Repeat("x.", 127) + "x", "", "0"},
		{"ip4", strings.Repeat("x.", 126) + "x", "", "1"},
	} {
		t.Run(tt.network+" "+tt.host, func(t *testing.T) {
			r.Flush()
			before := len(s.queries())
			got, err := r.LookupNetIP(t.Context(), tt.network, tt.host)
			if !slices.Equal(got, addrs(tt.want)) {
				t.Errorf("got %v, %v; want %s", got, err, tt.want)
			}
			if tt.want == "" {
				e, ok := errors.AsType[*net.DNSError](err)
				if !ok || !e.IsNotFound || e.IsTimeout || e.IsTemporary || e.Name != strings.TrimSuffix(tt.host, ".") {
					t.Errorf("error %#v", err)
				}
			}
			if n := len(s.queries()) - before; fmt.Sprint(n) != tt.asked {
				t.Errorf("%d queries, want %s: %q", n, tt.asked, s.queries()[before:])
			}
		})
	}
	if _, err := r.LookupNetIP(t.Context(), "tcp", "wiki"); !errors.Is(err, net.UnknownNetworkError("tcp")) {
		t.Error("network tcp:", err)
	}
}

func TestNoServer(t *testing.T) {
	r := resolver([]string{"corp.example"})
	r.conf.Dial = func(context.Context, string, string) (net.Conn, error) {
		t.Error("dialled")
		return nil, syscall.ENETUNREACH
	}
	_, err := r.LookupNetIP(t.Context(), "ip", "wiki")
	e, ok := errors.AsType[*net.DNSError](err)
	if !ok || e.Err != "no DNS server in PvD" || e.IsNotFound || e.IsTimeout || e.IsTemporary || e.Name != "wiki" {
		t.Errorf("%#v", err)
	}
}

// The servers are those of the moment.
func TestServersChange(t *testing.T) {
	a := serve(t, zone(t, "wiki. A 10.0.0.1"))
	b := serve(t, zone(t, "wiki. A 10.0.0.2"))
	r := resolver(nil)
	for _, tt := range []struct {
		s    *server
		want string
	}{{a, "10.0.0.1"}, {b, "10.0.0.2"}, {a, "10.0.0.1"}} {
		r.conf.DNS = func() pvd.DNS { return pvd.DNS{Servers: []netip.AddrPort{tt.s.addr}} }
		if got, err := r.LookupNetIP(t.Context(), "ip4", "wiki"); !slices.Equal(got, addrs(tt.want)) {
			t.Errorf("%v, %v; want %s", got, err, tt.want)
		}
	}
}

// A failing server is not a name that does not exist: the search ends there.
func TestSearchEndsAtFailure(t *testing.T) {
	s := serve(t, func(q *query) {
		m := q.reply(t, q.name()+" 60 IN A 10.0.0.1")
		if strings.HasPrefix(q.name(), "wiki.one.") {
			m = new(wire.Msg).SetRcode(&q.Msg, wire.RcodeServerFailure)
		}
		q.answer(t, m)
	})
	r := resolver([]string{"one.example", "two.example"}, s)
	got, err := r.LookupNetIP(t.Context(), "ip4", "wiki")
	e, ok := errors.AsType[*net.DNSError](err)
	if !ok || !e.IsTemporary || e.IsNotFound || e.Server != s.addr.String() {
		t.Errorf("%v, %#v", got, err)
	}
}

func TestMaxSearch(t *testing.T) {
	s := serve(t, zone(t))
	var search []string
	for i := range maxSearch + 5 {
		search = append(search, fmt.Sprintf("d%d.example", i))
	}
	if _, err := resolver(search, s).LookupNetIP(t.Context(), "ip4", "wiki"); err == nil {
		t.Error("found")
	}
	q := s.queries()
	if len(q) != maxSearch+1 || q[maxSearch] != "udp wiki. A" {
		t.Errorf("%d queries, the last one %q", len(q), q[len(q)-1])
	}
}

// Ports and IDs are not seen twice but by chance.
func TestEntropy(t *testing.T) {
	s := serve(t, zone(t, "wiki. A 10.0.0.1"))
	r := resolver(nil, s)
	const n = 200
	for range n {
		r.Flush()
		if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki"); err != nil {
			t.Fatal(err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.ports) < n*9/10 || len(s.ids) < n*9/10 {
		t.Errorf("%d ports and %d IDs in %d queries", len(s.ports), len(s.ids), n)
	}
}

// Errors of the PvD itself show through, and no other server is tried once it is gone.
func TestDialErrors(t *testing.T) {
	a, b := netip.MustParseAddrPort("10.0.0.53:53"), netip.MustParseAddrPort("[fe80::53%lab]:53")
	for _, tt := range []struct {
		err   error
		dials string
	}{
		{syscall.ENETUNREACH, "udp 10.0.0.53:53, udp [fe80::53%lab]:53"},
		{pvd.ErrNoPvD, "udp 10.0.0.53:53"},
	} {
		var dials []string
		r := New(Config{
			DNS: func() pvd.DNS { return pvd.DNS{Servers: []netip.AddrPort{a, b}} },
			Dial: func(_ context.Context, network, address string) (net.Conn, error) {
				dials = append(dials, network+" "+address)
				return nil, &net.OpError{Op: "dial", Net: network, Err: tt.err}
			},
		})
		defer r.Close()
		_, err := r.LookupNetIP(t.Context(), "ip4", "wiki")
		e, ok := errors.AsType[*net.DNSError](err)
		if !errors.Is(err, tt.err) || !ok || e.IsNotFound || e.IsTimeout {
			t.Errorf("%#v, want %v", err, tt.err)
		}
		if got := strings.Join(dials, ", "); got != tt.dials {
			t.Errorf("%v: dialled %s", tt.err, got)
		}
	}
}

// silence is a connection on which nothing is ever heard.
func silence(context.Context, string, string) (net.Conn, error) {
	c, peer := net.Pipe()
	go func() {
		defer peer.Close()
		buf := make([]byte, readSize)
		for {
			if _, err := peer.Read(buf); err != nil {
				return
			}
		}
	}()
	return c, nil
}

// Silent servers are asked in turn, in rounds that take twice as long each.
func TestSilentServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		var at []string
		var servers []netip.AddrPort
		for i := range maxServers + 2 {
			servers = append(servers, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), 53))
		}
		n := 2
		r := New(Config{
			DNS: func() pvd.DNS { return pvd.DNS{Servers: servers[:n]} },
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				at = append(at, fmt.Sprintf("%v %s", time.Since(begin), address))
				return silence(ctx, network, address)
			},
		})
		defer r.Close()
		_, err := r.LookupNetIP(t.Context(), "ip4", "wiki.example")
		e, ok := errors.AsType[*net.DNSError](err)
		if !ok || !e.IsTimeout || !e.Timeout() || e.IsNotFound || e.Server != "10.0.0.1:53" {
			t.Errorf("%#v", err)
		}
		want := "0s 10.0.0.0:53, 1s 10.0.0.1:53, 2s 10.0.0.0:53, 4s 10.0.0.1:53, 6s 10.0.0.0:53, 10s 10.0.0.1:53"
		if got := strings.Join(at, ", "); got != want || time.Since(begin) != 14*time.Second {
			t.Errorf("asked at %s; ended at %v", got, time.Since(begin))
		}
		n, at = len(servers), nil
		if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.example"); err == nil {
			t.Error("found")
		}
		if len(at) != maxRounds*maxServers {
			t.Errorf("%d queries to %d servers", len(at), len(servers))
		}
	})
}

// The end of a context is seen as such, at once, whoever gave what as its cause.
func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := netip.MustParseAddrPort("10.0.0.53:53")
		r := New(Config{
			DNS:  func() pvd.DNS { return pvd.DNS{Servers: []netip.AddrPort{s}, Search: []string{"corp.example"}} },
			Dial: silence,
		})
		defer r.Close()
		why := errors.New("had enough")
		begin := time.Now()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(300*time.Millisecond, func() { cancel(why) })
		_, err := r.LookupNetIP(ctx, "ip", "wiki")
		e, ok := errors.AsType[*net.DNSError](err)
		if !ok || !errors.Is(err, context.Canceled) || !errors.Is(err, why) || e.IsTimeout || e.IsNotFound {
			t.Errorf("cancelled: %#v", err)
		}
		if d := time.Since(begin); d != 300*time.Millisecond {
			t.Error("cancelled: after", d)
		}
		ctx, stop := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer stop()
		_, err = r.LookupNetIP(ctx, "ip", "wiki")
		e, ok = errors.AsType[*net.DNSError](err)
		if !ok || !errors.Is(err, context.DeadlineExceeded) || !e.IsTimeout {
			t.Errorf("deadline: %#v", err)
		}
		if d := time.Since(begin); d != 600*time.Millisecond {
			t.Error("deadline: after", d)
		}
	})
}

// A server that ignores one kind of query delays the other's addresses a little only.
func TestStraggler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Config{
			DNS: func() pvd.DNS { return pvd.DNS{Servers: addrPorts("10.0.0.53:53")} },
			Dial: func(context.Context, string, string) (net.Conn, error) {
				c, peer := net.Pipe()
				go func() {
					defer peer.Close()
					buf := make([]byte, readSize)
					for {
						n, err := peer.Read(buf)
						if err != nil {
							return
						}
						q := new(query)
						if err := q.Unpack(buf[:n]); err != nil {
							t.Error(err)
						}
						if q.qtype() == wire.TypeA {
							b, _ := q.reply(t, "wiki.example. 60 IN A 10.0.0.1").Pack()
							_, _ = peer.Write(b)
						}
					}
				}()
				return c, nil
			},
		})
		defer r.Close()
		begin := time.Now()
		got, err := r.LookupNetIP(t.Context(), "ip", "wiki.example")
		if !slices.Equal(got, addrs("10.0.0.1")) || time.Since(begin) != firstTimeout*3/2 {
			t.Errorf("%v, %v after %v", got, err, time.Since(begin))
		}
	})
}

func addrPorts(s ...string) (as []netip.AddrPort) {
	for _, s := range s {
		as = append(as, netip.MustParseAddrPort(s))
	}
	return as
}
