package stack_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
	"github.com/pvdstack/pvdstack/stack"
)

// clientIn returns a client in n that trusts the tests' servers, all of them called wiki.
func clientIn(t *testing.T, n *stack.Network) *http.Client {
	t.Helper()
	tr := pvdhttp.NewTransport(n)
	tr.TLSClientConfig.RootCAs, tr.TLSClientConfig.ServerName = serverRoots(), "wiki"
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func httpGet(client *http.Client, url string) (string, error) {
	resp, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

// TestHTTPShutdown holds that Shutdown gives up the port at once, ends idle connections,
// waits for requests under way, and leaves a port that can be had again.
func TestHTTPShutdown(t *testing.T) {
	checkGoroutines(t)
	a, b := couple(t)
	began, finish := make(chan struct{}), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-finish
		}
		_, _ = io.WriteString(w, "page")
	})}
	l := mustListen(t, b, "tcp", "10.0.0.2:80")
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	// An idle connection that the server has to end, since nobody else does.
	idle := mustDial(t, a, "tcp", "10.0.0.2:80")
	if _, err := io.WriteString(idle, "GET / HTTP/1.1\r\nHost: wiki\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	idled := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(idled, nil); err != nil {
		t.Fatal(err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	type result struct {
		page string
		err  error
	}
	slow := make(chan result, 1)
	client := clientIn(t, a)
	go func() {
		page, err := httpGet(client, "http://10.0.0.2/slow")
		slow <- result{page, err}
	}()
	<-began
	down := make(chan error, 1)
	go func() { down <- srv.Shutdown(context.Background()) }()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error("Serve:", err)
	}
	if n, err := io.Copy(io.Discard, idled); err != nil || n != 0 {
		t.Errorf("the idle connection ended after %d octets with %v", n, err)
	}
	select {
	case err := <-down:
		t.Error("Shutdown waited for nobody:", err)
	default:
	}
	close(finish)
	if r := <-slow; r.err != nil || r.page != "page" {
		t.Errorf("the request under way: %q, %v", r.page, r.err)
	}
	if err := <-down; err != nil {
		t.Error("Shutdown:", err)
	}
	again := &http.Server{Handler: http.NotFoundHandler()}
	serveHTTP(t, again, mustListen(t, b, "tcp", "10.0.0.2:80"))
	if _, err := httpGet(client, "http://10.0.0.2/"); err != nil {
		t.Error("a server that comes after:", err)
	}
}

// TestHTTPClose holds that Close ends what is under way: handlers learn of it and clients
// get an error, with and without HTTP/2.
func TestHTTPClose(t *testing.T) {
	checkGoroutines(t)
	a, b := couple(t)
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan error, 1)
			srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.WriteString(w, "half a page")
				_ = http.NewResponseController(w).Flush()
				close(began)
				<-r.Context().Done()
				ended <- r.Context().Err()
			})}
			if scheme == "https" {
				srv.TLSConfig = serverTLS()
			}
			l := mustListen(t, b, "tcp", "10.0.0.2:0")
			serveHTTP(t, srv, l)
			failed := make(chan error, 1)
			client := clientIn(t, a)
			go func() {
				_, err := httpGet(client, scheme+"://"+l.Addr().String()+"/")
				failed <- err
			}()
			<-began
			if err := srv.Close(); err != nil {
				t.Error("Close:", err)
			}
			if err := <-failed; err == nil {
				t.Error("the client got all of the page")
			}
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Error("the handler:", err)
			}
		})
	}
}

// TestHTTPClientLeaves holds that a handler learns when its client has gone.
func TestHTTPClientLeaves(t *testing.T) {
	checkGoroutines(t)
	a, b := couple(t)
	for _, scheme := range []string{"http", "https"} {
		t.Run(scheme, func(t *testing.T) {
			began, ended := make(chan struct{}), make(chan struct{})
			srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				close(began)
				<-r.Context().Done()
				close(ended)
			})}
			if scheme == "https" {
				srv.TLSConfig = serverTLS()
			}
			l := mustListen(t, b, "tcp", "10.0.0.2:0")
			serveHTTP(t, srv, l)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			client := clientIn(t, a)
			go func() {
				r, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+l.Addr().String()+"/", http.NoBody)
				if err != nil {
					failed <- err
					return
				}
				resp, err := client.Do(r)
				if err == nil {
					err = resp.Body.Close()
				}
				failed <- err
			}()
			<-began
			cancel()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
			<-ended
		})
	}
}

// TestHTTPTimeouts holds that a server ends connections that are idle, and those on which
// no request comes.
func TestHTTPTimeouts(t *testing.T) {
	checkGoroutines(t)
	a, b := couple(t)
	srv := &http.Server{
		Handler:     http.NotFoundHandler(),
		IdleTimeout: 20 * time.Millisecond, ReadHeaderTimeout: 20 * time.Millisecond,
	}
	l := mustListen(t, b, "tcp", "10.0.0.2:0")
	serveHTTP(t, srv, l)
	for _, tt := range []struct{ name, said, answer string }{
		{"nothing", "", ""},
		{"half a request", "GET / HTTP/1.1\r\n", ""},
		{"one request", "GET / HTTP/1.1\r\nHost: wiki\r\n\r\n", "HTTP/1.1 404 Not Found\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustDial(t, a, "tcp", l.Addr().String())
			if _, err := io.WriteString(c, tt.said); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(c)
			if err != nil || !strings.HasPrefix(string(got), tt.answer) || (tt.answer == "" && len(got) > 0) {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestHTTPHijack takes a connection over from a server. It is the stack's, and reads no
// further than the request.
func TestHTTPHijack(t *testing.T) {
	checkGoroutines(t)
	a, b := couple(t)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, buf, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		tc, ok := c.(*stack.TCPConn)
		if !ok {
			t.Errorf("%T", c)
			return
		}
		said, err := io.ReadAll(buf)
		if err != nil {
			t.Error(err)
		}
		if _, err := fmt.Fprintf(tc, "%v heard %s", tc.PvD(), said); err != nil {
			t.Error(err)
		}
	})}
	l := mustListen(t, b, "tcp", "10.0.0.2:0")
	serveHTTP(t, srv, l)
	c := mustDial(t, a, "tcp", l.Addr().String()).(*stack.TCPConn)
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: wiki\r\n\r\nhello"); err != nil {
		t.Fatal(err)
	}
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if want := b.PvD().String() + " heard hello"; err != nil || string(got) != want {
		t.Errorf("%q, %v, want %q", got, err, want)
	}
}

// TestHTTPEverywhere has one server in all PvDs, also in one that comes later. Its
// handlers find the PvD that each request came in, with TLS and without. When a PvD goes,
// the server goes on in the others.
func TestHTTPEverywhere(t *testing.T) {
	checkGoroutines(t)
	h := newHost(t)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, pvd.FromContext(r.Context()))
	})
	for port, srv := range map[string]*http.Server{
		":80":  {Handler: handler},
		":443": {Handler: handler, TLSConfig: serverTLS()},
	} {
		srv.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
			ref, _ := pvd.Of(c)
			return pvd.NewContext(ctx, ref)
		}
		serveHTTP(t, srv, mustListen(t, h.In(pvd.All), "tcp", port))
	}
	clients := make(map[string]*http.Client)
	refs := make(map[string]pvd.Ref)
	for _, name := range []string{"corp", "home"} {
		far := newHost(t)
		pipe(t, name, h, far)
		refs[name] = add(t, h, config(name, "10.0.0.1/24")).PvD()
		clients[name] = clientIn(t, add(t, far, config(name, "10.0.0.2/24")))
	}
	ask := func(name string) {
		t.Helper()
		for _, url := range []string{"http://10.0.0.1/", "https://10.0.0.1/"} {
			if got, err := httpGet(clients[name], url); err != nil || got != refs[name].String() {
				t.Errorf("%s from %s: %q, %v, want %v", url, name, got, err, refs[name])
			}
		}
	}
	ask("corp")
	ask("home")
	if err := h.Remove(t.Context(), refs["corp"]); err != nil {
		t.Fatal(err)
	}
	ask("home")
}

// TestHTTPGone holds that a server in a PvD that goes ends for that reason, and with it
// what is under way.
func TestHTTPGone(t *testing.T) {
	checkGoroutines(t)
	near, far := newHost(t), newHost(t)
	pipe(t, "wire", near, far)
	a, b := add(t, far, config("wire", "10.0.0.1/24")), add(t, near, config("wire", "10.0.0.2/24"))
	began, ended := make(chan struct{}), make(chan struct{})
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		if err := http.NewResponseController(w).Flush(); !errors.Is(err, pvd.ErrNoPvD) {
			t.Error("the handler's answer:", err)
		}
		close(ended)
	})}
	l := mustListen(t, b, "tcp", "10.0.0.2:80")
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	ctx, cancel := context.WithCancel(t.Context())
	asked := make(chan struct{})
	client := clientIn(t, a)
	go func() {
		defer close(asked)
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://10.0.0.2/", http.NoBody)
		if err != nil {
			t.Error(err)
			return
		}
		if resp, err := client.Do(r); err == nil {
			_ = resp.Body.Close()
			t.Error("the client got an answer")
		}
	}()
	<-began
	if err := near.Remove(t.Context(), b.PvD()); err != nil {
		t.Fatal(err)
	}
	if err := <-served; !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("Serve:", err)
	}
	<-ended
	cancel() // the client may never hear of it
	<-asked
	if err := srv.Close(); err != nil && !errors.Is(err, pvd.ErrNoPvD) {
		t.Error("Close:", err)
	}
}
