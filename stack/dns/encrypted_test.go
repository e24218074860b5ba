package dns

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	wire "github.com/miekg/dns"

	"github.com/pvdstack/pvdstack/pvd"
)

// encrypted is one server at 192.0.2.53.
func encrypted(name, alpn, path string, port uint16) []pvd.EncryptedServer {
	return []pvd.EncryptedServer{{
		Name: name, Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.53")}, ALPN: []string{alpn}, Path: path, Port: port,
	}}
}

// certificate makes one for serverName, and who trusts it.
func certificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{serverName},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// A tlsServer is one of DNS over TLS.
type tlsServer struct {
	addr   netip.AddrPort
	roots  *x509.CertPool
	handle func(*query)

	conns, ended, resumed, queries atomic.Int32

	mu   sync.Mutex
	open []net.Conn
}

const serverName = "dns.example"

func serveTLS(t testing.TB, handle func(*query)) *tlsServer {
	t.Helper()
	cert, roots := certificate(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &tlsServer{addr: l.Addr().(*net.TCPAddr).AddrPort(), roots: roots, handle: handle}
	config := &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"dot", "h2"}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				s.serve(tls.Server(c, config))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.closeAll()
		wg.Wait()
	})
	return s
}

func (s *tlsServer) serve(c *tls.Conn) {
	defer s.ended.Add(1)
	defer c.Close()
	s.mu.Lock()
	s.open = append(s.open, c)
	s.mu.Unlock()
	s.conns.Add(1)
	if c.Handshake() != nil {
		return
	}
	if c.ConnectionState().DidResume {
		s.resumed.Add(1)
	}
	var writing sync.Mutex
	for {
		b, err := readMessage(c)
		if err != nil {
			return
		}
		q := &query{network: "tls", nth: int(s.queries.Add(1)) - 1}
		if err := q.Unpack(b); err != nil {
			return
		}
		q.send = func(b []byte) {
			writing.Lock()
			defer writing.Unlock()
			for _, o := range append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...) {
				_, _ = c.Write([]byte{o})
			}
		}
		if len(b)%padBlock != 0 {
			return // a test fails then
		}
		go s.handle(q)
	}
}

// closeAll ends all connections.
func (s *tlsServer) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.open {
		c.(*tls.Conn).NetConn().Close()
	}
	s.open = nil
}

// over returns a resolver that asks a server at addr by a protocol.
func over(alpn string, addr netip.AddrPort, roots *x509.CertPool) *Resolver {
	servers := encrypted(serverName, alpn, "/dns-query{?dns}", addr.Port())
	servers[0].Addrs = []netip.Addr{addr.Addr()}
	return New(Config{
		DNS:       func() pvd.DNS { return pvd.DNS{Servers: addrPorts("127.0.0.1:1")} },
		Encrypted: func() []pvd.EncryptedServer { return servers },
		Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
			if network != "tcp" || address != addr.String() {
				return nil, fmt.Errorf("dialled %s %s", network, address)
			}
			return (&net.Dialer{}).DialContext(ctx, network, address)
		},
		RootCAs: roots,
	})
}

// number is the address that stands for the number in a name "n7.corp".
func number(q *query) string {
	var n int
	_, _ = fmt.Sscanf(q.name(), "n%d.", &n)
	return fmt.Sprintf("10.%d.%d.%d", n>>16, n>>8&0xff, n&0xff)
}

// Many queries at once share one connection; answers come in any order.
func TestTLS(t *testing.T) {
	s := serveTLS(t, func(q *query) {
		time.Sleep(time.Duration(q.Id%5) * time.Millisecond)
		bad := q.reply(t, q.name()+" 60 IN A 6.6.6.6")
		bad.Question[0].Name = "evil.corp."
		q.answer(t, bad)
		q.answer(t, q.reply(t, q.name()+" 60 IN A "+number(q)))
	})
	r := over("dot", s.addr, s.roots)
	defer r.Close()
	r.conf.Timeout = 10 * time.Second
	var wg sync.WaitGroup
	for i := range maxPipelined {
		wg.Go(func() {
			got, err := r.LookupNetIP(t.Context(), "ip4", fmt.Sprintf("n%d.corp", i))
			if want := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}); err != nil || got[0] != want {
				t.Errorf("%d: %v, %v", i, got, err)
			}
		})
	}
	wg.Wait()
	if c, q := s.conns.Load(), s.queries.Load(); c != 1 || q != maxPipelined {
		t.Errorf("%d connections for %d queries", c, q)
	}
	// The server ends the connection: the next query makes another, by the ticket it has.
	s.closeAll()
	var events []Event
	ctx := WithTrace(t.Context(), func(e Event) { events = append(events, e) })
	if _, err := r.LookupNetIP(ctx, "ip4", "n1000.corp"); err != nil {
		t.Error(err)
	}
	if c := s.conns.Load(); c != 2 || s.resumed.Load() != 1 {
		t.Errorf("%d connections, %d resumed", c, s.resumed.Load())
	}
	if len(events) != 1 || events[0].Net != "tls" || events[0].Server.Transport != TLS || !events[0].Source.IsValid() {
		t.Errorf("%+v", events)
	}
	// Flush forgets the ticket.
	r.Flush()
	if _, err := r.LookupNetIP(t.Context(), "ip4", "n1000.corp"); err != nil || s.resumed.Load() != 1 {
		t.Errorf("%v, %d resumed", err, s.resumed.Load())
	}
}

// More queries than one connection may have.
func TestTLSMoreThanOneConnection(t *testing.T) {
	hold := make(chan struct{})
	s := serveTLS(t, func(q *query) {
		<-hold
		q.answer(t, q.reply(t, q.name()+" 60 IN A "+number(q)))
	})
	r := over("dot", s.addr, s.roots)
	r.conf.Timeout = 10 * time.Second
	var wg sync.WaitGroup
	for i := range maxPipelined + 10 {
		wg.Go(func() {
			if _, err := r.LookupNetIP(t.Context(), "ip4", fmt.Sprintf("n%d.corp", i)); err != nil {
				t.Error(err)
			}
		})
	}
	for s.queries.Load() < maxPipelined+10 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wg.Wait()
	if c := s.conns.Load(); c != 2 {
		t.Errorf("%d connections", c)
	}
	// All connections end with the resolver, those that are idle too.
	_ = r.Close()
	for range 500 {
		if s.ended.Load() == 2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("%d of 2 connections have ended", s.ended.Load())
}

// Silence on a connection has the next query make another.
func TestTLSDeadConnection(t *testing.T) {
	s := serveTLS(t, func(q *query) {
		if q.name() != "silence.corp." {
			q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1"))
		}
	})
	r := over("dot", s.addr, s.roots)
	defer r.Close()
	r.conf.Timeout = 50 * time.Millisecond
	_, err := r.LookupNetIP(t.Context(), "ip4", "silence.corp")
	if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsTimeout || !strings.Contains(e.Server, "tls://"+serverName) {
		t.Errorf("%#v", err)
	}
	if c := s.conns.Load(); c != maxRounds {
		t.Errorf("%d connections", c)
	}
	r.conf.Timeout = time.Second
	if _, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp"); err != nil {
		t.Error(err)
	}
}

// A server that can not show who it is, is not asked anything, nor is any other by plain UDP
// in its place.
func TestEncryptedIsAuthenticated(t *testing.T) {
	asked := func(q *query) { t.Errorf("asked for %s", q.name()) }
	s := serveTLS(t, asked)
	_, others := certificate(t)
	for _, alpn := range []string{"dot", "h2"} {
		for what, r := range map[string]*Resolver{
			"an unknown authority": over(alpn, s.addr, others),
			"another name": func() *Resolver {
				r := over(alpn, s.addr, s.roots)
				e := r.conf.Encrypted()
				e[0].Name = "other.example"
				return r
			}(),
		} {
			_, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
			var unknown x509.UnknownAuthorityError
			var name x509.HostnameError
			e, ok := errors.AsType[*net.DNSError](err)
			if !ok || e.IsNotFound || !errors.As(err, &unknown) && !errors.As(err, &name) {
				t.Errorf("%s: %s: %#v", alpn, what, err)
			}
			_ = r.Close()
		}
	}
}

// A webServer is one of DNS over HTTPS.
func serveHTTPS(t testing.TB, h2 bool, handle http.HandlerFunc) (*httptest.Server, netip.AddrPort, *x509.CertPool) {
	t.Helper()
	cert, roots := certificate(t)
	s := httptest.NewUnstartedServer(handle)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.EnableHTTP2 = h2
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, s.Listener.Addr().(*net.TCPAddr).AddrPort(), roots
}

// web answers queries as handle does, in the way of RFC 8484.
func web(t testing.TB, handle func(*query)) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		b, err := io.ReadAll(req.Body)
		q := &query{network: "https", send: func(b []byte) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(b)
		}}
		switch {
		case err != nil || q.Unpack(b) != nil:
			t.Error("not a message")
		case req.Method != http.MethodPost || req.URL.Path != "/dns-query" || req.URL.RawQuery != "":
			t.Errorf("%s %s", req.Method, req.URL)
		case req.Header.Get("Content-Type") != mediaType || req.Header.Get("Accept") != mediaType || req.UserAgent() != "":
			t.Errorf("%v", req.Header)
		case req.Host != serverName && !strings.HasPrefix(req.Host, serverName+":"):
			t.Errorf("host %s", req.Host)
		case q.Id != 0 || len(b)%padBlock != 0:
			t.Errorf("ID %d, %d octets", q.Id, len(b))
		}
		handle(q)
	}
}

func TestHTTPS(t *testing.T) {
	// None of these is looked at.
	for _, v := range []string{"HTTPS_PROXY", "https_proxy", "ALL_PROXY"} {
		t.Setenv(v, "http://127.0.0.1:1")
	}
	for _, h2 := range []bool{true, false} {
		t.Run(fmt.Sprintf("HTTP/2 %v", h2), func(t *testing.T) {
			var conns atomic.Int32
			_, addr, roots := serveHTTPS(t, h2, web(t, func(q *query) {
				q.answer(t, q.reply(t, q.name()+" 60 IN A "+number(q)))
			}))
			r := over("h2", addr, roots)
			dial := r.conf.Dial
			r.conf.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
				conns.Add(1)
				return dial(ctx, network, address)
			}
			var wg sync.WaitGroup
			for i := range 100 {
				wg.Go(func() {
					got, err := r.LookupNetIP(t.Context(), "ip4", fmt.Sprintf("n%d.corp", i))
					if want := netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}); err != nil || got[0] != want {
						t.Errorf("%d: %v, %v", i, got, err)
					}
				})
			}
			wg.Wait()
			if n := conns.Load(); n > maxWebConns {
				t.Errorf("%d connections", n)
			}
			_ = r.Close()
		})
	}
}

// What a server of DNS over HTTPS can get wrong, and that the time in caches on the way
// counts.
func TestHTTPSAnswers(t *testing.T) {
	good := web(t, func(q *query) { q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1")) })
	for what, tt := range map[string]struct {
		handle http.HandlerFunc
		ttl    time.Duration
	}{
		"good": {good, time.Minute},
		"aged": {func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("Age", "40")
			good(w, req)
		}, 20 * time.Second},
		"not found": {http.NotFound, 0},
		"redirected": {func(w http.ResponseWriter, req *http.Request) {
			if req.URL.Path != "/dns-query" {
				t.Error("followed")
			}
			http.Redirect(w, req, "/other", http.StatusTemporaryRedirect)
		}, 0},
		"text": {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }, 0},
		"another question": {web(t, func(q *query) {
			m := q.reply(t)
			m.Question[0].Name = "evil.corp."
			q.answer(t, m)
		}), 0},
		"endless": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(make([]byte, 2*maxMessage))
		}, 0},
		"long header": {func(w http.ResponseWriter, req *http.Request) {
			w.Header().Set("X", strings.Repeat("x", 2*maxHeaderBytes))
			good(w, req)
		}, 0},
	} {
		t.Run(what, func(t *testing.T) {
			_, addr, roots := serveHTTPS(t, true, tt.handle)
			r := over("h2", addr, roots)
			defer r.Close()
			_, info, err := r.Query(t.Context(), Question{Name: "wiki.corp.", Type: wire.TypeA})
			if (err == nil) != (tt.ttl > 0) || info.TTL != tt.ttl {
				t.Errorf("%+v, %v", info, err)
			}
			if e, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || e.IsNotFound || e.IsTimeout) {
				t.Errorf("%#v", err)
			}
		})
	}
}

// A connection that is lost is worth another, so many times.
func TestHTTPSLostConnections(t *testing.T) {
	for _, tt := range []struct{ lost, want int32 }{{maxStreams - 1, maxStreams}, {100, maxStreams}} {
		var asked atomic.Int32
		good := web(t, func(q *query) { q.answer(t, q.reply(t, q.name()+" 60 IN A 10.0.0.1")) })
		s, addr, roots := serveHTTPS(t, false, func(w http.ResponseWriter, req *http.Request) {
			if asked.Add(1) <= tt.lost {
				panic(http.ErrAbortHandler)
			}
			good(w, req)
		})
		r := over("http/1.1", addr, roots)
		_, err := r.LookupNetIP(t.Context(), "ip4", "wiki.corp")
		if (err == nil) != (tt.lost < maxStreams) || asked.Load() != tt.want {
			t.Errorf("%d lost: %v after %d queries", tt.lost, err, asked.Load())
		}
		_ = r.Close()
		s.Close()
	}
}

// Which servers are asked, of those that a PvD has.
func TestDNR(t *testing.T) {
	plain := addrPorts("192.0.2.1:53", "[fe80::53%lab]:53")
	a := func(s string) []netip.Addr { return addrs(s) }
	for _, tt := range []struct {
		what      string
		encrypted []pvd.EncryptedServer
		want      []string
	}{
		{"none", nil, []string{"192.0.2.1:53", "[fe80::53%lab]:53"}},
		{
			"by priority",
			[]pvd.EncryptedServer{
				{Priority: 2, Name: "b.example", Addrs: a("192.0.2.2"), ALPN: []string{"dot"}},
				{Priority: 1, Name: "a.example.", Addrs: a("fe80::1%lab 192.0.2.3"), ALPN: []string{"h2", "dot"}, Path: "/q{?dns}"},
			},
			[]string{"tls://a.example@[fe80::1%lab]:853", "tls://a.example@192.0.2.3:853", "tls://b.example@192.0.2.2:853"},
		},
		{
			"by HTTPS",
			[]pvd.EncryptedServer{
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"h3", "h2"}, Path: "/dns-query{?dns}"},
				{Name: "b.example", Addrs: a("192.0.2.3"), ALPN: []string{"h2"}, Path: "/x?y=1{&dns}", Port: 8443},
			},
			[]string{"https://a.example@192.0.2.2:443/dns-query", "https://b.example@192.0.2.3:8443/x?y=1"},
		},
		{
			"none that can be spoken to",
			[]pvd.EncryptedServer{
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"doq"}},
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"h2"}},
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"h2"}, Path: "/{x}{?dns}"},
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"h2"}, Path: "//evil{?dns}"},
				{Name: "a.example", Addrs: a("192.0.2.2"), ALPN: []string{"h2"}, Path: "/" + strings.Repeat("x", maxPath)},
				{Name: "", Addrs: a("192.0.2.2"), ALPN: []string{"dot"}},
				{Name: "a.example", ALPN: []string{"dot"}}, // by name only
			},
			[]string{"192.0.2.1:53", "[fe80::53%lab]:53"},
		},
	} {
		var got []string
		for _, s := range serversOf(plain, tt.encrypted) {
			got = append(got, s.String())
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.what, got, tt.want)
		}
	}
	many := serversOf(slices.Repeat(plain, maxServers), nil)
	if len(many) != maxServers {
		t.Errorf("%d servers", len(many))
	}
}
