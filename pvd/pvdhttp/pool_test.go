package pvdhttp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
)

// This is why there is this package: a transport whose dialer looks at the context. Were
// it to work one day, this test would tell.
func TestPlainTransportCrosses(t *testing.T) {
	w := newWorld(t, false, nil)
	tr := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		return w.in(pvd.FromContext(ctx)).DialContext(ctx, network, address)
	}}
	defer tr.CloseIdleConnections()
	ask := func(ref pvd.Ref) string {
		r, _ := http.NewRequestWithContext(pvd.NewContext(t.Context(), ref), http.MethodGet, "http://wiki/", nil)
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return string(b)
	}
	if a, b := ask(corp), ask(home); a != "corp by HTTP/1" || b != "corp by HTTP/1" {
		t.Errorf("in corp %q, in home %q", a, b)
	}
}

func TestSameURL(t *testing.T) {
	for _, tt := range []struct {
		url    string
		secure bool
		proto  string
	}{
		{"http://wiki/", false, "HTTP/1"},
		{"http://192.168.1.80/", false, "HTTP/1"},
		{"https://example.com/", true, "HTTP/2"},
	} {
		t.Run(tt.url, func(t *testing.T) {
			w := newWorld(t, tt.secure, nil)
			p := w.pool(t)
			c := &http.Client{Transport: p}
			// A new connection in each PvD, then the same ones.
			for i := range 3 {
				for ref, name := range map[pvd.Ref]string{corp: "corp", home: "home"} {
					page, reused, resumed := get(t, c, ref, tt.url)
					if page != name+" by "+tt.proto || reused != (i > 0) || resumed {
						t.Errorf("round %d: in %s: %q, reused %v, resumed %v", i, name, page, reused, resumed)
					}
				}
			}
			// New connections, which resume each PvD's own session.
			c.CloseIdleConnections()
			for ref, name := range map[pvd.Ref]string{corp: "corp", home: "home"} {
				page, reused, resumed := get(t, c, ref, tt.url)
				if page != name+" by "+tt.proto || reused || resumed != tt.secure {
					t.Errorf("again: in %s: %q, reused %v, resumed %v", name, page, reused, resumed)
				}
			}
			for ref, n := range w.networks {
				if len(n.dials) != 2 {
					t.Errorf("%v: dialled %q", ref, n.dials)
				}
			}
		})
	}
}

// A session that was made in one PvD is never offered in another, though its server
// would take it.
func TestSessionsStay(t *testing.T) {
	w := newWorld(t, true, nil)
	// The control: with one cache it is.
	cache := tls.NewLRUClientSessionCache(0)
	for i, ref := range []pvd.Ref{corp, home} {
		tr := NewTransport(w.in(ref))
		tr.TLSClientConfig.RootCAs = w.roots
		tr.TLSClientConfig.ClientSessionCache = cache
		_, _, resumed := get(t, &http.Client{Transport: tr}, ref, "https://example.com/")
		if resumed != (i == 1) {
			t.Errorf("control: in %v resumed %v", ref, resumed)
		}
		tr.CloseIdleConnections()
	}
	c := &http.Client{Transport: w.pool(t)}
	for _, ref := range []pvd.Ref{corp, home} {
		if _, _, resumed := get(t, c, ref, "https://example.com/"); resumed {
			t.Errorf("in %v: resumed at once", ref)
		}
	}
}

func TestConcurrently(t *testing.T) {
	w := newWorld(t, true, nil)
	c := &http.Client{Transport: w.pool(t)}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				for ref, name := range map[pvd.Ref]string{corp: "corp", home: "home"} {
					if page, _, _ := get(t, c, ref, "https://example.com/"); !strings.HasPrefix(page, name) {
						t.Errorf("in %s: %q", name, page)
					}
				}
			}
		})
	}
	wg.Wait()
}

// A chain of redirections ends in the PvD that it began in, also when the default that
// it began with has changed.
func TestRedirect(t *testing.T) {
	var def atomic.Uint64
	w := newWorld(t, false, func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/":
			http.Redirect(rw, r, "/two", http.StatusFound)
		case "/two":
			def.Store(uint64(home))
			http.Redirect(rw, r, "http://elsewhere/three", http.StatusTemporaryRedirect)
		default:
			fmt.Fprintf(rw, "%s at %s", rw.Header().Get("Where"), r.Host)
		}
	})
	p := w.pool(t)
	p.Scope = func(ctx context.Context) pvd.Ref {
		if ref := pvd.FromContext(ctx); ref != pvd.Unspecified {
			return ref
		}
		return pvd.Ref(def.Load())
	}
	for what, c := range map[string]*http.Client{"pool": {Transport: p}, "client": p.Client(corp)} {
		def.Store(uint64(corp))
		if page, _, _ := get(t, c, pvd.Unspecified, "http://wiki/"); page != "corp at elsewhere" {
			t.Errorf("%s: %q", what, page)
		}
	}
	if w.requests[home] != 0 {
		t.Errorf("%d requests in the wrong PvD", w.requests[home])
	}
	// Nor does it go elsewhere when its PvD is no more.
	def.Store(uint64(corp))
	c := &http.Client{Transport: p, CheckRedirect: func(*http.Request, []*http.Request) error {
		w.in(corp).gone.Store(true)
		p.Forget(corp)
		return nil
	}}
	if _, err := c.Get("http://wiki/two"); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("after the PvD is gone:", err)
	}
}

func TestResponseCarriesPvD(t *testing.T) {
	w := newWorld(t, false, nil)
	p := w.pool(t)
	p.Scope = func(context.Context) pvd.Ref { return home }
	resp, err := (&http.Client{Transport: p}).Get("http://wiki/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got := pvd.FromContext(resp.Request.Context()); got != home {
		t.Errorf("the response is of %v", got)
	}
}

// body tells whether it was closed.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Close() error { b.closed = true; return nil }

func TestNoPvD(t *testing.T) {
	w := newWorld(t, false, nil)
	p := w.pool(t)
	for _, ref := range []pvd.Ref{pvd.Unspecified, pvd.Null, pvd.SystemDefault, pvd.All} {
		for what, rt := range map[string]http.RoundTripper{"pool": p, "client": p.Client(ref).Transport} {
			b := &body{Reader: strings.NewReader("x")}
			r, _ := http.NewRequestWithContext(pvd.NewContext(t.Context(), ref), http.MethodPost, "http://wiki/", b)
			if _, err := rt.RoundTrip(r); !errors.Is(err, syscall.ENETUNREACH) {
				t.Errorf("%s in %v: %v", what, ref, err)
			}
			if !b.closed {
				t.Errorf("%s in %v: body left open", what, ref)
			}
		}
	}
	if len(p.groups) != 0 {
		t.Errorf("%d groups for no PvD", len(p.groups))
	}
}

// When a PvD goes, what uses it fails with ErrNoPvD, be it idle, waiting for an answer or
// reading one. Another PvD's connections stay.
func TestForget(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			hold := make(chan struct{})
			w := newWorld(t, secure, func(rw http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case "/half":
					_, _ = io.WriteString(rw, "half")
					_ = http.NewResponseController(rw).Flush()
					<-hold
				case "/never":
					<-hold
				}
			})
			t.Cleanup(func() { close(hold) }) // before the servers' own
			p := w.pool(t)
			c := &http.Client{Transport: p}
			url := map[bool]string{true: "https://example.com/", false: "http://example.com/"}[secure]
			get(t, c, corp, url)
			get(t, c, home, url)

			ctx := pvd.NewContext(t.Context(), corp)
			r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"half", nil)
			resp, err := c.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			never := make(chan error, 1)
			go func() {
				r, _ := http.NewRequestWithContext(ctx, http.MethodGet, url+"never", nil)
				_, err := c.Do(r)
				never <- err
			}()
			until(t, "all requests", func() bool {
				w.mu.Lock()
				defer w.mu.Unlock()
				return w.requests[corp] == 3
			})
			w.in(corp).gone.Store(true)
			p.Forget(corp)
			if _, err := io.ReadAll(resp.Body); !errors.Is(err, pvd.ErrNoPvD) {
				t.Error("reading:", err)
			}
			if err := <-never; !errors.Is(err, pvd.ErrNoPvD) {
				t.Error("waiting:", err)
			}
			r, _ = http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if _, err := c.Do(r); !errors.Is(err, pvd.ErrNoPvD) {
				t.Error("new:", err)
			}
			if _, reused, _ := get(t, c, home, url); !reused {
				t.Error("the other PvD's connection is lost")
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			if len(p.groups) != 1 {
				t.Errorf("%d groups", len(p.groups))
			}
		})
	}
}

// A dial that finds the PvD gone ends its idle connections, too.
func TestForgetByItself(t *testing.T) {
	w := newWorld(t, false, nil)
	p := w.pool(t)
	c := &http.Client{Transport: p}
	get(t, c, corp, "http://one/")
	get(t, c, corp, "http://two/")
	get(t, c, home, "http://one/")
	until(t, "three connections", func() bool { return w.open(corp) == 2 && w.open(home) == 1 })
	w.in(corp).gone.Store(true)
	r, _ := http.NewRequestWithContext(pvd.NewContext(t.Context(), corp), http.MethodGet, "http://three/", nil)
	if _, err := c.Do(r); !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("new:", err)
	}
	until(t, "the end of idle connections", func() bool { return w.open(corp) == 0 })
	if w.open(home) != 1 {
		t.Error("the other PvD's connection is lost")
	}
}

// A connection that comes into being while its PvD goes does not outlive it.
func TestForgetWhileDialling(t *testing.T) {
	w := newWorld(t, false, nil)
	dialling, release := make(chan struct{}), make(chan struct{})
	for _, heeds := range []bool{true, false} {
		p := NewPool(func(ref pvd.Ref) dialFunc {
			return func(ctx context.Context, network, address string) (net.Conn, error) {
				dialling <- struct{}{}
				if heeds {
					<-ctx.Done()
					return nil, ctx.Err()
				}
				<-release
				return w.in(ref).DialContext(context.WithoutCancel(ctx), network, address)
			}
		})
		done := make(chan error, 1)
		go func() {
			_, err := p.Client(corp).Get("http://wiki/")
			done <- err
		}()
		<-dialling
		p.Forget(corp)
		if !heeds {
			close(release)
		}
		if err := <-done; !errors.Is(err, pvd.ErrNoPvD) {
			t.Errorf("heeds its context %v: %v", heeds, err)
		}
		p.Close()
	}
	until(t, "the end of the connection", func() bool { return w.open(corp) == 0 })
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func (f dialFunc) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	return f(ctx, network, address)
}

func TestClose(t *testing.T) {
	w := newWorld(t, false, nil)
	p := w.pool(t)
	c := p.Client(corp)
	get(t, c, corp, "http://wiki/")
	p.Close()
	until(t, "the end of idle connections", func() bool { return w.open(corp) == 0 })
	if _, err := c.Get("http://wiki/"); !errors.Is(err, net.ErrClosed) {
		t.Error("after Close:", err)
	}
	c.CloseIdleConnections()
	p.Forget(corp)
	p.Close()
}

func TestClient(t *testing.T) {
	w := newWorld(t, false, nil)
	p := w.pool(t)
	c := p.Client(corp)
	// Whatever the context carries.
	if page, _, _ := get(t, c, pvd.Unspecified, "http://wiki/"); page != "corp by HTTP/1" {
		t.Error(page)
	}
	r, _ := http.NewRequestWithContext(pvd.NewContext(t.Context(), home), http.MethodGet, "http://wiki/", nil)
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != "corp by HTTP/1" {
		t.Errorf("%s", b)
	}
	c.CloseIdleConnections()
	p.Client(home).CloseIdleConnections()
	_, _ = io.Copy(io.Discard, resp.Body)
	if _, reused, _ := get(t, c, corp, "http://wiki/"); reused {
		t.Error("idle connections were not closed")
	}
}

func TestNewClient(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	w := newWorld(t, false, nil)
	for ref, name := range map[pvd.Ref]string{corp: "corp", home: "home"} {
		c := NewClient(w.in(ref))
		if page, _, _ := get(t, c, pvd.Unspecified, "http://wiki/"); page != name+" by HTTP/1" {
			t.Errorf("in %s: %q", name, page)
		}
		c.CloseIdleConnections()
		if tr := c.Transport.(*http.Transport); tr.Proxy != nil || tr.TLSClientConfig.ClientSessionCache == nil {
			t.Errorf("%+v", tr)
		}
		if got := w.in(ref).dials; len(got) != 1 || got[0] != "wiki:80" {
			t.Errorf("dialled %q", got)
		}
	}
}

// A large body takes the connection's own way of sending, and arrives.
func TestUpload(t *testing.T) {
	w := newWorld(t, false, func(rw http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(rw, n)
	})
	resp, err := w.pool(t).Client(corp).Post("http://wiki/", "", io.LimitReader(neverEnding('x'), 8<<20))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); string(b) != fmt.Sprint(8<<20) {
		t.Errorf("%s octets arrived", b)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

// Who takes a connection over can end his half of it.
func TestUpgrade(t *testing.T) {
	w := newWorld(t, false, func(rw http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
		_, _ = io.Copy(c, buf)
	})
	r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://wiki/", nil)
	r.Header.Set("Connection", "upgrade")
	r.Header.Set("Upgrade", "echo")
	resp, err := w.pool(t).Client(corp).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	c, ok := resp.Body.(interface {
		io.ReadWriteCloser
		CloseWrite() error
	})
	if !ok {
		t.Skipf("this Go's %T has no CloseWrite", resp.Body)
	}
	if _, err := io.WriteString(c, "hello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Error(err)
	}
	if b, err := io.ReadAll(c); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
}
