package addinfo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	cafe     = "cafe.example.com"
	infoBody = `{` + mandatoryKeys + `}`
)

// testNet is a PvD's network: names lead to servers on loopback.
type testNet struct {
	mu      sync.Mutex
	servers map[string]string // host and port, the place
	dialled []string
	open    int
}

func (n *testNet) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dialled = append(n.dialled, address)
	place := n.servers[address]
	n.mu.Unlock()
	if place == "" {
		return nil, &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{Err: "no such host", Name: address, IsNotFound: true}}
	}
	var d net.Dialer
	c, err := d.DialContext(ctx, network, place)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.open++
	n.mu.Unlock()
	return &testConn{Conn: c, n: n}, nil
}

type testConn struct {
	net.Conn
	n    *testNet
	once sync.Once
}

func (c *testConn) Close() error {
	c.once.Do(func() {
		c.n.mu.Lock()
		c.n.open--
		c.n.mu.Unlock()
	})
	return c.Conn.Close()
}

// world is a PvD with servers and a Fetcher in it.
type world struct {
	t     *testing.T
	ca    *testCA
	net   *testNet
	clock *testClock
	f     *Fetcher
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, ca: newCA(t), net: &testNet{servers: map[string]string{}}, clock: newClock()}
	w.f = &Fetcher{Dialer: w.net, Roots: w.ca.roots(), Clock: w.clock}
	t.Cleanup(w.closed)
	return w
}

// closed holds that no connection and no timer outlives a fetch.
func (w *world) closed() {
	for range 300 {
		w.net.mu.Lock()
		open := w.net.open
		w.net.mu.Unlock()
		if open == 0 {
			if n := w.clock.waiting(); n != 0 {
				w.t.Errorf("%d timers are left", n)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Error("connections are left open")
}

// serve puts a server at a host and port.
func (w *world) serve(hostport string, config *tls.Config, h http.HandlerFunc) *httptest.Server {
	s := httptest.NewUnstartedServer(h)
	s.Config.ErrorLog = quiet
	s.TLS = config
	s.EnableHTTP2 = slices.Contains(config.NextProtos, "h2")
	s.StartTLS()
	w.t.Cleanup(s.Close)
	host, port, _ := net.SplitHostPort(hostport)
	w.net.servers[net.JoinHostPort(host+".", port)] = s.Listener.Addr().String()
	return s
}

// at puts a server with a good certificate at a host's port 443.
func (w *world) at(host string, h http.HandlerFunc) *httptest.Server {
	return w.serve(host+":443", &tls.Config{Certificates: []tls.Certificate{w.ca.issue(nil, host)}}, h)
}

func answer(media, body string) http.HandlerFunc {
	return func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", media)
		_, _ = rw.Write([]byte(body))
	}
}

func TestFetchInfo(t *testing.T) {
	for _, proto := range []string{"http/1.1", "h2"} {
		t.Run(proto, func(t *testing.T) {
			t.Setenv("HTTPS_PROXY", "http://127.0.0.1:1")
			w := newWorld(t)
			var mu sync.Mutex
			var got []*http.Request
			w.serve(cafe+":443", &tls.Config{
				NextProtos: []string{proto}, Certificates: []tls.Certificate{w.ca.issue(nil, "other.example", "CAFE.example.com")},
			}, func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				got = append(got, r)
				mu.Unlock()
				http.SetCookie(rw, &http.Cookie{Name: "a", Value: "b"})
				answer("application/pvd+json; charset=utf-8", infoBody)(rw, r)
			})
			for range 2 {
				o, err := w.f.Info(t.Context(), cafe)
				if err != nil || o.ID != cafe || len(o.Prefixes) != 2 {
					t.Fatalf("%+v, %v", o, err)
				}
			}
			if want := []string{cafe + ".:443", cafe + ".:443"}; !slices.Equal(w.net.dialled, want) {
				t.Errorf("dialled %v, want %v: a connection for each fetch, and nothing else", w.net.dialled, want)
			}
			for _, r := range got {
				if r.Method != "GET" || r.Host != cafe || r.RequestURI != "/.well-known/pvd" || r.TLS.DidResume {
					t.Errorf("%s %s of %s, resumed: %v", r.Method, r.RequestURI, r.Host, r.TLS.DidResume)
				}
				r.Header.Del("Connection")
				if want := (http.Header{"Accept": {"application/pvd+json"}}); !reflect.DeepEqual(r.Header, want) {
					t.Errorf("header %v, want %v", r.Header, want)
				}
				if (r.ProtoMajor == 2) != (proto == "h2") {
					t.Errorf("spoke %s", r.Proto)
				}
			}
		})
	}
}

// TestFetchAnswers has one fault of an answer each.
func TestFetchAnswers(t *testing.T) {
	tests := []struct {
		name    string
		handler http.HandlerFunc
		reason  Reason
		want    string
	}{
		{"good", answer(infoType, infoBody), "", ""},
		{"another success", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", "Application/PvD+JSON")
			rw.WriteHeader(203)
			_, _ = rw.Write([]byte(infoBody))
		}, "", ""},
		{"no content", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", infoType)
			rw.WriteHeader(204)
		}, BadJSON, "it ends"},
		{"not found", http.NotFound, BadStatus, "status 404"},
		{"forbidden, with a good object", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", infoType)
			rw.WriteHeader(403)
			_, _ = rw.Write([]byte(infoBody))
		}, BadStatus, "status 403"},
		{"server error", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(500) }, BadStatus, "status 500"},
		{"beyond all", func(rw http.ResponseWriter, r *http.Request) { rw.WriteHeader(600) }, BadStatus, "status 600"},
		{"a page", answer("text/html", infoBody), BadType, `"text/html", want application/pvd+json`},
		{"plain JSON", answer("application/json", infoBody), BadType, "application/json"},
		{"a portal's answer", answer(portalType, infoBody), BadType, "captive"},
		{"two types", answer(infoType+", text/html", infoBody), BadType, "text/html"},
		{"no type", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header()["Content-Type"] = nil
			_, _ = rw.Write([]byte(infoBody))
		}, BadType, `""`},
		{"compressed", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Encoding", "gzip")
			answer(infoType, infoBody)(rw, r)
		}, BadType, "gzip"},
		{"as long as allowed", answer(infoType, infoBody+strings.Repeat(" ", MaxBody-len(infoBody))), "", ""},
		{"one octet more", answer(infoType, infoBody+strings.Repeat(" ", MaxBody-len(infoBody)+1)), TooLarge, "more than 65536"},
		{"without end", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Type", infoType)
			for {
				if _, err := rw.Write(make([]byte, 4096)); err != nil {
					return
				}
			}
		}, TooLarge, "more than 65536"},
		{"a long header", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("X", strings.Repeat("x", 2*MaxHeader))
			answer(infoType, infoBody)(rw, r)
		}, HTTP, ""},
		{"less than announced", func(rw http.ResponseWriter, r *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			answer(infoType, infoBody)(rw, r)
		}, HTTP, "EOF"},
		{"nothing", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, HTTP, "EOF"},
		{"two objects", answer(infoType, infoBody+infoBody), BadJSON, "something follows"},
		{"another PvD", answer(infoType, strings.Replace(infoBody, "cafe", "tea", 1)), OtherID, "tea"},
		{"past", answer(infoType, strings.Replace(infoBody, "2026", "2020", 1)), Expired, "2020"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, protos := range [][]string{nil, {"h2"}} {
				w := newWorld(t)
				w.serve(cafe+":443", &tls.Config{NextProtos: protos, Certificates: []tls.Certificate{w.ca.issue(nil, cafe)}}, tt.handler)
				o, err := w.f.Info(t.Context(), cafe)
				if ReasonOf(err) != tt.reason || (o == nil) == (err == nil) {
					t.Errorf("%v: %v, %v, want %q", protos, o, err, tt.reason)
				}
				if err != nil && protos == nil && !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q in it", err, tt.want)
				}
				if f, ok := errors.AsType[*Fault](err); ok && f.Transient() {
					t.Errorf("%v is transient, but a server has been reached", err)
				}
			}
		})
	}
}

func TestFetchRedirects(t *testing.T) {
	tests := []struct {
		name, to string
		status   int
		reason   Reason
		want     string
	}{
		{"to another path", "/other", 301, "", ""},
		{"relative", "other", 302, "", ""},
		{"to another host", "https://other.example.com/other", 303, "", ""},
		{"to another port", "https://other.example.com:8443/other", 307, "", ""},
		{"permanent, without scheme", "//other.example.com/other", 308, "", ""},
		{"a choice", "/other", 300, "", ""},
		{"in capitals, with a dot", "https://OTHER.example.com./other", 302, "", ""},
		{"with a fragment", "/other#x", 302, "", ""},
		{"nowhere", "", 302, BadRedirect, "status 302 leads nowhere"},
		{"not modified", "", 304, BadRedirect, "status 304 leads nowhere"},
		{"no URL", "https://a b/%zz", 302, BadRedirect, "leads nowhere"},
		{"to http", "http://cafe.example.com/other", 302, BadRedirect, "is not https"},
		{"to a file", "file:///etc/passwd", 302, BadRedirect, "is not https"},
		{"to an address", "https://127.0.0.1/other", 302, BadRedirect, "no host name"},
		{"to an IPv6 address", "https://[::1]/other", 302, BadRedirect, "no host name"},
		{"to a name in Unicode", "https://bücher.example/", 302, BadRedirect, "no host name"},
		{"with a user", "https://u:p@other.example.com/other", 302, BadRedirect, "has a user"},
		{"too long", "https://other.example.com/" + strings.Repeat("x", MaxURL), 302, BadRedirect, "longer than"},
		{"to a name that does not exist", "https://gone.example.com/", 302, BadRedirect, "no such host"},
		{"to a server without a certificate for it", "https://wrong.example.com/", 302, Certificate, "wrong.example.com"},
		{"to itself", "/.well-known/pvd", 302, BadRedirect, "more than 5 redirections"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			var mu sync.Mutex
			asked := 0
			w.at(cafe, func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked++
				mu.Unlock()
				if r.URL.Path == "/other" || r.URL.Path == "/.well-known/other" {
					answer(infoType, infoBody)(rw, r)
					return
				}
				if tt.to != "" {
					rw.Header().Set("Location", tt.to)
				}
				rw.WriteHeader(tt.status)
			})
			other := func(rw http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
					t.Errorf("the header tells where the request comes from: %v", r.Header)
				}
				answer(infoType, infoBody)(rw, r)
			}
			wild := &tls.Config{Certificates: []tls.Certificate{w.ca.issue(nil, "*.example.com")}}
			w.serve("other.example.com:443", wild, other)
			w.serve("other.example.com:8443", wild, other)
			w.serve("wrong.example.com:443", &tls.Config{Certificates: []tls.Certificate{w.ca.issue(nil, cafe)}}, other)
			o, err := w.f.Info(t.Context(), cafe)
			if ReasonOf(err) != tt.reason || (o == nil) == (err == nil) {
				t.Fatalf("%v, %v, want %q", o, err, tt.reason)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.want) || faultOf(err).Transient()) {
				t.Errorf("%v, want a final one with %q", err, tt.want)
			}
			if asked > MaxRedirects+1 {
				t.Errorf("asked %d times", asked)
			}
		})
	}
	t.Run("as many as allowed", func(t *testing.T) {
		w := newWorld(t)
		hops := 0
		w.at(cafe, func(rw http.ResponseWriter, r *http.Request) {
			if hops++; hops <= MaxRedirects {
				http.Redirect(rw, r, fmt.Sprintf("/hop/%d", hops), http.StatusFound)
				return
			}
			answer(infoType, infoBody)(rw, r)
		})
		if _, err := w.f.Info(t.Context(), cafe); err != nil {
			t.Error(err)
		}
		if hops != MaxRedirects+1 {
			t.Errorf("asked %d times, want %d", hops, MaxRedirects+1)
		}
	})
}

func TestFetchNames(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"", "a/b", "a:1", "u@h", "a?b", "a#b", "a%41", "192.0.2.1", "::1", "a..b", "bücher.example", "a b", strings.Repeat("a", 64)} {
		if _, err := w.f.Info(t.Context(), pvdID(id)); ReasonOf(err) != BadName {
			t.Errorf("%q: %v, want %q", id, err, BadName)
		}
	}
	for _, u := range []string{
		"", Unrestricted, "http://portal.example.com/", "https://192.0.2.1/", "https://[2001:db8::1]/", "https://u@portal.example.com/",
		"https:///x", "portal.example.com", "https://portal.example.com/ x", "https://portal.example.com/\x00", "https://portal.example.com:x/",
		"https://portal.example.com/" + strings.Repeat("x", MaxURL),
	} {
		if _, err := w.f.Portal(t.Context(), u); ReasonOf(err) != BadName {
			t.Errorf("%q: %v, want %q", u, err, BadName)
		}
	}
	if len(w.net.dialled) != 0 {
		t.Errorf("dialled %v", w.net.dialled)
	}
}

func TestFetchUnreachable(t *testing.T) {
	w := newWorld(t)
	_, err := w.f.Info(t.Context(), cafe)
	if f := faultOf(err); f.reason() != Lookup || !f.Transient() {
		t.Errorf("no such name: %v", err)
	}
	w.at(cafe, answer(infoType, infoBody)).Close()
	_, err = w.f.Info(t.Context(), cafe)
	if f := faultOf(err); f.reason() != Unreachable || !f.Transient() {
		t.Errorf("nobody listens: %v", err)
	}
}

func TestFetchTimeout(t *testing.T) {
	tests := []struct {
		name    string
		handler func(rw http.ResponseWriter, slow func())
	}{
		{"no header", func(_ http.ResponseWriter, slow func()) { slow() }},
		{"half a body", func(rw http.ResponseWriter, slow func()) {
			rw.Header().Set("Content-Type", infoType)
			_, _ = rw.Write([]byte("{"))
			rw.(http.Flusher).Flush()
			slow()
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.at(cafe, func(rw http.ResponseWriter, r *http.Request) {
				tt.handler(rw, func() {
					w.clock.advance(FetchTimeout - 1)
					if r.Context().Err() != nil {
						t.Error("given up too early")
					}
					w.clock.advance(1)
					<-r.Context().Done()
				})
			})
			_, err := w.f.Info(t.Context(), cafe)
			if f := faultOf(err); f.reason() != Timeout || f.Transient() {
				t.Errorf("%v, want %q", err, Timeout)
			}
		})
	}
	t.Run("no handshake", func(t *testing.T) {
		w := newWorld(t)
		l := listen(t)
		go func() {
			if c, err := l.Accept(); err == nil {
				_, _ = c.Read(make([]byte, 1)) // the first of the handshake
				w.clock.advance(FetchTimeout)
				_, _ = c.Read(make([]byte, 1<<16))
				_, _ = c.Read(make([]byte, 1))
				c.Close()
			}
		}()
		w.net.servers[cafe+".:443"] = l.Addr().String()
		if _, err := w.f.Info(t.Context(), cafe); ReasonOf(err) != Timeout {
			t.Errorf("%v, want %q", err, Timeout)
		}
	})
	t.Run("no connection", func(t *testing.T) {
		w := newWorld(t)
		w.f.Dialer = dialFunc(func(ctx context.Context, _, _ string) (net.Conn, error) {
			w.clock.advance(FetchTimeout)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		_, err := w.f.Info(t.Context(), cafe)
		if f := faultOf(err); f.reason() != Unreachable || !f.Transient() {
			t.Errorf("%v, want %q", err, Unreachable)
		}
	})
	t.Run("cancelled", func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(t.Context())
		w.at(cafe, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
		_, err := w.f.Info(ctx, cafe)
		if ReasonOf(err) != Cancelled || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, want %q", err, Cancelled)
		}
	})
}

func TestFetchPortal(t *testing.T) {
	w := newWorld(t)
	const api = "https://portal.example.com:8443/api/X54?s=1"
	w.serve("portal.example.com:8443", &tls.Config{Certificates: []tls.Certificate{w.ca.issue(nil, "*.example.com")}},
		func(rw http.ResponseWriter, r *http.Request) {
			if r.RequestURI != "/api/X54?s=1" || r.Header.Get("Accept") != portalType || r.UserAgent() != "" {
				t.Errorf("%s, %v", r.RequestURI, r.Header)
			}
			answer(portalType, `{"captive":true,"user-portal-url":"https://example.org/portal.html"}`)(rw, r)
		})
	a, err := w.f.Portal(t.Context(), api)
	if err != nil || !a.Portal.Captive || a.Portal.API != api || a.Portal.User != "https://example.org/portal.html" {
		t.Errorf("%+v, %v", a, err)
	}
	w.at("page.example.com", answer("text/html", "<html>"))
	if _, err := w.f.Portal(t.Context(), "https://page.example.com/"); ReasonOf(err) != BadType {
		t.Errorf("a page: %v", err)
	}
	w.serve("bad.example.com:443", &tls.Config{Certificates: []tls.Certificate{w.ca.issue(nil, "good.example.com")}}, answer(portalType, `{"captive":false}`))
	if _, err := w.f.Portal(t.Context(), "https://bad.example.com/"); ReasonOf(err) != Certificate {
		t.Errorf("a bad certificate: %v", err)
	}
}
