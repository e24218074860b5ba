package interop_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"

	"github.com/pvdstack/pvdstack/pvd"
	"github.com/pvdstack/pvdstack/pvd/pvdhttp"
)

// TestGetPage has one program ask one URL in two PvDs.
func TestGetPage(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(rw, name+" by "+r.Proto)
		})}
		l, secure := listen(t, w.servers[name], ":80"), listen(t, w.servers[name], ":443")
		srv.TLSConfig = serverTLS("h2", "http/1.1") // said here, since plain HTTP may be served first
		serve(t, func() error { return srv.Serve(l) })
		serve(t, func() error { return srv.ServeTLS(secure, "", "") })
		t.Cleanup(func() { _ = srv.Close() })
	}
	pool := pvdhttp.NewPool(w.host.In)
	t.Cleanup(pool.Close)
	pool.Setup = func(_ pvd.Ref, tr *http.Transport) { tr.TLSClientConfig.RootCAs = clientTLS().RootCAs }
	for url, proto := range map[string]string{
		"http://wiki/": "HTTP/1.1", "http://192.168.1.80/": "HTTP/1.1", "http://[fd00::80]/": "HTTP/1.1",
		"https://wiki/": "HTTP/2.0", "https://192.168.1.80/": "HTTP/2.0",
	} {
		for range 2 {
			for _, name := range names {
				if page, err := getPage(patient(t), pool, w.refs[name], url); err != nil || page != name+" by "+proto {
					t.Errorf("%s in %s: %q, %v", url, name, page, err)
				}
			}
		}
	}
}

// TestServeHTTP has one server in all PvDs, whose handler knows which one each request
// came in.
func TestServeHTTP(t *testing.T) {
	w := newWorld(t)
	srv := &http.Server{
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			fmt.Fprint(rw, pvd.FromContext(r.Context()))
		}),
	}
	serve(t, func() error { return serveHTTP(t.Context(), w.host, srv) })
	t.Cleanup(func() { _ = srv.Close() })
	for _, name := range names {
		// The hosts have the same address in both networks.
		address := hostAddress(t, w, name)
		until(t, "the server listens", func() bool {
			c, err := w.servers[name].DialContext(patient(t), "tcp", address+":80")
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
		client := pvdhttp.NewClient(w.servers[name])
		t.Cleanup(client.CloseIdleConnections)
		resp, err := client.Get("http://" + address + "/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if want := w.refs[name].String(); err != nil || string(b) != want {
			t.Errorf("%s, %v, want %s", b, err, want)
		}
	}
}

// hostAddress returns the IPv4 address of the world's host in a network.
func hostAddress(t *testing.T, w *world, name string) string {
	t.Helper()
	info, err := w.host.Info(w.refs[name])
	if err != nil {
		t.Fatal(err)
	}
	addrs, _ := pvd.Addresses.Get(info)
	for _, a := range addrs {
		if a.Prefix.Addr().Is4() {
			return a.Prefix.Addr().String()
		}
	}
	t.Fatal("no IPv4 address")
	return ""
}

// TestDialTLS holds that TLS tells its PvD, resumes sessions where they were made, and
// ends one direction at a time.
func TestDialTLS(t *testing.T) {
	w := newWorld(t)
	for _, name := range names {
		l := tls.NewListener(listen(t, w.servers[name], ":443"), serverTLS())
		var wg sync.WaitGroup
		serve(t, func() error {
			for {
				c, err := l.Accept()
				if err != nil {
					return err
				}
				wg.Go(func() {
					defer c.Close()
					b, err := io.ReadAll(c)
					if err != nil {
						t.Error("the server reads:", err)
					}
					if _, err := fmt.Fprintf(c, "%s got %d", name, len(b)); err != nil {
						t.Error("the server writes:", err)
					}
				})
			}
		})
		t.Cleanup(wg.Wait)
		t.Cleanup(func() { _ = l.Close() })
	}
	configs := map[string]*tls.Config{"corp": clientTLS(), "home": clientTLS()}
	for i := range 2 {
		for _, name := range names {
			c, err := dialTLS(patient(t), w.clients[name], "wiki:443", configs[name])
			if err != nil {
				t.Fatal(err)
			}
			if ref, ok := pvd.Of(net.Conn(c)); !ok || ref != w.refs[name] {
				t.Errorf("in %s the connection is of %v", name, ref)
			}
			if _, err := c.Write(noise(100_000)); err != nil {
				t.Error(err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			b, err := io.ReadAll(c)
			if err != nil || string(b) != name+" got 100000" {
				t.Errorf("in %s: %q, %v", name, b, err)
			}
			if resumed := c.ConnectionState().DidResume; resumed != (i > 0) {
				t.Errorf("round %d in %s: resumed %v", i, name, resumed)
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
