package stack_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
	"github.com/pvdstack/pvdstack/pvd/pvdtest"
)

// TestHTTPInTwoPvDs has one program, with one client, ask one URL in two PvDs and get two
// pages: on new connections, on kept ones, and on new ones that resume TLS sessions.
func TestHTTPInTwoPvDs(t *testing.T) {
	checkGoroutines(t)
	lab := pvdtest.New(t)
	names := []string{"corp", "home"}
	for _, name := range names {
		lan := lab.LAN(name, "192.168.1.0/24", "fd00::/64")
		lan.DNS("192.168.1.53", pvdtest.Zone{"wiki": "192.168.1.80 fd00::80"})
		m := lan.Machine("192.168.1.80 fd00::80")
		page := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "the wiki of %s by %s", name, r.Proto)
		})
		plain := &http.Server{Handler: page, Protocols: new(http.Protocols)}
		plain.Protocols.SetHTTP1(true)
		plain.Protocols.SetUnencryptedHTTP2(true)
		serveHTTP(t, plain, m.Listen("tcp", ":80"))
		serveHTTP(t, &http.Server{Handler: page, TLSConfig: serverTLS()}, m.Listen("tcp", ":443"))
	}
	h := lab.Host(names...)
	for _, name := range names {
		h.Await(name)
	}
	for _, tt := range []struct {
		name, url, proto string
		setup            func(*http.Transport)
	}{
		{"HTTP/1.1", "http://wiki/", "HTTP/1.1", func(*http.Transport) {}},
		{"HTTP/1.1, IPv4 literal", "http://192.168.1.80/", "HTTP/1.1", func(*http.Transport) {}},
		{"HTTP/1.1, IPv6 literal", "http://[fd00::80]/", "HTTP/1.1", func(*http.Transport) {}},
		{"HTTP/2 without TLS", "http://wiki/", "HTTP/2.0", func(tr *http.Transport) {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetUnencryptedHTTP2(true)
		}},
		{"HTTP/1.1 with TLS", "https://wiki/", "HTTP/1.1", func(tr *http.Transport) {
			tr.Protocols = new(http.Protocols)
			tr.Protocols.SetHTTP1(true)
		}},
		{"HTTP/2", "https://wiki/", "HTTP/2.0", func(*http.Transport) {}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tickets := make(map[pvd.Ref]*ticketCache)
			pool := pvdhttp.NewPool(h.Host.In)
			defer pool.Close()
			pool.Setup = func(ref pvd.Ref, tr *http.Transport) {
				tickets[ref] = &ticketCache{ClientSessionCache: tr.TLSClientConfig.ClientSessionCache, put: make(chan struct{}, 16)}
				tr.TLSClientConfig.ClientSessionCache = tickets[ref]
				tr.TLSClientConfig.RootCAs = serverRoots()
				tt.setup(tr)
			}
			client := &http.Client{Transport: pool}
			secure := tt.url[:5] == "https"
			for round := range 4 {
				if round == 2 && secure {
					for _, name := range names {
						<-tickets[h.Ref(name)].put
					}
				}
				if round == 2 {
					client.CloseIdleConnections()
				}
				for _, name := range names {
					got := getIn(t, client, h.Ref(name), tt.url)
					want := answer{
						page:   "the wiki of " + name + " by " + tt.proto,
						reused: round == 1 || round == 3, resumed: secure && round >= 2,
					}
					if got != want {
						t.Errorf("round %d in %s: %+v, want %+v", round, name, got, want)
					}
				}
			}
		})
	}
	lab.AssertIsolated()
}

// An answer is what came of a request.
type answer struct {
	page            string
	reused, resumed bool // the connection, the TLS session
}

// getIn asks for a page in a PvD, and checks that the connection is of that PvD.
func getIn(t *testing.T, client *http.Client, ref pvd.Ref, url string) (a answer) {
	t.Helper()
	ctx := httptrace.WithClientTrace(pvd.NewContext(t.Context(), ref), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			a.reused = i.Reused
			if got, ok := pvd.Of(i.Conn); !ok || got != ref {
				t.Errorf("a request in %v uses a connection of %v", ref, got)
			}
		},
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a.page, a.resumed = string(b), resp.TLS != nil && resp.TLS.DidResume
	return a
}

// A ticketCache is a session cache that tells when a session can be resumed, which is
// some time after the handshake.
type ticketCache struct {
	tls.ClientSessionCache
	put chan struct{}
}

func (c *ticketCache) Put(key string, s *tls.ClientSessionState) {
	c.ClientSessionCache.Put(key, s)
	if s == nil {
		return
	}
	select {
	case c.put <- struct{}{}:
	default:
	}
}

// serveHTTP runs a server until the end of the test, with TLS if it has a config for it.
func serveHTTP(t *testing.T, srv *http.Server, l net.Listener) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		var err error
		if srv.TLSConfig != nil {
			err = srv.ServeTLS(l, "", "")
		} else {
			err = srv.Serve(l)
		}
		if err != http.ErrServerClosed {
			t.Error("Serve:", err)
		}
	})
	t.Cleanup(func() {
		_ = srv.Close()
		wg.Wait()
	})
}

// serverCertificate is for the servers of these tests. All share it and the key of their
// session tickets, so that a server would take up the sessions of another.
var serverCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"wiki"},
		IsCA:     true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
})

func serverTLS() *tls.Config {
	c := &tls.Config{Certificates: []tls.Certificate{serverCertificate()}}
	c.SetSessionTicketKeys([][32]byte{{1}})
	return c
}

func serverRoots() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(serverCertificate().Leaf)
	return roots
}
