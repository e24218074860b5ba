package pvdhttp

import (
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
)

// Two PvDs, in each of which every address is that of another server.
const (
	corp pvd.Ref = 100
	home pvd.Ref = 200
)

// A testNetwork connects to one server, whatever is asked for.
type testNetwork struct {
	ref  pvd.Ref
	to   string
	gone atomic.Bool

	mu    sync.Mutex
	dials []string
}

func (n *testNetwork) PvD() pvd.Ref { return n.ref }

func (n *testNetwork) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials = append(n.dials, address)
	n.mu.Unlock()
	if n.gone.Load() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: pvd.ErrNoPvD}
	}
	c, err := (&net.Dialer{}).DialContext(ctx, network, n.to)
	if err != nil {
		return nil, err
	}
	return testConn{c.(*net.TCPConn), n.ref}, nil
}

// A testConn knows its PvD, as the stack's do.
type testConn struct {
	*net.TCPConn
	ref pvd.Ref
}

func (c testConn) PvD() pvd.Ref { return c.ref }

// A world is both PvDs with their servers, which answer alike but for the name.
type world struct {
	networks map[pvd.Ref]*testNetwork
	servers  map[pvd.Ref]*httptest.Server
	roots    *x509.CertPool

	mu       sync.Mutex
	requests map[pvd.Ref]int
	states   map[pvd.Ref]map[net.Conn]http.ConnState
}

// newWorld starts both servers, with TLS or without. With TLS they have the same
// certificate and can resume each other's sessions.
func newWorld(t *testing.T, secure bool, h http.HandlerFunc) *world {
	t.Helper()
	w := &world{
		networks: make(map[pvd.Ref]*testNetwork), servers: make(map[pvd.Ref]*httptest.Server),
		requests: make(map[pvd.Ref]int),
		states:   map[pvd.Ref]map[net.Conn]http.ConnState{corp: {}, home: {}},
	}
	for ref, name := range map[pvd.Ref]string{corp: "corp", home: "home"} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			w.mu.Lock()
			w.requests[ref]++
			w.mu.Unlock()
			rw.Header().Set("Where", name)
			if h != nil {
				h(rw, r)
				return
			}
			fmt.Fprintf(rw, "%s by HTTP/%d", name, r.ProtoMajor)
		}))
		s.Config.ConnState = func(c net.Conn, state http.ConnState) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.states[ref][c] = state
		}
		if secure {
			s.EnableHTTP2 = true
			s.StartTLS()
			s.TLS.SetSessionTicketKeys([][32]byte{{1}})
			w.roots = x509.NewCertPool()
			w.roots.AddCert(s.Certificate())
		} else {
			s.Start()
		}
		t.Cleanup(s.Close)
		w.servers[ref] = s
		w.networks[ref] = &testNetwork{ref: ref, to: s.Listener.Addr().String()}
	}
	return w
}

func (w *world) in(ref pvd.Ref) *testNetwork { return w.networks[ref] }

// pool returns a pool for w that ends with the test.
func (w *world) pool(t *testing.T) *Pool {
	p := NewPool(w.in)
	p.Setup = func(_ pvd.Ref, tr *http.Transport) { tr.TLSClientConfig.RootCAs = w.roots }
	t.Cleanup(func() {
		p.Close()
		checkNothingLeft(t)
	})
	return p
}

// open returns how many connections the server of ref has.
func (w *world) open(ref pvd.Ref) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, s := range w.states[ref] {
		if s != http.StateClosed && s != http.StateHijacked {
			n++
		}
	}
	return n
}

// checkNothingLeft waits for the transports' goroutines to end.
func checkNothingLeft(t *testing.T) {
	t.Helper()
	buf := make([]byte, 1<<20)
	until(t, "the end of all goroutines", func() bool {
		s := string(buf[:runtime.Stack(buf, true)])
		return !strings.Contains(s, "http.(*persistConn)") && !strings.Contains(s, "pvdhttp.(*group)") &&
			!strings.Contains(s, "ClientConn).readLoop")
	})
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never happened:", what)
}

// get returns the page, and whether the connection was used before and resumes a TLS
// session.
func get(t *testing.T, c *http.Client, ref pvd.Ref, url string) (page string, reused, resumed bool) {
	t.Helper()
	ctx := httptrace.WithClientTrace(pvd.NewContext(t.Context(), ref), &httptrace.ClientTrace{
		GotConn: func(i httptrace.GotConnInfo) {
			reused = i.Reused
			if got, ok := pvd.Of(i.Conn); ref.Attached() && (!ok || got != ref) {
				t.Errorf("a request in %v uses a connection of %v", ref, got)
			}
		},
	})
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), reused, resp.TLS != nil && resp.TLS.DidResume
}
